"""Reads annotated scenes for the training and evaluation of detectors, with stricter rules than ``samples``."""

from pathlib import Path

from app.core.errors import DataError
from app.core.files import is_file, is_folder
from app.core.types import Label
from app.training.data.annotations import CROWD, BoxAnnotation, ImageAnnotation
from app.training.data.samples import NAMES, coco_fault, label_of, read_annotations
from app.training.types import Scene, SceneFace

ANY_FACE = "face"
"""The class name of a face of unknown class."""

NEUTRAL = frozenset({"head", "ignore", "veil"})
"""The class names of neutral regions, where neither a detection nor a missed face is wrong."""


def read_scenes(place: Path) -> list[Scene]:
    """Annotated images of a COCO, VOC or YOLO file, or of a folder with VOC or YOLO files or one COCO file.

    The class ``face`` is unknown, except in data whose only other class is mask: there it means a bare face. Raises
    DataError, naming the file, if there are no annotations or one cannot be used.
    """
    if not is_file(place) and not is_folder(place):
        raise DataError(f"{place} does not exist; give a COCO file, or a folder with COCO, VOC or YOLO files")
    annotations = read_annotations(place)
    if not annotations:
        raise DataError(
            f"no annotations in {place}; give a COCO file, or a folder with COCO, VOC or YOLO files{coco_fault(place)}"
        )
    trees = sorted({str(each.path.relative_to(place)) for each in annotations if each.path.suffix.lower() == ".json"})
    if len(trees) > 1:
        raise DataError(f"{place} has {len(trees)} COCO files ({', '.join(trees[:4])}); give one of them")
    labels = {
        label_of(box_annotation.name)
        for annotation in annotations
        for box_annotation in annotation.boxes
        if box_annotation.name != ANY_FACE
    }
    face = Label.NO_MASK if Label.MASK in labels and Label.NO_MASK not in labels else None
    return [_scene(annotation, face) for annotation in annotations]


def _scene(annotation: ImageAnnotation, face: Label | None) -> Scene:
    """Groups (``iscrowd``) and boxes with ``NEUTRAL`` names are neutral regions; boxes named ``not_face`` are left out.
    Raises DataError for any other unusable box: without it, correct detections would count as false positives."""
    neutral = tuple(
        box_annotation
        for box_annotation in annotation.boxes
        if box_annotation.fault == CROWD or (box_annotation.name in NEUTRAL and not box_annotation.fault)
    )
    faces = tuple(
        _face(box_annotation, annotation.path, face)
        for box_annotation in annotation.boxes
        if box_annotation not in neutral and label_of(box_annotation.name) is not Label.NOT_FACE
    )
    if annotation.missing:
        raise DataError(f"{annotation.path} {annotation.missing}")
    return Scene(
        annotation.image_path, annotation.source, faces, tuple(box_annotation.box for box_annotation in neutral)
    )


def _face(box_annotation: BoxAnnotation, path: Path, face: Label | None) -> SceneFace:
    label = face if box_annotation.name == ANY_FACE else label_of(box_annotation.name)
    if label is None and box_annotation.name != ANY_FACE:
        choices = ", ".join(f"{label} ({', '.join(names[1:3])})" for label, names in NAMES.items())
        raise DataError(
            f"{path}: no label is named {box_annotation.name!r}; rename it to one of {choices}, to {ANY_FACE} "
            f"for a face of unknown class, or to one of {', '.join(sorted(NEUTRAL))} for a region that is not evaluated"
        )
    if box_annotation.fault:
        raise DataError(f"{path}: a box of {box_annotation.name!r} {box_annotation.fault}; fix or remove it")
    return SceneFace(box_annotation.box, label)
