"""Hard negatives for the classifier: false positives of a detector, such as backs of heads, hands and lamps.

The classifier learns low confidence on them (outlier exposure, Hendrycks et al. 2019), so they are unsure and do not
raise an alert.
"""

from collections.abc import Sequence
from pathlib import Path

from app.core.types import Label
from app.training.data.crops import read_image
from app.training.data.face_pool import DETECT_PX, LandmarkDetector
from app.training.data.samples import Sample, by_image, image_files
from app.vision.detector import FaceDetector
from app.vision.preprocess import resize

MAX_IOU = 0.1
"""A detection that overlaps a face by more than this may show the face."""


def mine_hard_negatives(
    not_faces: Path, frames: Sequence[Sample], detector: FaceDetector, teacher: LandmarkDetector
) -> list[Sample]:
    """Samples with the label ``UNSURE``: images of ``not_faces`` in which ``teacher`` finds no face, and detections of
    ``detector`` in ``frames`` that overlap neither an annotated face nor one that ``teacher`` finds."""
    samples = []
    for path in image_files(not_faces):
        image = read_image(path)
        if image is not None and not teacher.detect(resize(image, DETECT_PX, DETECT_PX)):
            samples.append(Sample(path, Label.UNSURE, not_faces.name))
    for path, places in by_image(frames):
        image = read_image(path)
        if image is None:
            continue
        faces = [box for place in places if (box := frames[place].box) is not None]
        faces += [found.box for found in teacher.detect(image)]
        samples += [
            Sample(path, Label.UNSURE, "false finds", found.box)
            for found in detector.detect(image)
            if all(found.box.iou(face) < MAX_IOU for face in faces)
        ]
    return samples
