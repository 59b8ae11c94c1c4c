"""Labelled pictures on disk in YOLO's form: a line of text a box, names and splits in a ``data.yaml``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from app.core.errors import DataError
from app.core.types import Box, Image
from app.training.data.annotations import (
    PICTURE_FOLDERS,
    PICTURES,
    SPLITS,
    BoxAnnotation,
    ImageAnnotation,
    checked_box,
    files,
    folder_split,
    instead,
    is_junk,
    read_image,
    read_text,
    with_suffix,
)

_NAMES = "classes.txt"

Pairs = tuple[tuple[str, str], ...]


def yolo_names(folder: Path) -> Path | None:
    """The file that names YOLO's classes: a ``.yaml`` in ``folder`` that has names, or the topmost ``classes.txt``."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".yaml", ".yml") and not is_junk(path.name) and read_table(path).get("names"):
            return path
    lists = [path for path in files(folder, {".txt"}) if path.name.lower() == _NAMES]
    return min(lists, key=lambda path: len(path.parts), default=None)


def read_yolo(names_path: Path, folder: Path) -> list[ImageAnnotation]:
    """One note a labelled picture, and one a label file without a picture.

    ``names_path`` is a ``data.yaml``, whose paths are followed too, or a ``classes.txt``; ``folder`` holds the
    pictures. Raises DataError where there are no names.
    """
    entries, names = {}, dict(enumerate(line.strip() for line in read_text(names_path).splitlines()))
    if names_path.suffix.lower() != ".txt":
        entries = read_table(names_path)
        names = {int(number): name for number, name in entries.get("names", ()) if number.isdecimal()}
    if not names:
        raise DataError(f"{names_path} has no names; list the class names there in YOLO's order")
    listed = dict(_yaml_splits(entries, names_path.parent))
    splits = {_whole(picture): split for picture, split in listed.items()}
    pictures = {
        _whole(picture): picture for picture in [*listed, *files(folder, PICTURES)]
    }  # a path may lead back here
    found, used = [], set()
    for picture in sorted(pictures.values()):
        label = next(filter(None, (with_suffix(place / picture.name, (".txt",)) for place in _labels(picture))), None)
        if label is None:
            continue  # a picture without faces
        used.add(label)
        split = splits.get(_whole(picture)) or folder_split(picture, folder)
        found.append(_yolo_annotation(label, picture, names, split))
    for picture, split in listed.items():
        if not picture.is_file():
            missing = f"is listed for the split {split} and is not there; mend the list"
            found.append(ImageAnnotation(picture, picture, split=split, missing=missing))
    for path in files(folder, {".txt"}):
        if path not in used and path.name.lower() != _NAMES and _is_label(path):
            found.append(
                ImageAnnotation(
                    path, path, split=folder_split(path, folder), missing="has no picture; put it beside it"
                )
            )
    return found


def _yolo_annotation(path: Path, picture: Path, names: Mapping[int, str], split: str) -> ImageAnnotation:
    image = read_image(picture)
    if image is None:
        return ImageAnnotation(
            path, picture, split=split, missing=f"its picture {picture.name} cannot be read; mend or remove it"
        )
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    return ImageAnnotation(path, picture, tuple(_yolo_box(line, names, image) for line in lines), split=split)


def _yolo_box(line: str, names: Mapping[int, str], picture: Image) -> BoxAnnotation:
    """A line ``class cx cy w h``, or ``class x y x y x y ...`` of an outline, in parts of the picture's size."""
    height, width = picture.shape[:2]
    try:
        kind, *numbers = line.split()
        parts = [float(number) for number in numbers]
        if len(parts) >= 6 and len(parts) % 2 == 0:
            x, y = min(parts[::2]), min(parts[1::2])
            w, h = max(parts[::2]) - x, max(parts[1::2]) - y
        else:
            cx, cy, w, h = parts[:4]
            x, y = cx - w / 2, cy - h / 2
        box = Box(x * width, y * height, w * width, h * height)
        name = names.get(int(kind))
    except ValueError:
        return BoxAnnotation("", Box(0, 0, 0, 0), f"{line!r} is no YOLO line; it should read 'class cx cy w h'")
    return (
        checked_box(name, box)
        if name is not None
        else BoxAnnotation("", box, f"class {kind} has no name; add it to the names")
    )


def _is_label(path: Path) -> bool:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    return bool(lines) and all(len(line) >= 5 and line[0].lstrip("-").isdecimal() for line in lines)


def _labels(picture: Path) -> Iterator[Path]:
    """Where the label file of a picture may lie."""
    yield picture.parent
    for name in ("labels", "Labels"):
        yield from instead(picture.parent, PICTURE_FOLDERS, name)
        yield picture.parent / name


def _yaml_splits(entries: Mapping[str, Pairs], root: Path) -> Iterator[tuple[Path, str]]:
    """Every picture under the paths of a ``data.yaml``, those of 'train' last: a picture of several is learned from."""
    own = [root / value for _, value in entries.get("path", ())]
    for name in ("test", "val", "train"):
        for _, value in entries.get(name, ()):
            within = re.sub(r"^(\.\./)+", "", value)  # Roboflow's '../train/images' lie beside the file
            tried = [*(base / value for base in own), root / within, root / value]
            place = next((path for path in tried if path.exists()), None)
            for picture in () if place is None else _listed(place, [*own, root]):
                yield picture, SPLITS[name]


def _whole(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _listed(place: Path, bases: Sequence[Path]) -> Iterator[Path]:
    """The pictures of a folder, or of a list of their paths, which begin at the list or at one of ``bases``."""
    if place.is_dir():
        yield from files(place, PICTURES)
        return
    for line in filter(None, map(str.strip, read_text(place).splitlines())):
        tried = [base / line.replace("\\", "/") for base in (place.parent, *bases)]
        yield next((path for path in tried if path.is_file()), tried[0])


def read_table(path: Path) -> dict[str, Pairs]:
    """``names``, ``train``, ``val``, ``test`` and ``path`` of a YOLO ``data.yaml``: pairs of place or key, and value.
    Raises DataError where it is no YAML."""
    try:
        tree = yaml.load(read_text(path), yaml.BaseLoader)  # it builds text only, so a class called 'no' stays one
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise DataError(f"{path} is no readable YAML: {told}; mend it or move it away") from error
    entries = tree if isinstance(tree, dict) else {}
    return {key: _pairs(entries[key]) for key in ("names", "train", "val", "test", "path") if entries.get(key)}


def _pairs(entry: Any) -> Pairs:
    if isinstance(entry, dict):
        return tuple((str(key), str(value)) for key, value in entry.items())
    items = entry if isinstance(entry, list) else [entry]
    return tuple((str(place), str(item)) for place, item in enumerate(items))
