"""Annotated scenes and face crops for detector training, and a teacher's pseudo-labels for faces without annotation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Detection, Image, Label
from app.training.data.images import ImageCache
from app.training.data.near_duplicates import difference_hash, near_duplicate_groups
from app.training.data.splits import ROUGH_SOURCES
from app.training.types import Scene, SceneFace
from app.vision.detector import FaceDetector
from app.vision.yunet_detector import PAD

NOT_BOXED_SOURCES = frozenset({"wear_web", "beards"})
"""Sources whose boxes are heads or incomplete: not used for detectors."""

_RARE = frozenset({Label.NO_MASK, Label.INCORRECT})


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """An image of one face, or (``face`` is ``None``) of something that only resembles a face."""

    path: Path
    face: SceneFace | None


def split_scenes(
    scenes: Sequence[Scene], cache: ImageCache, held_back: Mapping[str, Sequence[str]] | None = None, every: int = 9
) -> tuple[list[Scene], list[Scene]]:
    """``(train, development)``. ``held_back`` (image names by list) lists the development scenes; scenes of its other
    lists are in neither. Without it, about one near-duplicate group in ``every`` is for development. Groups with
    imprecise boxes are for training."""
    scenes = [scene for scene in scenes if scene.source not in NOT_BOXED_SOURCES]
    if held_back is not None:
        wanted, kept_out = set(held_back["development"]), {name for names in held_back.values() for name in names}
        development = [scene for scene in scenes if scene.path.name in wanted]
        return [scene for scene in scenes if scene.path.name not in kept_out], development
    groups = near_duplicate_groups([difference_hash(cache.get(scene.path)) for scene in scenes])
    rough = {group for group, scene in zip(groups, scenes, strict=True) if scene.source in ROUGH_SOURCES}
    held = {group for rank, group in enumerate(sorted(set(groups) - rough)) if rank % every == 0}
    train = [scene for scene, group in zip(scenes, groups, strict=True) if group not in held]
    return train, [scene for scene, group in zip(scenes, groups, strict=True) if group in held]


def oversample_rare(scenes: Sequence[Scene]) -> list[Scene]:
    """``scenes``, with those that show a bare face or an incorrectly worn mask twice. Two in three annotated faces are
    masked, and without oversampling bare faces had the lowest recall."""
    return [scene for scene in scenes for _ in range(1 + any(face.label in _RARE for face in scene.faces))]


@dataclass(frozen=True, slots=True)
class PseudoLabelThresholds:
    """Score thresholds for a teacher's detections without annotation: from ``sure`` on they are faces, from ``doubt``
    on neutral regions."""

    sure: float = 0.75
    doubt: float = 0.3


def with_pseudo_labels(scene: Scene, found: Iterable[Detection], trust: PseudoLabelThresholds) -> Scene:
    """``scene`` with the teacher's landmarks for its faces, and the teacher's other boxes as faces or neutral."""
    faces = list(scene.faces)
    extra: list[SceneFace] = []
    neutral = list(scene.neutral)
    for detection in sorted(found, key=lambda one: -one.score):
        overlaps = [detection.box.iou(face.box) for face in faces]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= 0.4:
            if not faces[best].points:
                faces[best] = replace(faces[best], points=detection.landmarks)
        elif any(_touch(detection.box, face.box) for face in (*faces, *extra)):
            continue
        elif detection.score >= trust.sure:
            extra.append(SceneFace(detection.box, None, detection.landmarks))
        elif detection.score >= trust.doubt:
            neutral.append(detection.box)
    return replace(scene, faces=(*faces, *extra), neutral=tuple(neutral))


def _touch(box: Box, other: Box) -> bool:
    (x, y), (u, v) = box.center, other.center
    return (other.x < x < other.x2 and other.y < y < other.y2) or (box.x < u < box.x2 and box.y < v < box.y2)


@dataclass(frozen=True, slots=True)
class CropFolder:
    """A folder of face images, and how many to use. ``usual``: the face box (x, y, width, height as shares of the
    image) if the teacher finds none; without it such images are left out. ``label`` ``None``: no faces."""

    folder: str
    label: Label | None
    count: int
    usual: tuple[float, float, float, float] | None = None


_TIGHT = (0.1, 0.02, 0.8, 0.96)

CROP_FOLDERS = (
    CropFolder("faces12k/Train/WithMask", Label.MASK, 1800, _TIGHT),
    CropFolder("faces12k/Train/WithoutMask", Label.NO_MASK, 5000),
    CropFolder("crops/jnogra/mask", Label.MASK, 400, _TIGHT),
    CropFolder("crops/jnogra/incorrect", Label.INCORRECT, 392, _TIGHT),
    CropFolder("crops/jnogra/no_mask", Label.NO_MASK, 500),
    CropFolder("crops/jnogra/not_face", None, 1114),
    CropFolder("crops/kary/mask", Label.MASK, 600),
    CropFolder("crops/kary/incorrect", Label.INCORRECT, 1000),
    CropFolder("crops/mfn_seg/mask", Label.MASK, 200),
    CropFolder("crops/mfn_seg/incorrect", Label.INCORRECT, 200),
    CropFolder("crops/rmfd_part2/mask", Label.MASK, 900, _TIGHT),
    CropFolder("crops/utkface/no_mask", Label.NO_MASK, 900),
)


def read_crops(root: Path, cache: ImageCache, teacher: FaceDetector) -> list[FaceCrop]:
    """The face images of the existing ``CROP_FOLDERS``, each with the one face that the teacher detects."""
    crops: list[FaceCrop] = []
    for kind in CROP_FOLDERS:
        paths = sorted((root / kind.folder).glob("*.*"))
        for path in paths[:: max(1, len(paths) // kind.count)][: kind.count]:
            image = cache.get(path)
            height, width = image.shape[:2]
            seen = [found for found in _detect_in_tight_crop(image, teacher) if found.score >= 0.6]
            if kind.label is None:
                if not seen:
                    crops.append(FaceCrop(path, None))
            elif len(seen) == 1 and (kind.usual is None or seen[0].box.width >= 0.5 * width):
                crops.append(FaceCrop(path, SceneFace(seen[0].box, kind.label, seen[0].landmarks)))
            elif kind.usual is not None:
                x, y, w, h = kind.usual
                crops.append(FaceCrop(path, SceneFace(Box(x * width, y * height, w * width, h * height), kind.label)))
    return crops


def _detect_in_tight_crop(image: Image, teacher: FaceDetector) -> list[Detection]:
    """Detections in a tight crop, in its own pixels. A detector needs a border and a fixed size to find the face."""
    scale = 160 / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    framed: Image = cv2.copyMakeBorder(small, 80, 80, 80, 80, cv2.BORDER_CONSTANT, value=(PAD,) * 3)  # type: ignore[assignment]
    return [found.mapped(1 / scale, 1 / scale, -80 / scale, -80 / scale) for found in teacher.detect(framed)]


def as_array(faces: Sequence[SceneFace]) -> NDArray[np.float32]:
    """(N, 14) float32: x, y, x2, y2 and five landmarks (x, y), NaN if unknown."""
    rows = np.full((len(faces), 14), np.nan, np.float32)
    for row, face in zip(rows, faces, strict=True):
        row[:4] = face.box.x, face.box.y, face.box.x2, face.box.y2
        if face.points:
            row[4:] = np.ravel(face.points)
    return rows
