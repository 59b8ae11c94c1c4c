"""What goes into the event file and comes out of it."""

from dataclasses import dataclass, replace

from app.alerts.outbox import Delivery
from app.core.errors import OutputError
from app.core.types import Event

HOUR_S = 3600


class StoreError(OutputError):
    """The event file cannot be used now. ``damaged`` where waiting will not help, ``gone`` where it is no longer in its
    place: what was written to it last is lost."""

    def __init__(self, message: str, damaged: bool = False, gone: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
        self.gone = gone


def hour_of(wall_s: float) -> int:
    """The Unix time at which the hour of ``wall_s`` began."""
    return int(wall_s // HOUR_S) * HOUR_S


@dataclass(frozen=True, slots=True)
class Presence:
    """People seen by one camera in the hour that starts at Unix time ``hour_s``, each counted once, as the monitor's
    census counts them."""

    camera: str
    hour_s: int
    masked: int = 0
    bare: int = 0
    incorrect: int = 0

    @property
    def people(self) -> int:
        return self.masked + self.bare + self.incorrect

    @property
    def compliance(self) -> float | None:
        """The share that wore a mask as it should be worn, 0 to 1; ``None`` where nobody was seen."""
        return self.masked / self.people if self.people else None

    def plus(self, other: "Presence") -> "Presence":
        masked, bare, incorrect = self.masked + other.masked, self.bare + other.bare, self.incorrect + other.incorrect
        return Presence(self.camera, self.hour_s, masked, bare, incorrect)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: Unix times from ``since_s`` (included) to ``until_s`` (not included); empty means all."""

    since_s: float | None = None
    until_s: float | None = None
    cameras: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def whole_hours(self) -> "EventFilter":
        """With all of the hours in which the times lie: people are counted by hours alone."""
        since_s, until_s = self.since_s, self.until_s
        return replace(
            self,
            since_s=None if since_s is None else since_s // HOUR_S * HOUR_S,
            until_s=None if until_s is None else -(-until_s // HOUR_S) * HOUR_S,
        )

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
    """What one transaction writes: events each with its picture, deliveries as they stand, people to add."""

    events: tuple[tuple[Event, bytes | None], ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    presence: tuple[Presence, ...] = ()


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What a purge or the retention took away."""

    events: int = 0
    pictures: int = 0
    hours: int = 0
    files: int = 0
