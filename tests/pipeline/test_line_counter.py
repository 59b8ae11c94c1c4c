"""The counting line: places of faces in, crossings out."""

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.types import Box, FaceLabel, Label, Track
from app.pipeline.line_counter import LineCounter
from app.settings.monitor import LineSettings

FRAME_PX = (400, 300)
FACE = 40.0
DOOR = LineSettings(name="door", points=((0.5, 0.9), (0.5, 0.1)))
"""From the bottom to the top at x = 200: who goes to the right comes in."""
RATES = (5, 8, 12, 15, 25)

Place = tuple[float, float]
Way = Callable[[float], Place | None]


def straight(*stops: tuple[float, float, float]) -> Way:
    """The way over (time, x, y), on straight lines; nowhere before the first and after the last."""

    def place(time_s: float) -> Place | None:
        for (t0, x0, y0), (t1, x1, y1) in itertools.pairwise(stops):
            if t0 <= time_s <= t1:
                share = (time_s - t0) / (t1 - t0)
                return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        return None

    return place


def track(id_: int, place: Place, time_s: float, velocity: Place = (0.0, 0.0), confirmed: bool = True) -> Track:
    box = Box(place[0] - FACE / 2, place[1] - FACE / 2, FACE, FACE)
    label = FaceLabel(Label.MASK, 0.9)
    return Track(id_, box, label, velocity, 0.0, time_s, 5, 1, confirmed)


def counted(
    ways: dict[int, Way],
    fps: float = 10,
    lines: Sequence[LineSettings] = (DOOR,),
    hidden: Callable[[int, float], bool] = lambda _id, _s: False,
    ids: Callable[[int, float], int] = lambda id_, _s: id_,
    confirmed_s: float = 0.0,
    lasts_s: float = 12.0,
) -> tuple[int, int]:
    """How many came in and went out. ``ids``: the track number of a person at a time."""
    counter, total = LineCounter(), [0, 0]
    for i in range(round(lasts_s * fps)):
        time_s, tracks = i / fps, []
        for person, way in ways.items():
            here, before = way(time_s), way(time_s - 1 / fps)
            if here is not None and not hidden(person, time_s):
                velocity = (
                    (0.0, 0.0) if before is None else tuple((a - b) * fps for a, b in zip(here, before, strict=True))
                )
                tracks.append(track(ids(person, time_s), here, time_s, velocity, time_s >= confirmed_s))
        for crossing in counter.update(time_s, FRAME_PX, lines, tracks):
            total[not crossing.entered] += 1
    return total[0], total[1]


RIGHTWARD = straight((0, 60, 150), (4, 340, 150))
LEFTWARD = straight((0, 340, 180), (4, 60, 180))


@pytest.mark.parametrize("fps", RATES)
def test_who_crosses_is_counted_once_in_each_direction(fps: float) -> None:
    assert counted({1: RIGHTWARD}, fps) == (1, 0)
    assert counted({1: LEFTWARD}, fps) == (0, 1)
    assert counted({1: RIGHTWARD, 2: LEFTWARD}, fps) == (1, 1)


@pytest.mark.parametrize("fps", RATES)
def test_who_turns_back_before_the_line_or_on_it_is_not_counted(fps: float) -> None:
    for furthest in (170, 195, 205, 215):
        assert counted({1: straight((0, 60, 150), (2, furthest, 150), (4, 60, 150))}, fps) == (0, 0)
    assert counted({1: straight((0, 60, 150), (3, 260, 150), (6, 60, 150))}, fps) == (1, 1), "surely across and back"


@pytest.mark.parametrize("fps", RATES)
def test_who_stands_on_the_line_counts_when_they_leave_it_on_the_other_side(fps: float) -> None:
    def sways(time_s: float) -> Place | None:
        approach, leave = straight((0, 60, 150), (2, 200, 150)), straight((9, 200, 150), (11, 340, 150))
        swaying = (200 + (15 if int(time_s * fps) % 2 else -15), 150.0)
        return approach(time_s) or leave(time_s) or (swaying if 2 < time_s < 9 else None)

    assert counted({1: sways}, fps) == (1, 0)
    assert counted({1: lambda s: sways(s) if s < 9 else straight((9, 200, 150), (11, 60, 150))(s)}, fps) == (0, 0)


@pytest.mark.parametrize("fps", RATES)
def test_who_leaves_the_view_and_comes_back_counts_again(fps: float) -> None:
    back = straight((6, 340, 150), (10, 60, 150))
    assert counted({1: RIGHTWARD, 2: back}, fps) == (1, 1)
    again = straight((6, 60, 150), (10, 340, 150))  # who walked around where no camera sees
    assert counted({1: RIGHTWARD, 2: again}, fps) == (2, 0)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("switch_s", [1.6, 1.9, 2.0, 2.1, 2.4])
def test_a_new_number_near_the_line_loses_nobody(fps: float, switch_s: float) -> None:
    """With and without frames in which the face is not found."""
    for gap_s in (0.0, 0.4, 0.9):
        total = counted(
            {1: RIGHTWARD},
            fps,
            hidden=lambda _, s, gap_s=gap_s: switch_s <= s < switch_s + gap_s,
            ids=lambda _, s: 1 if s < switch_s else 9,
        )
        assert total == (1, 0)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("hidden", [1, 2])
def test_two_who_pass_each_other_may_exchange_their_numbers(fps: float, hidden: int) -> None:
    """One hides the other in front of the line, and the tracker mistakes them afterwards."""
    other = straight((0, 340, 150), (4, 60, 150))
    total = counted(
        {1: RIGHTWARD, 2: other},
        fps,
        hidden=lambda id_, s: id_ == hidden and 1.7 < s < 2.3,
        ids=lambda id_, s: id_ if s < 2 else 3 - id_,
    )
    assert total == (1, 1)
    waiting = straight((0, 250, 160), (4, 250, 160))  # stands behind the line while the other one passes
    assert counted({1: RIGHTWARD, 2: waiting}, fps, hidden=lambda id_, s: id_ == 2 and 2.3 < s < 3) == (1, 0)


def test_a_face_that_turns_away_on_the_line_and_back_is_the_same() -> None:
    waits = straight((0, 60, 150), (2, 198, 150), (6, 202, 150), (8, 340, 150))
    total = counted({1: waits}, hidden=lambda _, s: 3 < s < 6, ids=lambda _, s: 1 if s < 4 else 2)
    assert total == (1, 0)


def test_two_people_on_both_sides_are_not_taken_for_one() -> None:
    """One turns away as the other one, across the line, turns to the camera."""
    one, other = straight((0, 160, 150), (3, 165, 150)), straight((3.1, 235, 150), (6, 240, 150))
    assert counted({1: one, 2: other}) == (0, 0)


def test_only_between_its_ends_a_line_counts() -> None:
    half = LineSettings(name="half", points=((0.5, 1), (0.5, 0.6)))  # from y = 300 to 180
    assert counted({1: straight((0, 60, 100), (4, 340, 100))}, lines=[half]) == (0, 0)
    assert counted({1: straight((0, 60, 220), (4, 340, 220))}, lines=[half]) == (1, 0)
    around = straight((0, 60, 100), (3, 340, 100), (4, 340, 240), (7, 60, 240))
    assert counted({1: around}, lines=[half]) == (0, 1), "around its end, and back over it"


def test_swapped_points_swap_the_directions_and_each_line_counts_for_itself() -> None:
    swapped = LineSettings(name="swapped", points=DOOR.points[::-1])
    assert counted({1: RIGHTWARD}, lines=[swapped]) == (0, 1)
    level = LineSettings(name="level", points=((0, 0.5), (1, 0.5)))  # who goes down comes in
    assert counted({1: straight((0, 60, 60), (4, 340, 240))}, lines=[level]) == (1, 0)
    assert counted({1: straight((0, 60, 60), (4, 340, 240))}, lines=[level, DOOR]) == (2, 0)


def test_a_face_counts_only_once_it_is_confirmed() -> None:
    assert counted({1: RIGHTWARD}, confirmed_s=99.0) == (0, 0)
    assert counted({1: RIGHTWARD}, confirmed_s=3.0) == (1, 0), "it was seen passing before"


def test_another_resolution_or_another_line_begins_anew() -> None:
    counter = LineCounter()
    for time_s, x in ((0.0, 100.0), (0.1, 170.0)):
        assert counter.update(time_s, FRAME_PX, [DOOR], [track(1, (x, 150), time_s)]) == ()
    moved = LineSettings(name="door", points=((0.3, 0.9), (0.3, 0.1)))  # at x = 120, behind the face
    assert counter.update(0.2, FRAME_PX, [moved], [track(1, (180, 150), 0.2)]) == ()
    assert counter.update(0.3, (800, 600), [moved], [track(1, (360, 300), 0.3)]) == ()


@settings(max_examples=200)
@given(st.lists(st.floats(0, 400), min_size=2, max_size=30))
def test_in_and_out_alternate_and_end_where_the_face_is(places: list[float]) -> None:
    counter, entered = LineCounter(), []
    for i, x in enumerate(places):
        entered += [c.entered for c in counter.update(i / 5, FRAME_PX, [DOOR], [track(1, (x, 150), i / 5)])]
    assert all(a != b for a, b in itertools.pairwise(entered))
    sure = [x > 200 for x in places if abs(x - 200) > FACE / 2]
    assert len(entered) == sum(a != b for a, b in itertools.pairwise(sure))
