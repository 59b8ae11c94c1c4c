"""``maskwatch events``, ``maskwatch alerts`` and ``maskwatch purge``."""

import argparse
import sys
import time
from typing import Any

from app.cli.arguments import check_names, count
from app.cli.channel_flags import add_channel_flags
from app.cli.event_file import (
    add_event_file_options,
    before_of,
    folder_of,
    is_confirmed,
    make_console,
    open_store,
    settings_of,
)
from app.cli.events import register_events
from app.core.errors import SettingsError
from app.core.text import counted, local_time

STATUSES = ("pending", "delivered", "undelivered", "skipped")
RETRY_WAIT_S = 30.0


def register(commands: Any) -> None:
    register_events(commands)
    _register_alerts(commands)
    purge = commands.add_parser("purge", help="delete stored events, pictures and counts", description=_purge.__doc__)
    add_event_file_options(purge)
    purge.add_argument(
        "--before", metavar="TIME", help="delete only what is older (7d, 2026-11-23); default: everything"
    )
    purge.add_argument(
        "--pictures", action="store_true", help="delete only snapshots, clips and collected faces, not events"
    )
    purge.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    purge.set_defaults(run=_purge)


def _register_alerts(commands: Any) -> None:
    alerts = commands.add_parser("alerts", help="test channels, list and retry alerts").add_subparsers(
        dest="action", metavar="ACTION", required=True
    )
    test = alerts.add_parser("test", help="send a test alert through every channel", description=_test.__doc__)
    listing = alerts.add_parser("list", help="show alerts and their delivery status", description=_list_alerts.__doc__)
    listing.add_argument("--status", choices=STATUSES, help="show only alerts with this status")
    listing.add_argument("--newest", type=count, default=50, metavar="N", help="show at most N alerts (default 50)")
    retry = alerts.add_parser("retry", help="send undelivered alerts again", description=_retry.__doc__)
    for parser, run in ((test, _test), (listing, _list_alerts), (retry, _retry)):
        add_event_file_options(parser)
        parser.add_argument(
            "--channel", action="append", default=[], metavar="NAME", help="only this channel; repeatable"
        )
        parser.set_defaults(run=run)
    add_channel_flags(test)


def _test(args: argparse.Namespace) -> int:
    """Sends one test alert through every configured channel, ignoring its filters, and shows the results."""
    from rich.table import Table
    from rich.text import Text

    from app.alerts.hook import make_test_alert
    from app.alerts.timeout_hook import send_now

    settings = settings_of(args)
    channels = [each for each in settings.channels if not args.channel or each.name in args.channel]
    check_names("channel", args.channel, (each.name for each in settings.channels))
    if not channels:
        raise SettingsError(
            "no channel is configured; add [[alerts.channels]] to the settings file (docs/alerts.md), or test --sound"
        )
    table = Table("channel", "kind", "result", box=None)
    faults = [send_now(channel, make_test_alert(channel.name)) for channel in channels]
    for channel, fault in zip(channels, faults, strict=True):
        table.add_row(channel.name, channel.kind, Text(f"failed: {fault}", "red") if fault else Text("sent", "green"))
    make_console().print(table)
    return 1 if any(faults) else 0


def _list_alerts(args: argparse.Namespace) -> int:
    """Shows alerts, newest last: pending, delivered, undelivered (given up after too long) or skipped (over the rate
    limit, or camera muted)."""
    from rich.table import Column, Table

    from app.alerts.store_types import Status

    with open_store(args) as store:
        if args.channel:
            configured = (each.name for each in settings_of(args).channels)
            check_names("channel", args.channel, [*store.channels(), *configured])
        found = store.deliveries(Status(args.status) if args.status else None)
    found = [each for each in found if not args.channel or each.channel in args.channel]
    shown = found[-args.newest :]
    columns = [Column(name, no_wrap=True) for name in ("time", "channel", "kind", "camera", "status")]
    table = Table(*columns, "attempts", "last error", box=None)
    for each in shown:
        event = each.event
        row = (local_time(each.created_s), each.channel, event.kind.value, event.camera, each.status.value)
        table.add_row(*row, str(each.attempts), each.error)
    console = make_console()
    console.print(table)
    counts = ", ".join(f"{sum(each.status == status for each in found)} {status}" for status in STATUSES)
    console.print(f"{len(shown)} of {len(found)} shown: {counts}")
    return 0


def _retry(args: argparse.Namespace) -> int:
    """Queues undelivered alerts again. A running maskwatch sends them; otherwise they are sent now."""
    from app.alerts.delivery import AlertCenter
    from app.alerts.store_types import Status, StoreInUseError

    settings = settings_of(args)
    with open_store(args) as store:
        configured = {each.name for each in settings.channels}
        check_names("channel", args.channel, configured.union(store.channels()))
        given_up = {each.channel for each in store.deliveries(Status.UNDELIVERED)}
        queued = store.retry(tuple(args.channel), time.time())
    center = AlertCenter(settings)
    try:
        center.start()
    except StoreInUseError:
        print(f"{counted(queued, 'alert')} queued again; the running maskwatch sends them")
        return 0
    unsent = center.close(RETRY_WAIT_S)
    sent = sum(channel.delivered for channel in center.health().channels)
    print(f"{counted(queued, 'alert')} queued again; {sent} sent now")
    absent = sorted((given_up & set(args.channel or given_up)) - configured)
    if absent:
        unsent.append(
            f"channel {', '.join(absent)}: not in these settings, so its alerts stay queued; give --config FILE"
        )
    for line in unsent:
        print(line, file=sys.stderr)
    return 1 if unsent else 0


def _purge(args: argparse.Namespace) -> int:
    """Deletes and overwrites stored events, snapshots, counts, queued alerts and damaged files that were set aside.
    Deletes clips and collected faces."""
    from app.alerts.retention import purge
    from app.alerts.retention_clock import DAY_S
    from app.review.picture_folder import PictureFolder

    now_s = time.time()
    before_s = before_of(args, now_s)
    is_age = before_of(args, 0.0) != before_s
    store = open_store(args)
    with store:
        newest_s = store.query_int("SELECT max(stored_s) FROM events")
        if is_age and newest_s and now_s - newest_s > DAY_S:
            raise SettingsError(
                f"the newest event in {store.path} is {(now_s - newest_s) / DAY_S:.0f} days old, so the clock may be "
                "wrong; set it, or give --before a date such as 2026-11-23"
            )
        what = "pictures" if args.pictures else "events, pictures and counts"
        if not is_confirmed(args, what, store.path):
            return 1
        deleted = purge(store, before_s, pictures_only=args.pictures)
        clips = PictureFolder(folder_of(args, "clips")).delete(before_s)
        faces = PictureFolder(folder_of(args, "collect")).delete(before_s)
    counts = (
        (deleted.events, "event"),
        (deleted.pictures, "snapshot"),
        (deleted.hours, "hourly count"),
        (deleted.files, "old file"),
        (clips, "clip"),
        (faces, "collected face"),
    )
    print(f"deleted {', '.join(counted(count, noun) for count, noun in counts)}")
    return 0
