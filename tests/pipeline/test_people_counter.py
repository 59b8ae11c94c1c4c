"""Who is counted as what: what a compliance rate is made of."""

import pytest

from app.core.types import Box, FaceLabel, Label, Track
from app.pipeline.people_counter import PeopleCounter

DWELL_S, GRACE_S = 2.0, 0.7
M, B, W, U = Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.UNSURE


def track(label: Label, time_s: float, number: int = 1) -> Track:
    return Track(number, Box(0, 0, 50, 50), FaceLabel(label, 0.9), (0.0, 0.0), 0.0, time_s, 9, 9, True)


def counted(*spells: tuple[Label, float], fps: float = 10.0) -> dict[Label, int]:
    """What one person is counted as who wears a mask like that, each spell so many seconds long, and leaves."""
    counter, time_s, last = PeopleCounter(), 0.0, track(U, 0.0)
    for label, lasts_s in spells:
        for _ in range(round(lasts_s * fps)):
            last = track(label, time_s)
            counter.update([last], [], DWELL_S, GRACE_S)
            time_s += 1 / fps
    counts = counter.update([], [last], DWELL_S, GRACE_S)
    assert counts.seen == counts.leaving
    assert not any(counts.here.values())
    return dict(counts.leaving)


@pytest.mark.parametrize(
    ("spells", "label"),
    [
        ([(M, 9.0)], M),
        ([(B, 3.0), (M, 60.0)], B),  # had to be told
        ([(M, 60.0), (B, 3.0), (M, 60.0)], B),
        ([(W, 3.0), (M, 60.0)], W),
        ([(W, 3.0), (B, 3.0), (M, 60.0)], B),  # the worse of the two
        ([(B, 3.0), (W, 3.0), (M, 60.0)], B),
        ([(B, 1.5), (M, 60.0)], M),  # put it on at once, or was taken for bare for a moment
        ([(B, 1.5), (M, 1.0)] * 9, M),
        ([(B, 1.5), (U, 0.5), (B, 1.5), (M, 60.0)], B),  # unsure for a moment is not masked
        ([(B, 1.5), (U, 5.0), (B, 1.5), (M, 60.0)], M),
        ([(B, 0.5)], B),  # nothing else is known
        ([(M, 60.0), (B, 0.5)], B),
    ],
)
def test_a_person_is_counted_by_what_they_did_and_not_by_their_last_moment(
    spells: list[tuple[Label, float]], label: Label
) -> None:
    assert counted(*spells) == {label: 1}


def test_at_a_frame_a_second_a_spell_goes_on_from_frame_to_frame_but_not_over_an_unsure_one() -> None:
    assert counted((B, 3.0), (M, 60.0), fps=1.0) == {B: 1}
    assert counted((B, 2.0), (U, 1.0), (B, 2.0), (M, 60.0), fps=1.0) == {M: 1}


def test_who_was_never_named_for_sure_is_not_counted() -> None:
    assert counted((U, 60.0)) == {}


def test_those_still_there_and_those_gone_are_counted_apart_and_once() -> None:
    counter = PeopleCounter()
    counter.update([track(B, 0.0, 1), track(M, 0.0, 2)], [], DWELL_S, GRACE_S)
    counts = counter.update([track(M, 0.1, 2)], [track(B, 0.0, 1)], DWELL_S, GRACE_S)
    assert (counts.now, counts.leaving, counts.here) == ({M: 1}, {B: 1}, {M: 1})
    counts = counter.update([track(M, 0.2, 2)], [], DWELL_S, GRACE_S)
    assert (counts.seen, counts.leaving, counts.here) == ({B: 1, M: 1}, {}, {M: 1})
