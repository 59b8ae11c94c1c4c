"""The queue of alerts in the event file and, while that is broken, in memory; the lock of the watching program."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fakes_alerts import make_event
from hypothesis import given, settings
from hypothesis import strategies as st

from app.alerts import event_queue
from app.alerts.event_queue import EventQueue
from app.alerts.event_store import EventStore
from app.alerts.file_lock import StoreLock
from app.alerts.marks import Marks, read_marks, write_marks
from app.alerts.retention import purge
from app.alerts.retention_clock import RetentionClock, StoredTimes
from app.alerts.store_schema import SCHEMA_VERSION, SECONDS
from app.alerts.store_types import (
    CameraHour,
    Delivery,
    Occupancy,
    Status,
    StoreError,
    StoreInUseError,
    WriteBatch,
    hour_of,
)
from app.core.types import Event
from app.settings.alerts import AlertSettings

ROOT = Path(__file__).resolve().parents[2]
DAY_S = 86_400.0
HOLDER = """
import sys
from pathlib import Path
from app.alerts.file_lock import StoreLock
lock = StoreLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


@dataclass
class FakeClock:
    """``pass_s`` lets time pass; ``set_s`` sets the wall clock, as a person or a time server does."""

    wall: float
    monotonic: float = 1000.0

    def wall_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.monotonic

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def set_s(self, wall_s: float) -> None:
        self.wall = wall_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
def queue(store_path: Path, clock: FakeClock) -> Iterator[EventQueue]:
    opened = EventQueue(AlertSettings(store=store_path), clock)
    opened.open()
    yield opened
    opened.close()


def alert(event: Event | None = None, status: Status = Status.PENDING, jpeg: bytes | None = None) -> WriteBatch:
    event = event or make_event()
    return WriteBatch(((event, jpeg),), (Delivery(event, "hook", event.wall_s, event.wall_s, status),))


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


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_file_of_an_earlier_version_is_upgraded(store_path: Path, version: int) -> None:
    event, hour = make_event(), CameraHour("door", 3600, masked=4)
    with EventStore(store_path) as store:
        store.write(alert(event), 0.0)
        store.write(WriteBatch(hours=(hour,)), 0.0)
        if version == 1:
            store.execute("ALTER TABLE outbox ADD COLUMN owner TEXT NOT NULL DEFAULT 'program'")
        for name in SECONDS if version < 3 else ():
            store.execute(f"ALTER TABLE presence DROP COLUMN {name}")
        store.execute("DROP TABLE occupancy")
        for table in ("verdicts", "acknowledged") if version < 4 else ():
            store.execute(f"DROP TABLE {table}")
        if version == 3:  # the web view created it when the first alert was acknowledged
            store.execute(
                "CREATE TABLE acknowledged (event_id TEXT PRIMARY KEY REFERENCES events (id), wall_s REAL NOT NULL)"
            )
            store.execute(f"INSERT INTO acknowledged VALUES ('{event.id}', 7.0)")
        store.execute(f"PRAGMA user_version = {version}")
    with EventStore(store_path) as store:
        assert store.query_int("PRAGMA user_version") == SCHEMA_VERSION
        assert [each.event for each in store.deliveries()] == [event]
        assert store.hours() == [hour]
        marks = Marks(7.0) if version == 3 else Marks()
        assert read_marks(store, [event.id]).get(event.id, Marks()) == marks
        store.write(WriteBatch(occupancy=(Occupancy("door", 1.0, {"main": (3, 1)}, 2, event),)), 0.0)
        assert store.occupancy() == [Occupancy("door", 1.0, {"main": (3, 1)}, 2, event)]
        write_marks(store, event.id, marks.judged("no_face", "", 8.0, "browser"))
        assert read_marks(store, [event.id])[event.id].verdict_by == "browser"


def test_alerts_of_a_removed_channel_are_given_up_after_the_retention_time(
    queue: EventQueue, store_path: Path, clock: FakeClock
) -> None:
    queue.write(alert())
    queue.maintain()
    clock.pass_s(31 * DAY_S)
    queue.maintain()
    assert queue.waiting() == {}


# -- the lock ------------------------------------------------------------------------------------------------------


def test_lock_is_held_by_one_program_and_released_when_it_is_killed(store_path: Path, clock: FakeClock) -> None:
    argv = [sys.executable, "-c", HOLDER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        refused = EventQueue(AlertSettings(store=store_path), clock)
        with pytest.raises(StoreInUseError, match="another maskwatch watches"):
            refused.open()
        holder.kill()
        holder.wait()
    refused.open()
    refused.close()


def test_lock_file_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create"):
        StoreLock(tmp_path / "file" / "events.db").take()


# -- a wrong wall clock --------------------------------------------------------------------------------------------


def history(path: Path, now_s: float) -> list[Event]:
    """Twenty days of events."""
    events = [make_event(wall_s=now_s - day * DAY_S) for day in range(20, -1, -1)]
    with EventStore(path) as store:
        for event in events:
            store.write(alert(event, Status.DELIVERED), event.wall_s)
        seen = tuple(CameraHour("door", hour_of(event.wall_s), masked=1) for event in events)
        store.write(WriteBatch(hours=seen), now_s)
    return events


def kept(path: Path) -> tuple[int, int]:
    with EventStore(path) as store:
        return len(store.events()), len(store.hours())


def run_for(queue: EventQueue, clock: FakeClock, seconds: float, step_s: float = 60.0) -> None:
    for _ in range(int(seconds / step_s)):
        clock.pass_s(step_s)
        queue.maintain()


@pytest.mark.parametrize("days", [40.0, 365.0, -365.0, -20_000.0, 1.5])
def test_clock_that_is_set_while_running_deletes_nothing(
    store_path: Path, clock: FakeClock, days: float, caplog: pytest.LogCaptureFixture
) -> None:
    right_s = clock.wall
    history(store_path, right_s)
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    run_for(queue, clock, 120)
    clock.set_s(clock.wall + days * DAY_S)
    run_for(queue, clock, 75, 5.0)
    during = make_event(wall_s=clock.wall)
    queue.write(alert(during, Status.DELIVERED))
    run_for(queue, clock, 3600, 300.0)
    assert kept(store_path) == (22, 21)
    assert f"the clock was set {'forward' if days > 0 else 'back'}" in caplog.text
    clock.set_s(clock.wall - days * DAY_S)
    run_for(queue, clock, 9 * 3600, 600.0)
    assert kept(store_path) == (22, 21)
    queue.close()
    clock.pass_s(60.0)
    again = EventQueue(AlertSettings(store=store_path), clock)
    again.open()
    run_for(again, clock, 3600, 300.0)
    assert kept(store_path) == (22, 21), "also after a restart"
    run_for(again, clock, 12 * DAY_S, 3600.0)
    assert kept(store_path)[0] < 22, "old events are deleted in the end"
    again.close()


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("days", [40.0, 400.0, -20_000.0])
def test_start_with_a_wrong_clock_deletes_nothing(
    store_path: Path, clock: FakeClock, days: float, restarts: int, caplog: pytest.LogCaptureFixture
) -> None:
    right_s = clock.wall
    history(store_path, right_s)
    clock.set_s(clock.wall + days * DAY_S)
    for _ in range(restarts):
        queue = EventQueue(AlertSettings(store=store_path), clock)
        queue.open()
        queue.write(alert(make_event(wall_s=clock.wall), Status.DELIVERED))
        run_for(queue, clock, 1800, 300.0)
        assert kept(store_path) == (kept(store_path)[0], 21)
        assert kept(store_path)[0] >= 22
        queue.close()
    assert ("no event was stored in" if days > 0 else "has events of") in caplog.text
    assert "if the clock is wrong, set it" in caplog.text
    last = EventQueue(AlertSettings(store=store_path), clock)
    last.open()
    clock.set_s(clock.wall - days * DAY_S)  # the time server answers
    run_for(last, clock, 6 * 3600, 600.0)
    assert kept(store_path) == (21 + restarts, 21)
    last.close()


@pytest.mark.parametrize("days", [-20_000.0, -20.0, 400.0])
def test_a_whole_run_with_a_wrong_clock_is_kept(store_path: Path, clock: FakeClock, days: float) -> None:
    """A computer without a battery for its clock, until it finds a time server."""
    history(store_path, clock.wall)
    clock.set_s(clock.wall + days * DAY_S)
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    queue.write(alert(make_event(wall_s=clock.wall), Status.DELIVERED))
    queue.keep(WriteBatch(hours=(CameraHour("door", hour_of(clock.wall) + 1, masked=1),)))
    run_for(queue, clock, 1800, 300.0)
    queue.close()
    clock.set_s(clock.wall - days * DAY_S)
    again = EventQueue(AlertSettings(store=store_path), clock)
    again.open()
    run_for(again, clock, 9 * DAY_S, 3600.0)
    assert kept(store_path) == (22, 22)
    run_for(again, clock, 3 * DAY_S, 3600.0)
    assert 1 < kept(store_path)[0] < 22, "old events are deleted all the same"
    run_for(again, clock, 30 * DAY_S, 3600.0)
    assert kept(store_path)[0] <= (days > 0)
    again.close()


def test_file_time_is_respected_if_only_people_were_counted(store_path: Path, clock: FakeClock) -> None:
    with EventStore(store_path) as store:
        hours = (CameraHour("door", hour_of(clock.wall - day * DAY_S), masked=1) for day in range(3, 20))
        store.write(WriteBatch(hours=tuple(hours)), clock.wall)
    os.utime(store_path, (clock.wall, clock.wall))
    clock.set_s(clock.wall + 40 * DAY_S)
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    run_for(queue, clock, 12 * 3600, 600.0)
    assert kept(store_path) == (0, 17)
    queue.close()


JUMPS = st.just(0) | st.integers(100, 40_000_000) | st.integers(-40_000_000, -100)


@given(st.lists(st.tuples(st.integers(0, 50_000), JUMPS), max_size=40), st.integers(0, 10_000_000))
def test_retention_time_is_the_last_sure_time_plus_what_has_passed(steps: list[tuple[int, int]], gap_s: int) -> None:
    """However the wall clock is set: it is believed again after a day without a jump, and never runs ahead."""
    wall_s, monotonic_s = 1_000_000_000, 0
    clock = RetentionClock(wall_s, monotonic_s, StoredTimes(wall_s - gap_s, None, wall_s - gap_s))
    sure_s, disturbed_s = (wall_s - gap_s, 0.0) if gap_s > DAY_S else (wall_s, -DAY_S)
    for passed_s, jump_s in steps:
        wall_s, monotonic_s, sure_s = wall_s + passed_s + jump_s, monotonic_s + passed_s, sure_s + passed_s
        assert clock.step(wall_s, monotonic_s) == jump_s
        if jump_s:
            disturbed_s = monotonic_s
        elif monotonic_s - disturbed_s >= DAY_S:
            sure_s = wall_s
        assert clock.now_s == min(sure_s, wall_s)


def test_long_pause_delays_deletion_by_a_day_only(store_path: Path, clock: FakeClock) -> None:
    history(store_path, clock.wall)
    clock.pass_s(60 * DAY_S)  # switched off
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    run_for(queue, clock, 23 * 3600, 600.0)
    assert kept(store_path) == (21, 21)
    run_for(queue, clock, 2 * 3600, 600.0)
    assert kept(store_path) == (0, 0)
    queue.close()


def test_short_runs_every_day_delete_old_events(store_path: Path, clock: FakeClock) -> None:
    """A laptop that watches for eight hours a day never runs for a whole day."""
    history(store_path, clock.wall)
    for _ in range(20):
        queue = EventQueue(AlertSettings(store=store_path), clock)
        queue.open()
        queue.write(alert(make_event(wall_s=clock.wall), Status.DELIVERED))
        run_for(queue, clock, 8 * 3600, 3600.0)
        queue.close()
        clock.pass_s(16 * 3600)
    events, _ = kept(store_path)
    assert 29 <= events <= 32


def test_clock_that_is_set_gives_up_no_alert(queue: EventQueue, clock: FakeClock) -> None:
    queue.write(alert(make_event(wall_s=clock.wall)))
    clock.set_s(clock.wall + 40 * DAY_S)
    clock.pass_s(5.0)
    (waiting,) = queue.pending("hook")
    queue.wall_s()
    (waiting,) = queue.pending("hook")
    assert queue.age_s(waiting) == pytest.approx(5.0)
    clock.set_s(clock.wall - 400 * DAY_S)
    queue.wall_s()
    (waiting,) = queue.pending("hook")
    assert queue.age_s(waiting) >= 0.0


def test_start_with_a_clock_ahead_gives_up_no_alert_of_the_last_run(store_path: Path, clock: FakeClock) -> None:
    with EventStore(store_path) as store:
        store.write(alert(make_event(wall_s=clock.wall - 60)), clock.wall - 60)
    clock.set_s(clock.wall + 40 * DAY_S)
    queue = EventQueue(AlertSettings(store=store_path), clock)
    queue.open()
    (waiting,) = queue.pending("hook")
    assert queue.age_s(waiting) < DAY_S
    queue.close()
