"""Days, weeks and months: clock changes in both directions, ends of months, ISO weeks, part of a period."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from app.core.period import FIRST_DAY, LAST_DAY, Period, Span

BERLIN, HAVANA, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Havana"), ZoneInfo("Asia/Kolkata")


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, "2026-03-29", 23),
        (BERLIN, "2026-10-25", 25),
        (BERLIN, "2026-11-26", 24),
        (HAVANA, "2024-03-10", 23),  # the clock goes from 00:00 to 01:00: there is no midnight
        (HAVANA, "2024-11-03", 25),  # and from 01:00 to 00:00: midnight occurs twice
        (ZoneInfo("Africa/Cairo"), "2026-04-24", 23),
        (ZoneInfo("UTC"), "2026-03-29", 24),
    ],
)
def test_a_day_has_23_to_25_hours(zone: ZoneInfo, day: str, hours: int) -> None:
    period = Period.of(Span.DAY, date.fromisoformat(day), zone)
    assert (period.until_s - period.since_s) / 3600 == hours
    first = datetime.fromtimestamp(period.since_s, zone)
    assert first.date() == period.first
    assert datetime.fromtimestamp(period.since_s - 1, zone).date() < period.first


def test_weeks_with_clock_changes_are_an_hour_shorter_or_longer() -> None:
    for day, hours in (("2026-03-25", 167), ("2026-10-25", 169), ("2026-11-26", 168)):
        week = Period.of(Span.WEEK, date.fromisoformat(day), BERLIN)
        assert (week.until_s - week.since_s) / 3600 == hours
        assert [each.first.weekday() for each in week.days] == list(range(7))
        assert week.days[0].since_s == week.since_s
        assert week.days[-1].until_s == week.until_s


@pytest.mark.parametrize(
    ("day", "first", "title"),
    [
        ("2027-01-03", "2026-12-28", "week 53, 28 December 2026 to 3 January 2027"),
        ("2026-01-01", "2025-12-29", "week 1, 29 December 2025 to 4 January 2026"),
        ("2026-11-23", "2026-11-23", "week 48, 23 November to 29 November 2026"),
    ],
)
def test_weeks_are_those_of_iso_8601(day: str, first: str, title: str) -> None:
    week = Period.of(Span.WEEK, date.fromisoformat(day))
    assert (week.first.isoformat(), week.title) == (first, title)


def test_months_have_their_own_length() -> None:
    march = Period.of(Span.MONTH, date(2028, 3, 31), BERLIN)
    assert [march.moved(k).first.isoformat() for k in (-3, -1, 0, 10)] == [
        "2027-12-01", "2028-02-01", "2028-03-01", "2029-01-01",
    ]  # fmt: skip
    assert len(march.moved(-1).days) == 29
    assert (march.until_s - march.since_s) / 3600 == 31 * 24 - 1
    assert march.title == "March 2028"


def test_periods_of_a_kind_follow_each_other_without_gap() -> None:
    for zone in (BERLIN, HAVANA, KOLKATA, None):
        for span in Span:
            period = Period.of(span, date(2025, 12, 31), zone)
            for _ in range(60):
                assert period.until_s == period.moved(1).since_s > period.since_s
                assert Period.of(span, period.days[-1].first, zone) == period
                assert period.since_s % 3600 == 0
                period = period.moved(1)


def test_days_beyond_the_limits_are_the_limits() -> None:
    assert Period.of(Span.DAY, date.min).first == FIRST_DAY
    assert Period.of(Span.MONTH, date.max).first == LAST_DAY.replace(day=1)


@pytest.mark.parametrize(
    ("span", "now", "end"),
    [
        (Span.DAY, "2026-03-30T14:20", "2026-03-29T15:00"),  # the hour that has begun counts
        (Span.WEEK, "2026-10-27T09:30", "2026-10-20T10:00"),  # the clock changed in between
        (Span.MONTH, "2026-03-31T12:00", "2026-03-01T00:00"),  # February has no such day
    ],
)
def test_a_part_of_a_period_is_compared_with_the_same_part(span: Span, now: str, end: str) -> None:
    period = Period.of(span, date.fromisoformat(now[:10]), BERLIN)
    now_s, end_s = (datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() for text in (now, end))
    assert period.moved(-1).end_of_same_part(period, now_s) == end_s
    assert period.moved(-1).end_of_same_part(period, period.until_s) == period.since_s, "a whole one with a whole one"


def test_hours_of_a_zone_with_half_hours_begin_before_midnight() -> None:
    day = Period.of(Span.DAY, date(2026, 11, 26), KOLKATA)
    assert datetime.fromtimestamp(day.since_s, UTC).isoformat() == "2026-11-25T18:00:00+00:00"
