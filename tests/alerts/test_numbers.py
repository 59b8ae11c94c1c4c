"""Numbers of a period: exact sums from a seeded event file, no rate from too little, comparisons beyond chance."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fakes_alerts import make_event

from app.alerts.event_store import EventStore
from app.alerts.export import total
from app.alerts.numbers import (
    MIN_PEOPLE,
    by_day,
    by_group,
    by_hour_of_day,
    change_text,
    little_watched,
    rate_text,
    read_numbers,
    worst_hours,
)
from app.alerts.store_types import WriteBatch
from app.core.camera_hours import CameraHour
from app.core.period import Period, Span
from app.core.types import EventKind

BERLIN = ZoneInfo("Europe/Berlin")


def unix_s(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp())


def hour(
    camera: str, text: str, masked: int, bare: int = 0, watched_s: float = 3600.0, offline_s: float = 0.0
) -> CameraHour:
    return CameraHour(camera, unix_s(text), masked, bare, watched_s=watched_s, offline_s=offline_s)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """The week of the change to winter time, in which Sunday has two hours from 02:00."""
    sunday = Period.of(Span.DAY, date(2026, 10, 25), BERLIN)
    hours = (
        hour("door", "2026-10-18T12:00", 40, 10),
        hour("door", "2026-10-19T00:00", 18, 2),
        hour("door", "2026-10-23T12:00", 30, 10, watched_s=1800, offline_s=1800),
        CameraHour("door", sunday.since_s + 2 * 3600, 1, watched_s=3600),
        CameraHour("door", sunday.since_s + 3 * 3600, 2, watched_s=3600),
        hour("yard", "2026-10-25T23:00", 5, 1),
        hour("yard", "2026-10-26T00:00", 100),
    )
    events = [make_event(EventKind.NO_MASK, "door", unix_s(text)) for text in ("2026-10-19T00:00", "2026-10-25T23:59")]
    events += [make_event(EventKind.NO_MASK, "door", unix_s("2026-10-26T00:00"))]
    events += [make_event(EventKind.RESOLVED, "door", unix_s("2026-10-20T10:00"))]
    store = EventStore(tmp_path / "events.db")
    store.write(WriteBatch(tuple((event, None) for event in events), hours=hours), 0.0)
    return store


def test_numbers_of_a_week_are_exact(store: EventStore) -> None:
    week = Period.of(Span.WEEK, date(2026, 10, 25), BERLIN)
    with store:
        numbers = read_numbers(store, week.moved(-1).since_s, week.until_s, week.until_s + 1e6)
    assert numbers.cameras(week.since_s, week.until_s) == ["door", "yard"]
    assert numbers.cameras(week.moved(-1).since_s, week.since_s) == ["door"]
    rows = numbers.rows(week.since_s, week.until_s, ["door", "yard"])
    sums = total(rows)
    assert (sums.seen.masked, sums.seen.bare, sums.seen.people, sums.alerts) == (56, 13, 69, 2)
    assert (sums.seen.watched_s, sums.seen.offline_s) == (5 * 3600 - 1800, 1800)
    door = total(numbers.rows(week.since_s, week.until_s, ["door"]))
    assert door.not_running_s == 165 * 3600, "the week has 169 hours, and the camera was watched before it"
    assert (door.seen.people, door.alerts) == (63, 2)
    days = {day.first.day: row for day, row in by_day(rows, week)}
    assert [days[day].seen.people for day in range(19, 26)] == [20, 0, 0, 0, 40, 0, 9]
    assert [days[day].alerts for day in range(19, 26)] == [1, 0, 0, 0, 0, 0, 1]
    hours = dict(by_hour_of_day(rows, BERLIN))
    assert list(hours) == list(range(24))
    assert {h: row.seen.people for h, row in hours.items() if row.seen.people} == {0: 20, 2: 3, 12: 40, 23: 6}
    before = total(numbers.rows(week.moved(-1).since_s, week.since_s, ["door"]))
    assert before.seen.people == 50
    assert total(numbers.rows(week.moved(-1).since_s, unix_s("2026-10-18T12:00"), ["door"])).seen.people == 0
    assert [row.hour_s for row in worst_hours(rows)] == [unix_s("2026-10-23T12:00"), unix_s("2026-10-19T00:00")]
    cameras = [(name, total(numbers.rows(week.since_s, week.until_s, [name]))) for name in ("door", "yard")]
    assert [name for name, _ in little_watched(cameras)] == ["door"]
    groups = by_group(cameras, {"door": "Floor 1", "yard": ""}.__getitem__)
    assert [(name, row.seen.people) for name, row in groups] == [("Floor 1", 63)]


def test_a_running_period_ends_now(store: EventStore) -> None:
    week = Period.of(Span.WEEK, date(2026, 10, 25), BERLIN)
    now_s = unix_s("2026-10-23T12:30")
    with store:
        numbers = read_numbers(store, week.since_s, week.until_s, now_s)
    row = total(numbers.rows(week.since_s, week.until_s, ["door"]))
    assert row.seen.people == 60
    assert row.not_running_s == now_s - week.since_s - 3600 - 1800, "the rest of the week is not missing"


def test_no_rate_is_given_for_too_few_people() -> None:
    assert rate_text(CameraHour("", 0)) == "not watched"
    assert rate_text(CameraHour("", 0, watched_s=60)) == "nobody seen"
    assert rate_text(CameraHour("", 0, MIN_PEOPLE - 1)) == f"too few people ({MIN_PEOPLE - 1})"
    assert rate_text(CameraHour("", 0, 18, 1, 1)) == "90% (70 to 97%)"
    assert change_text(CameraHour("", 0, 500, 0), CameraHour("", 0, 0, 19)) == "too few people to compare"
    assert change_text(CameraHour("", 0, 90, 10), CameraHour("", 0, 85, 15)) == "no clear change"
    assert change_text(CameraHour("", 0, 950, 50), CameraHour("", 0, 850, 150)) == "+10 points (+7 to +13)"
    assert change_text(CameraHour("", 0, 850, 150), CameraHour("", 0, 950, 50)) == "-10 points (-13 to -7)"
    assert worst_hours([]) == []
