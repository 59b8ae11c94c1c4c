"""Exports stored events as CSV or JSON Lines, and the compliance rate by hour."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from app.alerts.event_records import RECORD_FIELDS, event_record
from app.alerts.store_types import CameraHour, hour_of
from app.core.errors import OutputError, SettingsError
from app.core.files import atomic_write
from app.core.text import local_time
from app.core.types import Event, EventKind

SECONDS_BY_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
MAX_WIDTH_IN, MAX_TICKS = 40.0, 100
"""Limits of a plot over months: 4800 pixels wide, with 100 labelled hours."""
MIN_BARS = 8
"""The plot has space for at least that many hours: one bar as wide as the plot is hard to read."""
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
    writer = csv.DictWriter(file, RECORD_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(event_record(event) for event in events)


def write_jsonl(events: Iterable[Event], file: TextIO) -> None:
    for event in events:
        file.write(json.dumps(event_record(event), ensure_ascii=False) + "\n")


WRITERS = {"csv": write_csv, "jsonl": write_jsonl}


@contextmanager
def atomic_text_file(path: Path) -> Iterator[TextIO]:
    """A text file, written with ``atomic_write``. Raises OutputError if it cannot be written."""
    try:
        with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error


@dataclass(frozen=True, slots=True)
class HourRow:
    """One hour of all selected cameras: the people counted and the alerts raised."""

    seen: CameraHour
    alerts: int

    @property
    def hour_s(self) -> int:
        return self.seen.hour_s

    @property
    def label(self) -> str:
        return local_time(self.hour_s, "minutes")


def by_hour(presence: Iterable[CameraHour], events: Iterable[Event]) -> list[HourRow]:
    """One row for each hour with people or alerts, oldest first."""
    people: dict[int, CameraHour] = {}
    for seen in presence:
        before = people.get(seen.hour_s, CameraHour("", seen.hour_s))
        people[seen.hour_s] = before.plus(seen)
    alerts: dict[int, int] = {}
    for event in events:
        if event.kind in ALERT_KINDS:
            hour_s = hour_of(event.wall_s)
            alerts[hour_s] = alerts.get(hour_s, 0) + 1
    hours = sorted({*people, *alerts})
    return [HourRow(people.get(hour_s, CameraHour("", hour_s)), alerts.get(hour_s, 0)) for hour_s in hours]


def total(rows: Sequence[HourRow]) -> HourRow:
    """The sum of ``rows``."""
    seen = CameraHour("", rows[0].hour_s if rows else 0)
    for row in rows:
        seen = seen.plus(row.seen)
    return HourRow(seen, sum(row.alerts for row in rows))


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
        rates = [_percent(row.seen) for row in rows]
        rate.plot(positions, rates, color="black", marker="o" if step == 1 else "", label="compliance")
        rate.set_ylim(0, 105)
        rate.set_ylabel("compliance, %")
        figure.legend(loc="outside upper center", ncols=4, frameon=False)  # above the plot, where it covers no bar
        try:
            figure.savefig(path, format="png", dpi=120)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        pyplot.close(figure)


def _percent(seen: CameraHour) -> float:
    """The compliance rate in percent. NaN, which is not drawn, if nobody was seen."""
    share = seen.compliance
    return float("nan") if share is None else 100.0 * share


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
    }
