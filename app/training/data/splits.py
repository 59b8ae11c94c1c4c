"""The shipped classifier's training and development splits.

Never used for training: ``frames/test``, ``faces12k/Test``, the held-out third of ``crops/utkface``, and
``crops/vijaykumar``, which contains images of other sets' test splits.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core import resources
from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.annotations import ImageAnnotation
from app.training.data.images import read_image
from app.training.data.licences import OPEN, is_open
from app.training.data.near_duplicates import difference_hash, near_duplicate_groups
from app.training.data.samples import (
    by_image,
    class_folders,
    coco_frames,
    image_files,
    label_of,
    paths_of,
    read_annotations,
)
from app.training.types import Sample

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
CROP_SETS = ("jnogra", "kary", "mfn_seg", "rmfd_part2", "utkface")
LOOSE_SETS = frozenset({"kary", "rmfd_part2", "wear_web", "beards"})
"""Images of whole persons, or boxes of whole heads, in which a detector must find the face first."""
MIN_SCENE_FACE_PX = 24
"""Smaller faces of the scenes are not used to train the classifier."""
ROUGH_SOURCES = frozenset({"adityap", "tfm"})
"""Sources with imprecise boxes: used for training, not for development."""


@dataclass(frozen=True, slots=True)
class Splits:
    """``train`` for training, ``dev`` (development) for choosing thresholds and models."""

    train: tuple[Sample, ...]
    dev: tuple[Sample, ...]


def share(name: str) -> float:
    """A number from 0 to 1 that depends only on ``name``, for reproducible splits without a list."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:4], "big") / 2**32


def held_out_utkface(path: Path) -> bool:
    """Whether the file is in the third of UTKFace that is used only for testing."""
    return share(path.name) < 1 / 3


def photograph(path: Path) -> str:
    """The name that augmented copies of one photograph share: faces12k's ``Augmented_17_...`` come from photograph 17,
    RMFD's ``00012__...`` show person 12, and Roboflow writes copies as ``door_jpg.rf.HASH.jpg``."""
    if path.name.startswith("Augmented_"):
        return "_".join(path.name.split("_")[:2])
    if ".rf." in path.name:
        return path.name.split(".rf.")[0]
    return path.name[:5] if re.match(r"[0-9]{5}__", path.name) else path.name


def siblings(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Pairs across two splits that are augmented copies of one photograph, judged by file name only."""
    by_photograph = {photograph(sample.path): sample for sample in second}
    named = ((sample, photograph(sample.path)) for sample in first)
    return [
        (sample, by_photograph[name]) for sample, name in named if name in by_photograph and name != sample.path.name
    ]


def training_sources(data: Path, only_faces12k: bool = False, licence: str = "") -> Splits:
    """Every training source under ``data``, or those whose ``licence`` is ``OPEN``. Raises DataError if one is
    missing."""
    train: list[Sample] = class_folders(data / "faces12k" / "Train", "faces12k")
    dev: list[Sample] = class_folders(data / "faces12k" / "Validation", "faces12k")
    if only_faces12k:
        return Splits(tuple(train), tuple(dev))
    frames = coco_frames(data / "frames" / "train.json")
    groups = _group_names(paths_of(frames))
    for sample in frames:
        in_dev = sample.source not in ROUGH_SOURCES and share(groups[sample.path]) < 0.13
        (dev if in_dev else train).append(sample)
    for name in CROP_SETS if licence != OPEN else ():
        for sample in _crop_set(data / "crops" / name, name):
            if name == "utkface" and held_out_utkface(sample.path):
                continue
            (dev if _in_dev_crops(sample.path) else train).append(sample)
    held_back = _held_back()
    for scene in _scenes(data, held_back):
        in_dev = _in_dev_scenes(scene, held_back) or (scene.source == "beards" and share(scene.image_path.name) < 0.2)
        (dev if in_dev else train).extend(_scene_faces(scene))
    unseen = frozenset(held_back["like_a_test"])
    splits = Splits(tuple(sample for sample in train if sample.path.name not in unseen), tuple(dev))
    return _open_part(splits) if licence == OPEN else splits


def _open_part(splits: Splits) -> Splits:
    train, dev = (
        tuple(sample for sample in samples if is_open(sample.source, sample.label))
        for samples in (splits.train, splits.dev)
    )
    return Splits(train, dev)


@dataclass(frozen=True, slots=True)
class NegativeSources:
    """Where hard negatives come from: crops without a face, and images with the places where faces may be."""

    crops: tuple[Path, ...]
    images: Mapping[Path, Sequence[Box]]


def negative_sources(data: Path, splits: Splits, licence: str = "") -> tuple[NegativeSources, NegativeSources]:
    """The sources of hard negatives for training and development. ``splits``, ``licence``: as in
    ``training_sources``."""
    held_back = _held_back()
    crops = image_files(data / "crops" / "jnogra" / Label.NOT_FACE.value) if licence != OPEN else []
    scenes = [scene for scene in _scenes(data, held_back) if licence != OPEN or is_open(scene.source)]
    parts = []
    for samples, is_dev in ((splits.train, False), (splits.dev, True)):
        frames = [sample for sample in samples if sample.path.parent.parent == data / "frames"]
        images = {
            path: [box for i in places if (box := frames[i].box) is not None] for path, places in by_image(frames)
        }
        for scene in scenes:
            if _in_dev_scenes(scene, held_back) == is_dev and scene.source != "beards":  # not all are boxed there
                images[scene.image_path] = [annotation.box for annotation in scene.boxes]
        parts.append(NegativeSources(tuple(path for path in crops if _in_dev_crops(path) == is_dev), images))
    return parts[0], parts[1]


def _held_back() -> dict[str, list[str]]:
    """The names of the scenes for development, and of those that no model may train on."""
    path = resources.model("held_back.json")
    try:
        lists: dict[str, list[str]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}; run --all-sources from a checkout of maskwatch") from error
    return lists


def _scenes(data: Path, held_back: Mapping[str, Sequence[str]]) -> list[ImageAnnotation]:
    """The annotated scenes that models may train on or develop with."""
    skipped = {*held_back["empty_test"], *held_back["like_a_test"]}
    scenes = read_annotations(data / "scenes" / "train.json")
    return [scene for scene in scenes if not scene.missing and scene.image_path.name not in skipped]


def _in_dev_scenes(scene: ImageAnnotation, held_back: Mapping[str, Sequence[str]]) -> bool:
    return scene.image_path.name in set(held_back["development"])


def _in_dev_crops(path: Path) -> bool:
    return share("dev" + photograph(path)) < 0.08


def _scene_faces(scene: ImageAnnotation) -> Iterable[Sample]:
    for annotation in scene.boxes:
        label = label_of(annotation.name) if annotation.name != "face" else None  # its class is unknown
        if label in LABELS and not annotation.fault and annotation.box.size >= MIN_SCENE_FACE_PX:
            yield Sample(scene.image_path, label, scene.source, annotation.box)


def _crop_set(folder: Path, name: str) -> Iterable[Sample]:
    """The labelled faces of one crop set; jnogra's ``not_face`` is left out, see ``negative_sources``."""
    found = [Sample(path, label, name) for label in LABELS for path in image_files(folder / label.value)]
    if not found:
        raise DataError(f"no images under {folder}; give the folder that holds faces12k, frames and crops")
    return found


def _group_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The name of each frame's group of near-duplicates, so that no training frame is a copy of a development frame."""
    images = (read_image(path) for path in paths)
    groups = near_duplicate_groups([0 if image is None else difference_hash(image) for image in images], 6)
    return {path: paths[group].name for path, group in zip(paths, groups, strict=True)}
