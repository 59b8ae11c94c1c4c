"""The report of a scan: one HTML page without scripts from elsewhere, and a CSV file of the hours."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any, TextIO

from app.alerts.export import ALERT_KINDS
from app.core.camera_hours import HOUR_S, CameraHour, hour_of
from app.core.schedule import time_zone
from app.core.text import CsvWriter, counted, reason_text
from app.core.types import Event
from app.scan.run_folder import FailedShard, RunFolder, UnreadableFile

CSV_FIELDS = (
    "camera", "hour", "hour_s", "watched_min", "people", "masked", "incorrect", "bare", "compliance", "alerts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScannedHour:
    """One hour of one camera; ``alerts`` were raised in it."""

    seen: CameraHour
    watched_s: float
    alerts: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time of an archive that was not analysed. ``path``: its first video."""

    path: str
    from_s: float
    to_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """``planned_s`` and ``watched_s``: length of all videos, and what was analysed of it."""

    hours: tuple[ScannedHour, ...]
    events: tuple[Event, ...]
    thumbnails: dict[str, bytes]
    gaps: tuple[Gap, ...]
    failed: tuple[FailedShard, ...]
    unreadable: tuple[UnreadableFile, ...]
    planned_s: float
    watched_s: float
    shards: int
    done: int
    timezone: str


def make_report(folder: RunFolder) -> Report:
    """Adds up the results that exist. Raises OutputError."""
    plan, done = folder.plan(), folder.done()
    hours: dict[tuple[str, int], ScannedHour] = {}
    events: list[Event] = []
    thumbnails: dict[str, bytes] = {}
    gaps: list[Gap] = []
    watched_ms = 0
    for each in plan.shards:
        line = done.get(each.shard.id)
        result = None if line is None else folder.result(line)
        if result is None:
            continue
        watched_ms += result.watched_ms
        events += result.events
        thumbnails |= result.thumbnails
        gaps += [Gap(each.shard.path, fault.from_s, fault.to_s, fault.reason) for fault in result.faults]
        for hour in result.hours:
            key = hour.seen.camera, hour.seen.hour_s
            before = hours.get(key, ScannedHour(CameraHour(*key), 0.0, 0))
            hours[key] = ScannedHour(before.seen.plus(hour.seen), before.watched_s + hour.watched_ms / 1000, 0)
    alerts = Counter((event.camera, hour_of(event.wall_s)) for event in events if event.kind in ALERT_KINDS)
    for key in alerts:
        hours.setdefault(key, ScannedHour(CameraHour(*key), 0.0, 0))
    rows = [ScannedHour(hours[key].seen, hours[key].watched_s, alerts[key]) for key in sorted(hours)]
    events.sort(key=lambda event: (event.wall_s, event.camera, event.id))
    return Report(
        hours=tuple(rows),
        events=tuple(events),
        thumbnails=thumbnails,
        gaps=tuple(gaps),
        failed=tuple(folder.failed().values()),
        unreadable=plan.unreadable,
        planned_s=plan.hours * HOUR_S,
        watched_s=watched_ms / 1000,
        shards=len(plan.shards),
        done=sum(each.shard.id in done for each in plan.shards),
        timezone=plan.settings.camera.get("timezone", ""),
    )


def hour_record(report: Report, row: ScannedHour) -> dict[str, Any]:
    """``row`` as values by the names of ``CSV_FIELDS``."""
    seen, share = row.seen, row.seen.compliance
    return {
        "camera": seen.camera,
        "hour": _time(report, seen.hour_s, "minutes"),
        "hour_s": seen.hour_s,
        "watched_min": round(row.watched_s / 60, 1),
        "people": seen.people,
        "masked": seen.masked,
        "incorrect": seen.incorrect,
        "bare": seen.bare,
        "compliance": None if share is None else round(share, 4),
        "alerts": row.alerts,
    }


def write_csv(report: Report, file: TextIO) -> None:
    writer = CsvWriter(file, CSV_FIELDS)
    writer.writeheader()
    writer.writerows(hour_record(report, row) for row in report.hours)


def _time(report: Report, wall_s: float, timespec: str = "seconds") -> str:
    zone = time_zone(report.timezone)
    return datetime.fromtimestamp(wall_s, zone).astimezone(zone).isoformat(" ", timespec)


def summary(report: Report) -> str:
    """People, compliance and coverage in two or three sentences."""
    seen = CameraHour("", 0)
    for row in report.hours:
        seen = seen.plus(row.seen)
    people = "1 person" if seen.people == 1 else f"{seen.people} people"
    share = "nobody was seen" if seen.compliance is None else f"{seen.compliance:.1%} wore a mask correctly"
    watched = f"Watched {report.watched_s / HOUR_S:.2f} of {report.planned_s / HOUR_S:.2f} hours of video."
    left = report.shards - report.done - len(report.failed)
    if not left and not report.failed:
        return f"{people}; {share}. {watched}"
    shards = counted(report.shards, "shard")
    return f"{people}; {share}. {watched} Not complete: of {shards}, {left} are left and {len(report.failed)} failed."


def html_page(report: Report) -> str:
    """The report as one page, which needs no other file."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Archive scan</title>",
        '<meta name=viewport content="width=device-width">',
        f"<style>{_STYLE}</style>",
        "<h1>Archive scan</h1>",
        f"<p><strong>{escape(summary(report))}</strong></p>",
    ]
    parts.append("<p><label>Search <input type=search id=search placeholder='camera, date, reason'></label></p>")
    parts.append("<h2>By camera and hour</h2>")
    heads = ("camera", "hour", "watched, min", "people", "masked", "incorrect", "bare", "compliance", "alerts")
    rows = []
    for row in report.hours:
        record = hour_record(report, row)
        rate = "" if record["compliance"] is None else f"{record['compliance']:.1%}"
        values = (record[name] for name in CSV_FIELDS if name not in ("hour_s", "compliance", "alerts"))
        rows.append([*map(str, values), rate, str(row.alerts)])
    parts.append(_table(heads, rows))
    parts.append("<h2>Events</h2>")
    events = ((*event_row(report, event), _image(report, event)) for event in report.events)
    parts.append(_table(("time", "camera", "event", "duration", "people", "reason", ""), events, raw=6))
    parts.append("<h2>Not analysed</h2>")
    parts.append(_table(("video", "from, s", "to, s", "reason"), not_analysed(report)))
    parts.append(f"<script>{_SCRIPT}</script>")
    return "\n".join(parts) + "\n"


def event_row(report: Report, event: Event) -> tuple[str, ...]:
    """Time, camera, kind, duration, people and reason."""
    when, duration = _time(report, event.wall_s), f"{event.duration_s:.1f} s"
    return when, event.camera, event.kind.value, duration, str(event.people), reason_text(event.reason)


def _image(report: Report, event: Event) -> str:
    jpeg = report.thumbnails.get(event.id)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">' if jpeg else ""


def not_analysed(report: Report) -> list[tuple[str, ...]]:
    """Video, from, to and reason of everything that was left out."""
    rows: list[tuple[str, ...]] = [(file.path, "", "", file.reason) for file in report.unreadable]
    rows += [(each.path, "", "", f"failed {each.attempt} times: {each.reason}") for each in report.failed]
    return rows + [(gap.path, f"{gap.from_s:.1f}", f"{gap.to_s:.1f}", gap.reason) for gap in report.gaps]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], raw: int = -1) -> str:
    """``raw``: the column that is HTML already."""
    body = [
        "<tr>" + "".join(f"<td>{cell if i == raw else escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    ]
    if not body:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }
img { max-height: 6rem; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e8e8e8; } }
"""
_SCRIPT = """
document.getElementById("search").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll("tbody tr")) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }
});
"""
