"""How many people are inside: a pure function."""

from dataclasses import replace
from datetime import datetime

import pytest
from fakes import plain_frame
from hypothesis import given
from hypothesis import strategies as st

from app.core.camera_hours import Occupancy
from app.core.types import Crossing, Event, EventKind
from app.pipeline.event_factory import EventFactory
from app.pipeline.occupancy import last_reset_s, step
from app.settings.monitor import OccupancySettings

EVENTS = EventFactory("run", "door")
IN, OUT = Crossing("main", True), Crossing("main", False)
NOON_S = datetime(2026, 3, 2, 12).timestamp()


def play(
    crossings: list[Crossing], limit: int | None = None, state: Occupancy | None = None, wall_s: float = NOON_S
) -> tuple[Occupancy, list[Event]]:
    state, events = state or Occupancy("door"), []
    for i, crossing in enumerate(crossings):
        frame = replace(plain_frame(i), wall_s=wall_s + i)
        state, new = step(OccupancySettings(limit=limit), "", EVENTS, state, frame, [crossing])
        events += new
    return state, events


@given(st.lists(st.sampled_from([IN, OUT, Crossing("back", True), Crossing("back", False)]), max_size=40))
def test_people_inside_are_never_below_zero_and_every_crossing_is_counted(crossings: list[Crossing]) -> None:
    state, _ = play(crossings)
    assert state.inside >= max(0, state.entered - state.exited)
    assert (state.entered, state.exited) == tuple(sum(c.entered is way for c in crossings) for way in (True, False))


def test_the_limit_is_reported_when_it_is_reached_and_when_it_is_no_longer() -> None:
    state, (reached, below) = play([IN, IN, IN, OUT, OUT], limit=2)
    assert (reached.kind, reached.time_s, reached.people) == (EventKind.OCCUPANCY_REACHED, 0.1, 2)
    assert (below.kind, below.time_s, below.people) == (EventKind.OCCUPANCY_BELOW, 0.4, 1)
    assert (below.resolves, below.duration_s) == (reached.id, 3.0)
    assert reached.reason == "2 inside, the limit is 2"
    assert state.alert is None


def test_a_limit_that_is_still_reached_after_a_restart_is_not_reported_again() -> None:
    state, (reached,) = play([IN, IN], limit=2)
    later, events = play([IN, OUT, OUT], limit=2, state=state, wall_s=NOON_S + 600)
    assert [event.resolves for event in events] == [reached.id]
    assert later.inside == 1


@pytest.mark.parametrize(("ahead_s", "inside"), [(-120, 2), (7200, 2), (10 * 365 * 86_400, 1)])
def test_a_clock_that_was_far_ahead_does_not_stop_the_reset(ahead_s: float, inside: int) -> None:
    state, _ = play([IN], wall_s=NOON_S + ahead_s)
    assert play([IN], state=state)[0].inside == inside
    assert play([IN], state=play([IN], state=state)[0], wall_s=NOON_S + 2 * 86_400)[0].inside == 1


def test_another_limit_takes_effect_without_a_crossing() -> None:
    state, _ = play([IN, IN, IN])
    frame = plain_frame(9)
    frame = replace(frame, wall_s=NOON_S + 9)
    full, (reached,) = step(OccupancySettings(limit=3), "", EVENTS, state, frame, [])
    assert full.alert == reached
    for settings in (OccupancySettings(limit=4), OccupancySettings()):
        free, (below,) = step(settings, "", EVENTS, full, frame, [])
        assert (free.alert, below.resolves) == (None, reached.id)
    assert step(OccupancySettings(limit=3), "", EVENTS, full, frame, [])[0] is full


def test_the_counts_begin_again_at_the_time_of_day() -> None:
    settings = OccupancySettings(limit=1, reset_at="04:00")
    night_s = datetime(2026, 3, 3, 3, 59, 50).timestamp()
    state, (reached,) = step(settings, "", EVENTS, Occupancy("door"), replace(plain_frame(0), wall_s=night_s), [IN])
    still, events = step(settings, "", EVENTS, state, replace(plain_frame(1), wall_s=night_s + 9), [])
    assert (still, events) == (state, ())
    reset, (below,) = step(settings, "", EVENTS, state, replace(plain_frame(2), wall_s=night_s + 10), [])
    assert (reset.inside, reset.lines, below.resolves) == (0, {}, reached.id)
    assert reset.since_s == night_s + 10
    back, _ = step(settings, "", EVENTS, reset, replace(plain_frame(3), wall_s=night_s), [IN])
    assert back.inside == 1, "a clock that is set back takes nothing away"


@pytest.mark.parametrize(
    ("zone", "now", "reset"),
    [
        ("UTC", "2026-03-02T12:00+00:00", "2026-03-02T04:00+00:00"),
        ("UTC", "2026-03-02T03:59+00:00", "2026-03-01T04:00+00:00"),
        ("Asia/Kolkata", "2026-03-02T12:00+05:30", "2026-03-02T04:00+05:30"),
        ("Europe/Berlin", "2026-10-25T12:00+01:00", "2026-10-25T04:00+01:00"),  # the night of 25 hours
        ("Europe/Berlin", "2026-03-30T03:00+02:00", "2026-03-29T04:00+02:00"),  # the day after that of 23 hours
    ],
)
def test_the_reset_follows_the_local_clock(zone: str, now: str, reset: str) -> None:
    wall_s = datetime.fromisoformat(now).timestamp()
    assert last_reset_s("04:00", wall_s, zone) == datetime.fromisoformat(reset).timestamp()


def test_an_hour_that_comes_twice_resets_once() -> None:
    first_s = datetime.fromisoformat("2026-10-25T02:30+02:00").timestamp()
    assert last_reset_s("02:15", first_s, "Europe/Berlin") == first_s - 900
    assert last_reset_s("02:15", first_s + 3600, "Europe/Berlin") == first_s - 900
