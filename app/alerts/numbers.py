"""People, rates and watched time of a period and of its cameras, and the comparison with an earlier period."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo

from app.alerts.event_store import EventStore
from app.alerts.export import ALERT_KINDS, HourRow, by_hour, total
from app.alerts.store_types import EventFilter
from app.core.camera_hours import CameraHour
from app.core.period import Period
from app.core.rate import Rate, difference, wilson
from app.core.translation import gettext
from app.core.types import Event

MIN_PEOPLE = 20
"""No rate is given for fewer people: its 95 % interval could be wider than 40 points."""
LITTLE_WATCHED = 0.9
"""A camera that was watched for a smaller share of the time is reported."""


def rate_of(seen: CameraHour) -> Rate | None:
    """The share of people who wore a mask correctly; None for too few people."""
    return wilson(seen.masked, seen.people) if seen.people >= MIN_PEOPLE else None


def rate_text(seen: CameraHour) -> str:
    """``93% (90 to 95%)`` with the 95 % interval, or why there is no rate."""
    rate = rate_of(seen)
    if rate is None:
        nobody = gettext("nobody seen") if seen.watched_s else gettext("not watched")
        return gettext("too few people (%(count)s)", count=seen.people) if seen.people else nobody
    share, low, high = (f"{100 * value:.0f}" for value in (rate.share, rate.low, rate.high))
    return gettext("%(share)s%% (%(low)s to %(high)s%%)", share=share, low=low, high=high)


def change_text(now: CameraHour, before: CameraHour) -> str:
    """How the rate changed in percentage points, if that is more than chance at 95 %."""
    new, old = rate_of(now), rate_of(before)
    if new is None or old is None:
        return gettext("too few people to compare")
    low, high = difference(new, old)
    if low <= 0 <= high:
        return gettext("no clear change")
    change, low_text, high_text = (f"{100 * value:+.0f}" for value in (new.share - old.share, low, high))
    return gettext("%(change)s points (%(low)s to %(high)s)", change=change, low=low_text, high=high_text)


class Numbers:
    """The hours and alerts that were counted in some time until ``until_s`` (Unix time)."""

    def __init__(self, hours: Iterable[CameraHour], alerts: Iterable[Event], until_s: float) -> None:
        self._until_s = until_s
        self._hours: dict[str, list[CameraHour]] = defaultdict(list)
        self._alerts: dict[str, list[Event]] = defaultdict(list)
        for hour in hours:
            self._hours[hour.camera].append(hour)
        for event in alerts:
            self._alerts[event.camera].append(event)

    def cameras(self, since_s: float, until_s: float) -> list[str]:
        """Those with anything counted in this time, by name."""
        hours = {name for name, rows in self._hours.items() if any(since_s <= row.hour_s < until_s for row in rows)}
        return sorted(hours | {name for name in self._alerts if self.alerts(since_s, until_s, [name])})

    def alerts(self, since_s: float, until_s: float, cameras: Iterable[str]) -> list[Event]:
        return [each for name in cameras for each in self._alerts.get(name, ()) if since_s <= each.wall_s < until_s]

    def rows(self, since_s: float, until_s: float, cameras: Sequence[str]) -> list[HourRow]:
        """By hour, oldest first. A camera that was watched before ``since_s`` and not since then was not running."""
        until_s = min(until_s, self._until_s)
        hours = [hour for name in cameras for hour in self._hours.get(name, ()) if hour.hour_s < until_s]
        rows = by_hour(hours, self.alerts(since_s, until_s, cameras), until_s)
        return [row for row in rows if row.hour_s >= since_s]


def read_numbers(store: EventStore, since_s: float, until_s: float, now_s: float) -> Numbers:
    kinds = tuple(kind.value for kind in ALERT_KINDS)
    return Numbers(
        store.hours(EventFilter(since_s, until_s)),
        store.events(EventFilter(since_s, until_s, kinds=kinds)),
        min(now_s, until_s),
    )


def by_day(rows: Sequence[HourRow], period: Period) -> list[tuple[Period, HourRow]]:
    """The days of ``period`` with their sums."""
    spans = [(day, day.since_s, day.until_s) for day in period.days]
    return [(day, total([row for row in rows if since_s <= row.hour_s < until_s])) for day, since_s, until_s in spans]


def by_hour_of_day(rows: Sequence[HourRow], zone: tzinfo | None = None) -> list[tuple[int, HourRow]]:
    """The local hours from 0 to 23 with the sums of all days."""
    hours: dict[int, list[HourRow]] = {hour: [] for hour in range(24)}
    for row in rows:
        hours[datetime.fromtimestamp(row.hour_s, zone).hour].append(row)
    return [(hour, total(each)) for hour, each in hours.items()]


def by_group(cameras: Iterable[tuple[str, HourRow]], group_of: Callable[[str], str]) -> list[tuple[str, HourRow]]:
    """The sums of each group with a name."""
    groups: dict[str, list[HourRow]] = defaultdict(list)
    for name, row in cameras:
        groups[group_of(name)].append(row)
    return [(name, total(rows)) for name, rows in sorted(groups.items()) if name]


def worst_hours(rows: Sequence[HourRow]) -> list[HourRow]:
    """The three hours with the lowest rates, of those with enough people and at least one without a correct mask."""
    rated = [row for row in rows if rate_of(row.seen) is not None and row.seen.masked < row.seen.people]
    return sorted(rated, key=lambda row: row.seen.compliance or 0.0)[:3]


def little_watched(cameras: Iterable[tuple[str, HourRow]]) -> list[tuple[str, HourRow]]:
    """The least watched first; an unknown watched time is no fault."""
    poor = [(name, row) for name, row in cameras if row.watched is not None and row.watched < LITTLE_WATCHED]
    return sorted(poor, key=lambda each: each[1].watched or 0.0)
