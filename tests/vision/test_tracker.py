"""The tracker: stable ids, labels that do not flicker, and no needless classification."""

import itertools
import math

import pytest
from fakes import FACTS
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.types import Box, Detection, Label, Track
from app.settings.vision import TrackingSettings
from app.vision.tracker import Tracker

MASK, BARE, UNDECIDED = (0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.5, 0.5, 0.0)


def face(x: float, y: float = 50.0, size: float = 40.0) -> Detection:
    return Detection(Box(x, y, size, size), 0.9)


def seen(tracker: Tracker) -> dict[int, Track]:
    return {track.id: track for track in tracker.tracks()}


def feed(tracker: Tracker, time_s: float, detections: list[Detection], answer: tuple[float, ...] = MASK) -> int:
    """One frame with the same answer for every due face; returns how many were due."""
    tracker.update(detections, time_s)
    due = tracker.due(32)
    for track in due:
        tracker.classified(track.id, answer, usable=True)
    return len(due)


def test_two_faces_that_pass_by_each_other_keep_their_ids() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(60):
        feed(tracker, i / 20, [face(10 + 5 * i, 50), face(310 - 5 * i, 110)])
    tracks = seen(tracker)
    assert set(tracks) == {1, 2}
    assert tracks[1].box.x > 250
    assert tracks[2].box.x < 60


def test_an_answer_that_is_no_number_says_nothing() -> None:
    """The first label of a model won the comparison with it: one such answer was a mask, for good."""
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(4):
        feed(tracker, i / 10, [face(50)], (math.nan,) * 3)
    assert seen(tracker)[1].label.label is Label.UNSURE
    for i in range(4, 30):
        feed(tracker, i / 10, [face(50)], (math.nan,) * 3 if i == 6 else BARE)
    assert seen(tracker)[1].label.label is Label.NO_MASK
    assert seen(tracker)[1].label.confidence > 0.9


def test_a_face_that_stops_unseen_is_known_where_it_stopped() -> None:
    """It is carried on by its velocity; blurred there alone, whoever turned around at the desk was shown."""
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(20):
        feed(tracker, i / 10, [face(50 + 20 * i)])
    assert tracker.last_places() == ()
    tracker.update([], 2.9)
    (carried,), (stopped,) = tracker.boxes(), tracker.last_places()
    assert carried.x > 550
    assert stopped == face(430).box


def test_in_a_picture_of_another_size_people_stay_the_same() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(10):
        feed(tracker, i / 10, [face(100 + 4 * i, 60, 80)])
    tracker.stretch(0.5, 0.25)
    left = tracker.update([Detection(Box(70, 15, 40, 20), 0.9)], 1.0)
    assert left == []
    (track,) = tracker.tracks()
    assert (track.id, round(track.box.width), round(track.box.height)) == (1, 40, 20)
    assert track.box.iou(Box(70, 15, 40, 20)) > 0.8


def test_a_face_missed_for_a_moment_keeps_its_id_and_one_gone_for_long_does_not() -> None:
    tracker = Tracker(TrackingSettings(lost_after_s=1.0), FACTS)
    for i in range(10):
        feed(tracker, i / 10, [face(50)])
    for i in range(10, 18):
        feed(tracker, i / 10, [])
    feed(tracker, 1.8, [face(52)])
    assert set(seen(tracker)) == {1}
    left = list(itertools.chain.from_iterable(tracker.update([], 1.8 + i / 10) for i in range(1, 15)))
    assert [track.id for track in left] == [1]
    for i in range(4):
        feed(tracker, 4 + i / 10, [face(52)])
    assert set(seen(tracker)) == {2}


@pytest.mark.parametrize("fps", [1, 10])
@pytest.mark.parametrize("gap_s", [5, 20])
def test_who_stands_there_after_a_gap_without_frames_is_another(fps: int, gap_s: float) -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(30):
        feed(tracker, i / fps, [face(50)], BARE)
    back_s = 29 / fps + gap_s
    (left,) = tracker.update([face(52)], back_s)
    assert (left.id, left.seen_s, left.label.label) == (1, 29 / fps, Label.NO_MASK)
    for i in range(1, 10):
        feed(tracker, back_s + i / fps, [face(52)])
    assert set(seen(tracker)) == {2}


@pytest.mark.parametrize("steps_s", [[1.0], [4.0], [2.0, 0.3, 0.3], [0.2] * 20 + [3.0], [0.1] * 20 + [1.0] * 20])
def test_where_frames_are_few_or_come_unevenly_people_stay_the_same(steps_s: list[float]) -> None:
    tracker, time_s = Tracker(TrackingSettings(), FACTS), 0.0
    for step_s in steps_s * 9:
        assert tracker.update([face(50)], time_s) == []
        time_s += step_s
    assert set(seen(tracker)) == {1}


def test_a_stream_that_becomes_slow_is_followed_again_after_a_few_frames() -> None:
    tracker, time_s = Tracker(TrackingSettings(), FACTS), 0.0
    for step_s in [0.1] * 20 + [5.0] * 20:
        tracker.update([face(50)], time_s)
        time_s += step_s
    (track,) = tracker.tracks()
    assert track.observations >= 16


def test_a_false_hit_seen_once_is_never_shown() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), FACTS)
    for i in range(40):
        feed(tracker, i / 10, [face(50)] + ([face(300, 200)] if i % 8 == 0 else []))
        assert set(seen(tracker)) <= {1}


def test_a_second_hit_on_a_followed_face_starts_no_track() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(20):
        feed(tracker, i / 10, [face(50, 50, 60), face(60, 58, 40)])
    assert len(seen(tracker)) == 1


def test_one_wrong_answer_does_not_change_a_settled_label() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(20):
        feed(tracker, i / 10, [face(50 + 6 * i)])
    before = seen(tracker)[1].label.label
    feed(tracker, 2.0, [face(170)], BARE)
    assert before is seen(tracker)[1].label.label is Label.MASK


def test_a_mask_taken_off_is_noticed_soon() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(30):
        feed(tracker, i / 10, [face(50)])
    assert seen(tracker)[1].label.label is Label.MASK
    times = []
    for i in range(30, 60):
        feed(tracker, i / 10, [face(50)], BARE)
        if seen(tracker)[1].label.label is Label.NO_MASK:
            times.append(i / 10 - 3.0)
    assert times[0] <= 2.0


def test_a_settled_still_face_is_not_classified_on_every_frame() -> None:
    tracker = Tracker(TrackingSettings(recheck_s=1.0), FACTS)
    asked = [feed(tracker, i / 10, [face(50 + i % 2)]) for i in range(60)]
    assert sum(asked[:5]) >= 4, "a new face is asked for at once and often"
    assert sum(asked[20:60]) == 4, "a settled one once a second"


def test_undecided_and_small_faces_are_unsure() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(20):
        feed(tracker, i / 10, [face(50)], UNDECIDED)
        feed(tracker, i / 10 + 0.05, [face(50), face(200, 60, 8)], UNDECIDED)
    tracks = seen(tracker)
    assert tracks[1].label.label is Label.UNSURE
    assert tracks[2].label.label is Label.UNSURE
    assert tracks[2].classified == 0, "a face too small to judge is not asked for"


def test_a_face_torn_between_mask_and_no_mask_is_unsure_though_confident_enough() -> None:
    torn, clear = (0.25, 0.62, 0.13), (0.01, 0.69, 0.3)
    metadata = FACTS.model_copy(update={"min_two_way": 0.9})
    for answer, label in ((torn, Label.UNSURE), (clear, Label.NO_MASK), ((0.2, 0.05, 0.75), Label.INCORRECT)):
        tracker = Tracker(TrackingSettings(), metadata)
        for i in range(5):
            feed(tracker, i / 10, [face(50)], answer)
        assert seen(tracker)[1].label.label is label


def test_a_label_is_kept_through_a_little_two_way_doubt() -> None:
    tracker = Tracker(TrackingSettings(), FACTS.model_copy(update={"min_two_way": 0.9}))
    for i in range(40):
        feed(tracker, i / 10, [face(50)], MASK if i < 10 else (0.7, 0.3, 0.0))
    assert seen(tracker)[1].label.label is Label.MASK
    for i in range(40, 80):
        feed(tracker, i / 10, [face(50)], (0.58, 0.42, 0.0))
    assert seen(tracker)[1].label.label is Label.UNSURE


def test_blurred_crops_do_not_count() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(20):
        tracker.update([face(50)], i / 10)
        for track in tracker.due(8):
            tracker.classified(track.id, BARE, usable=False)
    assert seen(tracker)[1].label.label is Label.UNSURE


def test_the_longest_waiting_come_first_and_all_get_their_turn() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    crowd = [face(60.0 * i) for i in range(12)]
    asked: set[int] = set()
    for i in range(4):
        tracker.update(crowd, i / 10)
        due = tracker.due(3)
        assert len(due) == 3
        for track in due:
            tracker.classified(track.id, MASK, usable=True)
            asked.add(track.id)
    assert len(asked) == 12


@pytest.mark.parametrize("fps", [5, 30])
def test_the_position_is_carried_on_between_frames(fps: int) -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(3 * fps):
        feed(tracker, i / fps, [face(10 + 60 * i / fps)])
    track = seen(tracker)[1]
    assert track.box_at(track.seen_s + 0.2).x == pytest.approx(10 + 60 * (track.seen_s + 0.2), abs=4)


boxes = st.builds(
    lambda x, y, size: Detection(Box(x, y, size, size), 0.8),
    st.floats(-50, 700),
    st.floats(-50, 500),
    st.floats(1, 400),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(boxes, max_size=6), min_size=1, max_size=15), st.floats(0.01, 2.0))
def test_ids_are_unique_and_never_used_again(frames: list[list[Detection]], step_s: float) -> None:
    tracker = Tracker(TrackingSettings(confirm_after=1), FACTS)
    gone: set[int] = set()
    for i, detections in enumerate(frames):
        left = tracker.update(detections, i * step_s)
        gone |= {track.id for track in left}
        for track in tracker.due(8):
            tracker.classified(track.id, UNDECIDED, usable=True)
        ids = [track.id for track in tracker.tracks()]
        assert len(ids) == len(set(ids)) <= sum(len(d) for d in frames[: i + 1])
        assert not gone & set(ids)


def test_every_candidate_is_named_for_blurring_before_it_is_confirmed() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), FACTS)
    tracker.update([face(50)], 0.0)
    assert tracker.tracks() == ()
    assert [box.x for box in tracker.boxes()] == [50]


def test_in_a_still_scene_faces_are_carried_on_and_seldom_named_anew() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(3):
        feed(tracker, i / 30, [face(50)], UNDECIDED)
    named = 0
    for i in range(3, 63):
        assert tracker.carry(i / 30) == []
        due = tracker.due(32)
        named += len(due)
        for track in due:
            tracker.classified(track.id, UNDECIDED, usable=True)
    assert 6 <= named <= 9
    (track,) = tracker.tracks()
    assert track.seen_s == pytest.approx(62 / 30)
    assert track.velocity == (0.0, 0.0)


def test_a_box_that_was_on_its_way_is_set_right_when_the_scene_comes_to_rest() -> None:
    tracker = Tracker(TrackingSettings(), FACTS)
    for i in range(6):
        feed(tracker, i / 30, [face(50)])
    for i, x in enumerate((65, 65, 50), 6):  # shaken, and back again
        feed(tracker, i / 30, [face(x)])
    (track,) = tracker.tracks()
    assert track.box.iou(face(50).box) < 0.75
    tracker.carry(9 / 30)
    (carried,) = tracker.tracks()
    assert carried.box == face(50).box
    assert carried.observations == track.observations + 1  # the same picture shows it again


def test_a_face_lost_before_the_scene_came_to_rest_is_not_carried() -> None:
    tracker = Tracker(TrackingSettings(lost_after_s=0.5), FACTS)
    for i in range(5):
        feed(tracker, i / 10, [face(50), face(300)])
    tracker.update([face(50)], 0.5)
    assert not tracker.is_steady
    left = [track.id for i in range(6, 20) for track in tracker.carry(i / 10)]
    assert left == [2]
    assert tracker.is_steady
    assert set(seen(tracker)) == {1}
