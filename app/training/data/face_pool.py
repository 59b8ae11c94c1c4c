"""A pool of face patches with bounding box and landmarks, kept in memory for the classifier's augmentation.

A detector with landmarks locates the face in each patch. So faces of all data sets are cut at the monitor's scale, and
rendered masks are placed correctly.
"""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.types import Box, Detection, Image, Label
from app.training.data.crops import Crops, check_readable, read_image, usable_box
from app.training.data.samples import LeftOut, Sample, by_image
from app.vision.classifier import MaskClassifier
from app.vision.preprocess import cut, resize, square

PATCH_PX = 128
"""Longest side of a patch: twice the network input, so that half of it may be cut off."""
FRAME_MARGIN = 1.0
IMAGE_BORDER = 0.2
DETECT_PX = 224
MIN_IOU = 0.3
TIGHT_SHARE = 0.62
"""A face smaller than this share of its image is cut out like a face in a frame."""
NUMBERS = 21
"""How many numbers are stored for each face."""


class LandmarkDetector(Protocol):
    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""


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


def build_pool(
    samples: Sequence[Sample],
    detector: LandmarkDetector,
    loose: frozenset[str] = frozenset(),
    progress: Callable[[int], None] = lambda _done: None,
) -> FacePool:
    """The faces of ``samples``. Images of ``loose`` sources show whole persons; those without a detected face are
    dropped and not reported. Raises DataError if too many images cannot be read."""
    faces: list[PooledFace] = []
    unreadable: list[Path] = []
    left_out: list[LeftOut] = []
    for done, (path, places) in enumerate(by_image(samples)):
        progress(done)
        image = read_image(path)
        if image is None:
            unreadable.append(path)
            left_out.append(LeftOut(path, "cannot be read"))
            continue
        for i in places:
            sample = samples[i]
            if sample.box is None:
                faces += _in_image(image, sample, detector, sample.source in loose)
            elif (box := usable_box(sample.box, image)) is not None:
                faces.append(_in_frame(image, sample, box, detector))
            else:
                left_out.append(LeftOut(path, "a box is outside the image"))
    check_readable(unreadable, len({sample.path for sample in samples}))
    if not faces and left_out:
        raise DataError(f"no face can be used; the first: {left_out[0].path}: {left_out[0].reason}; fix the boxes")
    return FacePool(faces, tuple(left_out))


def _in_frame(image: Image, sample: Sample, box: Box, detector: LandmarkDetector) -> PooledFace:
    outer = square(box, FRAME_MARGIN)
    patch = cut(image, outer)
    shown = box.moved(-round(outer.x), -round(outer.y))
    patch, factor = _bounded(patch)
    shown = shown.scaled(factor)
    found = max(_faces(patch, detector), key=lambda face: face.box.iou(shown), default=None)
    agrees = found is not None and found.box.iou(shown) >= MIN_IOU
    landmarks = np.array(found.landmarks, np.float32) if found is not None and agrees else None
    return PooledFace(_rgb(patch), sample.label, sample.source, sample, None, shown, landmarks, box.size)


def _in_image(image: Image, sample: Sample, detector: LandmarkDetector, loose: bool) -> list[PooledFace]:
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
    box = found.box.moved(whole.x, whole.y).scaled(factor)
    landmarks = (np.array(found.landmarks, np.float32) + np.array([whole.x, whole.y], np.float32)) * np.float32(factor)
    return [PooledFace(_rgb(patch), sample.label, sample.source, sample, whole.scaled(factor), box, landmarks, size_px)]


def _bounded(patch: Image) -> tuple[Image, float]:
    factor = min(PATCH_PX / max(patch.shape[:2]), 1.0)
    if factor == 1.0:
        return patch, factor
    return resize(patch, max(round(patch.shape[1] * factor), 1), max(round(patch.shape[0] * factor), 1)), factor


def _rgb(patch: Image) -> Image:
    return cv2.cvtColor(patch, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _faces(image: Image, detector: LandmarkDetector) -> list[Detection]:
    """Detections with landmarks, found at ``DETECT_PX`` and given in the pixels of ``image``."""
    factor = DETECT_PX / max(image.shape[:2])
    large = resize(image, max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    return [
        Detection(
            found.box.scaled(1 / factor), found.score, tuple((x / factor, y / factor) for x, y in found.landmarks)
        )
        for found in detector.detect(large)
        if found.landmarks
    ]


def without_bystanders(
    faces: Sequence[PooledFace], classifier: MaskClassifier, loose: frozenset[str], sure: float = 0.7
) -> list[PooledFace]:
    """Leaves out faces of ``loose`` sources that are not labelled ``no_mask`` but that ``classifier`` is sure are bare.
    The detector may have found another person than the labelled one (in a seventh of RMFD's images)."""
    metadata = classifier.metadata
    doubtful = [i for i, face in enumerate(faces) if face.source in loose and face.label != Label.NO_MASK]
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


def save_pool(pool: FacePool, key: str, path: Path) -> None:
    """Writes one ``.npz`` file atomically. ``key`` identifies the samples; ``has_pool`` compares it."""
    faces = pool.faces
    numbers = np.full((len(faces), NUMBERS), np.nan, np.float32)
    for i, face in enumerate(faces):
        numbers[i, :2] = face.patch.shape[:2]
        for start, box in ((2, face.whole), (6, face.box)):
            if box is not None:
                numbers[i, start : start + 4] = box.x, box.y, box.width, box.height
        if face.landmarks is not None:
            numbers[i, 10:20] = face.landmarks.ravel()
        numbers[i, 20] = face.size_px
    pixels = np.concatenate([face.patch.ravel() for face in faces])
    texts = np.array([(face.label.value, face.source, str(face.sample.path)) for face in faces])
    boxes = np.array([_row(face.sample.box) for face in faces])
    left_out = np.array([(str(one.path), one.reason) for one in pool.left_out])
    partial = path.with_name("part-" + path.name)
    np.savez(partial, asked=key, pixels=pixels, numbers=numbers, words=texts, boxes=boxes, left_out=left_out)
    partial.replace(path)


def has_pool(path: Path, key: str) -> bool:
    """Whether ``path`` is a complete file that ``save_pool`` wrote for the same ``key``."""
    try:
        with path.open("rb") as file, np.load(file) as kept:
            return str(kept["asked"]) == key and kept["numbers"].shape[1] == NUMBERS
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def load_pool(path: Path) -> FacePool:
    with np.load(path) as kept:
        pixels, numbers, texts, boxes = kept["pixels"], kept["numbers"], kept["words"], kept["boxes"]
        left_out = tuple(LeftOut(Path(place), str(reason)) for place, reason in kept["left_out"])
    faces, start = [], 0
    for row, (label, source, place), given in zip(numbers, texts, boxes, strict=True):
        height, width = int(row[0]), int(row[1])
        patch = pixels[start : start + height * width * 3].reshape(height, width, 3)
        start += patch.size
        source = str(source)
        sample = Sample(Path(place), Label(label), source, _box(given))
        points = None if np.isnan(row[10]) else row[10:20].reshape(5, 2)
        faces.append(
            PooledFace(patch, Label(label), source, sample, _box(row[2:6]), _box(row[6:10]), points, float(row[20]))
        )
    return FacePool(faces, left_out)


def _row(box: Box | None) -> tuple[float, float, float, float]:
    return (np.nan,) * 4 if box is None else (box.x, box.y, box.width, box.height)


def _box(row: NDArray[np.float32]) -> Box | None:
    return None if np.isnan(row[0]) else Box(*map(float, row))
