"""When a camera counts as offline and as back, and how clocks and heartbeats are read."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from app.capture.status import SourceState
from app.core.types import EventKind
from app.pipeline.heartbeat import AwakeClock, Heartbeat, StallTimer
from app.pipeline.outage import Outage, OutageChange, is_up, step
from app.settings.monitor import MonitorSettings

SETTINGS = MonitorSettings(offline_after_s=10, recovered_after_s=2)


def play(spells: list[tuple[bool, float]], settings: MonitorSettings = SETTINGS) -> list[tuple[float, OutageChange]]:
    """What is told, and when, of a camera that is up or down for so many seconds each, looked at 4 times a second."""
    outage, now_s, told = Outage(), 0.0, []
    for up, lasts_s in spells:
        for _ in range(round(lasts_s * 4)):
            outage, change = step(settings, outage, up, now_s)
            if change is not None:
                told.append((now_s, change))
            now_s += 0.25
    return told


def test_offline_after_the_grace_time_and_back_after_being_live_for_a_while() -> None:
    told = play([(True, 5), (False, 30), (True, 5)])
    assert [(when, change.kind) for when, change in told] == [
        (15.0, EventKind.CAMERA_OFFLINE),
        (37.0, EventKind.CAMERA_RECOVERED),
    ]
    assert told[0][1].lasted_s == 10
    assert told[1][1].lasted_s == 30


def test_a_short_loss_is_not_told() -> None:
    assert play([(True, 5), (False, 9), (True, 20)]) == []


def test_a_camera_that_flickers_is_offline_once() -> None:
    assert [change.kind for _, change in play([(False, 4), (True, 1)] * 20)] == [EventKind.CAMERA_OFFLINE]


def test_stale_is_as_blind_as_no_connection() -> None:
    assert [state for state in SourceState if is_up(state)] == [SourceState.LIVE]


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.25, 40)), max_size=20),
    st.floats(0, 20),
    st.floats(0, 10),
)
def test_offline_and_recovered_take_turns(
    spells: list[tuple[bool, float]], offline_after_s: float, recovered_after_s: float
) -> None:
    settings = MonitorSettings(offline_after_s=offline_after_s, recovered_after_s=recovered_after_s)
    told = [change for _, change in play(spells, settings)]
    kinds = [change.kind for change in told]
    assert all(one is not other for one, other in itertools.pairwise(kinds))
    assert kinds[:1] in ([], [EventKind.CAMERA_OFFLINE])
    assert all(change.lasted_s >= 0 for change in told)


def test_time_asleep_does_not_count() -> None:
    now_s = [100.0]
    clock = AwakeClock(lambda: now_s[0])
    for ahead_s, total_s in ((0.25, 0.25), (3600.0, 1.25), (-50.0, 1.25), (0.25, 1.5)):
        now_s[0] += ahead_s
        assert clock.check() == total_s


def test_a_heartbeat_is_still_until_it_beats_and_never_while_it_rests() -> None:
    heartbeat, stillness = Heartbeat(), StallTimer()
    heartbeat.beat("works")
    assert [stillness.of_heartbeat(heartbeat, now_s) for now_s in (1.0, 3.0)] == [0.0, 2.0]
    heartbeat.beat("works")
    assert stillness.of_heartbeat(heartbeat, 4.0) == 0.0
    heartbeat.rest()
    assert [stillness.of_heartbeat(heartbeat, now_s) for now_s in (5.0, 500.0)] == [0.0, 0.0]
