"""Reader of YOLO annotations: one line of text per box, class names and splits in a ``data.yaml``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from app.core.errors import DataError
from app.core.types import Box, Image
from app.training.data.annotations import (
    IMAGE_FOLDERS,
    IMAGE_SUFFIXES,
    SPLITS,
    BoxAnnotation,
    ImageAnnotation,
    checked_box,
    files,
    folder_split,
    is_junk,
    read_text,
    with_part_replaced,
    with_suffix,
)
from app.training.data.images import read_image

_NAMES = "classes.txt"

Pairs = tuple[tuple[str, str], ...]


def yolo_names(folder: Path) -> Path | None:
    """The file with the class names: a ``.yaml`` with ``names`` in ``folder``, or the topmost ``classes.txt``."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".yaml", ".yml") and not is_junk(path.name) and read_table(path).get("names"):
            return path
    lists = [path for path in files(folder, {".txt"}) if path.name.lower() == _NAMES]
    return min(lists, key=lambda path: len(path.parts), default=None)


def read_yolo(names_path: Path, folder: Path) -> list[ImageAnnotation]:
    """One annotation per labelled image, and one per label file without an image.

    ``names_path`` is a ``classes.txt`` or a ``data.yaml``, whose paths are followed too; ``folder`` holds the images.
    Raises DataError if there are no names.
    """
    entries, names = {}, dict(enumerate(line.strip() for line in read_text(names_path).splitlines()))
    if names_path.suffix.lower() != ".txt":
        entries = read_table(names_path)
        names = {int(number): name for number, name in entries.get("names", ()) if number.isdecimal()}
    if not names:
        raise DataError(f"{names_path} has no class names; list them there in the order of their numbers")
    listed = dict(_yaml_splits(entries, names_path.parent))
    splits = {_with_real_folder(image_path): split for image_path, split in listed.items()}
    image_paths = {
        _with_real_folder(image_path): image_path for image_path in [*listed, *files(folder, IMAGE_SUFFIXES)]
    }  # a path may lead back here
    found, used = [], set()
    for image_path in sorted(image_paths.values()):
        label = next(
            filter(None, (with_suffix(place / image_path.name, (".txt",)) for place in _label_folders(image_path))),
            None,
        )
        if label is None:
            continue  # an image without faces has no label file
        used.add(label)
        split = splits.get(_with_real_folder(image_path)) or folder_split(image_path, folder)
        found.append(_yolo_annotation(label, image_path, names, split))
    for image_path, split in listed.items():
        if not image_path.is_file():
            missing = f"is listed for the split {split} but does not exist; fix the list"
            found.append(ImageAnnotation(image_path, image_path, split=split, missing=missing))
    for path in files(folder, {".txt"}):
        if path not in used and path.name.lower() != _NAMES and _is_label_file(path):
            found.append(
                ImageAnnotation(
                    path, path, split=folder_split(path, folder), missing="has no image; put the image beside it"
                )
            )
    return found


def _yolo_annotation(path: Path, image_path: Path, names: Mapping[int, str], split: str) -> ImageAnnotation:
    image = read_image(image_path)
    if image is None:
        return ImageAnnotation(
            path, image_path, split=split, missing=f"its image {image_path.name} cannot be read; fix or remove it"
        )
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    return ImageAnnotation(path, image_path, tuple(_yolo_box(line, names, image) for line in lines), split=split)


def _yolo_box(line: str, names: Mapping[int, str], image: Image) -> BoxAnnotation:
    """A line ``class cx cy w h``, or ``class x y x y x y ...`` of an outline, in fractions of the image size."""
    height, width = image.shape[:2]
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
        return BoxAnnotation("", Box(0, 0, 0, 0), f"{line!r} is not a YOLO line; expected 'class cx cy w h'")
    return (
        checked_box(name, box)
        if name is not None
        else BoxAnnotation("", box, f"class {kind} has no name; add it to the names")
    )


def _is_label_file(path: Path) -> bool:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    return bool(lines) and all(len(line) >= 5 and line[0].lstrip("-").isdecimal() for line in lines)


def _label_folders(image_path: Path) -> Iterator[Path]:
    """Folders that may hold the label file of an image."""
    yield image_path.parent
    for name in ("labels", "Labels"):
        yield from with_part_replaced(image_path.parent, IMAGE_FOLDERS, name)
        yield image_path.parent / name


def _yaml_splits(entries: Mapping[str, Pairs], root: Path) -> Iterator[tuple[Path, str]]:
    """Every image under the paths of a ``data.yaml``, 'train' last: an image in several splits is a training image."""
    own = [root / value for _, value in entries.get("path", ())]
    for name in ("test", "val", "train"):
        for _, value in entries.get(name, ()):
            within = re.sub(r"^(\.\./)+", "", value)  # Roboflow writes '../train/images' for a folder beside the file
            tried = [*(base / value for base in own), root / within, root / value]
            place = next((path for path in tried if path.exists()), None)
            for image_path in () if place is None else _images_at(place, [*own, root]):
                yield image_path, SPLITS[name]


def _with_real_folder(path: Path) -> Path:
    return path.parent.resolve() / path.name


def _images_at(place: Path, bases: Sequence[Path]) -> Iterator[Path]:
    """The images in a folder, or in a text list with paths relative to the list or to one of ``bases``."""
    if place.is_dir():
        yield from files(place, IMAGE_SUFFIXES)
        return
    for line in filter(None, map(str.strip, read_text(place).splitlines())):
        tried = [base / line.replace("\\", "/") for base in (place.parent, *bases)]
        yield next((path for path in tried if path.is_file()), tried[0])


def read_table(path: Path) -> dict[str, Pairs]:
    """``names``, ``train``, ``val``, ``test`` and ``path`` of a YOLO ``data.yaml``, as pairs of (index or key, value).
    Raises DataError if the file is not YAML."""
    try:
        tree = yaml.load(
            read_text(path), yaml.BaseLoader
        )  # BaseLoader gives strings only, so a class named 'no' is not False
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not readable YAML: {reason}; fix it or move it away") from error
    entries = tree if isinstance(tree, dict) else {}
    return {key: _pairs(entries[key]) for key in ("names", "train", "val", "test", "path") if entries.get(key)}


def _pairs(entry: Any) -> Pairs:
    if isinstance(entry, dict):
        return tuple((str(key), str(value)) for key, value in entry.items())
    items = entry if isinstance(entry, list) else [entry]
    return tuple((str(place), str(item)) for place, item in enumerate(items))
