"""Delivery of alerts: order, failures, limits and event file errors, with real files and threads."""

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
from app.alerts.event_store import EventStore
from app.alerts.file_lock import lock_path
from app.alerts.hook import Alert, RetryLater
from app.alerts.retention import purge
from app.alerts.store_types import Delivery, Status, StoreInUseError, WriteBatch, hour_of
from app.core.errors import HookError
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

FAST = {"retry_first_s": 0.01, "retry_max_s": 0.02}


@pytest.fixture(autouse=True)
def _short_store_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.event_queue.RETRY_S", 0.2)
    monkeypatch.setattr("app.alerts.delivery.STORE_POLL_S", 0.2)


@dataclass
class RecordingHook:
    """Records each alert; ``fault`` may raise before that."""

    fault: Callable[[Alert], None] = lambda _: None
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        self.fault(alert)
        self.alerts.append(alert)

    def abort(self) -> None:
        """Not needed: ``send`` is fast."""

    @property
    def ids(self) -> list[str]:
        return [alert.event.id for alert in self.alerts]


def fail(_: Alert) -> None:
    raise HookError("it is down")


class HangingHook:
    """Hangs until ``go`` is set; ``abort`` has no effect."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0
        self.done = 0

    def send(self, alert: Alert) -> None:
        self.calls += 1
        assert self.go.wait(HANG_S)
        self.done += 1

    def abort(self) -> None:
        """Has no effect."""


def channel(name: str = "a", **values: object) -> dict[str, object]:
    return {"kind": "plugin", "plugin": "replaced-by-the-test", "name": name, **values}


def settings(path: Path | None, *channels: dict[str, object], **values: object) -> AlertSettings:
    place = {"persist": False} if path is None else {"store": path}
    return AlertSettings.model_validate({**FAST, **place, "channels": channels or (channel(),), **values})


@contextlib.contextmanager
def running(center: AlertCenter) -> Iterator[AlertCenter]:
    """Starts ``center`` and closes it with a long limit, so that all due alerts are sent on a slow machine too."""
    center.start()
    try:
        yield center
    finally:
        center.close(LIMIT_S)


def statuses(path: Path) -> list[tuple[str, str]]:
    with EventStore(path) as store:
        return [(each.event.id, each.status.value) for each in store.deliveries()]


def test_alerts_are_stored_and_delivered_in_order(store_path: Path) -> None:
    hook, events = RecordingHook(), [make_event() for _ in range(20)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        assert center.recent() == tuple(events)
    assert hook.ids == [event.id for event in events]
    assert [alert.idempotency_key for alert in hook.alerts] == [f"{event.id}:a" for event in events]
    assert statuses(store_path) == [(event.id, "delivered") for event in events]
    assert center.failure is None


def test_alert_is_on_disk_before_it_is_sent(store_path: Path) -> None:
    seen: list[list[tuple[str, str]]] = []
    hook = RecordingHook(fault=lambda _: seen.append(statuses(store_path)))
    event = make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
    assert seen == [[(event.id, "pending")]]


def test_failed_alert_is_retried_with_the_same_key_and_in_order(store_path: Path) -> None:
    failing = [3]

    def fault(_: Alert) -> None:
        failing[0] -= 1
        if failing[0] >= 0:
            raise [HookError("no"), ZeroDivisionError("bug"), RetryLater("wait", 0.01)][failing[0]]

    hook, events = RecordingHook(fault), [make_event() for _ in range(3)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        wait_until(lambda: len(hook.alerts) == 3)
        assert center.health().ok
    assert hook.ids == [event.id for event in events]
    assert hook.alerts[0].attempt == 4


def test_hanging_channel_blocks_neither_other_channels_nor_submit_nor_close(store_path: Path) -> None:
    hanging, hook = HangingHook(), RecordingHook()
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
    unfinished = center.close(LIMIT_S)  # returns much earlier, because no alert is due
    assert time.monotonic() - began_s < HANG_S / 2  # does not wait for the hook
    assert unfinished == [
        "channel slow: its hook hangs",
        "channel slow: 5 not delivered yet, kept for the next start",
    ]
    assert hanging.calls == 1  # no second attempt runs in parallel
    hanging.go.set()


def test_success_of_a_late_attempt_counts(store_path: Path) -> None:
    hanging = HangingHook()
    center = AlertCenter(settings(store_path, channel(timeout_s=0.05)), hooks={"a": hanging})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: center.health().channels[0].state == "retrying")
        hanging.go.set()
        wait_until(lambda: center.health().channels[0].delivered == 1)
    assert (hanging.calls, hanging.done) == (1, 1)


def test_next_start_sends_pending_alerts(store_path: Path) -> None:
    def fault(_: Alert) -> None:
        raise HookError("down")

    events = [make_event() for _ in range(4)]
    first = AlertCenter(settings(store_path), hooks={"a": RecordingHook(fault)})
    first.start()
    for event in events:
        first.submit(event)
    assert first.close(LIMIT_S) == ["channel a: 4 not delivered yet, kept for the next start"]
    hook, last = RecordingHook(), make_event()
    second = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(second):
        wait_until(lambda: len(hook.alerts) == 4)
        second.submit(last)
        wait_until(lambda: len(hook.alerts) == 5)
    assert hook.ids == [event.id for event in [*events, last]]


def test_expired_alert_is_undelivered_until_a_retry(store_path: Path) -> None:
    down = [True]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook, event = RecordingHook(fault), make_event()
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


def test_late_sound_is_not_played_but_other_alerts_are_sent(store_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = make_event()
    pending = [Delivery(old, name, time.time() - 36_000, 0.0) for name in ("chime", "a")]
    with EventStore(store_path) as store:
        store.write(WriteBatch(((old, None),), tuple(pending)), time.time())
    chime, hook, new = RecordingHook(), RecordingHook(), make_event()
    sound = {"kind": "sound", "name": "chime", "give_up_after_s": 600.0}  # long enough for a slow machine
    center = AlertCenter(settings(store_path, sound, channel(give_up_after_s=600.0)), hooks={"chime": chime, "a": hook})
    with running(center):
        wait_until(lambda: hook.ids == [old.id])
        wait_until(lambda: center.health().channels[0].undelivered == 1)
        center.submit(new)
        wait_until(lambda: chime.ids == [new.id])
    assert "channel chime: 1 alert given up, too late to be sent" in caplog.text
    with EventStore(store_path) as store:
        (given_up,) = store.deliveries(Status.UNDELIVERED)
        assert (given_up.key, given_up.attempts) == (pending[0].key, 0)
        assert store.retry((), time.time()) == 1
    with running(AlertCenter(settings(store_path, sound), hooks={"chime": chime})):
        wait_until(lambda: chime.ids == [new.id, old.id])


def test_purge_by_another_program_removes_pending_alerts(store_path: Path) -> None:
    def fault(_: Alert) -> None:
        raise RetryLater("down", 60.0)

    center = AlertCenter(settings(store_path), hooks={"a": RecordingHook(fault)})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: center.health().channels[0].state == "retrying")
        with EventStore(store_path) as store:
            purge(store, None)
        wait_until(lambda: center.health().channels[0].waiting == 0)
    assert statuses(store_path) == []


def test_full_outbox_makes_its_oldest_alert_undelivered(store_path: Path) -> None:
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


def test_each_channel_gets_only_events_that_pass_its_filters(store_path: Path) -> None:
    hooks = {name: RecordingHook() for name in ("offline", "gate", "never", "once", "hall")}
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


def test_only_named_channels_and_the_hub_get_an_event(store_path: Path) -> None:
    hooks = {name: RecordingHook() for name in ("nurse", "office", "hub")}
    hub = {"kind": "nats", "name": "hub", "url": "nats://hub", "site": "s"}
    center = AlertCenter(settings(store_path, channel("nurse"), channel("office"), hub), hooks=hooks)
    alert, other = make_event(), make_event()
    with running(center):
        center.submit(alert, channels=("nurse",))
        center.submit(resolving_event(alert, time.time()), channels=("nurse",))
        center.submit(other)
    assert [len(hook.ids) for hook in hooks.values()] == [3, 1, 3]
    assert hooks["office"].ids == [other.id]


def resolving_event(alert: Event, wall_s: float) -> Event:
    kind = EventKind.CAMERA_RECOVERED if alert.kind is EventKind.CAMERA_OFFLINE else EventKind.RESOLVED
    return replace(make_event(kind, alert.camera, wall_s), resolves=alert.id)


def test_resolving_event_goes_to_the_channels_that_sent_the_alert(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))  # a Wednesday
    morning_s = time.mktime((2026, 3, 5, 7, 59, 50, 0, 0, -1))
    hooks = {name: RecordingHook() for name in ("hours", "ends", "gate", "once")}
    channels = (
        channel("hours", schedule=["mon-fri 08:00-18:00"]),
        channel("ends", schedule=["mon-fri 08:00-18:00"], events=["resolved", "camera_recovered"]),
        channel("gate", cameras=["gate"]),
        channel("once", rate_limit={"count": 1, "per_s": 0.5, "excess": "skip"}),
    )
    late, early = make_event(wall_s=evening_s), make_event(wall_s=morning_s)
    offline = make_event(EventKind.CAMERA_OFFLINE, wall_s=evening_s)
    late_end, offline_end = resolving_event(late, evening_s + 20), resolving_event(offline, evening_s + 20)
    early_end, unknown_end = resolving_event(early, morning_s + 20), resolving_event(make_event(), morning_s + 20)
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


def test_resolving_event_is_sent_after_reload_and_restart(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))
    alert, skipped = make_event(wall_s=evening_s), make_event(wall_s=evening_s)
    hours = channel(schedule=["mon-fri 08:00-18:00"], rate_limit={"count": 1, "per_s": 0.1, "excess": "skip"})
    hook = RecordingHook()
    center = AlertCenter(settings(store_path, hours), hooks={"a": hook})
    center.submit(alert)
    center.submit(skipped)
    end = resolving_event(alert, evening_s + 20)
    with running(center):
        center.reload(settings(store_path, {**hours, "give_up_after_s": 3600.0}))
        center.submit(end)
        wait_until(lambda: hook.ids == [alert.id, end.id])
    again = AlertCenter(settings(store_path, hours), hooks={"a": hook})
    second_end = resolving_event(alert, evening_s + 40)
    with running(again):
        again.submit(second_end)
        again.submit(resolving_event(skipped, evening_s - 5))
    assert hook.ids == [alert.id, end.id, second_end.id]


def test_held_back_event_is_stored_but_not_sent(store_path: Path) -> None:
    hook, muted, sent = RecordingHook(), make_event(camera="muted"), make_event()
    seen: list[str] = []

    def hold_back(event: Event) -> str:
        seen.append(event.id)
        return "muted" if event.camera == "muted" else ""

    channels = (channel("a"), channel("b", cameras=["nowhere"]))
    center = AlertCenter(settings(store_path, *channels), hooks={"a": hook, "b": hook}, hold_back=hold_back)
    with running(center):
        center.submit(muted)
        center.submit(sent)
    assert seen == [muted.id, sent.id]
    assert hook.ids == [sent.id]
    with EventStore(store_path) as store:
        assert store.events() == [muted, sent]
        assert [(each.event.id, each.channel, each.error) for each in store.deliveries(Status.SKIPPED)] == [
            (muted.id, "a", "muted")
        ]


@pytest.mark.parametrize("snapshots", ["off", "blur_all"])
def test_snapshot_is_stored_and_sent_only_if_configured(store_path: Path, snapshots: str) -> None:
    hooks = {"with": RecordingHook(), "without": RecordingHook()}
    is_stored = snapshots != "off"
    center = AlertCenter(
        settings(store_path, channel("with", snapshot=is_stored), channel("without"), snapshots=snapshots), hooks=hooks
    )
    event = make_event()
    with running(center):
        center.submit(event, b"SECRET-JPEG")
    assert [alert.snapshot_jpeg for alert in hooks["with"].alerts] == [b"SECRET-JPEG" if is_stored else None]
    assert [alert.snapshot_jpeg for alert in hooks["without"].alerts] == [None]
    kept = b"".join(file.read_bytes() for file in store_path.parent.iterdir())
    assert (b"SECRET-JPEG" in kept) is is_stored


def test_without_an_event_file_alerts_are_sent_but_not_stored() -> None:
    hook = RecordingHook()
    center = AlertCenter(settings(None, channel(snapshot=True), snapshots="blur_all"), hooks={"a": hook})
    center.start()
    center.submit(make_event(), b"jpeg")
    center.record_people("door", time.time(), masked=1)
    assert center.close(LIMIT_S) == []
    assert [alert.snapshot_jpeg for alert in hook.alerts] == [b"jpeg"]
    lost = AlertCenter(settings(None), hooks={"a": RecordingHook(_down)})
    lost.start()
    lost.submit(make_event())
    assert lost.close(LIMIT_S) == ["channel a: 1 not delivered yet, lost because it is not stored"]


def _down(alert: Alert) -> None:
    raise HookError("down")


def test_people_are_counted_by_hour(store_path: Path) -> None:
    center, hour_s = AlertCenter(settings(store_path)), hour_of(time.time())
    with running(center):
        for _ in range(3):
            center.record_people("door", hour_s + 5.0, masked=1, bare=1)
    with EventStore(store_path) as store:
        (hour,) = store.hours()
    assert (hour.hour_s, hour.masked, hour.bare) == (hour_s, 3, 3)


def test_the_end_does_not_wait_for_what_the_first_pass_has_written(tmp_path: Path) -> None:
    for number in range(10):
        center = AlertCenter(settings(tmp_path / f"{number}.db"))
        center.start()
        center.record_people("door", time.time())
        start_s = time.monotonic()
        assert center.close(LIMIT_S) == []
        assert time.monotonic() - start_s < 0.3 * LIMIT_S


def test_alerts_are_sent_while_the_file_is_locked_and_written_later(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    EventStore(store_path).close()
    hook, events = RecordingHook(), [make_event() for _ in range(10)]
    other = sqlite3.connect(store_path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        wait_until(lambda: len(hook.alerts) == 10)
        wait_until(lambda: "locked" in center.health().store_fault)
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: center.health().store_fault == "")
    assert statuses(store_path) == [(event.id, "delivered") for event in events]
    logged = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(logged) == 2, logged
    assert "alerts are still sent" in logged[0]
    assert "works again" in logged[1]


def test_file_damaged_before_start_is_renamed(store_path: Path) -> None:
    store_path.write_bytes(b"no database at all" * 1000)
    lock_path(store_path).touch()  # an earlier run created it
    hook, event = RecordingHook(), make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: center.health().store_fault == "")
    assert statuses(store_path) == [(event.id, "delivered")]
    assert len(list(store_path.parent.glob("events.db.damaged-*"))) == 1


def _foreign_text(path: Path) -> None:
    path.write_text("text of another program\n" * 100)


def _foreign_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")


@pytest.mark.parametrize("make", [_foreign_text, _foreign_database])
def test_file_of_another_program_is_not_changed(store_path: Path, make: Callable[[Path], None]) -> None:
    make(store_path)
    before = store_path.read_bytes()
    hook, event = RecordingHook(), make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: "choose another store" in center.health().store_fault)
    assert store_path.read_bytes() == before
    assert [file for file in store_path.parent.iterdir() if "damaged" in file.name] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow overwriting or deleting an open file")
@pytest.mark.parametrize("how", ["damaged", "deleted"])
def test_file_lost_while_running_is_recreated_with_all_pending_alerts(store_path: Path, how: str) -> None:
    down = [True]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook, first, second = RecordingHook(fault), make_event(), make_event()
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
    other.execute("COMMIT")  # a commit by another connection makes SQLite discard its page cache
    with contextlib.suppress(sqlite3.Error):
        other.close()


def _waiting(path: Path) -> int:
    try:
        with EventStore(path, create=False) as store:
            return len(store.deliveries(Status.PENDING))
    except Exception:  # the file is being replaced
        return -1


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
def test_alerts_are_sent_while_the_disk_is_full_and_written_later(store_path: Path) -> None:
    import resource

    EventStore(store_path).close()
    hook, events = RecordingHook(), [make_event() for _ in range(5)]
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


def test_unwritten_alerts_are_written_to_the_file_of_new_settings(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    down, events = [True], [make_event() for _ in range(4)]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook = RecordingHook(fault)
    broken = settings(tmp_path / "no folder" / "events.db", channel("a", snapshot=True), snapshots="blur_all")
    center = AlertCenter(broken, hooks={"a": hook})
    with running(center):
        for event in events[:3]:
            center.submit(event, b"JPEG")
        center.record_people("door", time.time(), masked=2)
        wait_until(lambda: center.health().channels[0].state == "retrying")
        assert "check its folder" in center.health().store_fault
        down[0] = False
        center.reload(broken.model_copy(update={"store": tmp_path / "good.db"}))
        center.submit(events[3], b"JPEG")
        wait_until(lambda: len(hook.alerts) == 4)
        assert center.health().store_fault == ""
    assert hook.ids == [event.id for event in events]
    assert all(alert.snapshot_jpeg == b"JPEG" for alert in hook.alerts)
    assert center.recent() == tuple(events)
    assert statuses(tmp_path / "good.db") == [(event.id, "delivered") for event in events]
    with EventStore(tmp_path / "good.db") as store:
        assert [hour.masked for hour in store.hours()] == [2]


def test_unstored_alerts_stay_in_memory_until_new_settings_store_them(
    store_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down, sent, event = [False], make_event(), make_event()

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook = RecordingHook(fault)
    both = channel("a", snapshot=True), channel("gone")
    center = AlertCenter(settings(None, *both, snapshots="blur_all"), hooks={"a": hook, "gone": RecordingHook(fault)})
    with running(center):
        center.submit(sent)
        wait_until(lambda: [each.delivered for each in center.health().channels] == [1, 1])
        down[0] = True
        center.submit(event, b"JPEG")
        wait_until(lambda: all(each.state == "retrying" for each in center.health().channels))
        center.reload(settings(None, both[0], snapshots="blur_all"))
        assert "channel gone is removed; 1 pending alert will not be sent without it" in caplog.text
        center.reload(settings(store_path, both[0], snapshots="blur_all"))
        down[0] = False
        wait_until(lambda: hook.ids == [sent.id, event.id])
    assert hook.alerts[1].snapshot_jpeg == b"JPEG"
    assert statuses(store_path) == [(event.id, "delivered"), (event.id, "pending")]
    with EventStore(store_path) as store:
        assert store.events() == [event], "what was not to be stored is not written later"


def test_reload_swaps_only_changed_hooks_and_starts_and_stops_channels(store_path: Path, http_peer: HttpPeer) -> None:
    with HttpPeer(rest="hang").running() as hanging:
        web = {"kind": "webhook", "name": "web", "url": hanging.url}
        center, event, second = AlertCenter(settings(store_path, web)), make_event(), make_event()
        with running(center):
            center.submit(event)
            wait_until(lambda: len(hanging.requests) == 1)
            other = {"kind": "webhook", "name": "other", "url": http_peer.url}
            center.reload(settings(store_path, {**web, "url": http_peer.url}, other))
            wait_until(lambda: http_peer.keys() == [f"{event.id}:web"])  # aborted, and sent by the new hook
            center.submit(second)
            wait_until(lambda: len(http_peer.requests) == 3)
            assert [each.name for each in center.health().channels] == ["web", "other"]
            center.reload(settings(store_path, other))
            center.submit(make_event())
            wait_until(lambda: len(http_peer.requests) == 4)
    assert http_peer.keys()[-1].endswith(":other")


def test_second_watching_program_is_refused_in_one_line(store_path: Path) -> None:
    hook, event = RecordingHook(), make_event()
    first = AlertCenter(settings(store_path), hooks={"a": hook})
    second = AlertCenter(settings(store_path), hooks={"a": RecordingHook(fail)})
    with running(first):
        with pytest.raises(
            StoreInUseError, match=r"another maskwatch watches with .*events\.db; stop it, .*--store"
        ) as caught:
            second.start()
        assert "\n" not in str(caught.value)
        assert second.close() == []
        first.submit(event)
        wait_until(lambda: hook.ids == [event.id])
        own = AlertCenter(settings(store_path.with_name("own.db")), hooks={"a": hook})
        with running(own), pytest.raises(StoreInUseError):
            own.reload(settings(store_path))
    with running(AlertCenter(settings(store_path))):
        assert statuses(store_path) == [(event.id, "delivered")]


def test_retention_works_while_running(store_path: Path) -> None:
    center = AlertCenter(settings(store_path, snapshots="blur_all", max_store_mb=1.0), hooks={"a": RecordingHook()})
    with running(center):
        for number in range(60):
            center.submit(make_event(), os.urandom(60_000))
            wait_until(lambda number=number: center.health().channels[0].delivered == number + 1)  # type: ignore[misc]
            assert store_path.stat().st_size < 1_500_000
    with EventStore(store_path) as store:
        assert 0 < len(store.events()) < 60


@dataclass
class ShiftedClock:
    """The system clocks, ``ahead_s`` seconds fast from the next call of ``wall_s`` on: a change between the two calls
    would be a clock that was set."""

    ahead_s: float = 0.0
    _used_s: float = 0.0

    def wall_s(self) -> float:
        self._used_s = self.ahead_s
        return time.time() + self._used_s

    def monotonic_s(self) -> float:
        return time.monotonic() + self._used_s


def test_expired_content_is_removed_from_the_disk_while_running(store_path: Path) -> None:
    clock, secret = ShiftedClock(), b"SECRET-SNAPSHOT" * 1000
    center = AlertCenter(
        settings(store_path, snapshots="blur_all", keep_days=1.0), hooks={"a": RecordingHook()}, clock=clock
    )

    def on_disk() -> bytes:
        with contextlib.suppress(FileNotFoundError):  # SQLite may delete its own files at any time
            return b"".join(file.read_bytes() for file in store_path.parent.iterdir() if file.is_file())
        return b""

    with running(center):
        center.submit(make_event(camera="SECRET-CAMERA"), secret)
        center.record_people("SECRET-PLACE", time.time(), masked=1)
        wait_until(lambda: [status for _, status in statuses(store_path)] == ["delivered"])
        wait_until(lambda: all(word in on_disk() for word in (b"SECRET-SNAPSHOT", b"SECRET-CAMERA", b"SECRET-PLACE")))
        clock.ahead_s = 2 * 86_400.0
        wait_until(lambda: (now := on_disk()) != b"" and b"SECRET" not in now)


def test_missing_plugin_or_secret_delays_only_its_own_channel(
    store_path: Path, http_peer: HttpPeer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = (
        channel("plug"),
        {"kind": "webhook", "name": "web", "url": http_peer.url, "secret_env": "TEST_HOOK_SECRET"},
        {"kind": "webhook", "name": "fine", "url": http_peer.url},
    )
    center = AlertCenter(settings(store_path, *channels))
    assert "no plugin 'replaced-by-the-test'" in caplog.text
    assert "TEST_HOOK_SECRET is not set" in caplog.text
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(http_peer.requests) == 1)
        monkeypatch.setenv("TEST_HOOK_SECRET", "fixed")
        wait_until(lambda: len(http_peer.requests) == 2)
        health = {each.name: each.state for each in center.health().channels}
    assert health["plug"] == "retrying"


@pytest.mark.parametrize(
    ("kind", "url", "environ", "message"),
    [
        ("webhook", "http://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("webhook", "http://me:s3cret@host\u2100/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("apprise", "json://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"ALL_PROXY": "x://me:s3cret@127.0.0.1:9"}, "Unknown scheme for proxy"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"SSL_CERT_FILE": "/no/such.pem"}, "channel 'odd' cannot be set up"),
    ],
)
def test_hook_that_cannot_be_set_up_delays_only_its_own_channel(
    kind: str,
    url: str,
    environ: dict[str, str],
    message: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    fine = RecordingHook()
    odd = {"kind": kind, "name": "odd", "url": url}
    center = AlertCenter(settings(None, odd, channel("fine")), hooks={"fine": fine})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(fine.alerts) == 1)
        wait_until(lambda: center.health().channels[0].state == "retrying")
    assert message in caplog.text
    assert message in center.health().channels[0].error
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text


def test_flapping_camera_is_stored_each_time_but_sent_only_when_it_stays_offline(store_path: Path) -> None:
    clock, hook = ShiftedClock(), RecordingHook()
    center = AlertCenter(settings(store_path), hooks={"a": hook}, clock=clock)
    with running(center):
        for _ in range(8):
            offline = make_event(EventKind.CAMERA_OFFLINE)
            center.submit(offline)
            center.submit(resolving_event(offline, time.time()))
        wait_until(lambda: len(hook.alerts) == 6)
        last = make_event(EventKind.CAMERA_OFFLINE)
        center.submit(last)
        clock.ahead_s = 601.0
        wait_until(lambda: len(hook.alerts) == 7)
        back = resolving_event(last, time.time())
        center.submit(back)
        wait_until(lambda: len(hook.alerts) == 8)
    assert [alert.event.kind for alert in hook.alerts] == [EventKind.CAMERA_OFFLINE, EventKind.CAMERA_RECOVERED] * 4
    assert "outage 3 within an hour; further ones are sent only if they last 10 min" in hook.alerts[4].text
    assert hook.ids[6:] == [last.id, back.id]
    with EventStore(store_path) as store:
        assert len(store.events()) == 18
        assert {each.error for each in store.deliveries(Status.SKIPPED)} == {"the camera is unstable"}


def test_crash_of_a_delivery_thread_is_reported(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a bug")

    center = AlertCenter(settings(store_path), hooks={"a": RecordingHook()})
    monkeypatch.setattr("app.alerts.delivery.EventQueue.maintain", crash)
    with running(center):
        wait_until(lambda: center.failure is not None)
        assert "a bug" in center.health().crash
        assert not center.health().ok


@dataclass
class Session(RecordingHook):
    """A hook with a session. ``calls`` are its calls with the thread of each."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def refresh(self, cameras: object) -> None:
        self.calls.append(("refresh", threading.current_thread().name))

    def close(self) -> None:
        self.calls.append(("close", threading.current_thread().name))


def test_only_the_thread_of_a_channel_uses_and_closes_its_session() -> None:
    """A session that a reload closed while it connected stayed open, and its last will reported the end later."""
    made: list[Session] = []

    def session(_: object) -> Session:
        made.append(Session())
        return made[-1]

    channel = {"kind": "webhook", "name": "c", "url": "http://127.0.0.1:9/"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.alerts.timeout_hook.build_hook", session)
        center = AlertCenter(settings(None, channel))
        center.start()
        wait_until(lambda: bool(made[0].calls))
        center.reload(settings(None, {**channel, "url": "http://127.0.0.1:10/"}))
        wait_until(lambda: len(made) == 2 and bool(made[1].calls))
        assert made[0].calls[-1][0] == "close"
        center.reload(settings(None, {**channel, "name": "d"}))
        wait_until(lambda: made[1].calls[-1][0] == "close")
        center.reload(settings(None, channel))
        wait_until(lambda: len(made) == 4 and bool(made[3].calls))
        assert center.close() == []
    assert all(hook.calls[-1][0] == "close" for hook in made)
    assert [{thread for _, thread in hook.calls} for hook in made] == [{f"alert:{name}"} for name in "ccdc"]
