"""The tracker: stable ids, labels that do not flicker, and no unnecessary classification."""

import itertools
import math

import pytest
from fakes import METADATA
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
    """One frame with the same probabilities for every due face; returns the number of due faces."""
    tracker.update(detections, time_s)
    due = tracker.due(32)
    for track in due:
        tracker.classified(track.id, answer, usable=True)
    return len(due)


def test_two_faces_that_pass_each_other_keep_their_ids() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(60):
        feed(tracker, i / 20, [face(10 + 5 * i, 50), face(310 - 5 * i, 110)])
    tracks = seen(tracker)
    assert set(tracks) == {1, 2}
    assert tracks[1].box.x > 250
    assert tracks[2].box.x < 60


def test_probabilities_that_are_nan_are_ignored() -> None:
    """Regression: one NaN made the first label, mask, win permanently."""
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(4):
        feed(tracker, i / 10, [face(50)], (math.nan,) * 3)
    assert seen(tracker)[1].label.label is Label.UNSURE
    for i in range(4, 30):
        feed(tracker, i / 10, [face(50)], (math.nan,) * 3 if i == 6 else BARE)
    assert seen(tracker)[1].label.label is Label.NO_MASK
    assert seen(tracker)[1].label.confidence > 0.9


def test_the_last_detected_box_of_a_lost_face_is_kept_for_blurring() -> None:
    """Regression: only the predicted box was blurred, so a person who stopped and turned around was visible."""
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(20):
        feed(tracker, i / 10, [face(50 + 20 * i)])
    assert tracker.last_found_boxes() == ()
    tracker.update([], 2.9)
    (carried,), (stopped,) = tracker.boxes(), tracker.last_found_boxes()
    assert carried.x > 550
    assert stopped == face(430).box


def test_tracks_survive_a_change_of_the_image_size() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(10):
        feed(tracker, i / 10, [face(100 + 4 * i, 60, 80)])
    tracker.stretch(0.5, 0.25)
    left = tracker.update([Detection(Box(70, 15, 40, 20), 0.9)], 1.0)
    assert left == []
    (track,) = tracker.tracks()
    assert (track.id, round(track.box.width), round(track.box.height)) == (1, 40, 20)
    assert track.box.iou(Box(70, 15, 40, 20)) > 0.8


def test_a_face_keeps_its_id_after_a_short_loss_but_not_after_a_long_one() -> None:
    tracker = Tracker(TrackingSettings(lost_after_s=1.0), METADATA)
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
def test_a_face_after_a_gap_without_frames_is_a_new_track(fps: int, gap_s: float) -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(30):
        feed(tracker, i / fps, [face(50)], BARE)
    back_s = 29 / fps + gap_s
    (left,) = tracker.update([face(52)], back_s)
    assert (left.id, left.seen_s, left.label.label) == (1, 29 / fps, Label.NO_MASK)
    for i in range(1, 10):
        feed(tracker, back_s + i / fps, [face(52)])
    assert set(seen(tracker)) == {2}


@pytest.mark.parametrize("steps_s", [[1.0], [4.0], [2.0, 0.3, 0.3], [0.2] * 20 + [3.0], [0.1] * 20 + [1.0] * 20])
def test_a_track_survives_rare_or_irregular_frames(steps_s: list[float]) -> None:
    tracker, time_s = Tracker(TrackingSettings(), METADATA), 0.0
    for step_s in steps_s * 9:
        assert tracker.update([face(50)], time_s) == []
        time_s += step_s
    assert set(seen(tracker)) == {1}


def test_tracking_continues_after_a_stream_becomes_slow() -> None:
    tracker, time_s = Tracker(TrackingSettings(), METADATA), 0.0
    for step_s in [0.1] * 20 + [5.0] * 20:
        tracker.update([face(50)], time_s)
        time_s += step_s
    (track,) = tracker.tracks()
    assert track.observations >= 16


def test_a_single_false_positive_is_never_shown() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), METADATA)
    for i in range(40):
        feed(tracker, i / 10, [face(50)] + ([face(300, 200)] if i % 8 == 0 else []))
        assert set(seen(tracker)) <= {1}


def test_a_weak_detection_that_starts_no_track_is_hidden_too() -> None:
    """It may be a face, and blurred pictures must show none."""
    tracker = Tracker(TrackingSettings(), METADATA, sure_score=0.75)
    weak = Box(50, 50, 40, 40)
    tracker.update([Detection(weak, 0.5), face(200)], 0.1)
    assert len(tracker.boxes()) == 1
    assert tracker.last_found_boxes() == (weak,)
    tracker.carry(0.9)  # nothing moved
    tracker.update([face(200)], 1.0)
    assert tracker.last_found_boxes() == (weak,)
    tracker.update([face(200)], 0.95 + TrackingSettings().shown_for_s)
    assert tracker.last_found_boxes() == ()


def test_a_weak_detection_continues_a_track_but_starts_none() -> None:
    """A face behind a mask or turned away keeps its track; what was never surely a face gets none."""
    weak = [Detection(Box(50, 50, 40, 40), 0.5)]
    tracker = Tracker(TrackingSettings(), METADATA, sure_score=0.75)
    for i in range(40):
        assert feed(tracker, i / 10, weak) == 0
    assert tracker.boxes() == ()
    for i in range(40, 45):
        feed(tracker, i / 10, [face(50)])
    for i in range(45, 90):
        feed(tracker, i / 10, weak)
    assert seen(tracker)[1].observations == 50


def test_a_track_without_enough_sure_detections_is_no_person() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), METADATA, sure_score=0.75)
    never, sometimes = Detection(face(300, 200).box, 0.6), Detection(face(500, 200).box, 0.7)
    for i in range(60):
        feed(tracker, i / 10, [face(50), never, *([sometimes] if i % 3 == 0 else [])])
        assert set(seen(tracker)) <= {1}
    sure = Detection(never.box, 0.8)
    for i in range(60, 63):
        feed(tracker, i / 10, [face(50), sure])
    assert len(seen(tracker)) == 2


@pytest.mark.parametrize(("score", "frames"), [(0.95, 3), (0.75, 3), (0.7, 5), (0.65, 9)])
def test_a_person_needs_more_detections_of_lower_score(score: float, frames: int) -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), METADATA, sure_score=0.75)
    for i in range(frames):
        assert not seen(tracker)
        feed(tracker, i / 10, [Detection(face(50).box, score)])
    assert set(seen(tracker)) == {1}


FOUR = METADATA.model_copy(update={"labels": (*METADATA.labels, Label.NOT_FACE)})
HAND, PERSON = (0.05, 0.1, 0.05, 0.8), (0.05, 0.9, 0.05, 0.0)


def test_a_track_that_the_classifier_rejects_is_never_a_person() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), FOUR)
    for i in range(30):
        feed(tracker, i / 10, [face(50)], HAND)
        assert tracker.tracks() == ()
    (rejected,) = tracker.rejected()
    assert (rejected.id, rejected.confirmed, rejected.label.label) == (1, False, Label.UNSURE)
    assert tracker.boxes() != ()  # it is still blurred
    assert tracker.update([], 4.0) == []
    assert tracker.rejected() == ()


@pytest.mark.parametrize(("limit", "people"), [(0.7, set()), (0.85, {1})])
def test_the_model_says_from_which_not_face_on_a_track_is_rejected(limit: float, people: set[int]) -> None:
    tracker = Tracker(TrackingSettings(), FOUR.model_copy(update={"max_not_face": limit}))
    for i in range(10):
        feed(tracker, i / 10, [face(50)], HAND)
    assert set(seen(tracker)) == people


def test_a_rejection_needs_several_inferences_and_can_be_reversed() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=1), FOUR)
    feed(tracker, 0.0, [face(50)], HAND)
    feed(tracker, 0.1, [face(50)], HAND)
    assert set(seen(tracker)) == {1}
    feed(tracker, 0.2, [face(50)], HAND)
    assert seen(tracker) == {}
    for i in range(3, 40):
        feed(tracker, i / 10, [face(50)], PERSON)
    assert seen(tracker)[1].label.label is Label.NO_MASK
    assert tracker.rejected() == ()


def test_a_hand_in_front_of_a_known_face_does_not_reject_it() -> None:
    tracker = Tracker(TrackingSettings(), FOUR)
    for i in range(60):
        feed(tracker, i / 10, [face(50)], HAND if 20 <= i < 24 else PERSON)
    assert seen(tracker)[1].label.label is Label.NO_MASK


def test_unusable_crops_are_no_evidence_against_a_face() -> None:
    tracker = Tracker(TrackingSettings(), FOUR)
    for i in range(10):
        tracker.update([face(50)], i / 10)
        for track in tracker.due(32):
            tracker.classified(track.id, HAND, usable=False)
    assert set(seen(tracker)) == {1}


def test_a_rejected_track_is_rarely_classified() -> None:
    """It costs no more than a face with a settled label."""
    due = {}
    for answer in (HAND, PERSON):
        tracker = Tracker(TrackingSettings(), FOUR)
        due[answer] = sum(feed(tracker, i / 10, [face(50)], answer) for i in range(100))
    assert due[HAND] <= due[PERSON]


def test_all_tracks_can_be_ended() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(10):
        feed(tracker, i / 10, [face(50)])
    assert [track.id for track in tracker.end_all()] == [1]
    for i in range(10, 20):
        feed(tracker, i / 10, [face(50)])
    assert set(seen(tracker)) == {2}


def test_a_second_detection_of_a_tracked_face_starts_no_track() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(20):
        feed(tracker, i / 10, [face(50, 50, 60), face(60, 58, 40)])
    assert len(seen(tracker)) == 1


def test_one_wrong_classification_does_not_change_a_settled_label() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(20):
        feed(tracker, i / 10, [face(50 + 6 * i)])
    before = seen(tracker)[1].label.label
    feed(tracker, 2.0, [face(170)], BARE)
    assert before is seen(tracker)[1].label.label is Label.MASK


def test_a_mask_that_is_taken_off_changes_the_label_within_2_s() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(30):
        feed(tracker, i / 10, [face(50)])
    assert seen(tracker)[1].label.label is Label.MASK
    times = []
    for i in range(30, 60):
        feed(tracker, i / 10, [face(50)], BARE)
        if seen(tracker)[1].label.label is Label.NO_MASK:
            times.append(i / 10 - 3.0)
    assert times[0] <= 2.0


def test_a_settled_still_face_is_not_classified_in_every_frame() -> None:
    tracker = Tracker(TrackingSettings(recheck_s=1.0), METADATA)
    classified = [feed(tracker, i / 10, [face(50 + i % 2)]) for i in range(60)]
    assert sum(classified[:5]) >= 4, "a new face is classified immediately and often"
    assert sum(classified[20:60]) == 4, "a settled face is classified once a second"


def test_undecided_and_small_faces_are_unsure() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(20):
        feed(tracker, i / 10, [face(50)], UNDECIDED)
        feed(tracker, i / 10 + 0.05, [face(50), face(200, 60, 8)], UNDECIDED)
    tracks = seen(tracker)
    assert tracks[1].label.label is Label.UNSURE
    assert tracks[2].label.label is Label.UNSURE
    assert tracks[2].classified == 0, "a face that is too small is not classified"


def test_a_face_between_mask_and_no_mask_is_unsure_despite_high_confidence() -> None:
    close, clear = (0.25, 0.62, 0.13), (0.01, 0.69, 0.3)
    metadata = METADATA.model_copy(update={"min_two_way": 0.9})
    for answer, label in ((close, Label.UNSURE), (clear, Label.NO_MASK), ((0.2, 0.05, 0.75), Label.INCORRECT)):
        tracker = Tracker(TrackingSettings(), metadata)
        for i in range(5):
            feed(tracker, i / 10, [face(50)], answer)
        assert seen(tracker)[1].label.label is label


def test_a_label_is_kept_if_the_two_way_share_drops_slightly() -> None:
    tracker = Tracker(TrackingSettings(), METADATA.model_copy(update={"min_two_way": 0.9}))
    for i in range(40):
        feed(tracker, i / 10, [face(50)], MASK if i < 10 else (0.7, 0.3, 0.0))
    assert seen(tracker)[1].label.label is Label.MASK
    for i in range(40, 80):
        feed(tracker, i / 10, [face(50)], (0.58, 0.42, 0.0))
    assert seen(tracker)[1].label.label is Label.UNSURE


def test_blurred_crops_are_ignored() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(20):
        tracker.update([face(50)], i / 10)
        for track in tracker.due(8):
            tracker.classified(track.id, BARE, usable=False)
    assert seen(tracker)[1].label.label is Label.UNSURE


def test_the_longest_waiting_faces_are_classified_first() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    crowd = [face(60.0 * i) for i in range(12)]
    classified: set[int] = set()
    for i in range(4):
        tracker.update(crowd, i / 10)
        due = tracker.due(3)
        assert len(due) == 3
        for track in due:
            tracker.classified(track.id, MASK, usable=True)
            classified.add(track.id)
    assert len(classified) == 12


@pytest.mark.parametrize("fps", [5, 30])
def test_the_position_is_predicted_between_frames(fps: int) -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
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


@settings(max_examples=60)
@given(st.lists(st.lists(boxes, max_size=6), min_size=1, max_size=15), st.floats(0.01, 2.0))
def test_ids_are_unique_and_never_reused(frames: list[list[Detection]], step_s: float) -> None:
    tracker = Tracker(TrackingSettings(confirm_after=1), METADATA)
    left_ids: set[int] = set()
    for i, detections in enumerate(frames):
        left = tracker.update(detections, i * step_s)
        left_ids |= {track.id for track in left}
        for track in tracker.due(8):
            tracker.classified(track.id, UNDECIDED, usable=True)
        ids = [track.id for track in tracker.tracks()]
        assert len(ids) == len(set(ids)) <= sum(len(d) for d in frames[: i + 1])
        assert not left_ids & set(ids)


def test_unconfirmed_faces_are_reported_for_blurring() -> None:
    tracker = Tracker(TrackingSettings(confirm_after=3), METADATA)
    tracker.update([face(50)], 0.0)
    assert tracker.tracks() == ()
    assert [box.x for box in tracker.boxes()] == [50]


def test_faces_in_a_still_scene_are_kept_and_rarely_classified() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(3):
        feed(tracker, i / 30, [face(50)], UNDECIDED)
    classified = 0
    for i in range(3, 63):
        assert tracker.carry(i / 30) == []
        due = tracker.due(32)
        classified += len(due)
        for track in due:
            tracker.classified(track.id, UNDECIDED, usable=True)
    assert 6 <= classified <= 9
    (track,) = tracker.tracks()
    assert track.seen_s == pytest.approx(62 / 30)
    assert track.velocity == (0.0, 0.0)


def test_a_filtered_box_is_replaced_by_the_detected_box_when_the_scene_stops_moving() -> None:
    tracker = Tracker(TrackingSettings(), METADATA)
    for i in range(6):
        feed(tracker, i / 30, [face(50)])
    for i, x in enumerate((65, 65, 50), 6):  # the camera shakes and returns
        feed(tracker, i / 30, [face(x)])
    (track,) = tracker.tracks()
    assert track.box.iou(face(50).box) < 0.75
    tracker.carry(9 / 30)
    (carried,) = tracker.tracks()
    assert carried.box == face(50).box
    assert carried.observations == track.observations + 1  # the same image counts as an observation


def test_a_face_lost_before_the_scene_stops_moving_is_not_kept() -> None:
    tracker = Tracker(TrackingSettings(lost_after_s=0.5), METADATA)
    for i in range(5):
        feed(tracker, i / 10, [face(50), face(300)])
    tracker.update([face(50)], 0.5)
    assert not tracker.is_steady
    left = [track.id for i in range(6, 20) for track in tracker.carry(i / 10)]
    assert left == [2]
    assert tracker.is_steady
    assert set(seen(tracker)) == {1}
