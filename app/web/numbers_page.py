"""The page Trends: people, rates and watched time of a day, week or month, and where bare faces were seen."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from app.alerts.export import HourRow, total
from app.alerts.numbers import by_day, by_group, by_hour_of_day, change_text, little_watched, worst_hours
from app.alerts.retention_clock import DAY_S
from app.alerts.store_types import EventFilter
from app.core.camera_hours import HOUR_S
from app.core.period import Period, Span
from app.core.translation import date_text, gettext, marked
from app.core.types import Event, EventKind
from app.web.chart import DAY, HOUR, HOUR_OF_THE_DAY, Unit, bar_chart, chart, hour_name
from app.web.handling import site_of, user_of
from app.web.heat_map import HeatMap, heat_map
from app.web.people import User
from app.web.rendering import render
from app.web.site import Site

SPANS = {
    "24": marked("Last 24 hours"),
    "72": marked("Last 3 days"),
    "168": marked("Last 7 days"),
    Span.DAY: marked("Day"),
    Span.WEEK: marked("Week"),
    Span.MONTH: marked("Month"),
}
MAX_HEAT_MAPS = 6
SNAPSHOTS_TRIED = 100
MAX_ROWS = 200
LONG_S = 26 * HOUR_S
"""A longer time has a chart of the hours of the day too."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The time that the page shows (Unix times), and (name, start, end) of the times that it is compared with.
    ``period``: None for the last hours until now."""

    title: str
    since_s: float
    until_s: float
    earlier: tuple[tuple[str, float, float], ...]
    period: Period | None = None


def choose(span: str, day: str, now_s: float) -> Choice:
    """An unknown ``span`` is the last 24 hours, and a ``day`` that is no date is today."""
    if span not in list(Span):
        hours = int(span) if span in SPANS else 24
        since_s = (now_s - (hours - 1) * HOUR_S) // HOUR_S * HOUR_S
        back_s = hours * HOUR_S
        title, name = gettext(SPANS[str(hours)]), gettext("The %(hours)s hours before", hours=hours)
        return Choice(title, since_s, now_s, ((name, since_s - back_s, now_s - back_s),))
    try:
        chosen_day = date.fromisoformat(day)
    except ValueError:
        chosen_day = datetime.fromtimestamp(now_s).date()
    period = Period.of(Span(span), chosen_day)
    moves = {
        Span.DAY: [(gettext("Day before"), -1), (gettext("Same day of the week before"), -7)],
        Span.WEEK: [(gettext("Week before"), -1)],
        Span.MONTH: [(gettext("Month before"), -1)],
    }
    earlier = []
    for name, count in moves[Span(span)]:
        before = period.moved(count)
        earlier.append((name, float(before.since_s), float(before.end_of_same_part(period, now_s))))
    title = period.title[0].upper() + period.title[1:]
    return Choice(title, period.since_s, period.until_s, tuple(earlier), period)


async def trends(request: Request) -> Response:
    query, now_s = request.query_params, time.time()
    span = query.get("span", query.get("hours", ""))
    span = span if span in SPANS else "24"
    choice = choose(span, query.get("date", ""), now_s)
    site, user, root = site_of(request), user_of(request), request.scope["root"]
    camera, group = query.get("camera", ""), query.get("group", "")
    values = await site.run_in_worker(lambda: _values(site, choice, user, camera, group, root))
    period = choice.period
    given = [(name, values[name]) for name in ("camera", "group") if values[name]]

    def link(count: int) -> str:
        if period is None:
            return ""
        return urlencode([*given, ("span", period.span), ("date", period.moved(count).first.isoformat())])

    spans = {name: gettext(text) for name, text in SPANS.items()}
    return render(
        request, "trends", choice=choice, span=span, spans=spans, earlier=link(-1), later=link(1),
        day="" if period is None else period.first.isoformat(), **values,
    )  # fmt: skip


def _values(site: Site, choice: Choice, user: User, camera: str, group: str, root: str) -> dict[str, Any]:
    kept_days = site.settings.alerts.keep_days
    known = site.camera_names(user)
    group_of = _group_of(site)
    groups = sorted({group_of(name) for name in known} - {""})
    camera, group = camera if camera in known else "", group if group in groups else ""
    span = choice.since_s, choice.until_s
    first_s = min(since_s for _, since_s, _ in choice.earlier)
    wanted = EventFilter(first_s, choice.until_s, (camera,) if camera else ())
    numbers = site.history.numbers(user.narrow(wanted))
    names = [name for name in numbers.cameras(first_s, choice.until_s) if not group or group_of(name) == group]
    rows = numbers.rows(*span, names)
    now = total(rows)
    cameras = [(name, total(numbers.rows(*span, [name]))) for name in names]
    earlier = []
    for name, since_s, until_s in choice.earlier:
        before = total(numbers.rows(since_s, until_s, names))
        earlier.append((name, since_s, until_s, before, change_text(now.seen, before.seen)))
    return {
        "camera": camera,
        "group": group,
        "names": known,
        "groups": groups,
        "total": now,
        "comparisons": earlier,
        "charts": _charts(choice, rows),
        "worst": [(hour_name(row.hour_s), row) for row in worst_hours(rows)],
        "poor": little_watched(cameras),
        "by_camera": cameras[:MAX_ROWS],
        "more_cameras": max(len(cameras) - MAX_ROWS, 0),
        "kept_days": 0 if first_s >= time.time() - kept_days * DAY_S else kept_days,
        "by_group": by_group(cameras, group_of),
        "heat_maps": _heat_maps(
            site, [(name, numbers.alerts(*span, [name])) for name in names], root
        ),
    }  # fmt: skip


def _group_of(site: Site) -> Callable[[str], str]:
    """The group of a camera in the settings; of a hub's camera its site."""
    if site.fleet_store is not None:
        return lambda name: name.partition("/")[0]
    groups = {camera.name: camera.group for camera in site.settings.camera}
    return lambda name: groups.get(name, "")


def _heat_maps(site: Site, cameras: Sequence[tuple[str, list[Event]]], root: str) -> list[HeatMap]:
    """Those of the cameras with the most alerts, over the newest snapshot if snapshots are allowed."""
    bare = [(name, [each for each in alerts if each.kind is EventKind.NO_MASK]) for name, alerts in cameras]
    maps = []
    for name, alerts in sorted(bare, key=lambda each: -len(each[1]))[:MAX_HEAT_MAPS]:
        newest, picture = alerts[: -SNAPSHOTS_TRIED - 1 : -1], ""
        if site.settings.alerts.snapshots != "off":
            ids = site.history.ids_with_snapshot(newest)
            found = next((event.id for event in newest if event.id in ids), "")
            picture = f"{root}/api/v1/events/{quote(found, safe='')}/picture.jpg?blurred" if found else ""
        maps.append(heat_map(name, alerts, picture))
    return [each for each in maps if each is not None]


def _charts(choice: Choice, rows: Sequence[HourRow]) -> list[tuple[Unit, Markup, list[tuple[str, HourRow]]]]:
    """(unit, chart, table) of the hours or days, and of the hours of the day if there are several days."""
    shown = [row for row in rows if not row.is_empty]
    charts = []
    if choice.period is None or choice.period.span is Span.DAY:
        names = [hour_name(row.hour_s) for row in shown]
        table = [
            (name.partition(", ")[2] if choice.period else name, row) for name, row in zip(names, shown, strict=True)
        ]
        charts.append((HOUR.translated(), chart(shown, choice.since_s, choice.until_s), table))
    else:
        style = ("%a %d", "%m-%d") if choice.period.span is Span.WEEK else ("%d", "%d")
        days = by_day(rows, choice.period)
        bars = [(date_text(day.first, *style), row) for day, row in days]
        table, unit = [(day.title, row) for day, row in days if not row.is_empty], DAY.translated()
        charts.append((unit, bar_chart(unit, bars), table))
    if choice.until_s - choice.since_s > LONG_S:
        hours = [(f"{hour:02}:00", row) for hour, row in by_hour_of_day(rows)]
        bars = [(name[:2], row) for name, row in hours]
        table = [(name, row) for name, row in hours if row.seen.people or row.alerts]
        unit = HOUR_OF_THE_DAY.translated()
        charts.append((unit, bar_chart(unit, bars), table))
    return charts
