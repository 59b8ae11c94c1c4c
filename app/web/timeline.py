"""The day of one camera as SVG: people by hour, alerts at their time, and gaps in watching.

Colours come from the style sheet; the list below the timeline carries the same information as text.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from markupsafe import Markup, escape

from app.alerts.export import HourRow
from app.core.camera_hours import HOUR_S
from app.core.translation import gettext, ngettext
from app.core.types import Event

_WIDTH, _HEIGHT, _BARS, _WATCHED = 960, 56, 34, 8


def timeline(
    camera: str,
    rows: Sequence[HourRow],
    alerts: Sequence[Event],
    day: tuple[float, float],
    link: Callable[[Event], str],
) -> Markup:
    """``day``: Unix times of its start and end (23 to 25 hours). ``link``: the address that shows an event."""
    since_s, until_s = day
    step = _WIDTH / (until_s - since_s)
    most = max([4, *(row.seen.people for row in rows)])
    parts = [
        f'<svg class="timeline" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" '
        f'aria-label="{escape(camera)}: {escape(_summary(rows, alerts))}">',
        f'<rect class="gap" x="0" y="{_BARS}" width="{_WIDTH}" height="{_WATCHED}"/>',
    ]
    for row in rows:
        x, width = (row.hour_s - since_s) * step, HOUR_S * step
        parts.append(f"<g><title>{escape(_hour_text(row))}</title>")
        parts.append(f'<rect class="area" x="{x:.1f}" y="0" width="{width:.1f}" height="{_BARS + _WATCHED}"/>')
        y = float(_BARS)
        for count, style in ((row.seen.masked, "mask"), (row.seen.incorrect, "incorrect"), (row.seen.bare, "bare")):
            height = count / most * (_BARS - 4)
            y -= height
            if count:
                parts.append(
                    f'<rect class="part-{style}" x="{x + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" '
                    f'height="{height:.1f}"/>'
                )
        watched = width * min(row.seen.watched_s / HOUR_S, 1.0)
        parts.append(f'<rect class="watched" x="{x:.1f}" y="{_BARS}" width="{watched:.1f}" height="{_WATCHED}"/></g>')
    for hour in range(0, round((until_s - since_s) / HOUR_S), 3):
        at_s = since_s + hour * HOUR_S
        parts.append(
            f'<text class="tick" x="{(at_s - since_s) * step + 2:.1f}" y="{_HEIGHT - 2}">'
            f"{datetime.fromtimestamp(at_s):%H}</text>"
        )
    marks = {round((event.wall_s - since_s) * step * 2): event for event in reversed(alerts)}
    for event in reversed(marks.values()):  # the first of those within half a pixel (45 s)
        when = f"{datetime.fromtimestamp(event.wall_s):%H:%M:%S}"
        label = gettext("Alert at %(time)s", time=when)
        parts.append(
            f'<a href="{escape(link(event))}" aria-label="{escape(label)}"><rect class="alert-mark kind-{event.kind}" '
            f'x="{(event.wall_s - since_s) * step - 1.5:.1f}" y="0" width="3" height="{_BARS}"/></a>'
        )
    return Markup("".join([*parts, "</svg>"]))


def _hour_text(row: HourRow) -> str:
    gaps = gettext("; not watched: %(reasons)s", reasons=row.not_watched_text) if row.not_watched_text else ""
    watched = gettext("watched %(watched)s", watched=row.watched_text)
    return f"{row.label}: {_counts(row.seen.people, row.alerts)}; {watched}{gaps}"


def _summary(rows: Sequence[HourRow], alerts: Sequence[Event]) -> str:
    return _counts(sum(row.seen.people for row in rows), len(alerts))


def _counts(people: int, alerts: int) -> str:
    texts = ngettext("%(num)s person", "%(num)s people", people), ngettext("%(num)s alert", "%(num)s alerts", alerts)
    return ", ".join(texts)
