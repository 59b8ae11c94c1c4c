"""Annotated scenes to judge detectors by, as users have them: COCO and Pascal VOC in the usual layouts."""

from pathlib import Path

from app.core.errors import DataError
from app.core.files import is_file, is_folder
from app.core.types import Label
from app.training.data.annotations import (
    CROWD,
    BoxAnnotation,
    ImageAnnotation,
    coco_files,
    coco_split,
    read_coco,
    read_voc,
)
from app.training.data.samples import NAMES, label_of
from app.training.detector.scenes import Scene, SceneFace

ANY_FACE = "face"
"""A face whose class nobody annotated."""

NEUTRAL = frozenset({"head", "ignore", "veil"})
"""Places where neither a face found nor a face missed is wrong."""


def read_scenes(place: Path) -> list[Scene]:
    """Annotated pictures of a COCO file, of a VOC file, or of a folder that holds VOC files or one COCO file. ``face``
    is a face of unknown class, but for data whose only other class of faces is masked ones: there it is a bare one.

    Raises DataError, naming the file, where there are none or one cannot be used.
    """
    annotations = _notes(place)
    labels = {
        label_of(box_annotation.name)
        for annotation in annotations
        for box_annotation in annotation.boxes
        if box_annotation.name != ANY_FACE
    }
    face = Label.NO_MASK if Label.MASK in labels and Label.NO_MASK not in labels else None
    return [_scene(annotation, face) for annotation in annotations]


def _notes(place: Path) -> list[ImageAnnotation]:
    if is_file(place):
        return read_voc(place) if place.suffix.lower() == ".xml" else read_coco(place, coco_split(place, place.parent))
    if not is_folder(place):
        raise DataError(f"there is no {place}; give a COCO file, or a folder with VOC files (*.xml)")
    if annotations := read_voc(place):
        return annotations
    trees = coco_files(place)
    if len(trees) > 1:
        names = ", ".join(str(path.relative_to(place)) for path in trees[:4])
        raise DataError(f"{place} holds {len(trees)} COCO files ({names}); give one of them")
    if not trees:
        raise DataError(f"no annotations in {place}; give a COCO file, or a folder with VOC files (*.xml)")
    return read_coco(trees[0], coco_split(trees[0], place))


def _scene(annotation: ImageAnnotation, face: Label | None) -> Scene:
    """Groups (``iscrowd``) and boxes of ``NEUTRAL`` names are neutral places. Raises DataError where anything else
    cannot be used: a face left out would count every detector's right answer as wrong."""
    neutral = tuple(
        box_annotation
        for box_annotation in annotation.boxes
        if box_annotation.fault == CROWD or (box_annotation.name in NEUTRAL and not box_annotation.fault)
    )
    faces = tuple(
        _face(box_annotation, annotation.path, face)
        for box_annotation in annotation.boxes
        if box_annotation not in neutral
    )
    if annotation.missing:
        raise DataError(f"{annotation.path} {annotation.missing}")
    return Scene(annotation.picture, annotation.source, faces, tuple(box_annotation.box for box_annotation in neutral))


def _face(box_annotation: BoxAnnotation, path: Path, face: Label | None) -> SceneFace:
    label = face if box_annotation.name == ANY_FACE else label_of(box_annotation.name)
    if label is None and box_annotation.name != ANY_FACE:
        known = ", ".join(f"{label} ({', '.join(names[1:3])})" for label, names in NAMES.items())
        raise DataError(
            f"{path}: no label is called {box_annotation.name!r}; rename it to one of {known}, to {ANY_FACE} "
            f"for a face of unknown class, or to one of {', '.join(sorted(NEUTRAL))} for a place that is not judged"
        )
    if box_annotation.fault:
        raise DataError(f"{path}: a box of {box_annotation.name!r} {box_annotation.fault}; mend or remove it")
    return SceneFace(box_annotation.box, label)
