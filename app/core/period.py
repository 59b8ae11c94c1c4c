"""Days, weeks and months of a time zone, as Unix times in whole hours, because people are counted by the hour."""

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from app.core.translation import date_text, gettext

_HOUR_S = 3600
FIRST_DAY, LAST_DAY = date(1971, 1, 1), date(2199, 12, 31)
"""The days that a period may contain."""


class Span(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Period:
    """A day of 23 to 25 hours, a week from Monday (ISO 8601) or a month; it begins at midnight of ``first``. ``zone``
    None is the time zone of this machine."""

    span: Span
    first: date
    zone: tzinfo | None = None

    @classmethod
    def of(cls, span: Span, day: date, zone: tzinfo | None = None) -> "Period":
        """The period that contains ``day``."""
        day = min(max(day, FIRST_DAY), LAST_DAY)
        back = {Span.DAY: 0, Span.WEEK: day.weekday(), Span.MONTH: day.day - 1}[span]
        return cls(span, day - timedelta(days=back), zone)

    def moved(self, count: int) -> "Period":
        """The period ``count`` later; earlier if it is negative."""
        if self.span is Span.MONTH:
            years, month = divmod(self.first.year * 12 + self.first.month - 1 + count, 12)
            return replace(self, first=date(years, month + 1, 1))
        return replace(self, first=self.first + timedelta(days=count * (7 if self.span is Span.WEEK else 1)))

    @property
    def since_s(self) -> int:
        return self._unix_s(timedelta())

    @property
    def until_s(self) -> int:
        return self.moved(1).since_s

    def _unix_s(self, after_midnight: timedelta) -> int:
        """The start of the hour of a local time: the first of two equal times; a time that a clock change skips has
        the offset of before."""
        local = datetime.combine(self.first, time(), self.zone) + after_midnight
        return int(local.timestamp() // _HOUR_S) * _HOUR_S

    def end_of_same_part(self, other: "Period", now_s: float) -> int:
        """The end of the part of this period that is as long on the clock as what has passed of ``other`` by
        ``now_s``: the whole period if ``other`` is over."""
        if now_s >= other.until_s:
            return self.until_s
        passed = datetime.fromtimestamp(now_s, self.zone).replace(tzinfo=None) - datetime.combine(other.first, time())
        return min(self._unix_s(passed) + _HOUR_S, self.until_s)

    @property
    def days(self) -> "list[Period]":
        count = (self.moved(1).first - self.first).days
        return [Period(Span.DAY, self.first + timedelta(days=k), self.zone) for k in range(count)]

    @property
    def title(self) -> str:
        """``Thu 26 November 2026``, ``week 48, 23 November to 29 November 2026`` or ``November 2026``."""
        if self.span is Span.DAY:
            return date_text(self.first, f"%a {self.first.day} %B %Y", "%Y-%m-%d")
        if self.span is Span.MONTH:
            return date_text(self.first, "%B %Y", "%Y-%m")
        last = self.first + timedelta(days=6)
        first = f"{self.first.day} {self.first:%B}{f' {self.first:%Y}' if self.first.year < last.year else ''}"
        return gettext(
            "week %(number)s, %(first)s to %(last)s",
            number=self.first.isocalendar().week,
            first=date_text(self.first, first, "%Y-%m-%d"),
            last=date_text(last, f"{last.day} %B %Y", "%Y-%m-%d"),
        )
