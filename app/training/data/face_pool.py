"""A pool of face patches with bounding box and landmarks, kept in memory for the classifier's augmentation, and hard
negatives.

A detector with landmarks locates the face in each patch. So faces of all data sets are cut at the monitor's scale, and
rendered masks are placed correctly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.images import cut, resize, square
from app.core.types import Box, Detection, Image, Label
from app.training.data.crops import Crops, readable_faces
from app.training.data.images import read_image
from app.training.types import LeftOut, Sample
from app.vision.classifier import MaskClassifier
from app.vision.detector import FaceDetector
from app.vision.yunet_detector import BUNDLED, YuNetDetector

PATCH_PX = 128
"""Longest side of a patch: twice the network input, so that half of it may be cut off."""
FRAME_MARGIN = 1.0
IMAGE_BORDER = 0.2
DETECT_PX = 224
MIN_IOU = 0.3
TIGHT_SHARE = 0.62
"""A face smaller than this share of its image is cut out like a face in a frame."""
MAX_FALSE_IOU = 0.1
"""A detection that overlaps a face by more than this may show the face."""


@dataclass(frozen=True, slots=True)
class PooledFace:
    """``patch``: (H, W, 3) uint8 RGB. ``whole``: the data set's own crop, None for a face in a frame. ``box``: the
    face's bounding box, None if the detector found none. ``landmarks``: (5, 2) float32, right eye first, or None.
    All in patch pixels. ``sample`` is the source."""

    patch: Image
    label: Label
    source: str
    sample: Sample
    whole: Box | None
    box: Box | None
    landmarks: NDArray[np.float32] | None
    size_px: float
    """Size of the face in the source image, or of the whole image if it is the crop. The patch may be smaller."""


@dataclass(frozen=True, slots=True)
class FacePool:
    """Faces, and labelled samples that gave no face."""

    faces: list[PooledFace]
    left_out: tuple[LeftOut, ...] = ()


def landmark_detector(threads: int = 2) -> YuNetDetector:
    """The bundled float32 detector. Its landmarks place rendered masks; speed does not matter for training."""
    return YuNetDetector(resources.model(BUNDLED["float32"]), score=0.5, threads=threads)


class NoDetector:
    """Detects no face: images are used as they are, and no mask is rendered."""

    def detect(self, image: Image) -> list[Detection]:  # noqa: ARG002 - the protocol's signature
        return []


def build_pool(samples: Sequence[Sample], detector: FaceDetector, loose: frozenset[str] = frozenset()) -> FacePool:
    """The faces of ``samples``. Images and boxes of ``loose`` sources show more than the face; those without a detected
    face are dropped and not reported. Raises the errors of ``readable_faces``."""
    faces: list[PooledFace] = []
    left_out: list[LeftOut] = []
    for i, image, box in readable_faces(samples, left_out):
        sample = samples[i]
        if box is None:
            faces += _in_image(image, sample, detector, sample.source in loose)
        elif sample.source not in loose:
            faces.append(_in_frame(image, sample, box, detector))
        elif (found := _inside(image, box, detector)) is not None:
            faces.append(_in_frame(image, sample, found, detector))
    return FacePool(faces, tuple(left_out))


def _inside(image: Image, box: Box, detector: FaceDetector) -> Box | None:
    """The largest sure detection whose centre is in ``box``."""
    outer = square(box, 0.2)
    x, y = round(outer.x), round(outer.y)
    found = [face.box.moved(x, y) for face in _faces(cut(image, outer), detector)]
    inside = [face for face in found if box.x < face.center[0] < box.x2 and box.y < face.center[1] < box.y2]
    return max(inside, key=lambda face: face.size, default=None)


def _in_frame(image: Image, sample: Sample, box: Box, detector: FaceDetector) -> PooledFace:
    outer = square(box, FRAME_MARGIN)
    patch = cut(image, outer)
    shown = box.moved(-round(outer.x), -round(outer.y))
    patch, factor = _bounded(patch)
    shown = shown.scaled(factor)
    found = max(_faces(patch, detector), key=lambda face: face.box.iou(shown), default=None)
    agrees = found is not None and found.box.iou(shown) >= MIN_IOU
    landmarks = np.array(found.landmarks, np.float32) if found is not None and agrees else None
    return PooledFace(_rgb(patch), sample.label, sample.source, sample, None, shown, landmarks, box.size)


def _in_image(image: Image, sample: Sample, detector: FaceDetector, loose: bool) -> list[PooledFace]:
    height, width = image.shape[:2]
    size_px = float(min(height, width))
    found = max(_faces(image, detector), key=lambda face: face.score * face.box.size, default=None)
    if found is not None and max(found.box.width, found.box.height) < TIGHT_SHARE * max(height, width):
        return [_in_frame(image, sample, found.box, detector)]
    if loose and found is None:
        return []
    border_x, border_y = IMAGE_BORDER * width, IMAGE_BORDER * height
    outer = Box(-border_x, -border_y, width + 2 * border_x, height + 2 * border_y)
    whole = Box(-round(outer.x), -round(outer.y), width, height)
    patch, factor = _bounded(cut(image, outer))
    if found is None:
        return [PooledFace(_rgb(patch), sample.label, sample.source, sample, whole.scaled(factor), None, None, size_px)]
    face = found.mapped(factor, factor, whole.x * factor, whole.y * factor)
    landmarks = np.array(face.landmarks, np.float32)
    return [
        PooledFace(_rgb(patch), sample.label, sample.source, sample, whole.scaled(factor), face.box, landmarks, size_px)
    ]


def _bounded(patch: Image) -> tuple[Image, float]:
    factor = min(PATCH_PX / max(patch.shape[:2]), 1.0)
    if factor == 1.0:
        return patch, factor
    return resize(patch, max(round(patch.shape[1] * factor), 1), max(round(patch.shape[0] * factor), 1)), factor


def _rgb(patch: Image) -> Image:
    return cv2.cvtColor(patch, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _faces(image: Image, detector: FaceDetector) -> list[Detection]:
    """Detections with landmarks, found at ``DETECT_PX`` and given in the pixels of ``image``."""
    factor = DETECT_PX / max(image.shape[:2])
    large = resize(image, max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    return [found.mapped(1 / factor, 1 / factor) for found in detector.detect(large) if found.landmarks]


def without_bystanders(
    faces: Sequence[PooledFace], classifier: MaskClassifier, loose: frozenset[str], sure: float = 0.7
) -> list[PooledFace]:
    """Leaves out images of ``loose`` sources that are not labelled ``no_mask`` but are bare for ``classifier``.
    The detector may have found another person than the labelled one (in a seventh of RMFD's images)."""
    metadata = classifier.metadata
    doubtful = [
        i
        for i, face in enumerate(faces)
        if face.source in loose and face.sample.box is None and face.label not in (Label.NO_MASK, Label.NOT_FACE)
    ]
    if not doubtful or Label.NO_MASK not in metadata.labels:
        return list(faces)
    crops = central_crops([faces[i] for i in doubtful], metadata.labels, metadata.input_px, metadata.margin)
    bare = classifier.classify(crops.images)[:, metadata.labels.index(Label.NO_MASK)] > sure
    dropped = {i for i, is_bare in zip(doubtful, bare, strict=True) if is_bare}
    return [face for i, face in enumerate(faces) if i not in dropped]


def central_crops(faces: Sequence[PooledFace], labels: tuple[Label, ...], input_px: int, margin: float) -> Crops:
    """Crops as the monitor cuts them: around the bounding box, or the data set's own crop if there is one."""
    images = np.empty((len(faces), input_px, input_px, 3), np.uint8)
    sizes_px = np.empty(len(faces))
    for i, face in enumerate(faces):
        if face.whole is not None:
            region = face.whole
        else:
            assert face.box is not None  # a face has ``whole`` or ``box``
            region = square(face.box, margin)
        images[i] = resize(cut(face.patch, region), input_px, input_px)
        sizes_px[i] = face.size_px
    targets = np.array([labels.index(face.label) for face in faces], np.int64)
    return Crops(images, targets, sizes_px, tuple(face.sample for face in faces), labels)


def mine_hard_negatives(
    crops: Sequence[Path], images: Mapping[Path, Sequence[Box]], detector: FaceDetector, teacher: FaceDetector
) -> list[Sample]:
    """Samples with the label ``NOT_FACE``: false positives of a detector, such as backs of heads, hands and lamps.

    They are the ``crops`` in which ``teacher`` finds no face, and detections of ``detector`` in ``images`` that show
    neither a place where a face may be (``images`` lists those) nor a face that ``teacher`` finds. In an image without
    any such place everything is a false positive, whatever ``teacher`` finds."""
    samples = []
    for path in crops:
        image = read_image(path)
        if image is not None and not teacher.detect(resize(image, DETECT_PX, DETECT_PX)):
            samples.append(Sample(path, Label.NOT_FACE, path.parent.name))
    for path, places in images.items():
        image = read_image(path)
        if image is None:
            continue
        faces = [*places, *(found.box for found in teacher.detect(image))] if places else []
        samples += [
            Sample(path, Label.NOT_FACE, "false positives", found.box)
            for found in detector.detect(image)
            if not any(_may_show(found.box, face) for face in faces)
        ]
    return samples


def _may_show(found: Box, face: Box) -> bool:
    x, y = found.center
    return found.iou(face) >= MAX_FALSE_IOU or (face.x < x < face.x2 and face.y < y < face.y2)
