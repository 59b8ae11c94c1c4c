"""Annotated scenes to judge detectors by, as users have them: COCO and Pascal VOC in the usual layouts."""

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.domain import Box, Label
from app.errors import DataError
from app.train.detector_data import Face, Scene
from app.train.samples import NAMES, label_of

_PICTURE_FOLDERS = ("", "images", "JPEGImages", "../images", "../JPEGImages")
"""Where the pictures of an annotation file lie, from its own folder: beside it, or as the usual tools export them."""


def read_scenes(place: Path) -> list[Scene]:
    """Annotated pictures of a COCO file, of a VOC file, or of a folder that holds VOC files or one COCO file.

    Raises DataError, naming the file, where there are none or one cannot be used.
    """
    if place.is_file():
        return [read_voc(place)] if place.suffix.lower() == ".xml" else read_coco(place)
    if not place.is_dir():
        raise DataError(f"there is no {place}; give a COCO file, or a folder with VOC files (*.xml)")
    notes = sorted(place.rglob("*.xml"))
    if notes:
        return [read_voc(note) for note in notes]
    trees = sorted(path for path in place.rglob("*.json") if _may_be_coco(path))
    if len(trees) > 1:
        names = ", ".join(str(path.relative_to(place)) for path in trees[:4])
        raise DataError(f"{place} holds {len(trees)} COCO files ({names}); give one of them")
    if not trees:
        raise DataError(f"no annotations in {place}; give a COCO file, or a folder with VOC files (*.xml)")
    return read_coco(trees[0])


def _may_be_coco(path: Path) -> bool:
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(tree, dict) and {"images", "annotations", "categories"} <= tree.keys()


def read_coco(path: Path) -> list[Scene]:
    """Scenes of a COCO file; groups (``iscrowd``) are left out. Raises DataError where it cannot be used."""
    try:
        tree = json.loads(path.read_bytes())
        names = {entry["id"]: str(entry["name"]) for entry in tree["categories"]}
        faces: dict[Any, list[Face]] = {picture["id"]: [] for picture in tree["images"]}
        for entry in tree["annotations"]:
            if not entry.get("iscrowd"):
                faces[entry["image_id"]].append(_face(entry["bbox"], names[entry["category_id"]], path))
        pictures = [(str(picture["file_name"]), picture.get("source", ""), picture["id"]) for picture in tree["images"]]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give a COCO file") from error
    except KeyError as error:
        raise DataError(f"{path} is no usable COCO file: it has no entry {error}; export it again") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no usable COCO file: {error}; export it again") from error
    return [Scene(_picture(path, name), source, tuple(faces[number])) for name, source, number in pictures]


def read_voc(path: Path) -> Scene:
    """One Pascal VOC file. Raises DataError where it cannot be used."""
    try:
        tree = ElementTree.parse(path).getroot()
        name = tree.findtext("filename") or path.with_suffix(".jpg").name
        faces = [_voc_face(entry, path) for entry in tree.iter("object")]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; mend or remove it") from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path} is no usable VOC file: {error}; mend or remove it") from error
    return Scene(_picture(path, name), "", tuple(faces))


def _voc_face(entry: ElementTree.Element, path: Path) -> Face:
    x, y, x2, y2 = (float(entry.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax"))
    return _face((x, y, x2 - x, y2 - y), entry.findtext("name") or "", path)


def _face(bounds: Iterable[float], name: str, path: Path) -> Face:
    x, y, width, height = map(float, bounds)
    label = label_of(name)
    if label is None:
        known = ", ".join(f"{label} ({', '.join(names[1:3])})" for label, names in NAMES.items())
        raise DataError(f"{path}: no label is called {name!r}; rename it to one of {known}")
    if not (all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0):
        raise DataError(f"{path}: a box of {name!r} has no area; mend or remove it")
    return Face(Box(x, y, width, height), Label(label))


def _picture(annotations: Path, name: str) -> Path:
    """Raises DataError where the picture is in none of the usual places."""
    for folder in _PICTURE_FOLDERS:
        path = annotations.parent / folder / name
        if path.is_file():
            return path
    raise DataError(
        f"{annotations} names the picture {name}, which is neither beside it nor in 'images' or 'JPEGImages'; "
        "put it there"
    )
