"""Labelled faces on disk: class folders (the Kaggle layout too) and annotated frames (COCO, Pascal VOC, YOLO)."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from app.domain import Box, Label
from app.errors import DataError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation"}
SPLITS |= {"test": "test", "testing": "test"}
NAMES = {
    Label.MASK: ("mask", "withmask", "masked", "goodmask", "wearmask", "correct"),
    Label.NO_MASK: ("nomask", "withoutmask", "bare", "unmasked", "face", "notmask", "without"),
    Label.INCORRECT: (
        "incorrect",
        "incorrectmask",
        "maskwearedincorrect",
        "maskwornincorrectly",
        "badmask",
        "improper",
    ),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face: a whole picture (``box`` is None: the picture is the crop), or a box in a picture."""

    path: Path
    label: Label
    source: str
    box: Box | None = None


def label_of(name: str) -> Label | None:
    """The label that a folder's or a category's name means; None where it means none of ours."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    return next((label for label, names in NAMES.items() if plain in names), None)


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}; give a folder of class folders") from error


def class_folders(folder: Path, source: str = "") -> list[Sample]:
    """Every picture under the class folders of ``folder``.

    Raises DataError where a folder's name is no label of ours, or where there are no pictures.
    """
    samples: list[Sample] = []
    unknown: list[str] = []
    for child in _folders(folder):
        label = label_of(child.name)
        if label is None:
            unknown.append(child.name)
        else:
            samples += [Sample(path, label, source or folder.name) for path in pictures(child)]
    if unknown:
        raise DataError(f"{folder}: no label is called {', '.join(unknown)}; name the folders mask, no_mask, incorrect")
    if not samples:
        raise DataError(f"{folder} holds no pictures in class folders; expected mask/, no_mask/ with JPEG or PNG files")
    return samples


def split_folders(folder: Path) -> dict[str, list[Sample]]:
    """Splits by name: the Kaggle layout Train/Validation/Test, or one split called 'train' for bare class folders."""
    splits = {SPLITS[child.name.lower()]: child for child in _folders(folder) if child.name.lower() in SPLITS}
    if not splits:
        return {"train": class_folders(folder)}
    return {name: class_folders(child, folder.name) for name, child in splits.items()}


def coco_frames(path: Path) -> list[Sample]:
    """The annotated faces of a COCO file; ``file_name`` is relative to it. Raises DataError where it is unusable."""
    try:
        tree = json.loads(path.read_text("utf-8"))
        labels = {entry["id"]: label_of(entry["name"]) for entry in tree["categories"]}
        names = {entry["id"]: entry["name"] for entry in tree["categories"]}
        images = {entry["id"]: entry for entry in tree["images"]}
        samples = []
        for entry in tree["annotations"]:
            image, label = images[entry["image_id"]], labels[entry["category_id"]]
            if label is None:
                raise DataError(f"{path}: no label is called {names[entry['category_id']]}; rename the category")
            box = Box(*map(float, entry["bbox"]))
            samples.append(Sample(path.parent / image["file_name"], label, image.get("source", path.stem), box))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a COCO annotation file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a COCO annotation file: {error!r}; check how it was exported") from error
    return _some(samples, path)


def voc_frames(folder: Path) -> list[Sample]:
    """Pascal VOC: an ``.xml`` per picture, anywhere under ``folder``."""
    named = {path.stem: path for path in pictures(folder)}
    samples = []
    for path in sorted(folder.rglob("*.xml")):
        try:
            tree = ElementTree.parse(path)
            faces = [(node.findtext("name", ""), _voc_box(node)) for node in tree.iter("object")]
        except (ElementTree.ParseError, ValueError, TypeError) as error:
            raise DataError(f"{path} is not a Pascal VOC file: {error}; export the annotations again") from error
        if path.stem not in named:
            raise DataError(f"{path} has no picture of the same name under {folder}; put them side by side")
        samples += [Sample(named[path.stem], _known(name, path), folder.name, box) for name, box in faces]
    return _some(samples, folder)


def yolo_frames(folder: Path) -> list[Sample]:
    """YOLO: a ``.txt`` per picture with ``class cx cy w h`` as parts of its size, names in ``classes.txt``."""
    try:
        classes = (folder / "classes.txt").read_text("utf-8").split()
    except OSError as error:
        raise DataError(
            f"{folder} has no classes.txt; list the class names there, one a line, in YOLO's order"
        ) from error
    notes = {path.stem: path for path in folder.rglob("*.txt") if path.name != "classes.txt"}
    samples = []
    for path in pictures(folder):
        note = notes.get(path.stem)
        if note is None:
            continue
        image = cv2.imread(str(path))
        if image is None:
            continue  # it is listed as unreadable when the crops are cut; a frame without boxes has none to cut
        height, width = image.shape[:2]
        for line in note.read_text("utf-8").splitlines():
            try:
                kind, cx, cy, w, h = line.split()[:5]
                name = classes[int(kind)]
                x, y = (float(cx) - float(w) / 2) * width, (float(cy) - float(h) / 2) * height
                box = Box(x, y, float(w) * width, float(h) * height)
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"{note}: {line!r} is no YOLO line: {error}; it should read 'class cx cy w h'"
                ) from error
            samples.append(Sample(path, _known(name, note), folder.name, box))
    return _some(samples, folder)


def find_samples(place: Path) -> dict[str, list[Sample]]:
    """Whatever ``place`` holds: a COCO file, VOC or YOLO frames, or class folders with or without splits."""
    if place.suffix == ".json":
        return {"train": coco_frames(place)}
    if not place.is_dir():
        raise DataError(f"no data at {place}; give a folder of class folders or a COCO file")
    if (place / "classes.txt").is_file():
        return {"train": yolo_frames(place)}
    if next(place.rglob("*.xml"), None) is not None:
        return {"train": voc_frames(place)}
    return split_folders(place)


def labels_of(samples: Iterable[Sample], order: tuple[Label, ...] = tuple(NAMES)) -> tuple[Label, ...]:
    """The labels present, in our order. Raises DataError where there is only one: nothing can be told apart."""
    present = {sample.label for sample in samples}
    found = tuple(label for label in order if label in present)
    if len(found) < 2:
        name = found[0].value if found else "no class"
        raise DataError(f"the data holds only {name}; at least two classes are needed to train or to judge a model")
    return found


def _voc_box(node: ElementTree.Element) -> Box:
    x, y, x2, y2 = (float(node.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax"))
    return Box(x, y, x2 - x, y2 - y)


def _known(name: str, path: Path) -> Label:
    label = label_of(name)
    if label is None:
        raise DataError(f"{path}: no label is called {name!r}; use mask, no_mask, incorrect")
    return label


def _some(samples: list[Sample], place: Path) -> list[Sample]:
    if not samples:
        raise DataError(f"{place} holds no annotated faces; check the annotations")
    return samples


def by_picture(samples: Iterable[Sample]) -> Iterator[tuple[Path, list[int]]]:
    """Each picture once, with the places of its samples: a frame with ten faces is read once."""
    places: dict[Path, list[int]] = {}
    for i, sample in enumerate(samples):
        places.setdefault(sample.path, []).append(i)
    yield from places.items()
