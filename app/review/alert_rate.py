"""Chooses how confident a label must be to alert, for a wanted rate of false alerts, from the verdicts on alerts."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.alerts.export import ALERT_KINDS
from app.alerts.marks import Marks, Verdict
from app.core.camera_hours import CameraHour
from app.core.types import Event
from app.review.picture_folder import day_of

MIN_VERDICTS = 10


@dataclass(frozen=True, slots=True)
class AlertRate:
    """The alerts of one camera on ``days`` days. ``right`` and ``false``: the confidences of those with a verdict."""

    camera: str
    days: int
    alerts: int
    right: tuple[float, ...]
    false: tuple[float, ...]

    @property
    def judged(self) -> int:
        return len(self.right) + len(self.false)

    def false_per_day(self, threshold: float = 0.0) -> float:
        """With the share of false alerts among those with a verdict."""
        return sum(each >= threshold for each in self.false) * self.alerts / self.judged / self.days

    def kept(self, threshold: float) -> int:
        """How many of the right alerts are left."""
        return sum(each >= threshold for each in self.right)

    def threshold_for(self, wanted_per_day: float) -> float | None:
        """The lowest threshold with at most the wanted rate, 0 if none is needed; None if it would have to be 1."""
        for threshold in (0.0, *(math.floor(each * 1000 + 1) / 1000 for each in sorted(self.false))):
            if self.false_per_day(threshold) <= wanted_per_day:
                return threshold if threshold < 1 else None
        return None


def alert_rates(events: Iterable[Event], marks: Mapping[str, Marks], hours: Iterable[CameraHour]) -> list[AlertRate]:
    """By camera; those with fewer than ``MIN_VERDICTS`` verdicts are left out. ``hours``: when they were watched."""
    watched = [(hour.camera, day_of(hour.hour_s)) for hour in hours if hour.watched_s]
    alerts = [event for event in events if event.kind in ALERT_KINDS]
    rates = []
    for camera in dict.fromkeys(event.camera for event in alerts):
        own = [event for event in alerts if event.camera == camera]
        by_verdict: dict[str, list[float]] = {}
        for event in own:
            by_verdict.setdefault(marks.get(event.id, Marks()).verdict, []).append(event.confidence)
        false = (*by_verdict.get(Verdict.NO_FACE, ()), *by_verdict.get(Verdict.WRONG_LABEL, ()))
        days = len({day_of(event.wall_s) for event in own} | {day for name, day in watched if name == camera})
        rate = AlertRate(camera, days, len(own), tuple(by_verdict.get(Verdict.RIGHT, ())), false)
        if rate.judged >= MIN_VERDICTS:
            rates.append(rate)
    return rates
