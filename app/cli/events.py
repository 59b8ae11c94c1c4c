"""``maskwatch events``: kept events listed, exported and counted."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.event_file import add_event_file_options, local_time, make_console, open_store
from app.core.errors import SettingsError
from app.core.text import counted, reason_text
from app.core.types import Event, EventKind

if TYPE_CHECKING:
    from app.alerts.event_store import EventStore
    from app.alerts.export import HourRow
    from app.alerts.store_types import EventFilter

KINDS = [kind.value for kind in EventKind]
BAR_WIDTH = 8
LONGEST_NAME_BYTES = 200


def register_events(commands: Any) -> None:
    events = commands.add_parser("events", help="list, export and count kept events").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    for name, run, words in (
        ("list", _list_events, "show the newest events as a table"),
        ("export", _export_events, "write events as CSV or JSON Lines"),
        ("stats", _stats, "compliance rate by hour, as a table and a plot"),
    ):
        parser = events.add_parser(name, help=words, description=words)
        add_event_file_options(parser)
        whole = "; its whole hour counts" if name == "stats" else ""
        parser.add_argument("--since", metavar="TIME", help=f"2h, 7d, 2026-11-23 or 2026-11-23T14:30{whole}")
        parser.add_argument("--until", metavar="TIME")
        parser.add_argument("--camera", action="append", default=[], metavar="NAME", help="may be repeated")
        parser.set_defaults(run=run, kind=[])
        if name != "stats":
            parser.add_argument("--kind", action="append", default=[], choices=KINDS, help="may be repeated")
        if name == "list":
            parser.add_argument("--newest", type=int, default=50, metavar="N", help="at most so many (default 50)")
        if name == "export":
            parser.add_argument("--format", choices=("csv", "jsonl"), help="default: by the name of --output, or csv")
            parser.add_argument("--output", metavar="FILE", help="default: standard output")
            parser.add_argument("--pictures", metavar="DIR", help="also write kept pictures there, as ID.jpg")
        if name == "stats":
            parser.add_argument("--png", metavar="FILE", help="also draw the plot as a picture (needs matplotlib)")
            parser.add_argument("--json", action="store_true", help="JSON Lines in place of the table")


def _filter(args: argparse.Namespace) -> "EventFilter":
    from app.alerts.export import parse_time
    from app.alerts.store_types import EventFilter

    now_s = time.time()
    since_s = parse_time(args.since, now_s) if args.since else None
    until_s = parse_time(args.until, now_s) if args.until else None
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise SettingsError(f"--since {args.since} is not before --until {args.until}; swap them")
    return EventFilter(since_s, until_s, tuple(args.camera), tuple(args.kind))


def _list_events(args: argparse.Namespace) -> int:
    from rich.table import Column, Table

    with open_store(args) as store:
        events = store.events(_filter(args), newest=max(args.newest, 0))
    whole = (Column(name, no_wrap=True) for name in ("time", "kind"))
    table = Table(*whole, "camera", "person", "sure", "lasted", "reason", box=None)
    for event in events:
        why = reason_text(event.reason)
        person = f"{event.people} people" if event.people > 1 else str(event.track_id or "")
        sure = f"{event.confidence:.0%}" if event.track_id else ""
        lasted = f"{event.duration_s:.1f} s" if event.duration_s else ""
        table.add_row(local_time(event.wall_s), event.kind.value, event.camera, person, sure, lasted, why)
    console = make_console()
    console.print(table)
    console.print(counted(len(events), "event"))
    return 0


def _export_events(args: argparse.Namespace) -> int:
    from app.alerts.export import WRITERS, whole_file

    output = Path(args.output) if args.output else None
    named = output.suffix.lower().lstrip(".") if output else "csv"
    form = args.format or named
    if form not in WRITERS:
        raise SettingsError(f"cannot tell the format of {output}; give --format csv or jsonl")
    with open_store(args) as store:
        events = store.events(_filter(args))
        if output is None:
            WRITERS[form](events, sys.stdout)
        else:
            with whole_file(output) as file:
                WRITERS[form](events, file)
        written = _export_pictures(store, events, Path(args.pictures)) if args.pictures else 0
    if output is not None:
        print(f"{counted(len(events), 'event')} written to {output}")
    if args.pictures:
        print(f"{counted(written, 'picture')} written to {args.pictures}", file=sys.stderr)
    return 0


def _export_pictures(store: "EventStore", events: list[Event], folder: Path) -> int:
    from app.core.errors import OutputError

    names: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for event in events:
            jpeg = store.snapshot(event.id)
            if jpeg is not None:
                (folder / f"{_picture_name(event.id, names)}.jpg").write_bytes(jpeg)
    except OSError as error:
        raise OutputError(f"cannot write pictures to {folder}: {error.strerror or error}") from error
    return len(names)


def _picture_name(event_id: str, taken: set[str]) -> str:
    """``event_id`` with all but letters, digits, '-' and '_' percent-encoded, under a name that no disk takes for one
    of ``taken``, to which it is added."""
    signs = (c if c.isalnum() or c in "-_" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in event_id)
    whole = "".join(signs).encode()[:LONGEST_NAME_BYTES].decode(errors="ignore")
    name, serial = whole, 1
    while name.casefold() in taken:
        serial += 1
        name = f"{whole}-{serial}"
    taken.add(name.casefold())
    return name


def _stats(args: argparse.Namespace) -> int:
    import json

    from app.alerts.export import by_hour, hour_fields, plot_png, total

    wanted = _filter(args).whole_hours()
    with open_store(args) as store:
        rows = by_hour(store.presence(wanted), store.events(wanted))
    if args.png:
        plot_png(rows, Path(args.png))
    if args.json:
        for row in rows:
            print(json.dumps(hour_fields(row)))
        return 0
    _print_hours(rows, total(rows))
    return 0


def _print_hours(rows: "list[HourRow]", whole: "HourRow") -> None:
    from rich.bar import Bar
    from rich.table import Column, Table

    console = make_console()
    if not rows:
        console.print("nobody was seen and nothing happened in that time")
        return
    counted = ("people", "masked", "incorrect", "bare", "alerts", "compliance")
    columns = (Column(name, justify="right", no_wrap=True) for name in counted)
    table = Table(Column("hour", no_wrap=True), *columns, "", box=None)
    for label, row in [*((row.label, row) for row in rows), ("all", whole)]:
        seen, share = row.seen, row.seen.compliance
        table.add_row(
            label,
            *(str(count) for count in (seen.people, seen.masked, seen.incorrect, seen.bare, row.alerts)),
            "-" if share is None else f"{share:.1%}",
            Bar(1.0, 0.0, share or 0.0, width=BAR_WIDTH),
        )
    console.print(table)
