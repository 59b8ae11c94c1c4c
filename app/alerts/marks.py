"""What people said about stored events: acknowledgements and verdicts, each with who did it and when."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from app.alerts.event_store import EventStore
from app.core.types import Label

_IDS_PER_QUERY = 500  # SQLite allows 999 variables


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
    marks: dict[str, Marks] = {}
    wanted = list(ids)
    with store.transaction() as db:
        for at in range(0, len(wanted), _IDS_PER_QUERY):
            part = wanted[at : at + _IDS_PER_QUERY]
            where = f"WHERE event_id IN ({','.join('?' * len(part))})"
            for event_id, wall_s, actor in db.execute(
                f"SELECT event_id, wall_s, actor FROM acknowledged {where}", part
            ):
                marks[event_id] = Marks(wall_s, actor)
            columns = "event_id, verdict, label, wall_s, actor"
            for event_id, *verdict in db.execute(f"SELECT {columns} FROM verdicts {where}", part):
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
