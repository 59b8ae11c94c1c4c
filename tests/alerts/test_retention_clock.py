"""A wrong wall clock deletes no event and gives up no alert."""

import os
from pathlib import Path

import pytest
from fakes_alerts import FakeClock, alert, make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.event_queue import EventQueue
from app.alerts.event_store import EventStore
from app.alerts.retention_clock import RetentionClock, StoredTimes
from app.alerts.store_types import Status, WriteBatch
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import Event
from app.settings.alerts import AlertSettings

DAY_S = 86_400.0


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
