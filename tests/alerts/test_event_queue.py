"""The queue of alerts in the event file and, while that is broken, in memory."""

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_alerts import FakeClock, alert, make_event
from hypothesis import given, settings
from hypothesis import strategies as st

from app.alerts import event_queue
from app.alerts.event_queue import EventQueue
from app.alerts.event_store import EventStore
from app.alerts.file_lock import StoreLock
from app.alerts.retention import purge
from app.alerts.store_types import Delivery, Status, WriteBatch
from app.core.camera_hours import CameraHour, hour_of
from app.settings.alerts import AlertSettings

DAY_S = 86_400.0


def done(delivery: Delivery) -> WriteBatch:
    return WriteBatch(deliveries=(replace(delivery, status=Status.DELIVERED),))


def stored(path: Path) -> list[tuple[str, str]]:
    with EventStore(path, create=False) as store:
        return [(each.event.id, each.status.value) for each in store.deliveries()]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=25))
def test_alerts_are_sent_once_in_order_whether_the_disk_works_or_not(steps: list[tuple[bool, int]]) -> None:
    """A random sequence: the disk works or not, and an alert is added, sent or both."""
    queue = EventQueue(AlertSettings(persist=False), FakeClock(time.time()))
    queue.open()
    added, sent = list[str](), list[str]()
    for adds, sends in steps:
        if adds:
            event = make_event()
            queue.write(alert(event))
            added.append(event.id)
        for _ in range(sends):
            for head in queue.pending("hook"):
                sent.append(head.event.id)
                queue.write(done(head))
    assert sent == added[: len(sent)]
    assert queue.waiting()["hook"] == len(added) - len(sent)


def test_broken_disk_sends_each_alert_once_in_order_and_is_written_later(
    queue: EventQueue, store_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    events = [make_event() for _ in range(4)]
    queue.write(alert(events[0]))
    queue.write(alert(events[1]))
    with closing(sqlite3.connect(store_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        queue.write(done(queue.pending("hook")[0]))
        assert "another program uses it" in queue.fault
        queue.write(alert(events[2]))
        assert [each.event.id for each in queue.pending("hook", 9)] == [events[1].id, events[2].id]
        queue.write(done(queue.pending("hook")[0]))
        queue.write(alert(events[3]))
        assert [each.event.id for each in queue.pending("hook", 9)] == [events[2].id, events[3].id]
        assert queue.waiting()["hook"] == 2
        other.execute("ROLLBACK")
    assert stored(store_path) == [(events[0].id, "pending"), (events[1].id, "pending")]
    clock.pass_s(event_queue.RETRY_S)
    assert queue.has_unwritten
    queue.maintain()
    assert (queue.fault, queue.has_unwritten) == ("", False)
    assert stored(store_path) == [
        *((events[0].id, "delivered"), (events[1].id, "delivered")),
        *((events[2].id, "pending"), (events[3].id, "pending")),
    ]
    assert len(caplog.records) == 2, "one line when it breaks, one when it works again"


def test_memory_is_bounded_loses_no_pending_alert_and_the_loss_is_told_in_one_sentence(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "MAX_MEMORY_BYTES", 300_000)
    (tmp_path / "file").touch()
    queue = EventQueue(AlertSettings(store=tmp_path / "file" / "events.db"), clock)
    queue.open()
    waiting = [make_event() for _ in range(20)]
    for event in waiting:
        queue.write(alert(event, jpeg=b"x" * 2000))
    for _ in range(300):
        queue.write(alert(status=Status.DELIVERED, jpeg=b"x" * 2000))
    assert [each.event.id for each in queue.pending("hook", 99)] == [event.id for event in waiting]
    assert 0 < queue.lost_events < 300
    assert queue.close().startswith("320 events could not be written and will be missing: cannot create")


def test_people_and_deliveries_are_written_once_after_a_failure(
    queue: EventQueue, store_path: Path, clock: FakeClock
) -> None:
    seen = WriteBatch(hours=(CameraHour("door", hour_of(clock.wall), masked=5),))
    with closing(sqlite3.connect(store_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        queue.write(seen)
        other.execute("ROLLBACK")
    queue.keep(seen)
    clock.pass_s(event_queue.RETRY_S)
    queue.write()
    queue.write()
    with EventStore(store_path) as store:
        assert [each.masked for each in store.hours()] == [10]


@pytest.mark.parametrize("limit_mb", [float("inf"), 1e300])
def test_a_store_without_a_limit_is_maintained(store_path: Path, clock: FakeClock, limit_mb: float) -> None:
    with closing(EventQueue(AlertSettings(store=store_path, max_store_mb=limit_mb), clock)) as queue:
        queue.open()
        queue.write(alert())
        queue.maintain()
        assert len(stored(store_path)) == 1


def test_retention_goes_on_at_once_until_nothing_is_left_to_delete(
    queue: EventQueue, store_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.alerts.retention.STEP_S", 0.0)
    queue.write(WriteBatch(tuple((make_event(), None) for _ in range(250))))
    clock.pass_s(31 * 86_400.0)
    counts = []
    with EventStore(store_path) as store:
        for _ in range(4):
            queue.maintain()
            counts.append(len(store.events()))
    assert counts[-1] == 0
    assert counts[0] > 0, "others may store events meanwhile"


def test_purge_by_another_program_is_respected(queue: EventQueue, store_path: Path) -> None:
    queue.write(alert())
    (sending,) = queue.pending("hook")
    queue.maintain()
    with EventStore(store_path) as other:
        purge(other, None)
    assert queue.maintain(), "the change is noticed"
    queue.write(done(sending))  # its attempt ended after the purge
    assert queue.pending("hook") == []
    assert stored(store_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow deleting an open file")
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_batch_after_the_file_was_lost_is_written_to_the_new_file_with_all_pending_alerts(
    queue: EventQueue, store_path: Path, how: str
) -> None:
    first, second = make_event(), make_event()
    queue.write(alert(first))
    for file in store_path.parent.glob("events.db*"):
        file.unlink()
    if how == "replaced":
        EventStore(store_path).close()
    queue.write(alert(second))
    assert [each.event.id for each in queue.pending("hook", 9)] == [first.id, second.id]
    assert stored(store_path) == [(first.id, "pending"), (second.id, "pending")]
    assert not StoreLock(store_path).take(), "the lock is held with its new file"


def test_lost_file_is_noticed_without_a_write(queue: EventQueue, store_path: Path) -> None:
    queue.write(alert())
    if os.name == "nt":
        pytest.skip("Windows does not allow deleting an open file")
    for file in store_path.parent.glob("events.db*"):
        file.unlink()
    queue.maintain()
    assert len(stored(store_path)) == 1


def test_file_of_a_newer_version_is_left_alone_and_alerts_are_still_sent(store_path: Path, clock: FakeClock) -> None:
    with EventStore(store_path) as store:
        store.execute("PRAGMA user_version = 99")
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    queue.write(alert())
    assert "newer maskwatch" in queue.fault
    assert len(queue.pending("hook")) == 1
    assert queue.close().endswith("update this one or choose another store")


def test_alerts_of_a_removed_channel_are_given_up_after_the_retention_time(
    queue: EventQueue, store_path: Path, clock: FakeClock
) -> None:
    queue.write(alert())
    queue.maintain()
    clock.pass_s(31 * DAY_S)
    queue.maintain()
    assert queue.waiting() == {}
