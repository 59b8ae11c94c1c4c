"""``maskwatch report``: the numbers of a day, week or month, printed or sent."""

import argparse
import time
from datetime import date, datetime
from typing import Any

from app.cli.event_file import add_event_file_options, make_console, open_store, settings_of
from app.core.errors import SettingsError


def register(commands: Any) -> None:
    report = commands.add_parser(
        "report", help="show or send the numbers of a day, week or month", description=_report.__doc__
    )
    add_event_file_options(report)
    report.add_argument(
        "--span", choices=("day", "week", "month"), help="default: [alerts.report] every in the settings, or day"
    )
    report.add_argument("--date", metavar="DATE", help="a day of the period, such as 2026-11-23; default: the last one")
    report.add_argument("--send", action="store_true", help="send it now through the channels of [alerts.report]")
    report.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    """Prints people, rates and watched time of the last complete period, with the period before, or sends them. A
    report that is sent by hand does not replace the next one of [alerts.report]."""
    from app.alerts.numbers import read_numbers
    from app.alerts.report import report_event, report_text
    from app.core.period import Period, Span
    from app.core.schedule import time_zone
    from app.core.translation import using

    settings, now_s = settings_of(args), time.time()
    every = settings.report.every
    span = Span(args.span or ("day" if every == "off" else every))
    zone = time_zone(settings.report.timezone)
    try:
        day = datetime.fromtimestamp(now_s, zone).date() if args.date is None else date.fromisoformat(args.date)
    except ValueError:
        raise SettingsError(f"--date {args.date} is no date; write it like 2026-11-23") from None
    period = Period.of(span, day, zone) if args.date else Period.of(span, day, zone).moved(-1)
    with open_store(args) as store:
        numbers = read_numbers(store, period.moved(-1).since_s, period.until_s, now_s)
    with using(settings.report.language):
        event = report_event(period, report_text(period, numbers, now_s))
    if not args.send:
        print(event.reason.replace("\t", ": "))
        return 0
    from app.alerts.hook import Alert
    from app.alerts.timeout_hook import send_now

    channels = [channel for channel in settings.channels if channel.name in settings.report.channels]
    if not channels:
        raise SettingsError("no channel sends reports; name some in channels of [alerts.report] (docs/numbers.md)")
    has_failed = False
    for channel in channels:
        fault = send_now(channel, Alert(event, channel.name, f"{event.id}:{channel.name}:{now_s:.0f}"))
        has_failed |= bool(fault)
        make_console().print(f"{channel.name}: {f'failed: {fault}' if fault else 'sent'}")
    return int(has_failed)
