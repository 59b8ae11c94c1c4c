"""What a camera counted: the people of an hour, and who passed its lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import add, attrgetter

from app.core.types import Event

HOUR_S = 3600


def hour_of(wall_s: float) -> int:
    """The Unix time at which the hour of ``wall_s`` starts."""
    return int(wall_s // HOUR_S) * HOUR_S


@dataclass(frozen=True, slots=True)
class CameraHour:
    """What one camera did in the hour that starts at Unix time ``hour_s``: the people that it saw, each counted once;
    the seconds in which its images were analysed; and those in which they were not, by reason. ``quiet_s`` is the part
    of ``watched_s`` in which the schedule allowed no alert."""

    camera: str
    hour_s: int
    masked: int = 0
    bare: int = 0
    incorrect: int = 0
    watched_s: float = 0.0
    offline_s: float = 0.0
    paused_s: float = 0.0
    behind_s: float = 0.0
    quiet_s: float = 0.0

    @property
    def people(self) -> int:
        return self.masked + self.bare + self.incorrect

    @property
    def compliance(self) -> float | None:
        """The share of people who wore a mask correctly, 0 to 1; ``None`` if nobody was seen."""
        return self.masked / self.people if self.people else None

    @property
    def running_s(self) -> float:
        """The seconds for which maskwatch ran with this camera; 0 also if an older version recorded the hour."""
        return self.watched_s + self.offline_s + self.paused_s + self.behind_s

    def plus(self, other: "CameraHour") -> "CameraHour":
        """The sums of both, with the camera and the hour of this one."""
        return CameraHour(self.camera, self.hour_s, *map(add, _counts_of(self), _counts_of(other)))


COUNTED_FIELDS = tuple(each.name for each in fields(CameraHour))[2:]
"""The fields of a ``CameraHour`` that are added up."""
_counts_of = attrgetter(*COUNTED_FIELDS)


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Who passed the counting lines of a camera since Unix time ``since_s``: how many came in and went out, by line.
    ``inside`` is never below 0: who went out and was not seen coming in was inside. ``alert``: the event that the limit
    is reached, while it is."""

    camera: str
    since_s: float = 0.0
    lines: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    inside: int = 0
    alert: Event | None = None

    @property
    def entered(self) -> int:
        return sum(entered for entered, _ in self.lines.values())

    @property
    def exited(self) -> int:
        return sum(exited for _, exited in self.lines.values())
