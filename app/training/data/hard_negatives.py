"""Pictures of no face in which a detector found one: backs of heads, hands, lamps. The classifier learns to be sure of
nothing there (outlier exposure, Hendrycks et al. 2019), so that such a find is called unsure and alerts nobody."""

from collections.abc import Sequence
from pathlib import Path

from app.core.types import Label
from app.training.data.crops import read_image
from app.training.data.face_pool import DETECT_PX, LandmarkDetector
from app.training.data.samples import Sample, by_picture, pictures
from app.vision.detector import FaceDetector
from app.vision.preprocess import resize

MAX_IOU = 0.1
"""A find that shares more with a face than this may show the face."""


def mine_hard_negatives(
    not_faces: Path, frames: Sequence[Sample], finder: FaceDetector, teacher: LandmarkDetector
) -> list[Sample]:
    """Labelled ``UNSURE``: the pictures of ``not_faces`` in which ``teacher`` sees no face either, and what ``finder``
    found in the pictures of ``frames`` where neither their boxes nor ``teacher`` have a face."""
    samples = []
    for path in pictures(not_faces):
        picture = read_image(path)
        if picture is not None and not teacher.detect(resize(picture, DETECT_PX, DETECT_PX)):
            samples.append(Sample(path, Label.UNSURE, not_faces.name))
    for path, places in by_picture(frames):
        picture = read_image(path)
        if picture is None:
            continue
        faces = [box for place in places if (box := frames[place].box) is not None]
        faces += [found.box for found in teacher.detect(picture)]
        samples += [
            Sample(path, Label.UNSURE, "false finds", found.box)
            for found in finder.detect(picture)
            if all(found.box.iou(face) < MAX_IOU for face in faces)
        ]
    return samples
