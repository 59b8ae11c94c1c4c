"""Weekly opening hours: ``mon-fri 08:00-18:00``, ``sat,sun 10:00-16:00``, ``22:00-06:00``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHOLE_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MINUTES_A_DAY = 24 * 60
_HOURS = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Hours:
    """Days (0 is Monday) and minutes of the day; an end at or before the start is on the next day."""

    days: frozenset[int]
    start_min: int
    end_min: int

    def covers(self, weekday: int, minute: int) -> bool:
        if self.start_min < self.end_min:
            return weekday in self.days and self.start_min <= minute < self.end_min
        evening = weekday in self.days and minute >= self.start_min
        morning = (weekday - 1) % 7 in self.days and minute < self.end_min
        return evening or morning


def _day(name: str) -> int:
    """The number of a day's name or of its first three or more letters. Raises ValueError."""
    for number, whole in enumerate(_WHOLE_DAYS):
        if len(name) >= 3 and whole.startswith(name):
            return number
    raise ValueError(f"unknown day {name!r}; use {', '.join(DAYS)} or daily; several as 'mon-fri' or 'sat,sun'")


def _days(text: str) -> frozenset[int]:
    if text in ("daily", "*", ""):
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        start = _day(first.strip())
        span = (_day(last.strip()) - start) % 7 if dash else 0
        found.update((start + i) % 7 for i in range(span + 1))
    return frozenset(found)


def parse_hours(text: str) -> Hours:
    """Parse ``days hours``, or ``hours`` alone for every day. Raises ValueError with the reason."""
    match = _HOURS.search(text)
    if not match or text[match.end() :].strip():
        raise ValueError(f"{text!r} is not an opening time; write it like 'mon-fri 08:00-18:00'")
    hour, minute, end_hour, end_minute = (int(group) for group in match.groups())
    start_min, end_min = hour * 60 + minute, end_hour * 60 + end_minute
    if minute > 59 or end_minute > 59 or start_min >= MINUTES_A_DAY or end_min > MINUTES_A_DAY:
        raise ValueError(f"{text!r} is not a time of day; use 00:00 to 24:00")
    return Hours(_days(text[: match.start()].strip().lower()), start_min, end_min)


def time_zone(name: str) -> tzinfo | None:
    """The time zone ``name``; None, this machine's, if it is empty. Raises ValueError if it is not known."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "write it like Europe/Berlin or UTC (Windows also needs: pip install tzdata)"
        raise ValueError(f"unknown time zone {name!r}; {hint}") from None


def is_open(hours: Iterable[Hours], wall_s: float, timezone: str = "") -> bool:
    """Whether the local time of ``wall_s`` (Unix seconds) is in any of ``hours``; empty ``hours`` means always."""
    local = datetime.fromtimestamp(wall_s, time_zone(timezone))
    minute = local.hour * 60 + local.minute
    hours = tuple(hours)
    return not hours or any(each.covers(local.weekday(), minute) for each in hours)
