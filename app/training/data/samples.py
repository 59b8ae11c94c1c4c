"""Labelled faces on disk: class folders (the Kaggle layout too) and annotated frames (COCO, Pascal VOC, YOLO)."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from app.core.errors import DataError
from app.core.files import is_file, is_folder
from app.core.types import Label
from app.training.data.annotations import (
    IMAGE_SUFFIXES,
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
from app.training.types import LeftOut, Sample

MAX_UNREADABLE = 0.1
"""With a larger share of unreadable images, the data set counts as broken."""
UNSUPPORTED_SUFFIXES = frozenset({".gif", ".heic", ".heif", ".avif"})
_USEFUL = IMAGE_SUFFIXES | {".json", ".xml", ".yaml", ".yml"}
_NO_SPLIT = "is not in any split"
MAX_LISTED = 10
"""How many left-out entries are listed one by one."""
NAMES = {
    Label.MASK: (
        "mask", "withmask", "masked", "goodmask", "wearmask", "correct", "facemask", "facewithmask", "maskedface",
    ),
    Label.NO_MASK: (
        "nomask", "withoutmask", "bare", "unmasked", "face", "notmask", "without", "facenomask", "facewithoutmask",
        "unmaskedface",
    ),
    Label.INCORRECT: (
        "incorrect", "incorrectmask", "maskwearedincorrect", "maskwornincorrectly", "badmask", "improper",
        "impropermask", "maskincorrect", "incorrectlymasked", "facewithmaskincorrect",
    ),
    Label.NOT_FACE: ("notface", "nonface", "noface"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundSamples:
    """Faces by split: 'train', 'validation', 'test'. Data without splits is all 'train'."""

    splits: Mapping[str, list[Sample]]
    left_out: tuple[LeftOut, ...] = ()


def label_of(name: str) -> Label | None:
    """The label that the name of a folder or category stands for, or None. Letters of any script count: ``без mask``
    is not ``mask``."""
    plain = re.sub(r"[\W\d_]", "", name.lower())
    return next((label for label, names in NAMES.items() if plain in names), None)


def image_files(folder: Path) -> list[Path]:
    return files(folder, IMAGE_SUFFIXES)


def show_left_out(console: Console, left_out: Sequence[LeftOut]) -> None:
    """Prints the first ``MAX_LISTED`` entries, one per line, and the number of the others."""
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
    """Every image under the class folders of ``folder``.

    Raises DataError if the name of an image folder is not a label, or if there are no images.
    """
    return _class_folders(folder, source).splits["train"]


def _class_folders(folder: Path, source: str = "") -> FoundSamples:
    samples: list[Sample] = []
    left_out = _images_directly_in(folder, "is not in a class folder")
    unknown: list[str] = []
    for child in _folders(folder):
        label = label_of(child.name)
        found, others = image_files(child), files(child, UNSUPPORTED_SUFFIXES)
        if label is not None:
            samples += [Sample(path, label, source or folder.name) for path in found]
            left_out += [LeftOut(path, "cannot be read; save it as PNG or JPEG") for path in others]
        elif found or others:
            unknown.append(child.name)
    if unknown:
        raise DataError(f"{folder}: no label is named {', '.join(unknown)}; name the folders mask, no_mask, incorrect")
    if not samples:
        first = f" that can be read, for example {left_out[0].path}" if left_out else ""
        raise DataError(
            f"{folder} has no images in class folders{first}; expected mask/ and no_mask/ with JPEG or PNG files"
        )
    return FoundSamples({"train": samples}, tuple(left_out))


def split_folders(folder: Path) -> dict[str, list[Sample]]:
    """Splits by name: the Kaggle layout Train/Validation/Test, or one split 'train' if there are only class folders."""
    return dict(_split_folders(folder).splits)


def _split_folders(folder: Path) -> FoundSamples:
    children = _folders(folder)
    if not any(split_of(child.name) for child in children):
        return _split_below(_class_folders(folder), folder)
    splits: dict[str, list[Sample]] = {}
    left_out = _images_directly_in(folder, _NO_SPLIT)
    for child in children:
        if split := split_of(child.name):
            found = _class_folders(child, folder.name)
            splits.setdefault(split, []).extend(found.splits["train"])
            left_out += found.left_out
        else:
            left_out += [LeftOut(path, _NO_SPLIT) for path in image_files(child)]
    return FoundSamples(splits, tuple(left_out))


def _split_below(found: FoundSamples, folder: Path) -> FoundSamples:
    """Sorts ``found`` by the split folders inside the class folders (``mask/train``), if there are any."""
    splits: dict[str, list[Sample]] = {}
    for sample in found.splits["train"]:
        splits.setdefault(folder_split(sample.path, folder), []).append(sample)
    if not any(splits):
        return found
    left_out = [LeftOut(sample.path, _NO_SPLIT) for sample in splits.pop("", [])]
    return FoundSamples(splits, (*found.left_out, *left_out))


def _images_directly_in(folder: Path, reason: str) -> list[LeftOut]:
    return [LeftOut(path, reason) for path in _files_directly_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _files_directly_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not is_junk(path.name))


def coco_frames(path: Path) -> list[Sample]:
    """All annotated faces of a COCO file. Raises DataError if any of them cannot be used."""
    found = _found_in_annotations(read_coco(path), path, path.stem)
    for entry in found.left_out:
        raise DataError(f"{path}: {entry.path.name}: {entry.reason}")
    return found.splits["train"]


def find_samples(place: Path) -> FoundSamples:
    """The faces at ``place``: a COCO file, annotated images (COCO, VOC, YOLO) or class folders.

    Raises DataError, naming the first fault, if no face can be used or too many images cannot be read.
    """
    suffix = place.suffix.lower()
    if is_file(place) and suffix in (".json", ".xml", ".yaml", ".yml"):
        source = place.parent.name if suffix in (".yaml", ".yml") else place.stem
        return _found_in_annotations(read_annotations(place), place, source)
    if not is_folder(place):
        raise DataError(
            f"no data at {place}; give a folder of class folders, a folder of annotated images, or a COCO file"
        )
    place = _inner_folder(place)
    annotations = read_annotations(place)
    if annotations:
        return _found_in_annotations(annotations, place, place.name)
    try:
        return _split_folders(place)
    except DataError as error:
        if any(label_of(child.name) for child in _folders(place)):
            raise
        raise DataError(f"{error}{coco_fault(place)}") from error


def coco_fault(place: Path) -> str:
    """What is wrong with the first JSON file of a folder without annotations, to be added to an error; '' without."""
    try:
        for path in files(place, {".json"}):
            read_coco(path)
    except DataError as fault:
        return f"; {fault}"
    return ""


def read_annotations(place: Path) -> list[ImageAnnotation]:
    """The annotations of a ``data.yaml`` (YOLO), a VOC or COCO file, or of a folder; ``[]`` if the folder has none.
    Raises DataError if a file cannot be used."""
    if is_folder(place):
        if (names := yolo_names(place)) is not None:
            return read_yolo(names, place)
        coco = ((path, coco_split(path, place)) for path in coco_files(place))
        return read_voc(place) or [each for path, split in coco for each in read_coco(path, split)]
    if place.suffix.lower() in (".yaml", ".yml"):
        return read_yolo(place, place.parent)
    if place.suffix.lower() == ".xml":
        return read_voc(place)
    return [replace(each, split="") for each in read_coco(place, coco_split(place, place.parent))]


def _inner_folder(place: Path) -> Path:
    """The single folder inside ``place``, as in an unpacked archive, if ``place`` itself has no usable files."""
    inner = _folders(place)
    if len(inner) != 1 or label_of(inner[0].name) or split_of(inner[0].name):
        return place
    if any(path.suffix.lower() in _USEFUL or path.name.lower() == "classes.txt" for path in _files_directly_in(place)):
        return place
    return _inner_folder(inner[0])


def _found_in_annotations(annotations: Sequence[ImageAnnotation], place: Path, source: str) -> FoundSamples:
    """The usable faces of ``annotations``. If any annotation has a split, those without one are left out."""
    has_splits = any(annotation.split for annotation in annotations)
    faces: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    left_out: list[LeftOut] = []
    unusable: list[ImageAnnotation] = []
    annotated = [annotation for annotation in annotations if annotation.boxes or annotation.missing]
    for annotation in annotated:
        if has_splits and not annotation.split:
            left_out.append(LeftOut(annotation.image_path, _NO_SPLIT))
        elif annotation.missing:
            unusable.append(annotation)
            left_out.append(LeftOut(annotation.path, annotation.missing))
        else:
            faces[annotation.split or "train"] += _usable_samples(annotation, source)
            left_out += _unusable_entries(annotation)
    if len(unusable) > MAX_UNREADABLE * len(annotated):
        raise DataError(
            f"{place}: {len(unusable)} of {len(annotated)} annotated images cannot be used; the first: "
            f"{unusable[0].path} {unusable[0].missing}"
        )
    if not any(faces.values()):
        first = f": {left_out[0].path}: {left_out[0].reason}" if left_out else ""
        raise DataError(f"{place} has no annotated faces that can be used{first or '; check the annotations'}")
    return FoundSamples({split: samples for split, samples in faces.items() if samples}, tuple(left_out))


def _usable_samples(annotation: ImageAnnotation, source: str) -> Iterator[Sample]:
    for box_annotation in annotation.boxes:
        label = label_of(box_annotation.name)
        if label is not None and not box_annotation.fault:
            yield Sample(annotation.image_path, label, annotation.source or source, box_annotation.box)


def _unusable_entries(annotation: ImageAnnotation) -> Iterator[LeftOut]:
    reasons: Counter[str] = Counter()
    for box_annotation in annotation.boxes:
        if box_annotation.fault:
            reasons[
                f"a box of {box_annotation.name!r} {box_annotation.fault}"
                if box_annotation.name
                else box_annotation.fault
            ] += 1
        elif label_of(box_annotation.name) is None:
            problem = f"no label is named {box_annotation.name}" if box_annotation.name else "a box has no name"
            reasons[f"{problem}; use mask, no_mask, incorrect"] += 1
    for reason, count in reasons.items():
        yield LeftOut(annotation.image_path, reason if count == 1 else f"{reason} ({count} boxes)")


def labels_of(samples: Iterable[Sample], whose: str = "the data") -> tuple[Label, ...]:
    """The labels that occur, in the order of ``NAMES``: not_face is last. Raises DataError, naming ``whose``, if there
    is only one besides not_face."""
    present = {sample.label for sample in samples}
    found = tuple(label for label in NAMES if label in present)
    if len(set(found) - {Label.NOT_FACE}) < 2:
        name = " and ".join(found) or "no class"
        raise DataError(f"{whose} has only {name}; at least two classes are needed to train or evaluate a model")
    return found


def paths_of(samples: Iterable[Sample]) -> list[Path]:
    """Each image once, sorted."""
    return sorted({sample.path for sample in samples})


def by_image(samples: Iterable[Sample]) -> Iterator[tuple[Path, list[int]]]:
    """Each image once with the indices of its samples, so that an image with ten faces is read once."""
    indices: dict[Path, list[int]] = {}
    for i, sample in enumerate(samples):
        indices.setdefault(sample.path, []).append(i)
    yield from indices.items()
