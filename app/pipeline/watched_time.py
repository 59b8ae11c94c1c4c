"""Measures for how long each camera was really watched, and why it was not. A pure state machine.

Time between two results is watched. Whether the time since the last result is watched is only known at the next result,
or when the camera is known to be offline, paused or behind; until then it is kept.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.core.camera_hours import CameraHour, hour_of

REPORT_EVERY_S = 30.0
"""A program that is killed loses at most this much watched time."""


class NotWatched(StrEnum):
    """Why the images of a camera are not analysed. ``BEHIND``: frames arrive, but the next result is overdue."""

    OFFLINE = "offline"
    PAUSED = "paused"
    BEHIND = "behind"


@dataclass(frozen=True, slots=True)
class Activity:
    """What a camera does: the number of its ``results`` so far, and why none arrive (None: they do, or it is not known
    yet). ``is_quiet``: the schedule allows no alert now."""

    camera: str
    results: int
    why_not: NotWatched | None = None
    is_quiet: bool = False


@dataclass(slots=True)
class _Camera:
    results: int
    unknown_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))  # by hour


class WatchedTime:
    """Adds up the time of all cameras by hour."""

    def __init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}
        self._hours: dict[tuple[str, int], CameraHour] = {}
        self._now_s = self._reported_s = 0.0

    def step(self, now_s: float, wall_s: float, activities: Iterable[Activity]) -> None:
        """Call it several times a second. ``now_s``: seconds for which the process has run, as of ``AwakeClock``;
        ``wall_s``: Unix time."""
        passed_s, self._now_s = now_s - self._now_s, now_s
        for activity in activities:
            self._add(activity, passed_s, hour_of(wall_s))

    def _add(self, activity: Activity, passed_s: float, hour_s: int) -> None:
        name = activity.camera
        state = self._cameras.setdefault(name, _Camera(activity.results))
        state.unknown_s[hour_s] += passed_s
        is_watched = activity.results != state.results
        if not is_watched and activity.why_not is None:
            return
        kinds = [f"{activity.why_not}_s"]
        if is_watched:
            kinds = ["watched_s", "quiet_s"] if activity.is_quiet else ["watched_s"]
        for start_s, seconds in state.unknown_s.items():
            old = self._hours.get((name, start_s), CameraHour(name, start_s))
            self._hours[name, start_s] = replace(old, **{kind: getattr(old, kind) + seconds for kind in kinds})
        state.results = activity.results
        state.unknown_s.clear()

    @property
    def is_due(self) -> bool:
        return self._now_s - self._reported_s >= REPORT_EVERY_S

    def take(self) -> Sequence[CameraHour]:
        """What was added up since the last call."""
        hours, self._hours, self._reported_s = tuple(self._hours.values()), {}, self._now_s
        return hours
