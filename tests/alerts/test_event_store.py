"""The event file: reading and writing, errors, retention and deletion."""

import itertools
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_alerts import make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts import retention
from app.alerts.event_records import event_from_record, event_record
from app.alerts.event_store import EventStore, rename_damaged
from app.alerts.file_lock import lock_path
from app.alerts.retention import enforce_retention, purge, size_bytes
from app.alerts.store_types import Delivery, EventFilter, PurgeResult, Status, StoreError, WriteBatch
from app.core.camera_hours import CameraHour, Occupancy, hour_of
from app.core.types import Box, Event, EventKind

DAY_S = 86_400.0
NOW_S = 1_790_000_000.0


@pytest.fixture
def store(store_path: Path) -> Iterator[EventStore]:
    with EventStore(store_path) as opened:
        yield opened


def batch_of(*events: Event, jpeg: bytes | None = None, status: Status = Status.DELIVERED) -> WriteBatch:
    deliveries = tuple(Delivery(event, "hook", event.wall_s, event.wall_s, status) for event in events)
    return WriteBatch(tuple((event, jpeg) for event in events), deliveries)


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


@given(
    st.builds(
        Event,
        id=st.text(min_size=1),
        kind=st.sampled_from(EventKind),
        camera=st.text(),
        time_s=st.floats(0, 1e9),
        wall_s=st.floats(0, 4e9),
        track_id=st.integers(0, 2**40),
        confidence=st.floats(0, 1),
        duration_s=st.floats(0, 1e6),
        box=st.none() | st.builds(Box, *(st.integers(-999, 9999).map(float),) * 4),
        reason=st.text(),
        resolves=st.text(),
    )
)
def test_record_round_trip(event: Event) -> None:
    record = event_record(event)
    assert event_from_record(record) == event
    assert event_from_record({**record, "field_of_a_newer_version": 1}) == event


def test_stored_events_can_be_read_and_filtered(store: EventStore) -> None:
    first, second = make_event(wall_s=NOW_S), make_event(EventKind.RESOLVED, "gate", NOW_S + 10)
    store.write(batch_of(second, first, jpeg=b"jpeg"), NOW_S)
    store.write(batch_of(first), NOW_S)  # writing again adds no duplicate
    assert store.events() == [first, second]
    assert store.events(EventFilter(cameras=("gate",))) == [second]
    assert store.events(EventFilter(kinds=("no_mask",))) == [first]
    assert store.events(EventFilter(since_s=NOW_S + 10)) == [second]
    assert store.events(EventFilter(until_s=NOW_S + 10)) == [first]
    assert store.events(newest=1) == [second]
    assert store.snapshot(first.id) == b"jpeg"
    assert store.snapshot("absent") is None


def test_deliveries_have_their_latest_state_and_retry_makes_undelivered_ones_pending(store: EventStore) -> None:
    event = make_event(wall_s=NOW_S)
    store.write(batch_of(event, status=Status.PENDING), NOW_S)
    (waiting,) = store.deliveries(Status.PENDING)
    assert waiting.event == event
    failed = replace(waiting, status=Status.UNDELIVERED, attempts=7, error="no")
    store.write(WriteBatch(deliveries=(failed,)), NOW_S)
    assert store.deliveries(Status.PENDING) == []
    assert store.deliveries() == [failed]
    assert store.retry(("other",), NOW_S + 5) == 0
    assert store.retry((), NOW_S + 5) == 1
    (again,) = store.deliveries(Status.PENDING)
    assert (again.attempts, again.created_s) == (0, NOW_S + 5)


def test_delivery_of_a_purged_event_is_not_written(store: EventStore) -> None:
    event = make_event(wall_s=NOW_S)
    store.write(WriteBatch(deliveries=batch_of(event).deliveries), NOW_S)
    assert store.deliveries() == []


def test_people_counts_are_added_by_hour_and_camera(store: EventStore) -> None:
    hour_s = hour_of(NOW_S)
    store.write(WriteBatch(hours=(CameraHour("door", hour_s, masked=3, bare=1), CameraHour("gate", hour_s, 1))), NOW_S)
    store.write(WriteBatch(hours=(CameraHour("door", hour_s, masked=1, incorrect=2),)), NOW_S)
    door, gate = store.hours()
    assert door == CameraHour("door", hour_s, masked=4, bare=1, incorrect=2)
    assert door.compliance == pytest.approx(4 / 7)
    assert gate.compliance == 1.0
    assert CameraHour("x", 0).compliance is None
    assert store.hours(EventFilter(cameras=("gate",))) == [gate]
    assert store.hours(EventFilter(until_s=hour_s)) == []


def test_only_the_newest_counts_of_the_lines_are_kept(store: EventStore) -> None:
    alert = make_event(EventKind.OCCUPANCY_REACHED)
    old, new = Occupancy("door", NOW_S, {"main": (1, 0)}, 1), Occupancy("door", NOW_S, {"main": (2, 0)}, 2, alert)
    gate = Occupancy("gate", NOW_S - 32 * DAY_S)
    store.write(WriteBatch(occupancy=(old, gate)).plus(WriteBatch(occupancy=(new,))), NOW_S)
    assert store.occupancy() == [gate, new]
    assert store.contents().occupancy == (gate, new)
    enforce_all(store, 10**9)
    assert store.occupancy() == [new], "nobody watches the gate any more"
    store.clear()
    assert store.is_empty


def enforce_all(store: EventStore, max_bytes: int) -> PurgeResult:
    """Enforces the retention until there is no more to delete."""
    done = part = enforce_retention(store, NOW_S, 30 * DAY_S, max_bytes)
    while part != PurgeResult():
        part = enforce_retention(store, NOW_S, 30 * DAY_S, max_bytes)
        done = done.plus(part)
    return done


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_user_can_read_the_file(store: EventStore) -> None:
    store.write(batch_of(make_event()), NOW_S)
    for file in store.path.parent.glob("events.db*"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_retention_deletes_old_events_without_pending_alerts(store: EventStore) -> None:
    old, waiting, young = (make_event(wall_s=NOW_S) for _ in range(3))
    store.write(batch_of(old), NOW_S - 31 * DAY_S)
    store.write(batch_of(waiting, status=Status.PENDING), NOW_S - 31 * DAY_S)
    store.write(batch_of(young), NOW_S - 29 * DAY_S)
    store.write(WriteBatch(hours=(CameraHour("door", hour_of(NOW_S - 40 * DAY_S), 1),)), NOW_S)
    deleted = enforce_all(store, 10**9)
    assert (deleted.events, deleted.hours) == (1, 1)
    assert {event.id for event in store.events()} == {waiting.id, young.id}
    assert old.id.encode() not in on_disk(store.path)


def test_retention_deletes_the_oldest_events_above_the_size_limit(store: EventStore) -> None:
    events = [make_event(wall_s=NOW_S + i) for i in range(100)]
    for event in events:
        store.write(batch_of(event, jpeg=os.urandom(20_000)), NOW_S)
    assert size_bytes(store) > 2_000_000
    enforce_all(store, 1_000_000)
    assert size_bytes(store) <= 1_000_000
    assert sum(file.stat().st_size for file in store.path.parent.glob("events.db*")) <= 1_050_000
    kept = store.events()
    assert 0 < len(kept) < 100
    assert kept == events[-len(kept) :]


def test_retention_holds_up_those_who_store_events_only_for_a_moment(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow disk it may take minutes, as when the machine was off for weeks."""
    events = [make_event(wall_s=NOW_S) for _ in range(2000)]
    store.write(WriteBatch(tuple((event, b"jpeg") for event in events[:1000])), NOW_S - 31 * DAY_S)
    store.write(WriteBatch(tuple((event, os.urandom(500)) for event in events[1000:])), NOW_S)
    seconds = itertools.count(0.0, 0.4)
    monkeypatch.setattr(retention.time, "monotonic", lambda: next(seconds))
    parts = []
    while (deleted := enforce_retention(store, NOW_S, 30 * DAY_S, 400_000)) != PurgeResult():
        parts.append(deleted.events)
    assert max(parts) <= 400
    kept = [event.id for event in store.events()]
    assert kept == [event.id for event in events[-len(kept) :]]
    assert (sum(parts), size_bytes(store) <= 400_000) == (2000 - len(kept), True)


def test_retention_by_size_deletes_snapshots_but_no_pending_alerts(store: EventStore) -> None:
    for _ in range(60):
        store.write(batch_of(make_event(), jpeg=os.urandom(20_000), status=Status.PENDING), NOW_S)
    enforce_all(store, 500_000)
    assert size_bytes(store) <= 500_000
    assert len(store.deliveries(Status.PENDING)) == 60


def test_purge_erases_deleted_content_from_the_file(store: EventStore) -> None:
    event = make_event(camera="SECRET-CAMERA")
    store.write(batch_of(event, jpeg=b"SECRET-JPEG" * 1000, status=Status.PENDING), NOW_S)
    renamed = store.path.with_name("events.db.damaged-20260101-000000")
    renamed.write_bytes(b"SECRET-OLD-FILE")
    assert b"SECRET-JPEG" in on_disk(store.path)
    done = purge(store, None)
    assert (done.events, done.pictures, done.files) == (1, 1, 1)
    assert b"SECRET" not in on_disk(store.path)
    assert store.events() == []
    assert store.deliveries() == []


def test_purge_of_snapshots_or_old_events_keeps_the_rest(store: EventStore) -> None:
    old, young = make_event(wall_s=NOW_S), make_event(wall_s=NOW_S)
    store.write(batch_of(old, jpeg=b"OLD-JPEG"), NOW_S - 9 * DAY_S)
    store.write(batch_of(young, jpeg=b"YOUNG-JPEG"), NOW_S)
    assert purge(store, NOW_S - 7 * DAY_S, pictures_only=True).pictures == 1
    assert len(store.events()) == 2
    assert purge(store, NOW_S - 7 * DAY_S).events == 1
    assert store.events() == [young]
    assert store.snapshot(young.id) == b"YOUNG-JPEG"


def test_events_of_another_version_are_skipped_and_do_not_count_as_damage(store: EventStore) -> None:
    readable, unreadable = make_event(wall_s=NOW_S), make_event(wall_s=NOW_S)
    store.write(batch_of(readable, unreadable, status=Status.PENDING), NOW_S)
    with store.transaction() as db:
        db.execute("UPDATE events SET record = replace(record, 'no_mask', 'smoking') WHERE id = ?", (unreadable.id,))
    assert store.events() == [readable]
    assert [each.event for each in store.deliveries(Status.PENDING)] == [readable]


def test_reading_does_not_create_a_missing_file(store_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no event file .*events\.db"):
        EventStore(store_path, create=False)
    assert not store_path.exists()


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE outbox DROP COLUMN attempts", "ALTER TABLE events RENAME wall_s TO wall", "DROP TABLE presence"],
)
def test_file_with_other_tables_raises_and_is_not_changed(store_path: Path, change: str) -> None:
    EventStore(store_path).close()
    with closing(sqlite3.connect(store_path)) as db:
        db.execute(change)
        db.commit()
    before = store_path.read_bytes()
    with pytest.raises(StoreError, match=r"another version of maskwatch.*choose another store") as caught:
        EventStore(store_path)
    assert "disk" not in str(caught.value)
    assert not caught.value.damaged, "it must not be renamed"
    assert store_path.read_bytes() == before


def test_file_of_a_newer_version_is_not_changed(store_path: Path) -> None:
    with EventStore(store_path) as store:
        store.execute("PRAGMA user_version = 99")
    before = store_path.read_bytes()
    with pytest.raises(StoreError, match="newer maskwatch") as caught:
        EventStore(store_path)
    assert not caught.value.damaged
    assert store_path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is not a database, but long enough to be read" * 100, b"\0" * 5000])
def test_damaged_file_raises_and_can_be_renamed(store_path: Path, content: bytes) -> None:
    store_path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        EventStore(store_path)
    assert caught.value.damaged
    with pytest.raises(StoreError, match="left unchanged"):
        rename_damaged(store_path, NOW_S)
    assert store_path.read_bytes() == content
    lock_path(store_path).touch()  # every program that writes events creates it
    renamed, recovered = rename_damaged(store_path, NOW_S)
    assert renamed.read_bytes() == content
    assert recovered == []
    EventStore(store_path).close()


def test_readable_pending_alerts_are_recovered_from_a_damaged_file(store_path: Path) -> None:
    waiting = [make_event() for _ in range(200)]
    with EventStore(store_path) as store:
        store.write(batch_of(*waiting, status=Status.PENDING), NOW_S)
    size = store_path.stat().st_size
    with store_path.open("r+b") as file:
        file.seek(size - 2 * 4096)
        file.write(os.urandom(4096))
    _, recovered = rename_damaged(store_path, NOW_S)
    assert 0 < len(recovered) <= 200
    assert {each.event.id for each in recovered} <= {event.id for event in waiting}


def test_locked_file_raises_until_it_is_unlocked(store_path: Path) -> None:
    with EventStore(store_path, busy_s=0.05) as store:
        other = sqlite3.connect(store_path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked") as caught:
            store.write(batch_of(make_event()), NOW_S)
        assert not caught.value.damaged
        other.execute("ROLLBACK")
        other.close()
        store.write(batch_of(make_event()), NOW_S)
        assert len(store.events()) == 1


@pytest.mark.parametrize("name", ["events.db", "door[1].db"])
def test_purge_deletes_damaged_files_whatever_the_name_of_the_event_file(tmp_path: Path, name: str) -> None:
    with EventStore(tmp_path / name) as store:
        (tmp_path / f"{name}.damaged-20260101-000000").touch()
        (tmp_path / "other.db.damaged-20260101-000000").touch()
        assert purge(store, None).files == 1
    assert [path.name for path in tmp_path.glob("*damaged*")] == ["other.db.damaged-20260101-000000"]
