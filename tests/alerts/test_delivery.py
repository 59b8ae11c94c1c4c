"""The delivery: order, faults, limits, and the event file's troubles, with real files and threads."""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes_alerts import HANG_S, LIMIT_S, HttpPeer, make_event, wait_until

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore, lock_path
from app.alerts.hook import Alert, RetryLater
from app.alerts.offline_cameras import deliveries_of
from app.alerts.outbox import Delivery, Status
from app.alerts.retention import purge
from app.alerts.store_types import WriteBatch
from app.core.errors import HookError
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

FAST = {"retry_first_s": 0.01, "retry_max_s": 0.02}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.delivery.STORE_RETRY_S", 0.2)
    monkeypatch.setattr("app.alerts.delivery.STORE_POLL_S", 0.2)


@dataclass
class NotingHook:
    """Notes what it was given; ``fault`` may raise before that."""

    fault: Callable[[Alert], None] = lambda _: None
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.fault(alert)
        self.alerts.append(alert)

    def abort(self) -> None:
        """It never takes long."""

    @property
    def ids(self) -> list[str]:
        return [alert.event.id for alert in self.alerts]


def fail(_: Alert) -> None:
    raise HookError("it is down")


class HangingHook:
    """Hangs until it is let go; ``abort`` does not help."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0
        self.done = 0

    def send(self, alert: Alert) -> None:
        self.calls += 1
        assert self.go.wait(HANG_S)
        self.done += 1

    def abort(self) -> None:
        """It cannot be ended from outside."""


def channel(name: str = "a", **values: object) -> dict[str, object]:
    return {"kind": "plugin", "plugin": "given-by-the-test", "name": name, **values}


def settings(path: Path | None, *channels: dict[str, object], **values: object) -> AlertSettings:
    place = {"persist": False} if path is None else {"store": path}
    return AlertSettings.model_validate({**FAST, **place, "channels": channels or (channel(),), **values})


@contextlib.contextmanager
def running(center: AlertCenter) -> Iterator[AlertCenter]:
    """Its end waits until all that can be sent was sent, also on a machine that stands still for seconds."""
    center.start()
    try:
        yield center
    finally:
        center.close(LIMIT_S)


def statuses(path: Path) -> list[tuple[str, str]]:
    with EventStore(path) as store:
        return [(each.event.id, each.status.value) for each in store.deliveries()]


def test_alerts_are_stored_sent_in_order_and_noted_as_delivered(store_path: Path) -> None:
    hook, events = NotingHook(), [make_event() for _ in range(20)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        assert center.recent() == tuple(events)
    assert hook.ids == [event.id for event in events]
    assert [alert.idempotency_key for alert in hook.alerts] == [f"{event.id}:a" for event in events]
    assert statuses(store_path) == [(event.id, "delivered") for event in events]
    assert center.failure is None


def test_an_alert_is_on_disk_before_it_is_sent(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.delivery.UNSTORED_LIMIT_S", HANG_S)  # however slow the disk of the test is
    seen: list[list[tuple[str, str]]] = []
    hook = NotingHook(fault=lambda _: seen.append(statuses(store_path)))
    event = make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
    assert seen == [[(event.id, "pending")]]


def test_what_failed_is_tried_again_with_the_same_key_and_in_order(store_path: Path) -> None:
    failing = [3]

    def fault(_: Alert) -> None:
        failing[0] -= 1
        if failing[0] >= 0:
            raise [HookError("no"), ZeroDivisionError("bug"), RetryLater("wait", 0.01)][failing[0]]

    hook, events = NotingHook(fault), [make_event() for _ in range(3)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        wait_until(lambda: len(hook.alerts) == 3)
        assert center.health().ok
    assert hook.ids == [event.id for event in events]
    assert hook.alerts[0].attempt == 4


def test_a_channel_that_hangs_holds_up_neither_the_others_nor_submit_nor_close(store_path: Path) -> None:
    hanging, hook = HangingHook(), NotingHook()
    center = AlertCenter(
        settings(store_path, channel("slow", timeout_s=0.1), channel("fast")), hooks={"slow": hanging, "fast": hook}
    )
    center.start()
    events = [make_event() for _ in range(5)]
    for event in events:
        center.submit(event)
    wait_until(lambda: len(hook.alerts) == 5)
    wait_until(lambda: center.health().channels[0].state == "retrying")
    began_s = time.monotonic()
    left = center.close(LIMIT_S)  # much less will do: nothing can be sent at once any more
    assert time.monotonic() - began_s < HANG_S / 2  # not until the hook comes back
    assert left == [
        "channel slow: its hook hangs",
        "channel slow: 5 not delivered yet, kept for the next start",
    ]
    assert hanging.calls == 1  # an attempt that hangs is never doubled
    hanging.go.set()


def test_what_a_late_attempt_brings_in_the_end_counts(store_path: Path) -> None:
    hanging = HangingHook()
    center = AlertCenter(settings(store_path, channel(timeout_s=0.05)), hooks={"a": hanging})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: center.health().channels[0].state == "retrying")
        hanging.go.set()
        wait_until(lambda: center.health().channels[0].delivered == 1)
    assert (hanging.calls, hanging.done) == (1, 1)


def test_pending_alerts_are_sent_by_the_next_start(store_path: Path) -> None:
    def fault(_: Alert) -> None:
        raise HookError("down")

    events = [make_event() for _ in range(4)]
    first = AlertCenter(settings(store_path), hooks={"a": NotingHook(fault)})
    first.start()
    for event in events:
        first.submit(event)
    assert first.close(LIMIT_S) == ["channel a: 4 not delivered yet, kept for the next start"]
    hook, last = NotingHook(), make_event()
    second = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(second):
        wait_until(lambda: len(hook.alerts) == 4)
        second.submit(last)
        wait_until(lambda: len(hook.alerts) == 5)
    assert hook.ids == [event.id for event in [*events, last]]


def test_after_its_age_an_alert_is_kept_as_undelivered_and_a_retry_sends_it(store_path: Path) -> None:
    down = [True]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook, event = NotingHook(fault), make_event()
    center = AlertCenter(settings(store_path, channel(give_up_after_s=0.05)), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: statuses(store_path) == [(event.id, "undelivered")])
        assert center.health().channels[0].undelivered == 1
        down[0] = False
        with EventStore(store_path) as store:  # as ``maskwatch alerts retry`` does from another process
            assert store.retry((), time.time()) == 1
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: statuses(store_path) == [(event.id, "delivered")])


def test_a_sound_that_is_late_is_not_played_and_any_other_alert_is_tried(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = make_event()
    left = [Delivery(old, name, time.time() - 36_000, 0.0) for name in ("chime", "a")]
    with EventStore(store_path) as store:
        store.write(WriteBatch(((old, None),), tuple(left)), time.time())
    chime, hook, new = NotingHook(), NotingHook(), make_event()
    sound = {"kind": "sound", "name": "chime", "give_up_after_s": 600.0}  # what is new is in time on any machine
    center = AlertCenter(settings(store_path, sound, channel(give_up_after_s=600.0)), hooks={"chime": chime, "a": hook})
    with running(center):
        wait_until(lambda: hook.ids == [old.id])
        wait_until(lambda: center.health().channels[0].undelivered == 1)
        center.submit(new)
        wait_until(lambda: chime.ids == [new.id])
    assert "channel chime: 1 alert given up, too late to be sent" in caplog.text
    with EventStore(store_path) as store:
        (given_up,) = store.deliveries(Status.UNDELIVERED)
        assert (given_up.key, given_up.attempts) == (left[0].key, 0)
        assert store.retry((), time.time()) == 1
    with running(AlertCenter(settings(store_path, sound), hooks={"chime": chime})):
        wait_until(lambda: chime.ids == [new.id, old.id])


def test_a_purge_by_another_program_takes_what_waits_away(store_path: Path) -> None:
    def fault(_: Alert) -> None:
        raise RetryLater("down", 60.0)

    center = AlertCenter(settings(store_path), hooks={"a": NotingHook(fault)})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: center.health().channels[0].state == "retrying")
        with EventStore(store_path) as store:
            purge(store, None)
        wait_until(lambda: center.health().channels[0].waiting == 0)
    assert statuses(store_path) == []


def test_a_full_outbox_makes_its_oldest_undelivered(store_path: Path) -> None:
    hanging, events = HangingHook(), [make_event() for _ in range(5)]
    center = AlertCenter(settings(store_path, max_outbox=2), hooks={"a": hanging})
    with running(center):
        center.submit(events[0])
        wait_until(lambda: hanging.calls == 1)
        for event in events[1:]:
            center.submit(event)
        hanging.go.set()
        wait_until(lambda: hanging.done == 2)
    expected = ["delivered", "undelivered", "undelivered", "undelivered", "delivered"]
    assert [status for _, status in statuses(store_path)] == expected


def test_each_channel_gets_what_it_asked_for(store_path: Path) -> None:
    hooks = {name: NotingHook() for name in ("offline", "gate", "never", "once", "hall")}
    channels = (
        channel("offline", events=["camera_offline"]),
        channel("gate", cameras=["gate-*"]),
        channel("never", schedule=["mon 00:00-00:01"]),
        channel("hall", cameras=["Hall [north]"]),
        channel("once", rate_limit={"count": 1, "per_s": 3600, "excess": "skip"}),
    )
    tuesday_s = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))
    bare = make_event(wall_s=tuesday_s)
    offline = make_event(EventKind.CAMERA_OFFLINE, "gate-2", tuesday_s)
    hall = make_event(camera="Hall [north]", wall_s=tuesday_s)
    center = AlertCenter(settings(store_path, *channels), hooks=hooks)
    with running(center):
        center.submit(bare)
        center.submit(offline)
        center.submit(hall)
    assert hooks["offline"].ids == [offline.id]
    assert hooks["hall"].ids == [hall.id]
    assert hooks["gate"].ids == [offline.id]
    assert hooks["never"].ids == []
    assert hooks["once"].ids == [bare.id]
    with EventStore(store_path) as store:
        assert [each.event.id for each in store.deliveries(Status.SKIPPED)] == [offline.id, hall.id]
        assert len(store.events()) == 3


def ended(alert: Event, wall_s: float) -> Event:
    kind = EventKind.CAMERA_RECOVERED if alert.kind is EventKind.CAMERA_OFFLINE else EventKind.RESOLVED
    return replace(make_event(kind, alert.camera, wall_s), resolves=alert.id)


def test_the_end_of_an_alert_goes_where_the_alert_went(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))  # a Wednesday
    morning_s = time.mktime((2026, 3, 5, 7, 59, 50, 0, 0, -1))
    hooks = {name: NotingHook() for name in ("hours", "ends", "gate", "once")}
    channels = (
        channel("hours", schedule=["mon-fri 08:00-18:00"]),
        channel("ends", schedule=["mon-fri 08:00-18:00"], events=["resolved", "camera_recovered"]),
        channel("gate", cameras=["gate"]),
        channel("once", rate_limit={"count": 1, "per_s": 0.5, "excess": "skip"}),
    )
    late, early = make_event(wall_s=evening_s), make_event(wall_s=morning_s)
    offline = make_event(EventKind.CAMERA_OFFLINE, wall_s=evening_s)
    late_end, offline_end = ended(late, evening_s + 20), ended(offline, evening_s + 20)
    early_end, unknown_end = ended(early, morning_s + 20), ended(make_event(), morning_s + 20)
    center = AlertCenter(settings(store_path, *channels), hooks=hooks)
    events = [late, offline, late_end, offline_end, early, early_end, unknown_end]
    for event in events:
        center.submit(event)
    with running(center):
        wait_until(lambda: hooks["once"].ids == [late.id, late_end.id])
    assert hooks["hours"].ids == [late.id, offline.id, late_end.id, offline_end.id, unknown_end.id]
    assert hooks["ends"].ids == [early_end.id, unknown_end.id]
    assert hooks["gate"].ids == []
    with EventStore(store_path) as store:
        assert [each.event.id for each in store.deliveries(Status.SKIPPED)] == [offline.id, early.id, unknown_end.id]


def test_the_end_of_an_alert_follows_it_past_new_settings_and_a_new_start(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))
    alert, passed = make_event(wall_s=evening_s), make_event(wall_s=evening_s)
    hours = channel(schedule=["mon-fri 08:00-18:00"], rate_limit={"count": 1, "per_s": 0.1, "excess": "skip"})
    hook = NotingHook()
    old, new = (AlertCenter(settings(store_path, hours), hooks={"a": hook}) for _ in range(2))
    with running(old):
        old.submit(alert)
        old.submit(passed)
    new.follow(old)
    end = ended(alert, evening_s + 20)
    with running(new):
        new.submit(end)
    assert hook.ids == [alert.id, end.id]
    earlier = deliveries_of(settings(store_path), [alert, passed])
    assert [each.status for each in earlier] == [Status.DELIVERED, Status.SKIPPED]
    again = AlertCenter(settings(store_path, hours), hooks={"a": hook}, earlier=earlier)
    second_end = ended(alert, evening_s + 40)
    with running(again):
        again.submit(second_end)
        again.submit(ended(passed, evening_s - 5))
    assert hook.ids == [alert.id, end.id, second_end.id]


def test_what_is_held_back_is_kept_but_not_sent(store_path: Path) -> None:
    hook, muted, told = NotingHook(), make_event(camera="muted"), make_event()
    asked: list[str] = []

    def hold_back(event: Event) -> str:
        asked.append(event.id)
        return "muted" if event.camera == "muted" else ""

    channels = (channel("a"), channel("b", cameras=["nowhere"]))
    center = AlertCenter(settings(store_path, *channels), hooks={"a": hook, "b": hook}, hold_back=hold_back)
    with running(center):
        center.submit(muted)
        center.submit(told)
    assert asked == [muted.id, told.id]
    assert hook.ids == [told.id]
    with EventStore(store_path) as store:
        assert store.events() == [muted, told]
        assert [(each.event.id, each.channel, each.error) for each in store.deliveries(Status.SKIPPED)] == [
            (muted.id, "a", "muted")
        ]


@pytest.mark.parametrize("snapshots", ["off", "blur_all"])
def test_a_picture_is_kept_and_sent_only_where_asked(store_path: Path, snapshots: str) -> None:
    hooks = {"with": NotingHook(), "without": NotingHook()}
    wants = snapshots != "off"
    center = AlertCenter(
        settings(store_path, channel("with", snapshot=wants), channel("without"), snapshots=snapshots), hooks=hooks
    )
    event = make_event()
    with running(center):
        center.submit(event, b"SECRET-JPEG")
    assert [alert.snapshot_jpeg for alert in hooks["with"].alerts] == [b"SECRET-JPEG" if wants else None]
    assert [alert.snapshot_jpeg for alert in hooks["without"].alerts] == [None]
    kept = b"".join(file.read_bytes() for file in store_path.parent.iterdir())
    assert (b"SECRET-JPEG" in kept) is wants


def test_without_a_file_everything_works_but_nothing_is_kept() -> None:
    hook = NotingHook()
    center = AlertCenter(settings(None, channel(snapshot=True), snapshots="blur_all"), hooks={"a": hook})
    center.start()
    center.submit(make_event(), b"jpeg")
    center.record_presence("door", time.time(), masked=1)
    assert center.close(LIMIT_S) == []
    assert [alert.snapshot_jpeg for alert in hook.alerts] == [b"jpeg"]
    lost = AlertCenter(settings(None), hooks={"a": NotingHook(_down)})
    lost.start()
    lost.submit(make_event())
    assert lost.close(LIMIT_S) == ["channel a: 1 not delivered yet, lost, for nothing is stored"]


def _down(alert: Alert) -> None:
    raise HookError("down")


def test_people_are_counted_by_hour(store_path: Path) -> None:
    center = AlertCenter(settings(store_path))
    with running(center):
        for _ in range(3):
            center.record_presence("door", 7200.0 + 5, masked=1, bare=1)
    with EventStore(store_path) as store:
        (hour,) = store.presence()
    assert (hour.hour_s, hour.masked, hour.bare) == (7200, 3, 3)


def test_a_locked_file_stops_nothing_and_is_written_when_free(
    store_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_s = 3.0  # so long that the waits of all submits differ from the wait of one on any machine
    monkeypatch.setattr("app.alerts.delivery.SUBMIT_LIMIT_S", limit_s)
    EventStore(store_path).close()
    hook, events = NotingHook(), [make_event() for _ in range(10)]
    other = sqlite3.connect(store_path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        waits_s = []
        for event in events:
            began_s = time.monotonic()
            center.submit(event)
            waits_s.append(time.monotonic() - began_s)
        wait_until(lambda: len(hook.alerts) == 10)
        assert sum(waits_s) < len(events) / 2 * limit_s  # only the first waits, whatever the number
        wait_until(lambda: "locked" in center.health().store_fault)
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: center.health().store_fault == "")
    assert statuses(store_path) == [(event.id, "delivered") for event in events]
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert "alerts go on" in told[0]
    assert "works again" in told[1]


def test_a_file_damaged_before_the_start_is_set_aside(store_path: Path) -> None:
    store_path.write_bytes(b"no database at all" * 1000)
    lock_path(store_path).touch()  # as an earlier run left it
    hook, event = NotingHook(), make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: center.health().store_fault == "")
    assert statuses(store_path) == [(event.id, "delivered")]
    assert len(list(store_path.parent.glob("events.db.damaged-*"))) == 1


def _foreign_text(path: Path) -> None:
    path.write_text("notes of somebody\n" * 100)


def _foreign_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


@pytest.mark.parametrize("make", [_foreign_text, _foreign_database])
def test_a_file_of_somebody_else_is_never_touched(store_path: Path, make: Callable[[Path], None]) -> None:
    make(store_path)
    before = store_path.read_bytes()
    hook, event = NotingHook(), make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: "give another store" in center.health().store_fault)
    assert store_path.read_bytes() == before
    assert [file for file in store_path.parent.iterdir() if "damaged" in file.name] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody overwrite or delete an open file")
@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_a_file_lost_while_watching_is_begun_anew_with_all_that_waits(store_path: Path, how: str) -> None:
    down = [True]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook, first, second = NotingHook(fault), make_event(), make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(first)
        wait_until(lambda: statuses(store_path) == [(first.id, "pending")])
        _lose(store_path, how)
        center.submit(second)
        wait_until(lambda: store_path.is_file() and center.health().store_fault == "" and _waiting(store_path) == 2)
        down[0] = False
        wait_until(lambda: len(hook.alerts) == 2)
    assert hook.ids == [first.id, second.id]
    assert {status for _, status in statuses(store_path)} == {"delivered"}


def _lose(path: Path, how: str) -> None:
    if how == "deleted":
        for file in path.parent.glob("events.db*"):
            file.unlink()
        return
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE outbox SET attempts = attempts + 1")
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    other.execute("COMMIT")  # a change by others makes SQLite read the file again, and not its memory of it
    with contextlib.suppress(sqlite3.Error):
        other.close()


def _waiting(path: Path) -> int:
    try:
        with EventStore(path, create=False) as store:
            return len(store.deliveries(Status.PENDING))
    except Exception:  # it is being replaced just now
        return -1


@pytest.mark.skipif(os.name == "nt", reason="a limit of file sizes needs POSIX")
def test_a_full_disk_stops_nothing_and_is_written_when_there_is_room(store_path: Path) -> None:
    import resource

    EventStore(store_path).close()
    hook, events = NotingHook(), [make_event() for _ in range(5)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    center = AlertCenter(settings(store_path, snapshots="blur_all"), hooks={"a": hook})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(hook.alerts) == 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (store_path.stat().st_size, hard))
        try:
            for event in events:
                center.submit(event, os.urandom(200_000))
            wait_until(lambda: len(hook.alerts) == 6)
            wait_until(lambda: center.health().store_fault != "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        wait_until(lambda: center.health().store_fault == "")
    assert hook.ids[1:] == [event.id for event in events]
    assert [event_id for event_id, _ in statuses(store_path)][1:] == [event.id for event in events]


def test_what_a_broken_disk_does_not_take_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    hook, events = NotingHook(), [make_event() for _ in range(4)]
    broken = settings(tmp_path / "no folder" / "events.db", channel("a", snapshot=True), snapshots="blur_all")
    old = AlertCenter(broken, hooks={"a": NotingHook(fail)})
    moved = broken.model_copy(update={"store": tmp_path / "good.db"})
    new = AlertCenter(moved, hooks={"a": hook})
    old.start()
    for event in events[:3]:
        old.submit(event, b"JPEG")
    old.record_presence("door", time.time(), masked=2)
    wait_until(lambda: old.health().channels[0].state == "retrying")
    new.submit(events[3], b"JPEG")
    assert old.close(heir=new) == []
    with running(new):
        wait_until(lambda: len(hook.alerts) == 4)
    assert hook.ids == [event.id for event in events]
    assert all(alert.snapshot_jpeg == b"JPEG" for alert in hook.alerts)
    assert new.recent() == tuple(events)
    assert statuses(tmp_path / "good.db") == [(event.id, "delivered") for event in events]
    with EventStore(tmp_path / "good.db") as store:
        assert [hour.masked for hour in store.presence()] == [2]


def test_what_no_file_keeps_is_handed_on_but_for_channels_that_are_gone(store_path: Path) -> None:
    hook, event = NotingHook(), make_event()
    both = channel("a", snapshot=True), channel("gone")
    old = AlertCenter(
        settings(None, *both, snapshots="blur_all"), hooks={"a": NotingHook(fail), "gone": NotingHook(fail)}
    )
    middle = AlertCenter(settings(None, both[0], snapshots="blur_all"), hooks={"a": NotingHook(fail)})
    last = AlertCenter(settings(store_path, both[0], snapshots="blur_all"), hooks={"a": hook})
    old.submit(event, b"JPEG")
    assert old.close(heir=middle) == ["channel gone: 1 not delivered yet, lost, for nothing is stored"]
    assert middle.close(heir=last) == []
    with running(last):
        wait_until(lambda: hook.ids == [event.id])
    assert hook.alerts[0].snapshot_jpeg == b"JPEG"
    assert statuses(store_path) == [(event.id, "delivered")]


def test_what_the_file_holds_is_not_handed_on_besides(store_path: Path) -> None:
    hook, event = NotingHook(), make_event()
    old = AlertCenter(settings(store_path), hooks={"a": NotingHook(fail)})
    new = AlertCenter(settings(store_path), hooks={"a": hook})
    old.start()
    old.submit(event)
    wait_until(lambda: statuses(store_path) == [(event.id, "pending")])
    assert old.close(LIMIT_S, new) == ["channel a: 1 not delivered yet, kept for the next start"]
    with running(new):
        wait_until(lambda: hook.ids == [event.id])
    assert hook.ids == [event.id]


def test_a_second_program_on_the_same_file_sends_only_its_own(store_path: Path) -> None:
    hanging, first_event, second_event = HangingHook(), make_event(), make_event()
    first = AlertCenter(settings(store_path), hooks={"a": hanging})
    second_hook = NotingHook()
    second = AlertCenter(settings(store_path), hooks={"a": second_hook})
    with running(first):
        first.submit(first_event)
        wait_until(lambda: hanging.calls == 1)
        with running(second):
            second.submit(second_event)
            wait_until(lambda: second_hook.ids == [second_event.id])
        hanging.go.set()
        wait_until(lambda: first.health().channels[0].delivered == 1)
    assert second_hook.ids == [second_event.id]
    assert set(statuses(store_path)) == {(first_event.id, "delivered"), (second_event.id, "delivered")}


def test_retention_runs_while_watching(store_path: Path) -> None:
    center = AlertCenter(settings(store_path, snapshots="blur_all", max_store_mb=1.0), hooks={"a": NotingHook()})
    with running(center):
        for number in range(60):
            center.submit(make_event(), os.urandom(60_000))
            wait_until(lambda number=number: center.health().channels[0].delivered == number + 1)  # type: ignore[misc]
            assert store_path.stat().st_size < 1_500_000
    with EventStore(store_path) as store:
        assert 0 < len(store.events()) < 60


@dataclass
class ShiftedClock:
    """The system's clocks, ahead by so much."""

    ahead_s: float = 0.0

    def wall_s(self) -> float:
        return time.time() + self.ahead_s

    def monotonic_s(self) -> float:
        return time.monotonic() + self.ahead_s


def test_what_is_too_old_is_gone_from_the_disk_while_watching(store_path: Path) -> None:
    clock, secret = ShiftedClock(), b"SECRET-PICTURE" * 1000
    center = AlertCenter(
        settings(store_path, snapshots="blur_all", keep_days=1.0), hooks={"a": NotingHook()}, clock=clock
    )

    def on_disk() -> bytes:
        with contextlib.suppress(FileNotFoundError):  # SQLite takes its own files away when it likes
            return b"".join(file.read_bytes() for file in store_path.parent.iterdir() if file.is_file())
        return b""

    with running(center):
        center.submit(make_event(camera="SECRET-CAMERA"), secret)
        center.record_presence("SECRET-PLACE", time.time(), masked=1)
        wait_until(lambda: [status for _, status in statuses(store_path)] == ["delivered"])
        wait_until(lambda: all(word in on_disk() for word in (b"SECRET-PICTURE", b"SECRET-CAMERA", b"SECRET-PLACE")))
        clock.ahead_s = 2 * 86_400.0
        wait_until(lambda: (now := on_disk()) != b"" and b"SECRET" not in now)


def test_a_missing_plugin_or_secret_holds_up_its_own_channel_only(
    store_path: Path, http_peer: HttpPeer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = (
        channel("plug"),
        {"kind": "webhook", "name": "web", "url": http_peer.url, "secret_env": "TEST_HOOK_SECRET"},
        {"kind": "webhook", "name": "fine", "url": http_peer.url},
    )
    center = AlertCenter(settings(store_path, *channels))
    assert "no plugin 'given-by-the-test'" in caplog.text
    assert "TEST_HOOK_SECRET is not set" in caplog.text
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(http_peer.requests) == 1)
        monkeypatch.setenv("TEST_HOOK_SECRET", "mended")
        wait_until(lambda: len(http_peer.requests) == 2)
        health = {each.name: each.state for each in center.health().channels}
    assert health["plug"] == "retrying"


@pytest.mark.parametrize(
    ("kind", "url", "environ", "told"),
    [
        ("webhook", "http://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be read"),
        ("webhook", "http://me:s3cret@host\u2100/t0ken", {}, "channel 'odd': the url cannot be read"),
        ("apprise", "json://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be read"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"ALL_PROXY": "x://me:s3cret@127.0.0.1:9"}, "Unknown scheme for proxy"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"SSL_CERT_FILE": "/no/such.pem"}, "channel 'odd' cannot be set up"),
    ],
)
def test_whatever_a_hook_cannot_be_set_up_for_holds_up_its_own_channel_only(
    kind: str,
    url: str,
    environ: dict[str, str],
    told: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    fine = NotingHook()
    odd = {"kind": kind, "name": "odd", "url": url}
    center = AlertCenter(settings(None, odd, channel("fine")), hooks={"fine": fine})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(fine.alerts) == 1)
        wait_until(lambda: center.health().channels[0].state == "retrying")
    assert told in caplog.text
    assert told in center.health().channels[0].error
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text


def test_a_crash_of_a_delivery_thread_is_never_silent(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    center = AlertCenter(settings(store_path), hooks={"a": NotingHook()})
    monkeypatch.setattr("app.alerts.delivery.UnsentAlerts.merge_store_changes", crash)
    with running(center):
        wait_until(lambda: center.failure is not None)
        assert "a bug of ours" in center.health().crash
        assert not center.health().ok
