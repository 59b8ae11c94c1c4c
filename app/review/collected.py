"""The folder of collected faces: for each a crop, the whole scene if wanted, and a record."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.core.errors import OutputError
from app.core.files import files_in, write_json
from app.core.types import Box, Label
from app.review.picture_folder import PictureFolder
from app.settings.vision import SURE_SCORE

CROP, RECORD, SCENE = ".face.jpg", ".face.json", ".scene.jpg"
REASONS = ("event", "verdict", "unsure", "disagreement", "random")
"""Why a face was collected; an event becomes a ``verdict`` when a person contradicts the model."""


@dataclass(frozen=True, slots=True)
class CollectedFace:
    """One collected face. ``box``, in pixels, belongs to the scene of ``size`` (width, height), ``crop_box`` to the
    crop. ``label`` and ``confidence`` are the classifier's, ``score`` is the detector's. ``others``: the blurred faces
    of the scene. ``verdict`` and ``right_label``: what a person said about its event."""

    id: str
    reason: str
    camera: str
    wall_s: float
    label: str
    confidence: float
    box: Box
    size: tuple[int, int]
    crop_box: Box
    crop_size: tuple[int, int]
    others: tuple[Box, ...] = ()
    verdict: str = ""
    right_label: str = ""
    score: float = SURE_SCORE

    @property
    def known_label(self) -> Label | None:
        """The label that a person confirmed or gave; None if nobody did."""
        match self.verdict:
            case "right":
                return Label(self.label)
            case "no_face":
                return Label.NOT_FACE
            case "wrong_label" if self.right_label:
                return Label(self.right_label)
        return None

    def verdict_for(self, label: str) -> str:
        """The verdict of a person who says that the face shows ``label``; '' takes a verdict back."""
        return {"": "", Label.NOT_FACE.value: "no_face", self.label: "right"}.get(label, "wrong_label")


class CollectedFaces:
    """Reads and writes the records. A record that cannot be read is skipped."""

    def __init__(self, folder: PictureFolder) -> None:
        self.folder = folder

    def faces(self) -> Iterator[CollectedFace]:
        """All faces, oldest first. Raises OutputError if the folder cannot be read."""
        try:
            paths = files_in(self.folder.path, RECORD)
        except OSError as error:
            raise OutputError(f"cannot read {self.folder.path}: {error.strerror}; check its permissions") from error
        found = [face for path in paths if (face := _read(path)) is not None]
        yield from sorted(found, key=lambda face: (face.wall_s, face.id))

    def write(self, face: CollectedFace) -> None:
        """Raises OSError."""
        write_json(self.folder.file(face.id, RECORD), asdict(face))

    def find(self, face_id: str) -> CollectedFace | None:
        return _read(self.folder.file(face_id, RECORD))

    def judge(self, face_id: str, verdict: str, label: str) -> None:
        """Adds a verdict to a face, or to that of an event, if it was collected. Raises OSError."""
        face = self.find(face_id)
        if face is not None:
            is_event = face.reason in ("event", "verdict")
            reason = ("verdict" if verdict in ("no_face", "wrong_label") else "event") if is_event else face.reason
            self.write(replace(face, reason=reason, verdict=verdict, right_label=label))

    def set_box(self, face: CollectedFace, box: Box) -> None:
        """Corrects the place of a face in its scene, and so in its crop: the part of ``box`` that the crop shows, since
        a model learns from the crop. Raises OSError, or ValueError if there is none."""
        dx, dy = face.crop_box.x - face.box.x, face.crop_box.y - face.box.y
        crop_box = box.moved(dx, dy).clipped(*face.crop_size)
        if crop_box.size < 1:
            raise ValueError("the box is too far from the face that was collected; move it back, or skip this face")
        self.write(replace(face, box=crop_box.moved(-dx, -dy), crop_box=crop_box))

    def to_label(self) -> list[CollectedFace]:
        """The faces without a verdict, the most useful first: disagreements, then the lowest confidence."""
        open_faces = (face for face in self.faces() if not face.verdict)
        return sorted(open_faces, key=lambda face: (face.reason != "disagreement", face.confidence))

    def counts(self) -> Counter[tuple[str, str]]:
        """Faces by reason and by the label that a person gave ('' if none)."""
        return Counter((face.reason, face.known_label or "") for face in self.faces())


def _read(path: Path) -> CollectedFace | None:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        for name in ("box", "crop_box"):
            record[name] = Box(**record[name])
        for name in ("size", "crop_size"):
            record[name] = tuple(record[name])
        record["others"] = tuple(Box(**box) for box in record["others"])
        return CollectedFace(**record)
    except (OSError, ValueError, KeyError, TypeError):
        return None
