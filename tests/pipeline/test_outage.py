"""Outages, the awake clock and heartbeats."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.capture.status import SourceState
from app.core.types import EventKind
from app.pipeline.heartbeat import AwakeClock, Heartbeat, StallTimer
from app.pipeline.outage import Outage, OutageChange, is_up, step
from app.settings.monitor import MonitorSettings

SETTINGS = MonitorSettings(offline_after_s=10, recovered_after_s=2)


def play(periods: list[tuple[bool, float]], settings: MonitorSettings = SETTINGS) -> list[tuple[float, OutageChange]]:
    """The reported changes, with times, of a camera that is up or down for periods in seconds, checked at 4 Hz."""
    outage, now_s, changes = Outage(), 0.0, []
    for up, lasts_s in periods:
        for _ in range(round(lasts_s * 4)):
            outage, change = step(settings, outage, up, now_s)
            if change is not None:
                changes.append((now_s, change))
            now_s += 0.25
    return changes


def test_offline_after_the_grace_time_and_recovered_after_being_live_for_a_while() -> None:
    changes = play([(True, 5), (False, 30), (True, 5)])
    assert [(time_s, change.kind) for time_s, change in changes] == [
        (15.0, EventKind.CAMERA_OFFLINE),
        (37.0, EventKind.CAMERA_RECOVERED),
    ]
    assert changes[0][1].lasted_s == 10
    assert changes[1][1].lasted_s == 30


def test_an_outage_that_is_certain_is_reported_at_once() -> None:
    outage, change = step(SETTINGS, Outage(), False, 5.0, is_certain=True)
    assert change == OutageChange(EventKind.CAMERA_OFFLINE, 0.0)
    assert step(SETTINGS, outage, False, 6.0, is_certain=True) == (outage, None), "once"
    assert step(SETTINGS, Outage(), True, 5.0, is_certain=True) == (Outage(), None)


def test_a_short_outage_is_not_reported() -> None:
    assert play([(True, 5), (False, 9), (True, 20)]) == []


def test_an_intermittent_camera_is_reported_once() -> None:
    assert [change.kind for _, change in play([(False, 4), (True, 1)] * 20)] == [EventKind.CAMERA_OFFLINE]


def test_only_a_live_camera_is_up() -> None:
    assert [state for state in SourceState if is_up(state)] == [SourceState.LIVE]


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.25, 40)), max_size=20),
    st.floats(0, 20),
    st.floats(0, 10),
)
def test_offline_and_recovered_alternate(
    periods: list[tuple[bool, float]], offline_after_s: float, recovered_after_s: float
) -> None:
    settings = MonitorSettings(offline_after_s=offline_after_s, recovered_after_s=recovered_after_s)
    changes = [change for _, change in play(periods, settings)]
    kinds = [change.kind for change in changes]
    assert all(one is not other for one, other in itertools.pairwise(kinds))
    assert kinds[:1] in ([], [EventKind.CAMERA_OFFLINE])
    assert all(change.lasted_s >= 0 for change in changes)


def test_suspended_time_does_not_count() -> None:
    now_s = [100.0]
    clock = AwakeClock(lambda: now_s[0])
    for step_s, total_s in ((0.25, 0.25), (3600.0, 1.25), (-50.0, 1.25), (0.25, 1.5)):
        now_s[0] += step_s
        assert clock.check() == total_s


def test_a_heartbeat_stalls_until_the_next_beat_and_never_while_it_rests() -> None:
    heartbeat, timer = Heartbeat(), StallTimer()
    heartbeat.beat("working")
    assert [timer.heartbeat_stalled_s(heartbeat, now_s) for now_s in (1.0, 3.0)] == [0.0, 2.0]
    heartbeat.beat("working")
    assert timer.heartbeat_stalled_s(heartbeat, 4.0) == 0.0
    heartbeat.rest()
    assert [timer.heartbeat_stalled_s(heartbeat, now_s) for now_s in (5.0, 500.0)] == [0.0, 0.0]
