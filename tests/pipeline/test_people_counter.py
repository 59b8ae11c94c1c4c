"""The counts by label, from which the compliance rate is calculated."""

import pytest

from app.core.types import Box, FaceLabel, Label, Track
from app.pipeline.people_counter import PeopleCounter

DWELL_S, GRACE_S = 2.0, 0.7
M, B, W, U = Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.UNSURE


def track(label: Label, time_s: float, number: int = 1) -> Track:
    return Track(number, Box(0, 0, 50, 50), FaceLabel(label, 0.9), (0.0, 0.0), 0.0, time_s, 9, 9, True)


def counted(*periods: tuple[Label, float], fps: float = 10.0) -> dict[Label, int]:
    """The count of one person with a label for each period in seconds, who then leaves."""
    counter, time_s, last = PeopleCounter(), 0.0, track(U, 0.0)
    for label, lasts_s in periods:
        for _ in range(round(lasts_s * fps)):
            last = track(label, time_s)
            counter.update(time_s, [last], [], DWELL_S, GRACE_S)
            time_s += 1 / fps
    counts = counter.update(time_s, [], [last], DWELL_S, GRACE_S)
    assert counts.seen == counts.leaving
    assert not any(counts.here.values())
    return dict(counts.leaving)


@pytest.mark.parametrize(
    ("periods", "label"),
    [
        ([(M, 9.0)], M),
        ([(B, 3.0), (M, 60.0)], B),  # bare for the dwell time
        ([(M, 60.0), (B, 3.0), (M, 60.0)], B),
        ([(W, 3.0), (M, 60.0)], W),
        ([(W, 3.0), (B, 3.0), (M, 60.0)], B),  # the worse of the two
        ([(B, 3.0), (W, 3.0), (M, 60.0)], B),
        ([(B, 1.5), (M, 60.0)], M),  # bare for less than the dwell time
        ([(B, 1.5), (M, 1.0)] * 9, M),
        ([(B, 1.5), (U, 0.5), (B, 1.5), (M, 60.0)], B),  # a short unsure period is not a mask
        ([(B, 1.5), (U, 5.0), (B, 1.5), (M, 60.0)], M),
        ([(B, 0.5)], B),  # no other label
        ([(M, 60.0), (B, 0.5)], B),
    ],
)
def test_a_person_is_counted_by_the_worst_label_for_the_dwell_time(
    periods: list[tuple[Label, float]], label: Label
) -> None:
    assert counted(*periods) == {label: 1}


def test_at_1_fps_a_bare_period_continues_between_frames_but_not_over_an_unsure_frame() -> None:
    assert counted((B, 3.0), (M, 60.0), fps=1.0) == {B: 1}
    assert counted((B, 2.0), (U, 1.0), (B, 2.0), (M, 60.0), fps=1.0) == {M: 1}


def test_a_person_who_is_always_unsure_is_not_counted() -> None:
    assert counted((U, 60.0)) == {}


def test_present_and_past_people_are_counted_separately_and_once() -> None:
    counter = PeopleCounter()
    counter.update(0.0, [track(B, 0.0, 1), track(M, 0.0, 2)], [], DWELL_S, GRACE_S)
    counts = counter.update(0.1, [track(M, 0.1, 2)], [track(B, 0.0, 1)], DWELL_S, GRACE_S)
    assert (counts.now, counts.leaving, counts.here) == ({M: 1}, {B: 1}, {M: 1})
    counts = counter.update(0.2, [track(M, 0.2, 2)], [], DWELL_S, GRACE_S)
    assert (counts.seen, counts.leaving, counts.here) == ({B: 1, M: 1}, {}, {M: 1})


def test_a_person_in_view_is_counted_at_once_and_only_once() -> None:
    """Regression: one person in view was shown as now 1, counted 0."""
    counter, labels = PeopleCounter(), [U] + [B] * 30 + [M] * 30 + [U]
    for step, label in enumerate(labels):
        seen = track(label, step / 10)
        counts = counter.update(step / 10, [seen], [], DWELL_S, GRACE_S)
        assert sum(counts.seen.values()) == (step > 0)
    assert counts.seen == {B: 1}, "bare for the dwell time"
    left = counter.update(7.0, [], [seen], DWELL_S, GRACE_S)
    assert (left.seen, left.leaving, left.here) == ({B: 1}, {B: 1}, {})
