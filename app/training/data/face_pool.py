"""Faces with some surroundings, their box and landmarks, kept in memory: what the wild augmentation draws from.

A face detector (any with landmarks) says where in a cropped picture the face is, so that pictures from sets that cut
faces differently are seen at the scale at which the running detectors cut, and where a rendered mask belongs.
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
from app.training.data.samples import LeftOut, Sample, by_picture
from app.vision.classifier import MaskClassifier
from app.vision.preprocess import cut, resize, square

PATCH_PX = 128
"""Longest side of a kept patch: twice the network's input, so that half of it may be cut away."""
FRAME_MARGIN = 1.0
PICTURE_BORDER = 0.2
DETECT_PX = 224
MIN_IOU = 0.3
TIGHT_SHARE = 0.62
"""A face smaller than this share of its picture is cut out of it, as out of a frame."""
NUMBERS = 21
"""Of each face in a kept pool."""


class LandmarkDetector(Protocol):
    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""


@dataclass(frozen=True, slots=True)
class PooledFace:
    """``patch``: (H, W, 3) uint8 RGB. ``whole`` is the part of it that the data set calls the crop (None for a face
    in a frame), ``box`` the face's own box (None where the detector saw none). ``landmarks``: (5, 2) float32 px, right
    eye first, or None. All in patch pixels. ``sample`` is where it came from."""

    patch: Image
    label: Label
    source: str
    sample: Sample
    whole: Box | None
    box: Box | None
    landmarks: NDArray[np.float32] | None
    size_px: float
    """Of the face, or of the picture where the picture is the crop, in the source: the patch may be smaller."""


@dataclass(frozen=True, slots=True)
class FacePool:
    """``faces``, and what gave none although it was labelled."""

    faces: list[PooledFace]
    left_out: tuple[LeftOut, ...] = ()


def build_pool(
    samples: Sequence[Sample],
    detector: LandmarkDetector,
    loose: frozenset[str] = frozenset(),
    progress: Callable[[int], None] = lambda _done: None,
) -> FacePool:
    """The faces of ``samples``. Whole pictures of ``loose`` sources show persons, not faces: where the detector finds
    none in them, they are left out without a word. Raises DataError where too many pictures cannot be read."""
    faces: list[PooledFace] = []
    unreadable: list[Path] = []
    left_out: list[LeftOut] = []
    for done, (path, places) in enumerate(by_picture(samples)):
        progress(done)
        picture = read_image(path)
        if picture is None:
            unreadable.append(path)
            left_out.append(LeftOut(path, "cannot be read"))
            continue
        for i in places:
            sample = samples[i]
            if sample.box is None:
                faces += _in_picture(picture, sample, detector, sample.source in loose)
            elif (box := usable_box(sample.box, picture)) is not None:
                faces.append(_in_frame(picture, sample, box, detector))
            else:
                left_out.append(LeftOut(path, "a box lies outside the picture"))
    check_readable(unreadable, len({sample.path for sample in samples}))
    if not faces and left_out:
        raise DataError(f"no face can be used; the first: {left_out[0].path}: {left_out[0].reason}; mend the boxes")
    return FacePool(faces, tuple(left_out))


def _in_frame(picture: Image, sample: Sample, box: Box, detector: LandmarkDetector) -> PooledFace:
    outer = square(box, FRAME_MARGIN)
    patch = cut(picture, outer)
    shown = box.moved(-round(outer.x), -round(outer.y))
    patch, factor = _bounded(patch)
    shown = shown.scaled(factor)
    found = max(_faces(patch, detector), key=lambda face: face.box.iou(shown), default=None)
    agrees = found is not None and found.box.iou(shown) >= MIN_IOU
    landmarks = np.array(found.landmarks, np.float32) if found is not None and agrees else None
    return PooledFace(_rgb(patch), sample.label, sample.source, sample, None, shown, landmarks, box.size)


def _in_picture(picture: Image, sample: Sample, detector: LandmarkDetector, loose: bool) -> list[PooledFace]:
    height, width = picture.shape[:2]
    size_px = float(min(height, width))
    found = max(_faces(picture, detector), key=lambda face: face.score * face.box.size, default=None)
    if found is not None and max(found.box.width, found.box.height) < TIGHT_SHARE * max(height, width):
        return [_in_frame(picture, sample, found.box, detector)]
    if loose and found is None:
        return []
    border_x, border_y = PICTURE_BORDER * width, PICTURE_BORDER * height
    outer = Box(-border_x, -border_y, width + 2 * border_x, height + 2 * border_y)
    whole = Box(-round(outer.x), -round(outer.y), width, height)
    patch, factor = _bounded(cut(picture, outer))
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


def _faces(picture: Image, detector: LandmarkDetector) -> list[Detection]:
    """What the detector finds in the picture at ``DETECT_PX``, in the picture's own pixels."""
    factor = DETECT_PX / max(picture.shape[:2])
    large = resize(picture, max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
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
    """Pictures of persons are labelled for one of them, and the detector may have found another: faces of ``loose``
    sets labelled otherwise that ``classifier`` is sure are bare are left out (a seventh of RMFD's were)."""
    metadata = classifier.metadata
    asked = [i for i, face in enumerate(faces) if face.source in loose and face.label != Label.NO_MASK]
    if not asked or Label.NO_MASK not in metadata.labels:
        return list(faces)
    crops = central_crops([faces[i] for i in asked], metadata.labels, metadata.input_px, metadata.margin)
    bare = classifier.classify(crops.images)[:, metadata.labels.index(Label.NO_MASK)] > sure
    dropped = {i for i, is_bare in zip(asked, bare, strict=True) if is_bare}
    return [face for i, face in enumerate(faces) if i not in dropped]


def central_crops(faces: Sequence[PooledFace], labels: tuple[Label, ...], input_px: int, margin: float) -> Crops:
    """The faces as the monitor would cut them: by their box, or the whole picture where the data set cut it."""
    images = np.empty((len(faces), input_px, input_px, 3), np.uint8)
    sizes_px = np.empty(len(faces))
    for i, face in enumerate(faces):
        if face.whole is not None:
            region = face.whole
        else:
            assert face.box is not None  # a face has one of the two
            region = square(face.box, margin)
        images[i] = resize(cut(face.patch, region), input_px, input_px)
        sizes_px[i] = face.size_px
    targets = np.array([labels.index(face.label) for face in faces], np.int64)
    return Crops(images, targets, sizes_px, tuple(face.sample for face in faces), labels)


def save_pool(pool: FacePool, asked: str, path: Path) -> None:
    """One ``.npz``, whole or not at all: pixels end to end, numbers beside them. ``asked`` says of which samples."""
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
    words = np.array([(face.label.value, face.source, str(face.sample.path)) for face in faces])
    boxes = np.array([_row(face.sample.box) for face in faces])
    left_out = np.array([(str(one.path), one.reason) for one in pool.left_out])
    partial = path.with_name("part-" + path.name)
    np.savez(partial, asked=asked, pixels=pixels, numbers=numbers, words=words, boxes=boxes, left_out=left_out)
    partial.replace(path)


def has_pool(path: Path, asked: str) -> bool:
    """Whether ``path`` is a whole file that ``save_pool`` wrote for the same ``asked``."""
    try:
        with path.open("rb") as file, np.load(file) as kept:
            return str(kept["asked"]) == asked and kept["numbers"].shape[1] == NUMBERS
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def load_pool(path: Path) -> FacePool:
    with np.load(path) as kept:
        pixels, numbers, words, boxes = kept["pixels"], kept["numbers"], kept["words"], kept["boxes"]
        left_out = tuple(LeftOut(Path(place), str(reason)) for place, reason in kept["left_out"])
    faces, start = [], 0
    for row, (label, source, place), given in zip(numbers, words, boxes, strict=True):
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
