"""Thresholds from verdicts: the lowest one with the wanted rate of false alerts."""

from dataclasses import replace

import pytest
from fakes_review import event

from app.alerts.marks import Marks
from app.core.camera_hours import CameraHour
from app.core.types import Event, EventKind
from app.review.alert_rate import AlertRate, alert_rates

RATE = AlertRate("door", 10, 40, right=(0.9, 0.95, 0.99, 0.995), false=(0.6, 0.7, 0.8, 0.85, 0.9, 0.98))


@pytest.mark.parametrize(
    ("wanted", "threshold", "kept"),
    [(3.0, 0.0, 4), (2.4, 0.0, 4), (2.0, 0.601, 4), (1.0, 0.851, 4), (0.5, 0.901, 3), (0.1, 0.981, 2)],
)
def test_the_lowest_threshold_with_the_wanted_rate(wanted: float, threshold: float, kept: int) -> None:
    """Of 40 alerts, 10 have a verdict: each false one stands for 4, in 10 days."""
    assert RATE.false_per_day() == pytest.approx(2.4)
    assert RATE.threshold_for(wanted) == pytest.approx(threshold)
    assert RATE.false_per_day(threshold) <= wanted
    assert RATE.kept(threshold) == kept


def test_no_threshold_stops_a_false_alert_that_is_certain() -> None:
    assert replace(RATE, false=(*RATE.false, 1.0)).threshold_for(0.01) is None


def test_cameras_with_few_verdicts_are_left_out_and_quiet_days_count() -> None:
    events: list[Event] = []
    marks: dict[str, Marks] = {}
    for number in range(12):
        events.append(event(number, wall_s=1e9 + number, confidence=0.8))
        marks[events[-1].id] = Marks(verdict="no_face" if number < 4 else "right")
    yard = replace(event(100, wall_s=1e9), camera="yard")
    events += [yard, event(101, kind=EventKind.RESOLVED, wall_s=1e9)]
    hours = [CameraHour("door", int(1e9) + 86_400 * day, watched_s=60.0) for day in range(4)]
    (rate,) = alert_rates(events, marks, hours)
    assert (rate.camera, rate.days, rate.alerts, rate.judged) == ("door", 4, 12, 12)
    assert rate.false_per_day() == pytest.approx(1.0)
