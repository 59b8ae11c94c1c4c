"""The records that the event file stores, and the error it raises."""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from operator import add

from app.alerts.hook import idempotency_key
from app.core.camera_hours import HOUR_S, CameraHour, Occupancy
from app.core.errors import OutputError
from app.core.types import Event


class StoreError(OutputError):
    """The event file cannot be used. ``damaged``: retrying does not help."""

    def __init__(self, message: str, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


class StoreInUseError(StoreError):
    """Another program watches with the same event file."""


class Status(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert for one channel. ``created_s`` and ``updated_s`` are Unix times."""

    event: Event
    channel: str
    created_s: float
    updated_s: float
    status: Status = Status.PENDING
    attempts: int = 0
    error: str = ""

    @property
    def key(self) -> str:
        return idempotency_key(self.event, self.channel)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects events by Unix time from ``since_s`` (included) to ``until_s`` (excluded). Empty means all."""

    since_s: float | None = None
    until_s: float | None = None
    cameras: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def whole_hours(self) -> "EventFilter":
        """Extends the range to whole hours, because people are counted by the hour."""
        since_s, until_s = self.since_s, self.until_s
        return replace(
            self,
            since_s=None if since_s is None else since_s // HOUR_S * HOUR_S,
            until_s=None if until_s is None else -(-until_s // HOUR_S) * HOUR_S,
        )

    def takes_hour(self, hour: CameraHour) -> bool:
        """Whether ``hour`` is in the range and of one of the cameras."""
        since_s, until_s = self.since_s or -math.inf, math.inf if self.until_s is None else self.until_s
        return since_s <= hour.hour_s < until_s and (not self.cameras or hour.camera in self.cameras)

    def where(self, time_column: str, with_kinds: bool = True) -> tuple[str, list[object]]:
        """An SQL condition and its values."""
        terms: list[str] = []
        values: list[object] = []
        for sign, limit in ((">=", self.since_s), ("<", self.until_s)):
            if limit is not None:
                terms.append(f"{time_column} {sign} ?")
                values.append(limit)
        for column, wanted in (("camera", self.cameras), ("kind", self.kinds if with_kinds else ())):
            if wanted:
                terms.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values.extend(wanted)
        return " AND ".join(terms) or "1", values


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """The content of one transaction: events with their snapshots (JPEG), deliveries, people and seconds to add, and
    the newest counts of the lines."""

    events: tuple[tuple[Event, bytes | None], ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    hours: tuple[CameraHour, ...] = ()
    occupancy: tuple[Occupancy, ...] = ()

    def plus(self, newer: "WriteBatch") -> "WriteBatch":
        """Both batches; where they differ, ``newer`` is written last and wins."""
        return WriteBatch(
            self.events + newer.events,
            self.deliveries + newer.deliveries,
            self.hours + newer.hours,
            self.occupancy + newer.occupancy,
        )

    def divided(self, belongs: Callable[[str], bool]) -> tuple["WriteBatch", "WriteBatch"]:
        """The events and deliveries whose event id ``belongs``, and everything else."""
        events = tuple(each for each in self.events if belongs(each[0].id))
        deliveries = tuple(each for each in self.deliveries if belongs(each.event.id))
        other_events = tuple(each for each in self.events if each not in events)
        other_deliveries = tuple(each for each in self.deliveries if each not in deliveries)
        return WriteBatch(events, deliveries), replace(self, events=other_events, deliveries=other_deliveries)


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """How much a purge or the retention deleted; ``files`` are renamed damaged files."""

    events: int = 0
    pictures: int = 0
    hours: int = 0
    files: int = 0

    def plus(self, other: "PurgeResult") -> "PurgeResult":
        return PurgeResult(*map(add, astuple(self), astuple(other)))
