"""Annotated scenes to judge detectors by, as users have them: COCO and Pascal VOC in the usual layouts."""

from pathlib import Path

from app.domain import Label
from app.errors import DataError
from app.paths import is_file, is_folder
from app.train.detector_data import Face, Scene
from app.train.notes import CROWD, Mark, Note, coco_files, coco_notes, coco_split, voc_notes
from app.train.samples import NAMES, label_of


def read_scenes(place: Path) -> list[Scene]:
    """Annotated pictures of a COCO file, of a VOC file, or of a folder that holds VOC files or one COCO file.

    Raises DataError, naming the file, where there are none or one cannot be used.
    """
    if is_file(place):
        notes = (
            voc_notes(place) if place.suffix.lower() == ".xml" else coco_notes(place, coco_split(place, place.parent))
        )
        return [_scene(note) for note in notes]
    if not is_folder(place):
        raise DataError(f"there is no {place}; give a COCO file, or a folder with VOC files (*.xml)")
    if notes := voc_notes(place):
        return [_scene(note) for note in notes]
    trees = coco_files(place)
    if len(trees) > 1:
        names = ", ".join(str(path.relative_to(place)) for path in trees[:4])
        raise DataError(f"{place} holds {len(trees)} COCO files ({names}); give one of them")
    if not trees:
        raise DataError(f"no annotations in {place}; give a COCO file, or a folder with VOC files (*.xml)")
    return [_scene(note) for note in coco_notes(trees[0], coco_split(trees[0], place))]


def _scene(note: Note) -> Scene:
    """Groups (``iscrowd``) are left out. Raises DataError where anything else cannot be used: a face left out would
    count every detector's right answer as wrong."""
    faces = tuple(_face(mark, note.path) for mark in note.marks if mark.fault != CROWD)
    if note.missing:
        raise DataError(f"{note.path} {note.missing}")
    return Scene(note.picture, note.source, faces)


def _face(mark: Mark, path: Path) -> Face:
    label = label_of(mark.name)
    if label is None:
        known = ", ".join(f"{label} ({', '.join(names[1:3])})" for label, names in NAMES.items())
        raise DataError(f"{path}: no label is called {mark.name!r}; rename it to one of {known}")
    if mark.fault:
        raise DataError(f"{path}: a box of {mark.name!r} {mark.fault}; mend or remove it")
    return Face(mark.box, Label(label))
