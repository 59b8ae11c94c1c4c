"""Delivery of alerts and the event file: locked, damaged, foreign, lost, full, and of new settings."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from fakes_alerts import (
    LIMIT_S,
    RecordingHook,
    ShiftedClock,
    channel,
    make_event,
    record_people,
    running,
    settings,
    statuses,
    wait_until,
)

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.file_lock import lock_path
from app.alerts.hook import Alert, RetryLater
from app.alerts.retention import purge
from app.alerts.store_types import Status, StoreInUseError
from app.core.camera_hours import hour_of
from app.core.errors import HookError

pytestmark = pytest.mark.usefixtures("short_store_intervals")


def fail(_: Alert) -> None:
    raise HookError("it is down")


def test_alert_is_on_disk_before_it_is_sent(store_path: Path) -> None:
    seen: list[list[tuple[str, str]]] = []
    hook = RecordingHook(fault=lambda _: seen.append(statuses(store_path)))
    event = make_event()
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: hook.ids == [event.id])
    assert seen == [[(event.id, "pending")]]


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


def test_without_an_event_file_alerts_are_sent_but_not_stored() -> None:
    hook = RecordingHook()
    center = AlertCenter(settings(None, channel(snapshot=True), snapshots="blur_all"), hooks={"a": hook})
    center.start()
    center.submit(make_event(), b"jpeg")
    record_people(center, "door", time.time(), masked=1)
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
            record_people(center, "door", hour_s + 5.0, masked=1, bare=1)
    with EventStore(store_path) as store:
        (hour,) = store.hours()
    assert (hour.hour_s, hour.masked, hour.bare) == (hour_s, 3, 3)


def test_the_end_does_not_wait_for_what_the_first_pass_has_written(tmp_path: Path) -> None:
    for number in range(10):
        center = AlertCenter(settings(tmp_path / f"{number}.db"))
        center.start()
        record_people(center, "door", time.time())
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
        record_people(center, "door", time.time(), masked=2)
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


def test_the_counts_of_a_day_are_complete_when_the_clock_is_set_to_it(store_path: Path) -> None:
    """A machine without a clock of its own starts in the past, until it has asked for the time."""
    noon_s = datetime(2026, 7, 1, 12).timestamp()
    clock = ShiftedClock(noon_s - time.time())
    with running(AlertCenter(settings(store_path), clock=clock)) as center:
        record_people(center, "door", noon_s, masked=2)
        assert center.today("door").masked == 2
    clock.ahead_s -= 5 * 86_400.0
    with running(AlertCenter(settings(store_path), clock=clock)) as center:
        assert center.today("door").masked == 0, "that day is still to come"
        clock.ahead_s += 5 * 86_400.0
        record_people(center, "door", noon_s, masked=1)
        assert center.today("door").masked == 3


def test_retention_works_while_running(store_path: Path) -> None:
    center = AlertCenter(settings(store_path, snapshots="blur_all", max_store_mb=1.0), hooks={"a": RecordingHook()})
    with running(center):
        for number in range(60):
            center.submit(make_event(), os.urandom(60_000))
            wait_until(lambda number=number: center.health().channels[0].delivered == number + 1)  # type: ignore[misc]
            wait_until(lambda: store_path.stat().st_size < 1_500_000)
    with EventStore(store_path) as store:
        assert 0 < len(store.events()) < 60


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
        record_people(center, "SECRET-PLACE", time.time(), masked=1)
        wait_until(lambda: [status for _, status in statuses(store_path)] == ["delivered"])
        wait_until(lambda: all(word in on_disk() for word in (b"SECRET-SNAPSHOT", b"SECRET-CAMERA", b"SECRET-PLACE")))
        clock.ahead_s = 2 * 86_400.0
        wait_until(lambda: (now := on_disk()) != b"" and b"SECRET" not in now)
