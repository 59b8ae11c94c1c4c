"""The watched time of cameras by hour."""

import pytest

from app.core.camera_hours import CameraHour
from app.pipeline.watched_time import REPORT_EVERY_S, Activity, NotWatched, WatchedTime

HOUR_S = 3600
STEP_S = 0.25


class Clock:
    """Steps a ``WatchedTime`` with one camera, 'door'. ``results``: results so far."""

    def __init__(self, wall_s: float = 10.0 * HOUR_S) -> None:
        self.time = WatchedTime()
        self.now_s, self.wall_s, self.results = 0.0, wall_s, 0
        self.step(0.0)

    def step(self, seconds: float, result: bool = True, why_not: NotWatched | None = None, quiet: bool = False) -> None:
        for _ in range(max(1, round(seconds / STEP_S))):
            self.now_s += STEP_S if seconds else 0.0
            self.wall_s += STEP_S if seconds else 0.0
            self.results += result
            self.time.step(self.now_s, self.wall_s, [Activity("door", self.results, why_not, quiet)])

    def hour(self) -> CameraHour:
        (hour,) = self.time.take()
        return hour


def test_each_second_is_watched_or_has_a_reason() -> None:
    clock = Clock()
    clock.step(10.0)
    clock.step(5.0, result=False, why_not=NotWatched.OFFLINE)
    clock.step(3.0, result=False, why_not=NotWatched.PAUSED)
    clock.step(2.0, result=False, why_not=NotWatched.BEHIND)
    clock.step(4.0, quiet=True)
    expected = CameraHour("door", 10 * HOUR_S, 0, 0, 0, 14.0, offline_s=5.0, paused_s=3.0, behind_s=2.0, quiet_s=4.0)
    assert clock.hour() == expected
    assert expected.running_s == clock.now_s
    assert clock.time.take() == ()


@pytest.mark.parametrize(
    ("why_not", "watched_s"), [(None, 10.0), (NotWatched.OFFLINE, 4.25), (NotWatched.BEHIND, 4.25)]
)
def test_the_time_before_a_stall_is_noticed_gets_its_reason_too(why_not: NotWatched | None, watched_s: float) -> None:
    """Otherwise a camera that flickers would count as watched."""
    clock = Clock()
    clock.step(4.0)
    clock.step(3.0, result=False)
    clock.step(2.75, result=False, why_not=why_not)
    clock.step(0.25)
    hour = clock.hour()
    assert (hour.watched_s, hour.running_s) == (watched_s, 10.0)


def test_a_camera_with_one_image_a_minute_is_watched() -> None:
    clock = Clock()
    for _ in range(3):
        clock.step(59.75, result=False)
        clock.step(0.25)
    assert clock.hour().watched_s == 180.0


def test_time_belongs_to_the_hour_of_the_wall_clock_even_if_it_is_set() -> None:
    clock = Clock(10 * HOUR_S + 3598.0)
    clock.step(4.0, result=False)
    clock.step(0.25)
    clock.wall_s -= HOUR_S  # the end of summer time does not do this: the hours are in UTC
    clock.step(1.0)
    assert {hour.hour_s // HOUR_S: hour.watched_s for hour in clock.time.take()} == {10: 2.75, 11: 2.5}


def test_the_time_is_reported_so_often_that_a_kill_loses_little() -> None:
    clock, due = Clock(), []
    for _ in range(100):
        clock.step(1.0)
        if clock.time.is_due:
            due.append(sum(hour.watched_s for hour in clock.time.take()))
    assert due == [REPORT_EVERY_S] * 3
