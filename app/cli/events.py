"""``maskwatch events``: list, export and count stored events."""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.arguments import check_names, count
from app.cli.event_file import add_event_file_options, cameras_of, make_console, open_store
from app.core.errors import SettingsError
from app.core.files import output_errors
from app.core.text import counted, local_time, reason_text
from app.core.types import Event, EventKind

if TYPE_CHECKING:
    from app.alerts.event_store import EventStore
    from app.alerts.export import HourRow
    from app.alerts.store_types import EventFilter

KINDS = [kind.value for kind in EventKind]
BAR_WIDTH = 8
MAX_NAME_BYTES = 200


def register_events(commands: Any) -> None:
    events = commands.add_parser("events", help="list, export and count stored events").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    for name, run, summary in (
        ("list", list_events, "show the newest events as a table"),
        ("export", _export_events, "write events as CSV or JSON Lines"),
        ("stats", _stats, "show the compliance rate by hour"),
    ):
        parser = events.add_parser(name, help=summary, description=summary)
        add_event_file_options(parser)
        rounding = "; rounded to whole hours" if name == "stats" else ""
        parser.add_argument("--since", metavar="TIME", help=f"2h, 7d, 2026-11-23 or 2026-11-23T14:30{rounding}")
        parser.add_argument("--until", metavar="TIME", help="a time as for --since")
        parser.add_argument(
            "--camera", action="append", default=[], metavar="NAME", help="only this camera; repeatable"
        )
        parser.set_defaults(run=run, kind=[])
        if name != "stats":
            parser.add_argument("--kind", action="append", default=[], choices=KINDS, help="only this kind; repeatable")
        if name == "list":
            parser.add_argument(
                "--newest", type=count, default=50, metavar="N", help="show at most N events (default 50)"
            )
        if name == "export":
            parser.add_argument("--format", choices=("csv", "jsonl"), help="default: from the name of --output, or csv")
            parser.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
            parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write snapshots to DIR as ID.jpg")
        if name == "stats":
            parser.add_argument(
                "--png", type=Path, metavar="FILE", help="also write the plot as an image (needs matplotlib)"
            )
            parser.add_argument("--json", action="store_true", help="print JSON Lines instead of the table")


def _filter(args: argparse.Namespace, store: "EventStore") -> "EventFilter":
    from app.alerts.export import parse_time
    from app.alerts.store_types import EventFilter

    now_s = time.time()
    limits = (None if text is None else parse_time(text, now_s) for text in (args.since, args.until))
    since_s, until_s = limits  # an empty argument is an error
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise SettingsError(f"--since {args.since} is not before --until {args.until}; swap them")
    if args.camera:
        check_names("camera", args.camera, [*cameras_of(args), *store.cameras()])
    return EventFilter(since_s, until_s, tuple(args.camera), tuple(args.kind))


def list_events(args: argparse.Namespace) -> int:
    from rich.table import Column, Table

    with open_store(args) as store:
        events = store.events(_filter(args, store), newest=args.newest)
    columns = (Column(name, no_wrap=True) for name in ("time", "kind"))
    table = Table(*columns, "camera", "person", "confidence", "duration", "reason", box=None)
    for event in events:
        person = f"{event.people} people" if event.people > 1 else str(event.track_id or "")
        confidence = f"{event.confidence:.0%}" if event.track_id else ""
        duration = f"{event.duration_s:.1f} s" if event.duration_s else ""
        reason = reason_text(event.reason)
        table.add_row(local_time(event.wall_s), event.kind.value, event.camera, person, confidence, duration, reason)
    console = make_console()
    console.print(table)
    console.print(counted(len(events), "event"))
    return 0


def _export_events(args: argparse.Namespace) -> int:
    from app.alerts.export import WRITERS, atomic_text_file

    output: Path | None = args.output
    extension = output.suffix.lower().lstrip(".") if output else "csv"
    file_format = args.format or extension
    if file_format not in WRITERS:
        raise SettingsError(f"unknown format of {output}; give --format csv or jsonl")
    with open_store(args) as store:
        events = store.events(_filter(args, store))
        if output is None:
            WRITERS[file_format](events, sys.stdout)
        else:
            with atomic_text_file(output) as file:
                WRITERS[file_format](events, file)
        written = _export_snapshots(store, events, args.pictures) if args.pictures else 0
    if output is not None:
        print(f"{counted(len(events), 'event')} written to {output}")
    if args.pictures:
        print(f"{counted(written, 'snapshot')} written to {args.pictures}", file=sys.stderr)
    return 0


def _export_snapshots(store: "EventStore", events: list[Event], folder: Path) -> int:
    names: set[str] = set()
    with output_errors(f"snapshots to {folder}", "choose another --pictures"):
        folder.mkdir(parents=True, exist_ok=True)
        for event in events:
            jpeg = store.snapshot(event.id)
            if jpeg is not None:
                (folder / f"{_snapshot_name(event.id, names)}.jpg").write_bytes(jpeg)
    return len(names)


def _snapshot_name(event_id: str, taken: set[str]) -> str:
    """A file name for ``event_id``: characters except letters, digits, '-' and '_' are percent-encoded.

    The name is unique among ``taken`` even on case-insensitive disks, and is added to it.
    """
    characters = (c if c.isalnum() or c in "-_" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in event_id)
    base = "".join(characters).encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    name, serial = base, 1
    while name.casefold() in taken:
        serial += 1
        name = f"{base}-{serial}"
    taken.add(name.casefold())
    return name


def _stats(args: argparse.Namespace) -> int:
    import json

    from app.alerts.export import by_hour, hour_fields, plot_png, total

    with open_store(args) as store:
        event_filter = _filter(args, store).whole_hours()
        until_s = min(time.time(), event_filter.until_s or math.inf)
        rows = by_hour(store.hours(event_filter), store.events(event_filter), until_s)
    if args.png:
        plot_png(rows, args.png)
    if args.json:
        for row in rows:
            if row.is_empty:
                continue
            print(json.dumps(hour_fields(row)))
        return 0
    _print_hours(rows, total(rows))
    return 0


def _print_hours(rows: "list[HourRow]", sums: "HourRow") -> None:
    from rich.bar import Bar
    from rich.table import Column, Table

    console = make_console()
    if not rows:
        console.print("no people and no events in this period")
        return
    headings = ("people", "masked", "incorrect", "bare", "alerts", "compliance")
    columns = (Column(name, justify="right", no_wrap=True) for name in headings)
    table = Table(Column("hour", no_wrap=True), *columns, "", "watched", "not watched", box=None)
    for label, row in [*((row.label, row) for row in rows if not row.is_empty), ("all", sums)]:
        seen, compliance = row.seen, row.seen.compliance
        table.add_row(
            label,
            *(str(count) for count in (seen.people, seen.masked, seen.incorrect, seen.bare, row.alerts)),
            "-" if compliance is None else f"{compliance:.1%}",
            Bar(1.0, 0.0, compliance or 0.0, width=BAR_WIDTH),
            row.watched_text,
            row.not_watched_text,
        )
    console.print(table)
