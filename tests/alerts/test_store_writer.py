"""What waits for the disk is bounded and loses nothing that an alert needs; the file's lock dies with its program."""

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
from app.alerts.file_lock import lock_of
from app.alerts.outbox import Delivery, Status
from app.alerts.retention import purge
from app.alerts.store_types import Presence, StoreError, WriteBatch
from app.alerts.store_writer import StoreChanges, StoreWriter, WriteBuffer
from app.settings.alerts import AlertSettings

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from pathlib import Path
from app.alerts.file_lock import lock_of
lock = lock_of(Path(sys.argv[1]))
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
kept = StoreWriter(AlertSettings(store=Path(sys.argv[1])))
event = make_event()
found = kept.write(WriteBatch(((event, None),), (Delivery(event, "hook", 0.0, 0.0, owner=kept.owner),)), 0.0)
print(kept.owner if found is not None else kept.fault, flush=True)
sys.stdin.read()
"""


def owners(path: Path) -> list[str]:
    with EventStore(path) as store:
        return [each.owner for each in store.deliveries(Status.PENDING)]


def write_one(kept: StoreWriter) -> None:
    left = replace(delivery(), owner=kept.owner)
    assert kept.write(WriteBatch(((left.event, None),), (left,)), 0.0) is not None


def delivery(status: Status = Status.PENDING) -> Delivery:
    return Delivery(make_event(), "hook", 0.0, 0.0, status)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 30))
def test_what_could_not_be_written_is_written_later_with_what_came_since(numbers: list[int], cut: int) -> None:
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


def test_the_newest_state_of_a_delivery_wins_also_after_a_failure() -> None:
    buffer, waiting = WriteBuffer(), delivery()
    buffer.add_delivery(waiting)
    failed = buffer.take()
    done = replace(waiting, status=Status.DELIVERED)
    buffer.add_delivery(done)
    buffer.put_back(failed)
    assert buffer.take().deliveries == (done,)


def test_pictures_and_events_in_memory_are_bounded_but_no_waiting_alert_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_PICTURES_BYTES", 1_000)
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
    assert buffer.lost_pictures > 0


def test_what_became_of_alerts_goes_with_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "MAX_BUFFERED_EVENTS", 50)
    buffer, on_disk = WriteBuffer(), delivery(Status.DELIVERED)
    buffer.add_delivery(on_disk)  # its event was written before the file broke
    for _ in range(500):
        sent = delivery(Status.DELIVERED)
        buffer.add_event(sent.event, None)
        buffer.add_delivery(sent)
        buffer.put_back(buffer.take())
    batch = buffer.take()
    assert len(batch.events) <= 50
    assert {each.key for each in batch.deliveries} == {on_disk.key, *(f"{event.id}:hook" for event, _ in batch.events)}


def test_where_all_alerts_wait_the_newest_event_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_lock_is_held_by_one_program_and_dies_with_it(store_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = lock_of(store_path)
        assert not lock.take()
        holder.kill()
        holder.wait()
    assert lock.take()
    assert lock.take()
    lock.release()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot make"):
        lock_of(tmp_path / "absent" / "events.db").take()


def test_a_place_that_cannot_be_used_is_a_fault_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = StoreWriter(AlertSettings(store=tmp_path / "file" / "events.db"))
    assert kept.write(WriteBatch(), 0.0) is None
    assert "check its folder" in kept.fault
    kept.close()


def test_alerts_of_a_dead_program_are_adopted_once(store_path: Path) -> None:
    left = replace(delivery(), owner="a program that was killed")
    with EventStore(store_path) as store:
        store.write(WriteBatch(((left.event, None),), (left,)), 0.0)
    kept = StoreWriter(AlertSettings(store=store_path))
    found = kept.write(WriteBatch(), 0.0)
    assert found is not None
    assert [each.key for each in found.older] == [left.key]
    assert found.older[0].owner == kept.owner
    again = kept.write(WriteBatch(), 0.0)
    assert again is not None
    assert again.older == ()
    kept.close()
    with EventStore(store_path) as store:
        assert [each.owner for each in store.deliveries(Status.PENDING)] == [""]


@pytest.mark.parametrize("step", ["changed_outside", "deliveries"])
def test_what_is_written_is_not_written_again_for_a_fault_of_reading(
    step: str, store_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = delivery()
    kept = StoreWriter(AlertSettings(store=store_path))
    assert kept.write(WriteBatch(((left.event, None),), (replace(left, owner=kept.owner),)), 0.0) is not None
    with EventStore(store_path) as other:
        purge(other, None)
    counted = WriteBatch(presence=(Presence("door", 0, masked=5),))

    def broken(*_: object) -> bool:
        raise StoreError("event file: Input/output error; check its folder")

    with monkeypatch.context() as patch:
        patch.setattr(EventStore, step, broken)
        assert kept.write(counted, 0.0) == StoreChanges()
        assert "Input/output error" in kept.fault
    found = kept.write(WriteBatch(), 0.0)
    assert found is not None
    assert found.waiting_keys == frozenset(), "the purge is seen later"
    assert kept.fault == ""
    kept.close()
    with EventStore(store_path) as store:
        assert store.presence() == [Presence("door", 0, masked=5)]
    assert caplog.records[0].message.endswith(
        "; alerts go on, what others change in it is not seen until it works again"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody delete an open file")
def test_what_was_written_to_a_file_just_deleted_is_written_to_the_new_one(store_path: Path) -> None:
    kept = StoreWriter(AlertSettings(store=store_path))
    assert kept.write(WriteBatch(), 0.0) is not None
    for file in store_path.parent.glob("events.db*"):
        file.unlink()
    found = kept.write(WriteBatch(presence=(Presence("door", 0, masked=5),)), 0.0)
    assert found is not None
    assert found.renewed
    kept.close()
    with EventStore(store_path) as store:
        assert store.presence() == [Presence("door", 0, masked=5)]


def test_what_waits_for_a_program_that_runs_is_not_adopted(store_path: Path) -> None:
    first, second, third = (StoreWriter(AlertSettings(store=store_path)) for _ in range(3))
    for each in (first, second, third):
        write_one(each)
    first.close()
    found = second.write(WriteBatch(), 0.0)
    assert found is not None
    assert len(found.older) == 2, "its own and what the first left"
    assert owners(store_path) == [second.owner, second.owner, third.owner]
    found = third.write(WriteBatch(), 0.0)
    assert found is not None
    assert found.waiting_keys is not None
    assert len(found.waiting_keys) == 1
    third.close()
    second.close()
    assert owners(store_path) == ["", "", ""]
    assert list(store_path.parent.glob("events.db.owner-*")) == []


def test_what_waits_for_a_program_that_is_killed_is_adopted_within_a_minute(store_path: Path) -> None:
    kept = StoreWriter(AlertSettings(store=store_path))
    kept.write(WriteBatch(), 0.0)
    kept.keep_bounds(0.0, 0.0)
    argv = [sys.executable, "-c", WRITER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout is not None
        owner = other.stdout.readline().strip()
        kept.keep_bounds(60.0, 0.0)
        assert kept.write(WriteBatch(), 0.0) is not None
        assert owners(store_path) == [owner], "it runs"
        other.kill()
        other.wait()
    kept.keep_bounds(100.0, 0.0)
    kept.write(WriteBatch(), 0.0)
    assert owners(store_path) == [owner], "not yet due"
    kept.keep_bounds(120.0, 0.0)
    found = kept.write(WriteBatch(), 0.0)
    assert found is not None
    assert [each.owner for each in found.older] == [kept.owner]
    assert [path.name for path in store_path.parent.glob("events.db.owner-*")] == [f"events.db.owner-{kept.owner}"]
    kept.close()


def test_where_programs_cannot_show_that_they_run_all_that_waits_is_adopted(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writer, "owner_lock", lambda store, _: lock_of(tmp_path / "absent" / store.name))
    first, second = (StoreWriter(AlertSettings(store=store_path)) for _ in range(2))
    write_one(first)
    write_one(second)
    assert first.fault == second.fault == ""
    first.close()
    assert second.write(WriteBatch(), 0.0) is not None
    assert owners(store_path) == [second.owner, second.owner]
    second.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody delete an open file")
def test_a_lock_whose_file_was_deleted_is_taken_anew(store_path: Path) -> None:
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
