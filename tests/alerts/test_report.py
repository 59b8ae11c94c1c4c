"""Reports: once for each period, also over restarts and clock changes, late after a pause, and as a mail."""

import email
import email.policy
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiosmtpd.controller import Controller
from fakes_alerts import LIMIT_S, RecordingHook, wait_until
from fakes_net import free_port
from pydantic import ValidationError

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.hook import Alert, AlertHook
from app.alerts.hooks.apprise_hook import AppriseHook
from app.alerts.numbers import read_numbers
from app.alerts.report import due_periods, due_reports, report_event, report_html, report_text
from app.alerts.retention import limit_size, purge
from app.alerts.store_types import EventFilter, StoreError, WriteBatch
from app.core.camera_hours import CameraHour
from app.core.errors import HookError
from app.core.period import Period, Span
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings, AppriseChannel

# Apprise imports imghdr, which Python 3.13 removed, and has a replacement.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

BERLIN = ZoneInfo("Europe/Berlin")
CHANNELS = [{"kind": "command", "name": name, "argv": ["true"], "events": ["no_mask"]} for name in ("boss", "desk")]


def unix_s(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def settings_for(store: Path, every: str = "day", at: str = "07:00", **more: Any) -> AlertSettings:
    report = {"every": every, "at": at, "timezone": "Europe/Berlin", "channels": ["boss"]}
    fields = {"store": store, "channels": CHANNELS, "retry_first_s": 0.01, "retry_max_s": 0.02, "report": report}
    return AlertSettings.model_validate(fields | more)


def add_day(path: Path, day: str, masked: int = 95, bare: int = 5, camera: str = "door") -> None:
    noon_s = int(unix_s(f"{day}T12:00"))
    with EventStore(path) as store:
        store.write(WriteBatch(hours=(CameraHour(camera, noon_s, masked, bare, watched_s=3600),)), noon_s)


class Clock:
    """Runs from ``start_s`` (Unix time) on."""

    def __init__(self, start_s: float) -> None:
        self._offset_s = start_s - time.monotonic()

    def wall_s(self) -> float:
        return time.monotonic() + self._offset_s

    def monotonic_s(self) -> float:
        return time.monotonic()


def run(settings: AlertSettings, now: str, hook: AlertHook, done: Callable[[], bool]) -> None:
    """Watches from ``now`` on until ``done``."""
    other = RecordingHook()
    center = AlertCenter(settings, Clock(unix_s(now)), {"boss": hook, "desk": other})
    center.start()
    try:
        wait_until(done)
    finally:
        center.close(LIMIT_S)
    assert other.alerts == [], "no channel gets a report that is not named"


def due(settings: AlertSettings, now: str) -> list[str]:
    return [event.reason.partition("\n")[0] for event in due_reports(settings, unix_s(now))]


@pytest.mark.parametrize(
    ("every", "at"), [("day", "07:00"), ("day", "02:30"), ("day", "00:00"), ("week", "02:30"), ("month", "23:59")]
)
@pytest.mark.parametrize("start", ["2026-03-20", "2026-10-16"])
def test_each_period_is_due_once_also_when_the_clock_changes(every: str, at: str, start: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "none.db", every, at, keep_days=62)
    now_s, last_s = unix_s(f"{start}T12:00"), None
    found: list[tuple[Period, datetime]] = []
    for _ in range(20 * 24 * 6):
        now_s += 600
        for period in due_periods(settings, now_s, last_s):
            found.append((period, datetime.fromtimestamp(now_s, BERLIN)))
            last_s = float(period.until_s)
    periods = [period for period, _ in found]
    assert len(periods) == {"day": 21, "week": 4, "month": 2}[every]
    assert all(later == earlier.moved(1) for earlier, later in pairwise(periods))
    for period, when in found[1:]:
        due = datetime.combine(period.moved(1).first, datetime.strptime(at, "%H:%M").time())
        late = when.replace(tzinfo=None) - due
        assert timedelta() <= late <= timedelta(minutes=90), (period, when)


def test_a_report_is_sent_once_over_restarts_and_late_after_a_pause(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    settings, hook = settings_for(path), RecordingHook()
    for day in ("2026-11-24", "2026-11-25"):
        add_day(path, day)
    run(settings, "2026-11-26T06:58:00", hook, lambda: len(hook.alerts) == 1)
    assert due(settings, "2026-11-26T06:59:59") == []
    run(settings, "2026-11-26T07:00:00", hook, lambda: len(hook.alerts) == 2)
    for now in ("2026-11-26T07:00:30", "2026-11-27T06:59:59", "2026-11-27T07:00", "2026-11-20T10:00"):
        assert due(settings, now) == [], "nothing new, nothing in the period, or a clock that went back"
    for day in ("2026-11-26", "2026-11-27"):
        add_day(path, day)
    run(settings, "2026-11-29T10:00:00", hook, lambda: len(hook.alerts) == 4)
    assert due(settings, "2026-11-30T06:59") == []
    assert [alert.title for alert in hook.alerts] == [
        f"Masks, {day} November 2026" for day in ("Tue 24", "Wed 25", "Thu 26", "Fri 27")
    ]
    assert len({alert.idempotency_key for alert in hook.alerts}) == 4


def test_a_report_that_could_not_be_sent_is_retried_by_the_delivery(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    add_day(path, "2026-11-25")
    attempts: list[str] = []

    def fail(alert: Alert) -> None:
        attempts.append(alert.idempotency_key)
        raise HookError("the server is down")

    run(settings_for(path), "2026-11-26T07:00:00", RecordingHook(fail), lambda: len(attempts) >= 2)
    hook = RecordingHook()
    run(settings_for(path), "2026-11-26T07:10:00", hook, lambda: bool(hook.alerts))
    assert {*attempts, *(alert.idempotency_key for alert in hook.alerts)} == {attempts[0]}
    assert len(hook.alerts) == 1


def test_a_report_is_sent_once_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, checks, write = tmp_path / "events.db", [], EventStore.write
    add_day(path, "2026-11-25")

    def fail(self: EventStore, batch: WriteBatch, wall_s: float) -> None:
        if self.path == path:
            raise StoreError("the disk is full")
        write(self, batch, wall_s)

    def count(*args: Any) -> Iterator[Event]:
        checks.append(args)
        return due_reports(*args)

    monkeypatch.setattr(EventStore, "write", fail)
    monkeypatch.setattr("app.alerts.delivery.due_reports", count)
    for name in ("REPORT_CHECK_S", "STORE_POLL_S"):
        monkeypatch.setattr(f"app.alerts.delivery.{name}", 0.02)
    hook = RecordingHook()
    run(settings_for(path), "2026-11-26T07:00:00", hook, lambda: len(checks) >= 5 and bool(hook.alerts))
    assert len(hook.alerts) == 1


def test_a_report_is_not_sent_again_when_it_was_deleted(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    add_day(path, "2026-11-25")
    now_s = unix_s("2026-11-26T08:00")
    settings = settings_for(path)
    (event,) = due_reports(settings, now_s)
    with EventStore(path) as store:
        store.write(WriteBatch(((event, None),)), now_s)
        store.write(WriteBatch(tuple((_event(k), None) for k in range(200))), now_s)
        limit_size(store, 1)
        assert [each.id for each in store.events()] == [event.id], "the limit of the size keeps reports"
        assert list(due_reports(settings, now_s)) == []
        purge(store, now_s + 10)
        assert store.events(EventFilter()) == []
    assert list(due_reports(settings, now_s)) == []


def _event(number: int) -> Event:
    return Event(f"e{number}", EventKind.NO_MASK, "door", 0.0, unix_s("2026-11-25T12:00"))


def test_the_text_has_the_exact_numbers_and_the_comparison(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    add_day(path, "2026-11-20", 800, 200)
    add_day(path, "2026-11-24", 95, 5)
    add_day(path, "2026-11-25", 3, 4, "<yard>")
    week = Period.of(Span.WEEK, date(2026, 11, 25), BERLIN)
    with EventStore(path) as store:
        text = report_text(
            week.moved(0), read_numbers(store, week.moved(-1).since_s, week.until_s, week.until_s), week.until_s
        )
    lines = text.split("\n")
    assert lines[:6] == [
        "Masks, week 48, 23 November to 29 November 2026",
        "Total",
        "Masks worn correctly\t92% (85 to 96%)",
        "Change\t+12 points (+4 to +16)",
        "All\t92% (85 to 96%), 107 people, 9 without a mask, 0 worn wrong, 0 alerts, watched 2 h, 1%",
        "The week before\t80% (77 to 82%), 1000 people, 200 without a mask, 0 worn wrong, 0 alerts, watched 1 h, 2%",
    ]
    assert lines[lines.index("Hours with the lowest rate") + 1].startswith(
        "Tue 24 Nov, 12:00\t95% (89 to 98%), 100 people"
    )
    assert [line.partition("\t")[0] for line in lines[lines.index("Cameras") + 1 :][:2]] == ["<yard>", "door"]
    assert "<yard>\ttoo few people (7), 7 people, 4 without a mask" in text
    html = report_html(text)
    assert html.startswith("<h2>Masks, week 48")
    assert '<tr><th align="left">&lt;yard&gt;</th><td>too few people (7)' in html
    assert html.count("<table") == html.count("</table>") >= 4
    with EventStore(path) as store:
        assert "no hour with enough people" in report_text(week.moved(5), read_numbers(store, 0, 1, 1), 1)


class Inbox:
    """The mails that an SMTP server received."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@pytest.mark.parametrize("text_only", [False, True])
def test_a_mail_has_a_table_and_plain_text(text_only: bool) -> None:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{controller.port}?from=a@example.org&to=b@example.org{'&format=text' * text_only}"
        hook = AppriseHook(AppriseChannel(kind="apprise", name="boss", url=url))
        text = "Masks, Wed 25 November 2026\nTotal\nAll\t95% (89 to 98%), 100 people"
        event = report_event(Period.of(Span.DAY, date(2026, 11, 25), BERLIN), text)
        hook.send(Alert(event, "boss", "key"))
    finally:
        controller.stop()
    (mail,) = inbox.mails
    assert "Masks, Wed 25 November 2026" in mail["Subject"]
    parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
    plain = " ".join(parts["text/plain"].split())
    assert "95% (89 to 98%), 100 people" in plain
    assert "<" not in plain
    assert ("text/html" in parts) is not text_only
    if not text_only:
        assert '<tr><th align="left">All</th><td>95% (89 to 98%), 100 people</td></tr>' in parts["text/html"]


def test_the_settings_of_the_documentation_are_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "numbers.md").read_text("utf-8")
    shown = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])["alerts"]
    report = AlertSettings.model_validate({"channels": CHANNELS, **shown}).report
    assert report.model_fields_set == set(type(report).model_fields), "it shows every setting"


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"every": "day"}, "channels is empty"),
        ({"every": "day", "channels": ["nobody"]}, "no channel 'nobody' that can send a text; choose from: boss, desk"),
        ({"every": "day", "channels": ["bell"]}, "no channel 'bell' that can send a text"),
        ({"every": "day", "channels": ["boss"], "at": "7"}, "at"),
        ({"every": "day", "channels": ["boss"], "at": "24:00"}, "at"),
        ({"every": "day", "channels": ["boss"], "timezone": "Mars"}, "unknown time zone"),
        ({"every": "hour"}, "every"),
    ],
)
def test_settings_that_cannot_work_are_refused(report: dict[str, Any], message: str, tmp_path: Path) -> None:
    channels = [*CHANNELS, {"kind": "sound", "name": "bell"}]
    with pytest.raises(ValidationError, match=message):
        settings_for(tmp_path / "events.db", channels=channels, report=report)
    with pytest.raises(ValidationError, match="deleted before it is sent; set keep_days to 32 or more"):
        settings_for(tmp_path / "events.db", "month")
    with pytest.raises(ValidationError, match="a report needs stored events"):
        settings_for(tmp_path / "events.db", persist=False)
