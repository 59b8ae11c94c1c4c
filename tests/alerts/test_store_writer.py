"""The write buffer is bounded and keeps pending alerts; file locks are released when their program ends."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_alerts import make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts import store_writer
from app.alerts.event_store import EventStore
from app.alerts.file_lock import store_lock
from app.alerts.outbox import Delivery, Status
from app.alerts.retention import purge
from app.alerts.store_types import Presence, StoreError, WriteBatch
from app.alerts.store_writer import StoreChanges, StoreWriter, WriteBuffer
from app.settings.alerts import AlertSettings

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from app.alerts.file_lock import store_lock
lock = store_lock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""
WRITER = """
import sys
from pathlib import Path
sys.path.append("tests")
from fakes_alerts import make_event
from app.alerts.store_writer import StoreWriter
from app.alerts.outbox import Delivery
from app.alerts.store_types import WriteBatch
from app.settings.alerts import AlertSettings
writer = StoreWriter(AlertSettings(store=Path(sys.argv[1])))
event = make_event()
changes = writer.write(WriteBatch(((event, None),), (Delivery(event, "hook", 0.0, 0.0, owner=writer.owner),)), 0.0)
print(writer.owner if changes is not None else writer.fault, flush=True)
sys.stdin.read()
"""


def owners(path: Path) -> list[str]:
    with EventStore(path) as store:
        return [each.owner for each in store.deliveries(Status.PENDING)]


def write_one(writer: StoreWriter) -> None:
    left = replace(delivery(), owner=writer.owner)
    assert writer.write(WriteBatch(((left.event, None),), (left,)), 0.0) is not None


def delivery(status: Status = Status.PENDING) -> Delivery:
    return Delivery(make_event(), "hook", 0.0, 0.0, status)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 30))
def test_failed_batch_is_written_later_with_newer_records(numbers: list[int], cut: int) -> None:
    buffer = WriteBuffer()
    for number in numbers[:cut]:
        buffer.add_presence(Presence(f"camera-{number}", 0, masked=1))
    failed = buffer.take()
    assert not buffer
    for number in numbers[cut:]:
        buffer.add_presence(Presence(f"camera-{number}", 0, masked=1))
    buffer.put_back(failed)
    counted = {seen.camera: seen.masked for seen in buffer.take().presence}
    assert counted == {f"camera-{number}": numbers.count(number) for number in set(numbers)}


def test_latest_state_of_a_delivery_wins_after_a_failure() -> None:
    buffer, waiting = WriteBuffer(), delivery()
    buffer.add_delivery(waiting)
    failed = buffer.take()
    done = replace(waiting, status=Status.DELIVERED)
    buffer.add_delivery(done)
    buffer.put_back(failed)
    assert buffer.take().deliveries == (done,)


def test_buffer_is_bounded_but_loses_no_pending_alert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_SNAPSHOT_BYTES", 1_000)
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_EVENTS", 50)
    buffer, waiting = WriteBuffer(), [delivery() for _ in range(20)]
    for each in waiting:
        buffer.add_event(each.event, b"x" * 100)
        buffer.add_delivery(each)
    for _ in range(500):
        buffer.add_event(make_event(), b"x" * 100)
    batch = buffer.take()
    assert len(batch.events) <= 50
    assert sum(len(jpeg or b"") for _, jpeg in batch.events) <= 1_000
    assert {each.event.id for each in waiting} <= {event.id for event, _ in batch.events}
    assert buffer.lost_events == 520 - len(batch.events)
    assert buffer.lost_snapshots > 0


def test_deliveries_are_dropped_with_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_EVENTS", 50)
    buffer, on_disk = WriteBuffer(), delivery(Status.DELIVERED)
    buffer.add_delivery(on_disk)  # its event was written before the error
    for _ in range(500):
        sent = delivery(Status.DELIVERED)
        buffer.add_event(sent.event, None)
        buffer.add_delivery(sent)
        buffer.put_back(buffer.take())
    batch = buffer.take()
    assert len(batch.events) <= 50
    assert {each.key for each in batch.deliveries} == {on_disk.key, *(f"{event.id}:hook" for event, _ in batch.events)}


def test_buffer_exceeds_its_limit_if_all_alerts_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_EVENTS", 50)
    buffer, waiting = WriteBuffer(), [delivery() for _ in range(80)]
    for each in waiting:
        buffer.add_event(each.event, None)
        buffer.add_delivery(each)
    assert buffer.lost_events == 0
    buffer.put_back(buffer.take())
    batch = buffer.take()
    assert [event for event, _ in batch.events] == [each.event for each in waiting]
    assert batch.deliveries == tuple(waiting)


def test_lock_is_held_by_one_program_and_released_when_it_is_killed(store_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = store_lock(store_path)
        assert not lock.take()
        holder.kill()
        holder.wait()
    assert lock.take()
    assert lock.take()
    lock.release()


def test_lock_file_that_cannot_be_created_raises(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot create"):
        store_lock(tmp_path / "absent" / "events.db").take()


def test_unusable_path_sets_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = StoreWriter(AlertSettings(store=tmp_path / "file" / "events.db"))
    assert writer.write(WriteBatch(), 0.0) is None
    assert "check its folder" in writer.fault
    writer.close()


def test_alerts_of_an_ended_program_are_claimed_once(store_path: Path) -> None:
    left = replace(delivery(), owner="a program that was killed")
    with EventStore(store_path) as store:
        store.write(WriteBatch(((left.event, None),), (left,)), 0.0)
    writer = StoreWriter(AlertSettings(store=store_path))
    changes = writer.write(WriteBatch(), 0.0)
    assert changes is not None
    assert [each.key for each in changes.older] == [left.key]
    assert changes.older[0].owner == writer.owner
    again = writer.write(WriteBatch(), 0.0)
    assert again is not None
    assert again.older == ()
    writer.close()
    with EventStore(store_path) as store:
        assert [each.owner for each in store.deliveries(Status.PENDING)] == [""]


@pytest.mark.parametrize("step", ["changed_by_others", "deliveries"])
def test_batch_is_not_written_twice_if_only_reading_fails(
    step: str, store_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = delivery()
    writer = StoreWriter(AlertSettings(store=store_path))
    assert writer.write(WriteBatch(((left.event, None),), (replace(left, owner=writer.owner),)), 0.0) is not None
    with EventStore(store_path) as other:
        purge(other, None)
    counted = WriteBatch(presence=(Presence("door", 0, masked=5),))

    def broken(*_: object) -> bool:
        raise StoreError("event file: Input/output error; check its folder")

    with monkeypatch.context() as patch:
        patch.setattr(EventStore, step, broken)
        assert writer.write(counted, 0.0) == StoreChanges()
        assert "Input/output error" in writer.fault
    changes = writer.write(WriteBatch(), 0.0)
    assert changes is not None
    assert changes.waiting_keys == frozenset(), "the purge is detected later"
    assert writer.fault == ""
    writer.close()
    with EventStore(store_path) as store:
        assert store.presence() == [Presence("door", 0, masked=5)]
    assert caplog.records[0].message.endswith(
        "; alerts are still sent, changes by other programs are not read until it works again"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow deleting an open file")
def test_batch_written_to_a_deleted_file_is_written_to_the_new_file(store_path: Path) -> None:
    writer = StoreWriter(AlertSettings(store=store_path))
    assert writer.write(WriteBatch(), 0.0) is not None
    for file in store_path.parent.glob("events.db*"):
        file.unlink()
    changes = writer.write(WriteBatch(presence=(Presence("door", 0, masked=5),)), 0.0)
    assert changes is not None
    assert changes.is_new_file
    writer.close()
    with EventStore(store_path) as store:
        assert store.presence() == [Presence("door", 0, masked=5)]


def test_alerts_of_a_running_program_are_not_claimed(store_path: Path) -> None:
    first, second, third = (StoreWriter(AlertSettings(store=store_path)) for _ in range(3))
    for each in (first, second, third):
        write_one(each)
    first.close()
    changes = second.write(WriteBatch(), 0.0)
    assert changes is not None
    assert len(changes.older) == 2, "its own alert and that of the first"
    assert owners(store_path) == [second.owner, second.owner, third.owner]
    changes = third.write(WriteBatch(), 0.0)
    assert changes is not None
    assert changes.waiting_keys is not None
    assert len(changes.waiting_keys) == 1
    third.close()
    second.close()
    assert owners(store_path) == ["", "", ""]
    assert list(store_path.parent.glob("events.db.owner-*")) == []


def test_alerts_of_a_killed_program_are_claimed_within_a_minute(store_path: Path) -> None:
    writer = StoreWriter(AlertSettings(store=store_path))
    writer.write(WriteBatch(), 0.0)
    writer.enforce_limits(0.0, 0.0)
    argv = [sys.executable, "-c", WRITER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        owner = other.stdout.readline().strip()
        writer.enforce_limits(60.0, 0.0)
        assert writer.write(WriteBatch(), 0.0) is not None
        assert owners(store_path) == [owner], "the owner runs"
        other.kill()
        other.wait()
    writer.enforce_limits(100.0, 0.0)
    writer.write(WriteBatch(), 0.0)
    assert owners(store_path) == [owner], "not yet due"
    writer.enforce_limits(120.0, 0.0)
    changes = writer.write(WriteBatch(), 0.0)
    assert changes is not None
    assert [each.owner for each in changes.older] == [writer.owner]
    assert [path.name for path in store_path.parent.glob("events.db.owner-*")] == [f"events.db.owner-{writer.owner}"]
    writer.close()


def test_without_owner_locks_all_pending_alerts_are_claimed(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writer, "owner_lock", lambda store, _: store_lock(tmp_path / "absent" / store.name))
    first, second = (StoreWriter(AlertSettings(store=store_path)) for _ in range(2))
    write_one(first)
    write_one(second)
    assert first.fault == second.fault == ""
    first.close()
    assert second.write(WriteBatch(), 0.0) is not None
    assert owners(store_path) == [second.owner, second.owner]
    second.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows does not allow deleting an open file")
def test_lock_with_a_deleted_file_is_acquired_again(store_path: Path) -> None:
    first, second, third = (StoreWriter(AlertSettings(store=store_path)) for _ in range(3))
    for each in (first, second, third):
        write_one(each)
    (store_path.parent / f"events.db.owner-{third.owner}").unlink()
    assert third.write(WriteBatch(), 0.0) is not None
    first.close()
    assert second.write(WriteBatch(), 0.0) is not None
    assert owners(store_path)[2] == third.owner
    second.close()
    third.close()


def test_a_store_that_cannot_be_looked_at_is_a_fault_not_a_crash(tmp_path: Path) -> None:
    """As a home folder that this user may not search; here a name that is too long, which also stops root."""
    writer = StoreWriter(AlertSettings(store=tmp_path / ("x" * 300) / "events.db"))
    for second in (0.0, 100.0):
        assert writer.write(WriteBatch(((make_event(), None),)), second) is None
    assert "check its folder" in writer.fault
    writer.close()
