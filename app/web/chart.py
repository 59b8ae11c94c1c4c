"""Charts of people by hour, day or hour of the day as SVG: bars by label and the share of correctly worn masks.

Colours come from the style sheet; hatching and a dashed line distinguish the parts in black and white too.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from markupsafe import Markup, escape

from app.alerts.export import HourRow, total
from app.alerts.numbers import rate_of, rate_text
from app.core.camera_hours import HOUR_S, hour_of
from app.core.text import offset_if_ambiguous
from app.core.translation import date_text, gettext, marked, ngettext

_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 320, 16, 46, 40, 46
_MIN_WIDTH, _BAR_STEP = 1000, 15
_PARTS = (("masked", "part-mask"), ("incorrect", "part-incorrect"), ("bare", "part-bare"))


def axis_maximum(largest: int) -> int:
    """A round number at or above ``largest`` that is divisible by four, for four grid steps."""
    if largest <= 4:
        return 4
    step = 10.0 ** math.floor(math.log10(largest / 4))
    return next(int(4 * step * k) for k in (1, 2, 2.5, 5, 10) if 4 * step * k >= largest and (step * k).is_integer())


def rows_by_hour(rows: Sequence[HourRow], since_s: float, until_s: float) -> list[tuple[int, HourRow | None]]:
    """Start of every hour from ``since_s`` to ``until_s``, with its row or None."""
    by_start = {row.hour_s: row for row in rows}
    return [(start, by_start.get(start)) for start in range(hour_of(since_s), math.ceil(until_s), HOUR_S)]


@dataclass(frozen=True, slots=True)
class Unit:
    """What each bar of a chart is. ``name`` is part of the ids, the others are texts."""

    name: str
    unit: str
    heading: str
    scrolls: str
    title: str
    listed: str

    def translated(self) -> "Unit":
        """In the language of the context."""
        name, *texts = astuple(self)
        return Unit(name, *map(gettext, texts))


HOUR = Unit(
    "hour", marked("Hour"), marked("By hour"), marked("Chart by hour, scrolls horizontally"),
    marked("People by hour and share of masks worn correctly"), marked("The table lists every hour."),
)  # fmt: skip
DAY = Unit(
    "day", marked("Day"), marked("By day"), marked("Chart by day, scrolls horizontally"),
    marked("People by day and share of masks worn correctly"), marked("The table lists every day."),
)  # fmt: skip
HOUR_OF_THE_DAY = Unit(
    "hour-of-the-day", marked("Hour of the day"), marked("By hour of the day"),
    marked("Chart by hour of the day, scrolls horizontally"),
    marked("People by hour of the day and share of masks worn correctly"),
    marked("The table lists every hour of the day."),
)  # fmt: skip


def hour_name(start_s: float) -> str:
    at = datetime.fromtimestamp(start_s)
    return date_text(at, "%a %d %b, %H:%M", "%Y-%m-%d, %H:%M") + offset_if_ambiguous(start_s)


def chart(rows: Sequence[HourRow], since_s: float, until_s: float) -> Markup:
    """The SVG element with a bar for each hour; ``since_s`` and ``until_s`` are Unix times."""
    hours = rows_by_hour(rows, since_s, until_s)
    bars = [(hour_name(start), row) for start, row in hours]
    return _svg(HOUR.translated(), bars, "".join(_labels(hours, _step(len(hours)))))


def bar_chart(unit: Unit, bars: Sequence[tuple[str, HourRow]]) -> Markup:
    """The SVG element with a bar for each ``unit``, with its short name below."""
    step = _step(len(bars))
    labels = (
        f'<text class="tick" x="{_LEFT + (k + 0.5) * step:.1f}" y="{_HEIGHT - 26}" text-anchor="middle">'
        f"{escape(name)}</text>"
        for k, (name, _) in enumerate(bars)
    )
    return _svg(unit, bars, "".join(labels))


def _step(count: int) -> float:
    return max(_MIN_WIDTH - _LEFT - _RIGHT, _BAR_STEP * count) / max(1, count)


def _svg(unit: Unit, bars: Sequence[tuple[str, HourRow | None]], labels: str) -> Markup:
    rows = [row for _, row in bars if row is not None]
    step = _step(len(bars))
    width = round(_LEFT + _RIGHT + step * len(bars))
    top = axis_maximum(max((row.seen.people for row in rows), default=0))
    name = unit.name
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {_HEIGHT}" role="img" '
        f'aria-labelledby="{name}-title {name}-description">',
        f'<title id="{name}-title">{escape(unit.title)}</title>',
        f'<desc id="{name}-description">{escape(_description(rows, unit))}</desc>',
        f'<defs><pattern id="{name}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" class="part-bare"/>'
        '<line x1="0" y1="0" x2="0" y2="6" class="hatch-line"/></pattern></defs>',
        *_grid(width, top),
        *_bars(bars, step, top, f"url(#{name}-hatch)"),
        labels,
        *_rate([row for _, row in bars], step),
        "</svg>",
    ]
    return Markup("".join(parts))


def _description(rows: Sequence[HourRow], unit: Unit) -> str:
    seen = total(rows).seen
    if not seen.people:
        return gettext("No people were seen in this period.")
    people = ngettext("%(num)s person", "%(num)s people", seen.people)
    text = gettext("%(people)s; masks worn correctly: %(rate)s.", people=people, rate=rate_text(seen))
    return f"{text} {unit.listed}"


def _y(share: float) -> float:
    return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(width: float, top: int) -> list[str]:
    parts = []
    for k in range(5):
        y = _y(k / 4)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * k // 4}</text>')
        percent = escape(gettext("%(number)s %%", number=25 * k))
        parts.append(f'<text class="tick" x="{width - _RIGHT + 6}" y="{y + 4:.1f}">{percent}</text>')
    return parts


def _bars(bars: Sequence[tuple[str, HourRow | None]], step: float, top: int, hatch: str) -> list[str]:
    parts = []
    for k, (name, row) in enumerate(bars):
        if row is None:
            continue
        x, below, seen = _LEFT + k * step, 0, row.seen
        title = gettext(
            "%(name)s: people: %(people)s, masked: %(masked)s, worn wrong: %(wrong)s, without a mask: %(bare)s; "
            "masks worn correctly: %(rate)s; watched %(watched)s",
            name=name,
            people=seen.people,
            masked=seen.masked,
            wrong=seen.incorrect,
            bare=seen.bare,
            rate=rate_text(seen),
            watched=row.watched_text,
        )
        parts.append(f"<g><title>{escape(title)}</title>")
        for part, style in _PARTS:
            count = int(getattr(seen, part))
            if count:
                y, y0 = _y((below + count) / top), _y(below / top)
                fill = f' fill="{hatch}"' if part == "bare" else f' class="{style}"'
                geometry = f'x="{x + step * 0.12:.1f}" width="{step * 0.76:.1f}" y="{y:.1f}" height="{y0 - y:.1f}"'
                parts.append(f"<rect{fill} {geometry}/>")
                below += count
        parts.append("</g>")
    return parts


def _labels(hours: Sequence[tuple[int, HourRow | None]], step: float) -> list[str]:
    every = next(n for n in (1, 2, 3, 4, 6, 12, 24, 48, 96) if n * step >= 44 or n == 96)
    parts = []
    for k, (start, _) in enumerate(hours):
        local = datetime.fromtimestamp(start)
        x = _LEFT + (k + 0.5) * step
        if local.hour % min(every, 24) == 0:
            parts.append(f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{local:%H}</text>')
        if local.hour == 0 or k == 0:
            parts.append(
                f'<text class="tick day" x="{x:.1f}" y="{_HEIGHT - 8}">{date_text(local, "%a %d %b", "%m-%d")}</text>'
            )
    if len(hours) > 1 and datetime.fromtimestamp(hours[0][0]).hour >= 24 - math.ceil(64 / step):
        # The first label would overlap the label of the next day.
        del parts[next(i for i, part in enumerate(parts) if "tick day" in part)]
    return parts


def _rate(rows: Sequence[HourRow | None], step: float) -> list[str]:
    """A line through the bars with enough people, with 95 % intervals; it is interrupted at the others."""
    runs: list[list[tuple[float, float]]] = [[]]
    parts = []
    for k, row in enumerate(rows):
        rate = rate_of(row.seen) if row is not None else None
        if rate is None:
            runs.append([])
        else:
            x = _LEFT + (k + 0.5) * step
            runs[-1].append((x, _y(rate.share)))
            interval = f'y1="{_y(rate.high):.1f}" y2="{_y(rate.low):.1f}"'
            parts.append(f'<line class="rate-interval" x1="{x:.1f}" x2="{x:.1f}" {interval}/>')
    for run in filter(None, runs):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        parts.append(f'<polyline class="rate" points="{points}"/>')
        parts += [f'<circle class="rate-dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in run]
    return parts
