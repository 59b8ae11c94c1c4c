"""Exports stored events as CSV or JSON Lines, and the compliance rate by hour."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from app.alerts.event_records import RECORD_FIELDS, event_record
from app.alerts.store_schema import SECONDS
from app.core.camera_hours import HOUR_S, CameraHour, hour_of
from app.core.errors import OutputError, SettingsError
from app.core.files import atomic_write, output_errors
from app.core.text import CsvWriter, duration_text, local_time
from app.core.translation import gettext, marked
from app.core.types import Event, EventKind

SECONDS_BY_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
MAX_WIDTH_IN, MAX_TICKS = 40.0, 100
"""Limits of a plot over months: 4800 pixels wide, with 100 labelled hours."""
MIN_BARS = 8
"""The plot has space for at least that many hours: one bar as wide as the plot is hard to read."""
LEAST_GAP_S = 60.0
"""Shorter gaps are not reported: the watched time of the last half minute is not stored yet."""
ALERT_KINDS = (EventKind.NO_MASK, EventKind.INCORRECT)


def parse_time(text: str, now_s: float) -> float:
    """Converts an age (``2h``, ``7d``) or an ISO 8601 time (``2026-11-23``, ``2026-11-23T14:30``, local time unless it
    has an offset) to Unix time. Raises SettingsError for any other text."""
    age = _AGE.fullmatch(text.strip())
    if age:
        return now_s - float(age[1]) * SECONDS_BY_UNIT[age[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(f"no time: {text!r}; write 2h, 7d, 2026-11-23 or 2026-11-23T14:30") from error


def write_csv(events: Iterable[Event], file: TextIO) -> None:
    writer = CsvWriter(file, RECORD_FIELDS)
    writer.writeheader()
    writer.writerows(event_record(event) for event in events)


def write_jsonl(events: Iterable[Event], file: TextIO) -> None:
    for event in events:
        file.write(json.dumps(event_record(event), ensure_ascii=False) + "\n")


WRITERS = {"csv": write_csv, "jsonl": write_jsonl}


@contextmanager
def atomic_text_file(path: Path) -> Iterator[TextIO]:
    """A text file, written with ``atomic_write``; a path in it that is not UTF-8 is escaped. Raises OutputError if it
    cannot be written."""
    with (
        output_errors(path, "choose another place"),
        atomic_write(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


@dataclass(frozen=True, slots=True)
class HourRow:
    """One hour of all selected cameras: the people counted, the alerts raised and the watched time. ``not_running_s``:
    the seconds for which maskwatch did not run with a camera that it had watched before."""

    seen: CameraHour
    alerts: int
    not_running_s: float = 0.0

    @property
    def hour_s(self) -> int:
        return self.seen.hour_s

    @property
    def label(self) -> str:
        return local_time(self.hour_s, "minutes")

    @property
    def is_empty(self) -> bool:
        """Whether maskwatch did not run, so that there is nothing to list."""
        return not (self.seen.people or self.alerts or self.seen.running_s)

    @property
    def watched(self) -> float | None:
        """The watched share of the time of all cameras, 0 to 1; None if it is unknown: an older version recorded it."""
        time_s = self.seen.running_s + self.not_running_s
        return self.seen.watched_s / time_s if time_s else None

    @property
    def watched_text(self) -> str:
        """``7 h 12 min, 97 %``."""
        if self.watched is None:
            return "-"
        time, share = duration_text(self.seen.watched_s), f"{100 * self.watched:.0f}"
        return gettext("%(time)s, %(share)s%%", time=time, share=share)

    @property
    def not_watched_text(self) -> str:
        """Why the rest was not watched, and what part was watched without alerts."""
        seen = self.seen
        parts = (
            (marked("offline %(time)s"), seen.offline_s),
            (marked("paused %(time)s"), seen.paused_s),
            (marked("behind %(time)s"), seen.behind_s),
            (marked("not running %(time)s"), self.not_running_s),
            (marked("watched, but no alerts by schedule %(time)s"), seen.quiet_s),
        )
        return ", ".join(gettext(text, time=duration_text(seconds)) for text, seconds in parts if seconds >= 1)


def by_hour(hours: Iterable[CameraHour], events: Iterable[Event], until_s: float) -> list[HourRow]:
    """One row for each hour with people, alerts or watched time, and each later one until ``until_s``, oldest first."""
    hours = list(hours)
    people: dict[int, CameraHour] = {}
    for seen in hours:
        before = people.get(seen.hour_s, CameraHour("", seen.hour_s))
        people[seen.hour_s] = before.plus(seen)
    alerts = Counter(hour_of(event.wall_s) for event in events if event.kind in ALERT_KINDS)
    gaps = _not_running_s(hours, until_s)
    starts = sorted({*people, *alerts, *gaps})
    return [HourRow(people.get(start, CameraHour("", start)), alerts[start], gaps.get(start, 0.0)) for start in starts]


def _not_running_s(hours: Iterable[CameraHour], until_s: float) -> dict[int, float]:
    """The seconds by hour for which maskwatch did not run, from the first watched hour of each camera on."""
    running_s: dict[str, dict[int, float]] = {}
    for hour in hours:
        if hour.running_s:
            camera = running_s.setdefault(hour.camera, {})
            camera[hour.hour_s] = camera.get(hour.hour_s, 0.0) + hour.running_s
    gaps: dict[int, float] = {}
    for camera in running_s.values():
        for start in range(min(camera), math.ceil(until_s), HOUR_S):
            missing_s = min(HOUR_S, until_s - start) - camera.get(start, 0.0)
            if missing_s >= LEAST_GAP_S:
                gaps[start] = gaps.get(start, 0.0) + missing_s
    return gaps


def total(rows: Sequence[HourRow]) -> HourRow:
    """The sum of ``rows``."""
    seen = CameraHour("", rows[0].hour_s if rows else 0)
    for row in rows:
        seen = seen.plus(row.seen)
    return HourRow(seen, sum(row.alerts for row in rows), sum(row.not_running_s for row in rows))


def plot_png(rows: Sequence[HourRow], path: Path) -> None:
    """Plots people by hour as stacked bars, with the compliance rate. Raises OutputError if matplotlib is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise OutputError("a PNG needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    width_in = min(max(6.0, 0.4 * len(rows)), MAX_WIDTH_IN)
    figure, people = pyplot.subplots(figsize=(width_in, 4.0), layout="constrained")
    try:
        positions, step = range(len(rows)), math.ceil(len(rows) / MAX_TICKS) or 1
        bottoms = [0] * len(rows)
        # The palette of Okabe and Ito, which is safe for colour-blind readers.
        for name, colour in (("masked", "#0072B2"), ("incorrect", "#E69F00"), ("bare", "#D55E00")):
            counts = [int(getattr(row.seen, name)) for row in rows]
            tops = [low + count for low, count in zip(bottoms, counts, strict=True)]
            if step == 1:
                people.bar(positions, counts, bottom=bottoms, color=colour, label=name)
            else:  # drawing thousands of bars takes a minute
                people.fill_between(positions, bottoms, tops, step="mid", color=colour, label=name, linewidth=0)
            bottoms = tops
        people.set_ylabel("people")
        people.yaxis.get_major_locator().set_params(integer=True)
        people.set_xlim(-0.75, max(len(rows), MIN_BARS) - 0.25)
        people.set_xticks(positions[::step], [row.label for row in rows[::step]], rotation=60, ha="right", fontsize=7)
        rate = people.twinx()
        rates = [_percent(row.seen.compliance) for row in rows]
        rate.plot(positions, rates, color="black", marker="o" if step == 1 else "", label="compliance")
        watched = [_percent(row.watched) for row in rows]
        rate.plot(positions, watched, color="grey", linestyle=":", marker="_" if step == 1 else "", label="watched")
        rate.set_ylim(0, 105)
        rate.set_ylabel("compliance and watched time, %")
        figure.legend(loc="outside upper center", ncols=5, frameon=False)  # above the plot, where it covers no bar
        with output_errors(path, "choose another place"), atomic_write(path) as partial:
            figure.savefig(partial, format="png", dpi=120)
    finally:
        pyplot.close(figure)


def _percent(share: float | None) -> float:
    """NaN, which is not drawn, if the share is unknown."""
    return math.nan if share is None else 100.0 * share


def hour_fields(row: HourRow) -> dict[str, Any]:
    """``row`` as JSON-ready values by field name."""
    seen = row.seen
    share = seen.compliance
    return {
        "hour": row.label,
        "hour_s": row.hour_s,
        "people": seen.people,
        "masked": seen.masked,
        "bare": seen.bare,
        "incorrect": seen.incorrect,
        "compliance": None if share is None else round(share, 4),
        "alerts": row.alerts,
        "watched": None if row.watched is None else round(row.watched, 4),
        **{name: round(getattr(seen, name), 1) for name in SECONDS},
        "not_running_s": round(row.not_running_s, 1),
    }
