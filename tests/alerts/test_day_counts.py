"""The counts of the current day."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app.alerts.day_counts import DayCounts, day_start_s
from app.core.camera_hours import CameraHour, hour_of

NOON_S = datetime(2026, 7, 1, 12).timestamp()


@pytest.fixture(params=["UTC", "Asia/Kolkata", "America/St_Johns"], autouse=True)
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("needs tzset")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_people_of_today_are_added_by_camera_and_forgotten_at_midnight() -> None:
    counts, hour_s = DayCounts(), hour_of(NOON_S)
    counts.add([CameraHour("door", hour_s, masked=2), CameraHour("door", hour_s - 30 * 3600, masked=9)], NOON_S)
    counts.add([CameraHour("door", hour_s, bare=1), CameraHour("hall", hour_s, masked=5)], NOON_S)
    day = counts.of("door", NOON_S)
    assert (day.masked, day.bare, day.hour_s) == (2, 1, day_start_s(NOON_S))
    assert counts.of("nobody", NOON_S).people == 0
    next_day_s = NOON_S + 86_400
    assert counts.of("door", next_day_s).people == 0
    counts.add([CameraHour("door", hour_of(next_day_s), masked=1)], next_day_s)
    assert counts.of("door", next_day_s).masked == 1
    assert counts.of("hall", next_day_s).people == 0


def test_the_day_begins_with_the_hour_that_contains_midnight() -> None:
    start_s = day_start_s(NOON_S)
    assert start_s % 3600 == 0
    midnight_s = datetime.fromtimestamp(NOON_S).replace(hour=0, minute=0).timestamp()
    assert 0 <= midnight_s - start_s < 3600


def test_a_midnight_that_comes_twice_begins_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Havana")  # 01:00 became 00:00 on 3 November 2024
    time.tzset()
    first_s = int(datetime(2024, 11, 3, 4, tzinfo=UTC).timestamp())
    counts = DayCounts()
    for hour in range(3):
        counts.add([CameraHour("door", first_s + 3600 * hour, masked=1)], first_s + 3600 * hour + 1800)
        assert counts.of("door", first_s + 3600 * hour + 1800).masked == hour + 1
