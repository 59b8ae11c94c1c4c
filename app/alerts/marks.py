"""What people said about stored events: acknowledgements and verdicts, each with who did it and when."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from app.alerts.event_store import EACH_ID, EventStore
from app.core.types import Label


class Verdict(StrEnum):
    RIGHT = "right"
    NO_FACE = "no_face"
    WRONG_LABEL = "wrong_label"
    UNSURE = "unsure"


RIGHT_LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
"""The labels that a verdict ``wrong_label`` may name as the right one."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one event. Times are Unix times; ``actor`` says who, as far as it is known. ``label``: the right one
    if the verdict is ``wrong_label``, else ''."""

    acknowledged_s: float | None = None
    acknowledged_by: str = ""
    verdict: str = ""
    label: str = ""
    verdict_s: float | None = None
    verdict_by: str = ""

    def acknowledged(self, wall_s: float, actor: str) -> "Marks":
        """The first acknowledgement counts."""
        return self if self.acknowledged_s else replace(self, acknowledged_s=wall_s, acknowledged_by=actor)

    def judged(self, verdict: str, label: str, wall_s: float, actor: str) -> "Marks":
        """The last verdict counts."""
        return replace(self, verdict=verdict, label=label, verdict_s=wall_s, verdict_by=actor)


def read_marks(store: EventStore, ids: Iterable[str]) -> dict[str, Marks]:
    """The marks by event id. Events without any are left out. Raises StoreError."""
    wanted = (json.dumps(list(ids)),)
    columns = {"acknowledged": "event_id, wall_s, actor", "verdicts": "event_id, verdict, label, wall_s, actor"}
    with store.transaction() as db:
        acknowledged, verdicts = (
            db.execute(f"SELECT {names} FROM {table} WHERE event_id IN {EACH_ID}", wanted).fetchall()
            for table, names in columns.items()
        )
    marks = {event_id: Marks(*acknowledgement) for event_id, *acknowledgement in acknowledged}
    for event_id, *verdict in verdicts:
        marks[event_id] = marks.get(event_id, Marks()).judged(*verdict)
    return marks


def write_marks(store: EventStore, event_id: str, marks: Marks) -> None:
    """Stores ``marks`` if the event is stored. Raises StoreError."""
    with store.transaction() as db:
        if marks.acknowledged_s is not None:
            db.execute(
                "INSERT OR IGNORE INTO acknowledged SELECT id, ?, ? FROM events WHERE id = ?",
                (marks.acknowledged_s, marks.acknowledged_by, event_id),
            )
        if marks.verdict_s is not None:
            db.execute(
                "INSERT OR REPLACE INTO verdicts SELECT id, ?, ?, ?, ? FROM events WHERE id = ?",
                (marks.verdict, marks.label, marks.verdict_s, marks.verdict_by, event_id),
            )
