"""``maskwatch events``, ``maskwatch alerts`` and ``maskwatch purge``."""

import argparse
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain import Event, EventKind
from app.errors import HookError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from app.alerts.export import HourRow
    from app.alerts.records import EventFilter
    from app.alerts.settings import AlertSettings
    from app.alerts.store import EventStore

KINDS = [kind.value for kind in EventKind]
STATUSES = ("pending", "delivered", "undelivered", "skipped")
BAR_WIDTH = 8
RETRY_WAIT_S = 30.0


def register(commands: Any) -> None:
    _register_events(commands)
    _register_alerts(commands)
    purge = commands.add_parser("purge", help="delete kept events, pictures and counts", description=_purge.__doc__)
    _add_place(purge)
    purge.add_argument("--before", metavar="TIME", help="only what is older (7d, 2026-11-23); default: everything")
    purge.add_argument("--pictures", action="store_true", help="only pictures; events stay")
    purge.add_argument("--yes", action="store_true", help="do not ask")
    purge.set_defaults(run=_purge)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--store", metavar="FILE", help="event file; default: the one of the settings")


def _register_events(commands: Any) -> None:
    events = commands.add_parser("events", help="list, export and count kept events").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    for name, run, words in (
        ("list", _list_events, "show the newest events as a table"),
        ("export", _export_events, "write events as CSV or JSON Lines"),
        ("stats", _stats, "compliance rate by hour, as a table and a plot"),
    ):
        parser = events.add_parser(name, help=words, description=words)
        _add_place(parser)
        parser.add_argument("--since", metavar="TIME", help="2h, 7d, 2026-11-23 or 2026-11-23T14:30")
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


def _register_alerts(commands: Any) -> None:
    alerts = commands.add_parser("alerts", help="try channels, list and retry alerts").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    test = alerts.add_parser("test", help="send a test alert through every channel", description=_test.__doc__)
    listing = alerts.add_parser("list", help="show alerts and how they fared", description=_list_alerts.__doc__)
    listing.add_argument("--status", choices=STATUSES, help="only these")
    listing.add_argument("--newest", type=int, default=50, metavar="N", help="at most so many (default 50)")
    retry = alerts.add_parser("retry", help="send undelivered alerts again", description=_retry.__doc__)
    for parser, run in ((test, _test), (listing, _list_alerts), (retry, _retry)):
        _add_place(parser)
        parser.add_argument("--channel", action="append", default=[], metavar="NAME", help="may be repeated")
        parser.set_defaults(run=run)


def _settings(args: argparse.Namespace) -> "AlertSettings":
    from app.config import load_settings

    settings = load_settings(Path(args.config) if args.config else None).alerts
    return settings.model_copy(update={"store": Path(args.store)}) if args.store else settings


def _open(args: argparse.Namespace) -> "EventStore":
    from app.alerts.store import EventStore

    return EventStore(_settings(args).store, create=False, busy_s=10.0)


def _filter(args: argparse.Namespace) -> "EventFilter":
    from app.alerts.export import parse_time
    from app.alerts.records import EventFilter

    now_s = time.time()
    since_s = parse_time(args.since, now_s) if args.since else None
    until_s = parse_time(args.until, now_s) if args.until else None
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise SettingsError(f"--since {args.since} is not before --until {args.until}; swap them")
    return EventFilter(since_s, until_s, tuple(args.camera), tuple(args.kind))


def _console() -> "Console":
    from rich.console import Console

    return Console(markup=False, highlight=False)  # brackets of names and errors are no markup


def _local(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_s))


def _list_events(args: argparse.Namespace) -> int:
    from rich.table import Column, Table

    with _open(args) as store:
        events = store.events(_filter(args), newest=max(args.newest, 0))
    whole = (Column(name, no_wrap=True) for name in ("time", "kind"))
    table = Table(*whole, "camera", "person", "sure", "lasted", "reason", box=None)
    for event in events:
        person = str(event.track_id) if event.track_id else ""
        sure = f"{event.confidence:.0%}" if event.track_id else ""
        lasted = f"{event.duration_s:.1f} s" if event.duration_s else ""
        table.add_row(_local(event.wall_s), event.kind.value, event.camera, person, sure, lasted, event.reason)
    console = _console()
    console.print(table)
    console.print(f"{len(events)} events")
    return 0


def _export_events(args: argparse.Namespace) -> int:
    from app.alerts.export import WRITERS, whole_file

    output = Path(args.output) if args.output else None
    named = output.suffix.lower().lstrip(".") if output else "csv"
    form = args.format or named
    if form not in WRITERS:
        raise SettingsError(f"cannot tell the format of {output}; give --format csv or jsonl")
    with _open(args) as store:
        events = store.events(_filter(args))
        if output is None:
            WRITERS[form](events, sys.stdout)
        else:
            with whole_file(output) as file:
                WRITERS[form](events, file)
        written = _export_pictures(store, events, Path(args.pictures)) if args.pictures else 0
    if output is not None:
        print(f"{len(events)} events written to {output}")
    if args.pictures:
        print(f"{written} pictures written to {args.pictures}", file=sys.stderr)
    return 0


def _export_pictures(store: "EventStore", events: list[Event], folder: Path) -> int:
    from app.errors import OutputError

    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for event in events:
            jpeg = store.snapshot(event.id)
            if jpeg is not None:
                (folder / f"{''.join(c for c in event.id if c.isalnum() or c in '-_')}.jpg").write_bytes(jpeg)
                written += 1
    except OSError as error:
        raise OutputError(f"cannot write pictures to {folder}: {error.strerror or error}") from error
    return written


def _stats(args: argparse.Namespace) -> int:
    import json

    from app.alerts.export import by_hour, facts, plot_png, total

    wanted = _filter(args)
    with _open(args) as store:
        rows = by_hour(store.presence(wanted), store.events(wanted))
    if args.png:
        plot_png(rows, Path(args.png))
    if args.json:
        for row in rows:
            print(json.dumps(facts(row)))
        return 0
    _print_hours(rows, total(rows))
    return 0


def _print_hours(rows: "list[HourRow]", whole: "HourRow") -> None:
    from rich.bar import Bar
    from rich.table import Column, Table

    console = _console()
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


def _test(args: argparse.Namespace) -> int:
    """Sends one test alert through every channel of the settings, whatever its filters, and says how each fared."""
    from rich.table import Table
    from rich.text import Text

    from app.alerts.hooks import Alert, idempotency_key
    from app.alerts.limited import LazyHook, LimitedHook

    settings = _settings(args)
    channels = [each for each in settings.channels if not args.channel or each.name in args.channel]
    _check_names(args.channel, {each.name for each in settings.channels})
    if not channels:
        raise SettingsError("no channel is set up; add [[alerts.channels]] to the settings file, see docs/alerts.md")
    event = Event(uuid.uuid4().hex, EventKind.NO_MASK, "test", 0.0, time.time(), reason="a test of the channel")
    table = Table("channel", "kind", "result", box=None)
    failures = 0
    for channel in channels:
        hook = LimitedHook(LazyHook(channel), channel.timeout_s)
        try:
            hook.send(Alert(event, channel.name, idempotency_key(event, channel.name)))
            result = Text("sent", "green")
        except HookError as error:
            failures += 1
            result = Text(f"failed: {error}", "red")
        table.add_row(channel.name, channel.kind, result)
    _console().print(table)
    return 1 if failures else 0


def _check_names(given: list[str], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise SettingsError(f"no channel {unknown[0]!r}; known: {', '.join(sorted(known)) or 'none'}")


def _list_alerts(args: argparse.Namespace) -> int:
    """Shows alerts, newest last: pending, delivered, undelivered (given up after their age), skipped (rate limit)."""
    from rich.table import Column, Table

    from app.alerts.outbox import Status

    with _open(args) as store:
        found = store.deliveries(Status(args.status) if args.status else None)
    found = [each for each in found if not args.channel or each.channel in args.channel]
    shown = found[-args.newest :] if args.newest > 0 else []
    whole = [Column(name, no_wrap=True) for name in ("time", "channel", "kind", "camera", "status")]
    table = Table(*whole, "tries", "last failure", box=None)
    for each in shown:
        event = each.event
        row = (_local(each.created_s), each.channel, event.kind.value, event.camera, each.status.value)
        table.add_row(*row, str(each.attempts), each.error)
    console = _console()
    console.print(table)
    counts = ", ".join(f"{sum(each.status == status for each in found)} {status}" for status in STATUSES)
    console.print(f"{len(shown)} of {len(found)} shown: {counts}")
    return 0


def _retry(args: argparse.Namespace) -> int:
    """Makes undelivered alerts wait again. A running maskwatch sends them; otherwise they are sent now."""
    from app.alerts.delivery import AlertCenter
    from app.alerts.journal import lock_of

    settings = _settings(args)
    with _open(args) as store:
        waiting = store.retry(tuple(args.channel), time.time())
    lock = lock_of(settings.store)
    if not lock.take():
        print(f"{waiting} alerts wait again; the maskwatch that is running sends them")
        return 0
    lock.release()
    center = AlertCenter(settings)
    center.start()
    left = center.close(RETRY_WAIT_S)
    sent = sum(channel.delivered for channel in center.health().channels)
    print(f"{waiting} alerts wait again; {sent} sent now")
    for line in left:
        print(line, file=sys.stderr)
    return 1 if left else 0


def _purge(args: argparse.Namespace) -> int:
    """Deletes what was kept (events, pictures, counts, waiting alerts, damaged files set aside) and overwrites it."""
    from app.alerts.export import parse_time
    from app.alerts.retention import purge

    before_s = parse_time(args.before, time.time()) if args.before else None
    store = _open(args)
    with store:
        if not args.yes and not _agreed(store.path, args):
            print("nothing deleted")
            return 1
        done = purge(store, before_s, pictures_only=args.pictures)
    print(f"deleted {done.events} events, {done.pictures} pictures, {done.hours} hourly counts, {done.files} old files")
    return 0


def _agreed(path: Path, args: argparse.Namespace) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("purge asks before it deletes; add --yes where nobody can answer")
    what = "pictures" if args.pictures else "events, pictures and counts"
    when = f" from before {args.before}" if args.before else ""
    return input(f"Delete all {what}{when} in {path}? [y/N] ").strip().lower() in ("y", "yes")
