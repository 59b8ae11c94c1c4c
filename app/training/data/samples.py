"""Labelled faces on disk: class folders (the Kaggle layout too) and annotated frames (COCO, Pascal VOC, YOLO)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from app.core.errors import DataError
from app.core.files import is_file, is_folder
from app.core.types import Box, Label
from app.training.data.annotations import (
    PICTURES,
    ImageAnnotation,
    coco_files,
    coco_split,
    files,
    folder_split,
    is_junk,
    read_coco,
    read_voc,
    split_of,
)
from app.training.data.yolo import read_yolo, yolo_names

MAX_UNREADABLE = 0.1
"""Above this share of unreadable pictures the data is taken to be broken, not blemished."""
UNKNOWN_PICTURES = frozenset({".gif", ".heic", ".heif", ".avif"})
_USEFUL = PICTURES | {".json", ".xml", ".yaml", ".yml"}
_NO_SPLIT = "lies in none of the splits"
MAX_LISTED = 10
"""So many left out are told one by one."""
NAMES = {
    Label.MASK: (
        "mask",
        "withmask",
        "masked",
        "goodmask",
        "wearmask",
        "correct",
        "facemask",
        "facewithmask",
        "maskedface",
    ),
    Label.NO_MASK: (
        "nomask",
        "withoutmask",
        "bare",
        "unmasked",
        "face",
        "notmask",
        "without",
        "facenomask",
        "facewithoutmask",
        "unmaskedface",
    ),
    Label.INCORRECT: (
        "incorrect",
        "incorrectmask",
        "maskwearedincorrect",
        "maskwornincorrectly",
        "badmask",
        "improper",
        "impropermask",
        "maskincorrect",
        "incorrectlymasked",
        "facewithmaskincorrect",
    ),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face: a whole picture (``box`` is None: the picture is the crop), or a box in a picture."""

    path: Path
    label: Label
    source: str
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What cannot be used, and why. ``path`` is a picture, or the annotation file where no picture is to blame."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FoundSamples:
    """Faces by split ('train', 'validation', 'test'; all are 'train' where nothing tells splits)."""

    splits: Mapping[str, list[Sample]]
    left_out: tuple[LeftOut, ...] = ()


def label_of(name: str) -> Label | None:
    """The label that a folder's or a category's name means; None where it means none of ours. Letters of any script
    count: ``без mask`` is no ``mask``."""
    plain = re.sub(r"[\W\d_]", "", name.lower())
    return next((label for label, names in NAMES.items() if plain in names), None)


def pictures(folder: Path) -> list[Path]:
    return files(folder, PICTURES)


def show_left_out(console: Console, left_out: Sequence[LeftOut]) -> None:
    """The first ten, a line each, and how many more there are."""
    lines = [f"left out: {entry.path}: {entry.reason}" for entry in left_out[:MAX_LISTED]]
    more = len(left_out) - len(lines)
    for line in lines + ([f"left out: {more} more"] if more else []):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_junk(path.name))
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}; give a folder of class folders") from error


def class_folders(folder: Path, source: str = "") -> list[Sample]:
    """Every picture under the class folders of ``folder``.

    Raises DataError where a folder of pictures is called as no label of ours, or where there are no pictures.
    """
    return _class_folders(folder, source).splits["train"]


def _class_folders(folder: Path, source: str = "") -> FoundSamples:
    samples: list[Sample] = []
    left_out = _loose(folder, "lies in no class folder")
    unknown: list[str] = []
    for child in _folders(folder):
        label = label_of(child.name)
        found, others = pictures(child), files(child, UNKNOWN_PICTURES)
        if label is not None:
            samples += [Sample(path, label, source or folder.name) for path in found]
            left_out += [LeftOut(path, "cannot be read; save it as PNG or JPEG") for path in others]
        elif found or others:
            unknown.append(child.name)
    if unknown:
        raise DataError(f"{folder}: no label is called {', '.join(unknown)}; name the folders mask, no_mask, incorrect")
    if not samples:
        first = f" that can be read, as {left_out[0].path}" if left_out else ""
        raise DataError(
            f"{folder} holds no pictures in class folders{first}; expected mask/, no_mask/ with JPEG or PNG files"
        )
    return FoundSamples({"train": samples}, tuple(left_out))


def split_folders(folder: Path) -> dict[str, list[Sample]]:
    """Splits by name: the Kaggle layout Train/Validation/Test, or one split called 'train' for bare class folders."""
    return dict(_split_folders(folder).splits)


def _split_folders(folder: Path) -> FoundSamples:
    children = _folders(folder)
    if not any(split_of(child.name) for child in children):
        return _split_below(_class_folders(folder), folder)
    splits: dict[str, list[Sample]] = {}
    left_out = _loose(folder, _NO_SPLIT)
    for child in children:
        if split := split_of(child.name):
            found = _class_folders(child, folder.name)
            splits.setdefault(split, []).extend(found.splits["train"])
            left_out += found.left_out
        else:
            left_out += [LeftOut(path, _NO_SPLIT) for path in pictures(child)]
    return FoundSamples(splits, tuple(left_out))


def _split_below(found: FoundSamples, folder: Path) -> FoundSamples:
    """``found`` by the splits that lie within the class folders (``mask/train``), where there are any."""
    splits: dict[str, list[Sample]] = {}
    for sample in found.splits["train"]:
        splits.setdefault(folder_split(sample.path, folder), []).append(sample)
    if not any(splits):
        return found
    left_out = [LeftOut(sample.path, _NO_SPLIT) for sample in splits.pop("", [])]
    return FoundSamples(splits, (*found.left_out, *left_out))


def _loose(folder: Path, reason: str) -> list[LeftOut]:
    return [LeftOut(path, reason) for path in _own_files(folder) if path.suffix.lower() in PICTURES]


def _own_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not is_junk(path.name))


def coco_frames(path: Path) -> list[Sample]:
    """The annotated faces of a COCO file, of which nothing may be left out. Raises DataError where it is unusable."""
    found = _annotated(read_coco(path), path, path.stem)
    for entry in found.left_out:
        raise DataError(f"{path}: {entry.path.name}: {entry.reason}")
    return found.splits["train"]


def find_samples(place: Path) -> FoundSamples:
    """Whatever ``place`` holds: a COCO file, COCO, VOC or YOLO frames, or class folders, with or without splits.

    Raises DataError, naming the first fault, where no face can be used, or too many pictures cannot be read.
    """
    suffix = place.suffix.lower()
    if is_file(place) and suffix == ".json":
        annotations = read_coco(place, coco_split(place, place.parent))
        return _annotated([replace(annotation, split="") for annotation in annotations], place, place.stem)
    if is_file(place) and suffix in (".yaml", ".yml"):
        return _annotated(read_yolo(place, place.parent), place, place.parent.name)
    if not is_folder(place):
        raise DataError(f"no data at {place}; give a folder of class folders or of annotated frames, or a COCO file")
    place = _entered(place)
    annotations = _folder_annotations(place)
    return _annotated(annotations, place, place.name) if annotations else _split_folders(place)


def _entered(place: Path) -> Path:
    """The one folder that an unpacked archive often holds, where ``place`` itself holds nothing of use."""
    inner = _folders(place)
    if len(inner) != 1 or label_of(inner[0].name) or split_of(inner[0].name):
        return place
    if any(path.suffix.lower() in _USEFUL or path.name.lower() == "classes.txt" for path in _own_files(place)):
        return place
    return _entered(inner[0])


def _folder_annotations(folder: Path) -> list[ImageAnnotation]:
    names = yolo_names(folder)
    if names is not None:
        return read_yolo(names, folder)
    return read_voc(folder) or [
        annotation for path in coco_files(folder) for annotation in read_coco(path, coco_split(path, folder))
    ]


def _annotated(annotations: Sequence[ImageAnnotation], place: Path, source: str) -> FoundSamples:
    """The usable faces of ``notes``. A note outside all splits is left out where others are in one."""
    has_splits = any(annotation.split for annotation in annotations)
    faces: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    left_out: list[LeftOut] = []
    gone: list[ImageAnnotation] = []
    told = [annotation for annotation in annotations if annotation.boxes or annotation.missing]
    for annotation in told:
        if has_splits and not annotation.split:
            left_out.append(LeftOut(annotation.picture, _NO_SPLIT))
        elif annotation.missing:
            gone.append(annotation)
            left_out.append(LeftOut(annotation.path, annotation.missing))
        else:
            faces[annotation.split or "train"] += _usable(annotation, source)
            left_out += _unusable(annotation)
    if len(gone) > MAX_UNREADABLE * len(told):
        raise DataError(
            f"{place}: {len(gone)} of {len(told)} annotated pictures cannot be used; the first: "
            f"{gone[0].path} {gone[0].missing}"
        )
    if not any(faces.values()):
        first = f": {left_out[0].path}: {left_out[0].reason}" if left_out else ""
        raise DataError(f"{place} holds no annotated faces that can be used{first or '; check the annotations'}")
    return FoundSamples({split: samples for split, samples in faces.items() if samples}, tuple(left_out))


def _usable(annotation: ImageAnnotation, source: str) -> Iterator[Sample]:
    for box_annotation in annotation.boxes:
        label = label_of(box_annotation.name)
        if label is not None and not box_annotation.fault:
            yield Sample(annotation.picture, label, annotation.source or source, box_annotation.box)


def _unusable(annotation: ImageAnnotation) -> Iterator[LeftOut]:
    reasons: Counter[str] = Counter()
    for box_annotation in annotation.boxes:
        if box_annotation.fault:
            reasons[
                f"a box of {box_annotation.name!r} {box_annotation.fault}"
                if box_annotation.name
                else box_annotation.fault
            ] += 1
        elif label_of(box_annotation.name) is None:
            told = f"no label is called {box_annotation.name}" if box_annotation.name else "a box has no name"
            reasons[f"{told}; use mask, no_mask, incorrect"] += 1
    for reason, count in reasons.items():
        yield LeftOut(annotation.picture, reason if count == 1 else f"{reason} ({count} boxes)")


def labels_of(samples: Iterable[Sample], whose: str = "the data") -> tuple[Label, ...]:
    """The labels present, in our order. Raises DataError, naming ``whose``, where there is only one: nothing can be
    told apart."""
    present = {sample.label for sample in samples}
    found = tuple(label for label in NAMES if label in present)
    if len(found) < 2:
        name = found[0].value if found else "no class"
        raise DataError(f"{whose} holds only {name}; at least two classes are needed to train or to judge a model")
    return found


def paths_of(samples: Iterable[Sample]) -> list[Path]:
    """Each picture once, in order."""
    return sorted({sample.path for sample in samples})


def by_picture(samples: Iterable[Sample]) -> Iterator[tuple[Path, list[int]]]:
    """Each picture once, with the places of its samples: a frame with ten faces is read once."""
    places: dict[Path, list[int]] = {}
    for i, sample in enumerate(samples):
        places.setdefault(sample.path, []).append(i)
    yield from places.items()
