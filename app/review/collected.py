"""The folder of collected faces: for each a crop, the whole scene if wanted, and a record."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.core.files import write_json
from app.core.types import Box, Label
from app.review.picture_folder import PictureFolder

CROP, RECORD, SCENE = ".face.jpg", ".face.json", ".scene.jpg"
REASONS = ("event", "verdict", "unsure", "disagreement", "random")
"""Why a face was collected; an event becomes a ``verdict`` when a person contradicts the model."""


@dataclass(frozen=True, slots=True)
class CollectedFace:
    """One collected face. ``box``, in pixels, belongs to the scene of ``size`` (width, height), ``crop_box`` to the
    crop. ``label`` and ``confidence`` are the model's. ``others``: the blurred faces of the scene. ``verdict`` and
    ``right_label``: what a person said about its event."""

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


class CollectedFaces:
    """Reads and writes the records. A record that cannot be read is skipped."""

    def __init__(self, folder: PictureFolder) -> None:
        self.folder = folder

    def faces(self) -> Iterator[CollectedFace]:
        """All faces, oldest first."""
        found = [face for path in self.folder.path.glob(f"*{RECORD}") if (face := _read(path)) is not None]
        yield from sorted(found, key=lambda face: (face.wall_s, face.id))

    def write(self, face: CollectedFace) -> None:
        """Raises OSError."""
        write_json(self.folder.file(face.id, RECORD), asdict(face))

    def judge(self, event_id: str, verdict: str, label: str) -> None:
        """Adds a verdict to the face of an event, if it was collected. Raises OSError."""
        face = _read(self.folder.file(event_id, RECORD))
        if face is not None:
            reason = "verdict" if verdict in ("no_face", "wrong_label") else "event"
            self.write(replace(face, reason=reason, verdict=verdict, right_label=label))

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
