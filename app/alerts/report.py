"""The report of a day, week or month as an event, whose reason is its text. ``[alerts.report]`` says when it is due."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from html import escape

from app.alerts.event_store import EventStore
from app.alerts.export import HourRow, total
from app.alerts.numbers import (
    Numbers,
    by_day,
    by_hour_of_day,
    change_text,
    little_watched,
    rate_text,
    read_numbers,
    worst_hours,
)
from app.alerts.store_types import EventFilter, StoreError
from app.core.files import is_file
from app.core.period import Period, Span
from app.core.schedule import time_zone
from app.core.translation import date_text, gettext, marked, ngettext, pgettext, using
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

MAX_CAMERAS = 30
_BEFORE = {
    Span.DAY: marked("The day before"),
    Span.WEEK: marked("The week before"),
    Span.MONTH: marked("The month before"),
}
MAX_LATE = 31
"""Reports of at most this many periods are sent after a time in which the program did not run."""


def numbers_line(row: HourRow) -> str:
    """``93% (90 to 95%), 60 people, 4 without a mask, 2 worn wrong, 3 alerts, watched 58 min, 97%``."""
    seen = row.seen
    return gettext(
        "%(rate)s, %(people)s, %(bare)s without a mask, %(wrong)s worn wrong, %(alerts)s, watched %(watched)s",
        rate=rate_text(seen),
        people=ngettext("%(num)s person", "%(num)s people", seen.people),
        bare=seen.bare,
        wrong=seen.incorrect,
        alerts=ngettext("%(num)s alert", "%(num)s alerts", row.alerts),
        watched=row.watched_text,
    )


def report_text(period: Period, numbers: Numbers, now_s: float) -> str:
    """Lines of plain text, the first is the title. A line with a tab is a name and its numbers; other lines are
    headings."""
    before = period.moved(-1)
    ends_s = before.end_of_same_part(period, now_s)
    names = numbers.cameras(before.since_s, period.until_s)
    rows, rows_before = (
        numbers.rows(*span, names) for span in ((period.since_s, period.until_s), (before.since_s, ends_s))
    )
    cameras = [(name, total(numbers.rows(period.since_s, period.until_s, [name]))) for name in names]
    now, then = total(rows), total(rows_before)
    lines = [gettext("Masks, %(period)s", period=period.title), gettext("Total")]
    figures = [
        (gettext("Masks worn correctly"), rate_text(now.seen)),
        (pgettext("of the rate", "Change"), change_text(now.seen, then.seen)),
        (gettext("All"), numbers_line(now)),
        (gettext(_BEFORE[period.span]), numbers_line(then)),
        (gettext("Not watched"), now.not_watched_text),
    ]
    lines += [f"{name}\t{text}" for name, text in figures if text]
    worst = worst_hours(rows)
    none = gettext("Hours with the lowest rate: no hour with enough people for a rate")
    lines.append(gettext("Hours with the lowest rate") if worst else none)
    for row in worst:
        at = date_text(datetime.fromtimestamp(row.hour_s, period.zone), "%a %d %b, %H:%M", "%Y-%m-%d %H:%M")
        lines.append(f"{at}\t{numbers_line(row)}")
    if poor := little_watched(cameras):
        lines.append(gettext("Cameras with little watched time"))
        for name, row in poor[:MAX_CAMERAS]:
            watched = gettext("watched %(watched)s: %(why)s", watched=row.watched_text, why=row.not_watched_text)
            lines.append(f"{name}\t{watched}")
    lines.append(gettext("Cameras"))
    lines += [f"{name}\t{numbers_line(row)}" for name, row in cameras[:MAX_CAMERAS]]
    if len(cameras) > MAX_CAMERAS:
        lines.append(gettext("More cameras on the page Trends: %(count)s", count=len(cameras) - MAX_CAMERAS))
    lines.append(gettext("Hours of the day"))
    for hour, row in by_hour_of_day(rows, period.zone):
        if row.seen.people:
            lines.append(f"{hour:02}:00\t{numbers_line(row)}")
    if period.span is not Span.DAY:
        lines.append(gettext("Days"))
        lines += [f"{day.title}\t{numbers_line(row)}" for day, row in by_day(rows, period)]
    lines.append(gettext("Rates have their 95 %% interval. Each person is counted once, when they leave the view."))
    return "\n".join(lines)


def report_html(text: str) -> str:
    """``report_text`` as HTML for a mail: headings and tables."""
    parts, in_table = [], False
    for number, line in enumerate(text.split("\n")):
        name, tab, value = line.partition("\t")
        if bool(tab) != in_table:
            parts.append('<table border="1" cellpadding="5" cellspacing="0">' if tab else "</table>")
            in_table = bool(tab)
        if tab:
            parts.append(f'<tr><th align="left">{escape(name)}</th><td>{escape(value)}</td></tr>')
        else:
            tag = "h2" if number == 0 else "h3"
            parts.append(f"<{tag}>{escape(line)}</{tag}>")
    return "".join([*parts, "</table>" * in_table])


def report_event(period: Period, text: str) -> Event:
    """The same id for each report of one period, at the end of which it happens."""
    digest = hashlib.sha256(f"report\n{period.span}\n{period.since_s}\n{period.until_s}".encode()).hexdigest()[:16]
    return Event(digest, EventKind.REPORT, "all cameras", 0.0, float(period.until_s), reason=text)


def due_periods(settings: AlertSettings, now_s: float, last_s: float | None) -> list[Period]:
    """The periods whose report is due at Unix time ``now_s``, oldest first. ``last_s``: the end of the last reported
    period; without one only the latest period is due."""
    report = settings.report
    if report.every == "off":
        return []
    zone = time_zone(report.timezone)
    hour, minute = map(int, report.at.split(":"))
    day = (datetime.fromtimestamp(now_s, zone).replace(tzinfo=None) - timedelta(hours=hour, minutes=minute)).date()
    periods = [Period.of(Span(report.every), day, zone).moved(-1)]
    while last_s is not None and periods[0].since_s > last_s and len(periods) < MAX_LATE:
        periods.insert(0, periods[0].moved(-1))
    return [period for period in periods if last_s is None or period.until_s > last_s]


def due_reports(settings: AlertSettings, now_s: float) -> Iterator[Event]:
    """The reports that are due and not stored yet; none of a period in which nothing was recorded. Waits for the disk;
    while the event file cannot be read, the reports are late."""
    if settings.report.every == "off" or not settings.persist or not is_file(settings.store):
        return
    with suppress(StoreError), EventStore(settings.store, create=False) as store:
        reported = store.events(EventFilter(until_s=now_s, kinds=(EventKind.REPORT.value,)), newest=1)
        for period in due_periods(settings, now_s, reported[-1].wall_s if reported else None):
            if store.hours(EventFilter(period.since_s, period.until_s)):
                numbers = read_numbers(store, period.moved(-1).since_s, period.until_s, now_s)
                with using(settings.report.language):
                    text = report_text(period, numbers, now_s)
                yield report_event(period, text)
