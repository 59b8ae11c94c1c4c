"""Readers of annotated images and their splits: COCO and Pascal VOC, and what they share with ``yolo``.

An unusable bounding box is kept with its ``fault``; the caller decides what to do with it.
"""

import json
import math
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.core.errors import DataError
from app.core.types import Box

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SPLITS = {"train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation"}
SPLITS |= {"test": "test", "testing": "test"}
CROWD = "stands for a group (iscrowd)"
NO_AREA = "has no area"

_ANNOTATION_FOLDERS = frozenset({"annotations", "labels"})
IMAGE_FOLDERS = ("images", "Images", "JPEGImages")


@dataclass(frozen=True, slots=True)
class BoxAnnotation:
    """One annotated bounding box in source pixels with its class name, or ''. ``fault`` says why it is unusable."""

    name: str
    box: Box
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ImageAnnotation:
    """The annotations of one image. ``path`` is the annotation file, ``split`` a value of ``SPLITS`` or ''. ``missing``
    says why the image or its annotation cannot be used."""

    path: Path
    image_path: Path
    boxes: tuple[BoxAnnotation, ...] = ()
    source: str = ""
    split: str = ""
    missing: str = ""


def files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """All files under ``folder`` with one of the ``suffixes`` (lower case). Hidden files and ``__MACOSX`` are skipped.
    Links to folders are followed, and no folder is read twice."""
    found: list[Path] = []
    seen: set[Path] = set()
    linked = [folder]
    while linked:
        tops, linked = linked, []  # real folders first: a linked folder may be one of them
        for place, folders, names in (step for top in tops for step in os.walk(top)):
            here = Path(place)
            is_new = (real := here.resolve()) not in seen
            seen.add(real)
            folders[:] = sorted(name for name in folders if is_new and not is_junk(name))
            linked += [here / name for name in folders if (here / name).is_symlink()]
            found += [here / name for name in names if is_new and not is_junk(name)]
    return sorted(path for path in found if path.suffix.lower() in suffixes and path.is_file())


def is_junk(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def split_of(name: str) -> str:
    """The split that a folder name stands for (``Test``, ``val2017``), or ''."""
    return SPLITS.get(re.sub(r"[^a-z]", "", name.lower()), "")


def read_voc(place: Path) -> list[ImageAnnotation]:
    """One annotation per VOC ``.xml`` file under ``place``, or of the file ``place``. Splits come from folder names or
    ``ImageSets/Main``. Other XML files are ignored."""
    listed = _image_sets(place)
    beside: dict[Path, list[Path]] = {}
    annotations: list[ImageAnnotation] = []
    for path in [place] if place.is_file() else files(place, {".xml"}):
        if path.parent not in beside:
            beside[path.parent] = _image_folders(path.parent)
        split = listed.get(path.stem, "") if listed else folder_split(path, place)
        try:
            tree = ElementTree.parse(path).getroot()
            if tree.tag == "annotation" or place.is_file():
                annotations.append(_voc_annotation(path, tree, beside[path.parent], split))
        except OSError as error:
            annotations.append(
                ImageAnnotation(path, path, split=split, missing=f"cannot be read: {error.strerror}; fix or remove it")
            )
        except (ElementTree.ParseError, ValueError) as error:
            annotations.append(
                ImageAnnotation(path, path, split=split, missing=f"is not a usable VOC file: {error}; fix or remove it")
            )
    return annotations


def _voc_annotation(path: Path, tree: ElementTree.Element, beside: list[Path], split: str) -> ImageAnnotation:
    """Raises ValueError if a coordinate is not a number."""
    boxes = tuple(_voc_box(entry) for entry in tree.iter("object"))
    name = Path((tree.findtext("filename") or path.with_suffix(".jpg").name).replace("\\", "/")).name
    for folder in beside:
        found = with_suffix(folder / path.name, IMAGE_SUFFIXES) or _file(folder / name)
        if found is not None:
            return ImageAnnotation(path, found, boxes, split=split)
    return ImageAnnotation(path, path.parent / name, boxes, split=split, missing=_missing_image(name))


def _voc_box(entry: ElementTree.Element) -> BoxAnnotation:
    x, y, x2, y2 = (float(entry.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
    return checked_box(entry.findtext("name") or "", Box(x, y, x2 - x, y2 - y))


def _image_sets(place: Path) -> dict[str, str]:
    """Image name to split, from VOC's lists. An image in several lists belongs to the first."""
    splits: dict[str, str] = {}
    for name in ("train", "val", "test", "trainval"):
        path = place / "ImageSets" / "Main" / f"{name}.txt"
        for line in read_text(path).splitlines() if path.is_file() else ():
            splits.setdefault(line.strip(), SPLITS.get(name, "train"))
    return splits


def coco_files(folder: Path) -> list[Path]:
    """The COCO files under ``folder``; of the official set only the ``instances_`` files."""
    found = [path for path in files(folder, {".json"}) if _may_be_coco(path)]
    return [path for path in found if path.name.startswith("instances_")] or found


def _may_be_coco(path: Path) -> bool:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(tree, dict) and {"images", "annotations", "categories"} <= tree.keys()


def read_coco(path: Path, split: str = "") -> list[ImageAnnotation]:
    """One annotation per image of a COCO file, all of ``split``, and one for boxes of images that are not listed.
    Numbers may be written as text. Raises DataError if the file cannot be used."""
    strays = 0
    try:
        tree = json.loads(path.read_bytes())
        names = {str(entry["id"]): str(entry["name"]) for entry in tree["categories"]}
        boxes: dict[str, list[BoxAnnotation]] = {str(image["id"]): [] for image in tree["images"]}
        if len(boxes) < len(tree["images"]):
            raise ValueError("some images share an id, so their boxes cannot be assigned")
        for entry in tree["annotations"]:
            given = boxes.get(str(entry.get("image_id")))
            if given is None:
                strays += 1
            else:
                given.append(_coco_box(entry, names))
        images = [
            (str(entry["file_name"]), str(entry.get("source", "")), boxes[str(entry["id"])]) for entry in tree["images"]
        ]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a COCO file") from error
    except KeyError as error:
        raise DataError(f"{path} is not a usable COCO file: it has no entry {error}; export it again") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a usable COCO file: {error}; export it again") from error
    beside = _image_folders(path.parent, split)
    annotations = []
    for name, source, given in images:
        found = next(filter(None, (_file(folder / name.replace("\\", "/")) for folder in beside)), None)
        missing = "" if found else _missing_image(name)
        annotations.append(ImageAnnotation(path, found or path.parent / name, tuple(given), source, split, missing))
    if strays:
        problem = f"has boxes of images that it does not list ({strays}); export it again"
        annotations.append(ImageAnnotation(path, path, split=split, missing=problem))
    return annotations


def _coco_box(entry: Mapping[str, Any], names: Mapping[str, str]) -> BoxAnnotation:
    kind = str(entry.get("category_id"))
    if kind not in names:
        return BoxAnnotation("", Box(0, 0, 0, 0), f"category {kind} has no name; add it to the categories")
    name = names[kind]
    try:
        box_annotation = checked_box(name, Box(*map(float, entry["bbox"])))
    except (KeyError, ValueError, TypeError):  # tools write [], null or no box if only an outline was drawn
        return checked_box(name, Box(math.nan, math.nan, math.nan, math.nan))
    return replace(box_annotation, fault=CROWD) if entry.get("iscrowd") else box_annotation


def coco_split(path: Path, folder: Path) -> str:
    """The split of a COCO file, from its file name (``instances_val2017.json``) or its folder."""
    name_parts = map(split_of, re.split(r"[^A-Za-z0-9]+", path.stem))
    return next(filter(None, name_parts), "") or folder_split(path, folder)


def read_text(path: Path) -> str:
    """Raises DataError if the file cannot be read."""
    try:
        return path.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def checked_box(name: str, box: Box) -> BoxAnnotation:
    numbers = (box.x, box.y, box.width, box.height)
    has_area = all(map(math.isfinite, numbers)) and box.width > 0 and box.height > 0
    return BoxAnnotation(name, box, "" if has_area else NO_AREA)


def _missing_image(name: str) -> str:
    return f"names the image {name}, which is neither beside it nor in 'images' or 'JPEGImages'; put it there"


def folder_split(path: Path, place: Path) -> str:
    if not path.is_relative_to(place):
        return ""
    return next(filter(None, map(split_of, path.relative_to(place).parts[:-1])), "")


def _image_folders(folder: Path, split: str = "") -> list[Path]:
    """Folders that may hold the images of the annotations in ``folder``, in the layouts of the usual tools."""
    above = folder.parent if folder.name not in ("", "..") else folder / ".."
    tried = [folder, *(folder / name for name in IMAGE_FOLDERS)]
    for name in IMAGE_FOLDERS:
        tried += [above / name, *with_part_replaced(folder, _ANNOTATION_FOLDERS, name)]
    found = [path for path in dict.fromkeys([*tried, above]) if path.is_dir()]
    children = [child for path in found if split for child in sorted(path.iterdir()) if split_of(child.name) == split]
    return found + children


def with_part_replaced(folder: Path, names: Iterable[str], other: str) -> Iterator[Path]:
    """``folder`` with ``other`` in place of its last part that is one of ``names``."""
    parts, replaceable = folder.parts, {name.lower() for name in names}
    for i in reversed(range(len(parts))):
        if parts[i].lower() in replaceable:
            yield Path(*parts[:i], other, *parts[i + 1 :])
            return


def with_suffix(path: Path, suffixes: Iterable[str]) -> Path | None:
    """The file named like ``path`` with one of ``suffixes``, in lower or upper case, or None."""
    tried = (path.with_suffix(form) for suffix in sorted(suffixes) for form in (suffix, suffix.upper()))
    return next((found for found in tried if found.is_file()), None)


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None
