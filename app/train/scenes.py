"""Annotated scenes to judge detectors by, as users have them: COCO and Pascal VOC in the usual layouts."""

from pathlib import Path

from app.domain import Label
from app.errors import DataError
from app.paths import is_file, is_folder
from app.train.detector_data import Face, Scene
from app.train.notes import CROWD, Mark, Note, coco_files, coco_notes, coco_split, voc_notes
from app.train.samples import NAMES, label_of

ANY_FACE = "face"
"""A face whose class nobody annotated."""

NEUTRAL = frozenset({"head", "ignore", "veil"})
"""Places where neither a face found nor a face missed is wrong."""


def read_scenes(place: Path) -> list[Scene]:
    """Annotated pictures of a COCO file, of a VOC file, or of a folder that holds VOC files or one COCO file. ``face``
    is a face of unknown class, but for data whose only other class of faces is masked ones: there it is a bare one.

    Raises DataError, naming the file, where there are none or one cannot be used.
    """
    notes = _notes(place)
    labels = {label_of(mark.name) for note in notes for mark in note.marks if mark.name != ANY_FACE}
    face = Label.NO_MASK if Label.MASK in labels and Label.NO_MASK not in labels else None
    return [_scene(note, face) for note in notes]


def _notes(place: Path) -> list[Note]:
    if is_file(place):
        return (
            voc_notes(place) if place.suffix.lower() == ".xml" else coco_notes(place, coco_split(place, place.parent))
        )
    if not is_folder(place):
        raise DataError(f"there is no {place}; give a COCO file, or a folder with VOC files (*.xml)")
    if notes := voc_notes(place):
        return notes
    trees = coco_files(place)
    if len(trees) > 1:
        names = ", ".join(str(path.relative_to(place)) for path in trees[:4])
        raise DataError(f"{place} holds {len(trees)} COCO files ({names}); give one of them")
    if not trees:
        raise DataError(f"no annotations in {place}; give a COCO file, or a folder with VOC files (*.xml)")
    return coco_notes(trees[0], coco_split(trees[0], place))


def _scene(note: Note, face: Label | None) -> Scene:
    """Groups (``iscrowd``) and boxes of ``NEUTRAL`` names are neutral places. Raises DataError where anything else
    cannot be used: a face left out would count every detector's right answer as wrong."""
    neutral = tuple(mark for mark in note.marks if mark.fault == CROWD or (mark.name in NEUTRAL and not mark.fault))
    faces = tuple(_face(mark, note.path, face) for mark in note.marks if mark not in neutral)
    if note.missing:
        raise DataError(f"{note.path} {note.missing}")
    return Scene(note.picture, note.source, faces, tuple(mark.box for mark in neutral))


def _face(mark: Mark, path: Path, face: Label | None) -> Face:
    label = face if mark.name == ANY_FACE else label_of(mark.name)
    if label is None and mark.name != ANY_FACE:
        known = ", ".join(f"{label} ({', '.join(names[1:3])})" for label, names in NAMES.items())
        raise DataError(
            f"{path}: no label is called {mark.name!r}; rename it to one of {known}, to {ANY_FACE} for a face of "
            f"unknown class, or to one of {', '.join(sorted(NEUTRAL))} for a place that is not judged"
        )
    if mark.fault:
        raise DataError(f"{path}: a box of {mark.name!r} {mark.fault}; mend or remove it")
    return Face(mark.box, label)
