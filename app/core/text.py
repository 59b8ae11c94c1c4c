"""Counts, lists and reasons as text."""

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

from app.core.translation import gettext, marked

MAX_LISTED = 5
"""At most this many names of a list are printed, so that the text fits one line."""
MOVED, REMOVED = "moved", "removed"
REASONS = {
    "mask": marked("mask on"),
    "left": marked("left the view"),
    MOVED: marked("another node watches the camera"),
    REMOVED: marked("the camera was changed or removed"),
}
"""Texts for the event reasons that are codes; other reasons are already text."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?")
_CLOCK = re.compile(r"\d+(:[0-5]?\d){1,2}(\.\d+)?")
_SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class CsvWriter(csv.DictWriter):  # type: ignore[type-arg]  # takes one only from Python 3.12 on
    """Writes rows with the columns ``fields``. A text that a table program would run as a formula gets an apostrophe
    before it: names of cameras, users and files come from people."""

    def __init__(self, file: TextIO, fields: Sequence[str]) -> None:
        super().__init__(file, fields, lineterminator="\n")

    def writerow(self, row: Mapping[str, Any]) -> None:
        super().writerow({name: _no_formula(value) for name, value in row.items()})

    def writerows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.writerow(row)


def _no_formula(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def counted(count: int, noun: str) -> str:
    """``counted(1, "image")`` is '1 image', ``counted(2, "image")`` is '2 images'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def parse_duration(text: str) -> float:
    """Seconds of ``0.2s``, ``10m``, ``1.5h``, ``2d``, ``90`` (seconds), ``1:30`` or ``1:00:00``. Raises ValueError."""
    given = text.strip().lower()
    if match := _DURATION.fullmatch(given):
        return float(match[1]) * _SECONDS_BY_UNIT[match[2] or "s"]
    if _CLOCK.fullmatch(given):
        seconds = 0.0
        for part in given.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    raise ValueError(f"{text!r} is not a duration; write it like 0.2s, 10m, 6h or 1:30")


def reason_text(reason: str) -> str:
    """The text that is shown for an event's ``reason``; of a report its first line."""
    return REASONS.get(reason, reason.partition("\n")[0])


def translated_reason(reason: str) -> str:
    """``reason_text`` in the language of the context, as far as the reason is a code."""
    return gettext(REASONS[reason]) if reason in REASONS else reason_text(reason)


def listed(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MAX_LISTED
    if more < 2:  # ' and 1 more' is hardly shorter than the name
        return ", ".join(map(str, names))
    return f"{', '.join(map(str, names[:MAX_LISTED]))} and {more} more"


def local_time(wall_s: float, timespec: str = "seconds") -> str:
    """``2026-10-25 02:30:00+01:00``: the offset distinguishes the two equal hours of the night of 25 hours."""
    return datetime.fromtimestamp(wall_s).astimezone().isoformat(" ", timespec)


def duration_text(seconds: float) -> str:
    """``40 s``, ``58 min`` or ``7 h 12 min``."""
    if seconds < 59.5:
        return gettext("%(number)s s", number=round(seconds))
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours and minutes:
        return gettext("%(hours)s h %(minutes)s min", hours=hours, minutes=minutes)
    return gettext("%(number)s h", number=hours) if hours else gettext("%(number)s min", number=minutes)


def offset_if_ambiguous(wall_s: float) -> str:
    """`` +01:00`` in the two equal hours of the night of 25 hours, '' at any other time."""
    local = datetime.fromtimestamp(wall_s)
    is_ambiguous = local.replace(fold=0).timestamp() != local.replace(fold=1).timestamp()
    return f" {local.astimezone().isoformat()[-6:]}" if is_ambiguous else ""


def slug(name: str) -> str:
    """``name`` as part of an MQTT topic and an entity id. If characters other than single spaces and dots are
    replaced, six digits of the name's hash are appended, so that different names stay different."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
    if plain and plain == re.sub("[ .]", "_", name):
        return plain
    return f"{plain or 'camera'}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
