"""The comparison of the program with the ground truth of the annotated videos, on small hand-made cases."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fakes_video import striped_image, write_clip

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from app.core.types import Box, Event, EventKind, FaceLabel, Label, Track  # noqa: E402
from benchmarks.annotated_videos import TRUTH, DeservedAlert, Face, Person, Video, read_truth  # noqa: E402
from benchmarks.video_truth import Score, Shown, compare, main, watch  # noqa: E402

FACE = Box(100, 100, 40, 50)
WALL = Box(300, 10, 40, 50)
FRAMES = 31  # 3 s at 10 frames per second, annotated every 0.5 s
BARE_ALERT = DeservedAlert("ann", EventKind.NO_MASK, 2.0, 3.0)


def video(
    label: Label = Label.NO_MASK,
    periods: tuple[tuple[float, float], ...] = ((0, 3.1),),
    counts: bool = True,
    hard: bool = False,
    alerts: tuple[DeservedAlert, ...] = (),
) -> Video:
    """One face that does not move."""
    times = [index / 2 for index in range(7) if any(start <= index / 2 < end for start, end in periods)]
    faces = tuple(Face(round(time_s * 10), time_s, "ann", FACE, label, hard) for time_s in times)
    return Video("case", Path("case.mp4"), (Person("ann", counts, periods),), alerts, faces)


def track(frame: int, id_: int = 1, box: Box = FACE, label: Label = Label.NO_MASK, late_s: float = 0.0) -> Track:
    """``late_s``: the time since the face was last detected."""
    seen_s = frame / 10 - late_s
    return Track(id_, box, FaceLabel(label, 0.9), (0, 0), 0, seen_s, 9, 9, confirmed=True)


def frames(*shown: Sequence[Track]) -> list[Shown]:
    return [Shown(index, index / 10, tuple(tracks)) for index, tracks in enumerate(shown)]


def always(**changes: object) -> list[Shown]:
    return frames(*([track(index, **changes)] for index in range(FRAMES)))  # type: ignore[arg-type]


def alert(time_s: float, id_: int = 1) -> Event:
    return Event("e", EventKind.NO_MASK, "case", time_s, time_s, id_)


def test_program_that_is_right_meets_all_bars() -> None:
    score = compare(
        video(alerts=(BARE_ALERT,)), always(), 1, [alert(2.2), Event("r", EventKind.RESOLVED, "case", 3, 3)]
    )
    assert score == Score(
        *("case", 1, 0, 1, 1, 1, 1, 0, (0.2,)),
        *(0, 0.0, 6, 6, 6, 0),  # the row at 0 s is not scored: nobody can confirm a face at its first frame
    )
    assert score.meets_bars


def test_counted_box_on_the_wall_is_a_track_on_nothing() -> None:
    shown = [replace(each, tracks=(*each.tracks, track(each.frame, 2, WALL))) for each in always()]
    score = compare(video(), shown, 2, [])
    assert (score.people, score.tracks_on_nothing, score.seconds_on_nothing) == (2, 1, 3.0)
    assert not score.meets_bars


def test_box_without_a_sure_label_is_not_counted_as_a_person() -> None:
    score = compare(video(periods=()), always(box=WALL, label=Label.UNSURE), 0, [])
    assert (score.tracks_on_nothing, score.seconds_on_nothing) == (0, 3.0)


@pytest.mark.parametrize(("frames_on_face", "on_nothing"), [(15, 1), (16, 0)])
def test_track_belongs_to_nothing_if_half_of_its_frames_do(frames_on_face: int, on_nothing: int) -> None:
    boxes = [FACE] * frames_on_face + [WALL] * (30 - frames_on_face)
    score = compare(video(), frames(*([track(index, box=box)] for index, box in enumerate(boxes))), 1, [])
    assert score.tracks_on_nothing == on_nothing


def test_box_that_stays_after_a_cut_costs_seconds_but_the_track_keeps_its_person() -> None:
    late = [track(index, late_s=max(0.0, index / 10 - 0.9)) for index in range(FRAMES)]
    score = compare(video(periods=((0, 1.0),)), frames(*([each] for each in late)), 1, [])
    assert (score.tracks_on_nothing, score.seconds_on_nothing) == (0, 2.1)


def test_person_who_need_not_be_counted_is_no_error_either_way() -> None:
    passer_by = video(counts=False, hard=True)
    tracked, ignored = compare(passer_by, always(), 1, []), compare(passer_by, frames(*[()] * FRAMES), 0, [])
    assert (tracked.people, tracked.others, tracked.faces) == (0, 1, 0)
    assert tracked.meets_bars
    assert ignored.meets_bars


def test_missed_face_wrong_label_and_loose_box_are_not_right() -> None:
    loose = Box(100, 100, 40, 19)  # IoU 0.38
    shown = always()
    shown[10] = replace(shown[10], tracks=())
    shown[15] = replace(shown[15], tracks=(track(15, label=Label.MASK),))
    shown[20] = replace(shown[20], tracks=(track(20, box=loose),))
    score = compare(video(), shown, 1, [])
    assert (score.faces, score.followed, score.followed_and_right) == (6, 4, 3)


def test_every_label_is_right_where_a_person_is_unsure() -> None:
    score = compare(video(Label.UNSURE), always(label=Label.MASK), 1, [])
    assert score.followed_and_right == score.faces == 6


def test_change_of_the_track_is_a_switch_but_not_at_a_cut() -> None:
    shown = frames(*([track(index, 1 if index < 15 else 2)] for index in range(FRAMES)))
    assert compare(video(), shown, 2, []).switches == 1
    cut = compare(video(periods=((0, 1.5), (1.5, 3.1))), shown, 2, [])
    assert (cut.switches, cut.least_people, cut.most_people) == (0, 1, 2)
    assert cut.meets_bars


@pytest.mark.parametrize(
    ("raised", "right", "wrong"),
    [
        ([], 0, 0),
        ([alert(1.9)], 0, 1),  # before the face was bare for the dwell time
        ([alert(2.5), alert(2.8)], 1, 1),  # twice for one person
        ([alert(2.5, id_=7)], 0, 1),  # about a track that is on nobody
    ],
)
def test_alerts_must_be_as_deserved(raised: list[Event], right: int, wrong: int) -> None:
    score = compare(video(alerts=(BARE_ALERT,)), always(), 1, raised)
    assert (score.alerts_right, score.alerts_wrong) == (right, wrong)
    assert not score.meets_bars


def test_face_moves_in_a_straight_line_between_annotated_frames() -> None:
    moved = FACE.moved(20, 0)
    faces = (Face(0, 0, "ann", FACE, Label.MASK, False), Face(5, 0.5, "ann", moved, Label.MASK, False))
    moving = replace(video(periods=((0, 0.8),)), faces=faces)
    assert moving.boxes_at(0.25) == {"ann": FACE.moved(10, 0)}
    assert moving.boxes_at(0.75) == {"ann": FACE.moved(30, 0)}
    assert moving.boxes_at(0.9) == {}


def test_annotations_agree_with_each_other() -> None:
    videos = read_truth(Path("data"))
    assert len(videos) == 7
    for each in videos:
        periods = {person.id: person.periods for person in each.people}
        for face in each.faces:
            assert any(start <= face.time_s < end for start, end in periods[face.person]), (each.name, face)
            others = [b.box for b in each.faces if b.frame == face.frame and b.person != face.person]
            assert all(face.box.iou(box) < 0.2 for box in others), (each.name, face)
        for person in (person for person in each.people if person.counts):
            for start, end in person.periods:
                times = [f.time_s for f in each.faces if f.person == person.id and start <= f.time_s < end]
                gaps = [b - a for a, b in pairwise([start, *times, end])]
                assert max(gaps) < 0.6, (each.name, person)
        for deserved in each.alerts:
            own = [f for f in each.faces if f.person == deserved.person]
            assert any(f.label is Label.NO_MASK and deserved.from_s <= f.time_s <= deserved.until_s for f in own)
            assert deserved.from_s >= own[0].time_s + 1.75  # the dwell time, from at most half a row earlier


def test_labels_of_the_rows_are_those_of_the_timeline() -> None:
    timeline = {
        (video["video"], person["id"]): person["labels"]
        for video in json.loads((TRUTH / "videos.json").read_text("utf-8"))
        for person in video["people"]
    }
    for each in read_truth(Path("data")):
        for face in each.faces:
            labels = [label for start, label in timeline[each.name, face.person] if start <= face.time_s]
            assert labels[-1] == face.label, (each.name, face)


def test_each_bearded_face_is_in_one_fold(shared_data: Path) -> None:
    lists = json.loads((TRUTH / "beard_folds.json").read_text("utf-8"))
    folded = [name for number in range(1, 6) for name in lists[f"fold_{number}"]]
    assert len(folded) == len(set(folded))
    scenes = json.loads((shared_data / "scenes" / "train.json").read_text("utf-8"))
    names = {image["id"]: Path(image["file_name"]).name for image in scenes["images"]}
    labels = {category["id"]: category["name"] for category in scenes["categories"]}
    faces = {face["id"]: face for face in scenes["annotations"]}
    for key, label in (
        ("bare_with_beard", "no_mask"),
        ("bare_with_moustache", "no_mask"),
        ("masked_with_beard", "mask"),
    ):
        assert {labels[faces[id_]["category_id"]] for id_ in lists[key]} == {label}
    listed = [*lists["bare_with_beard"], *lists["bare_with_moustache"], *lists["masked_with_beard"]]
    assert len(listed) == len(set(listed))
    assert {names[faces[id_]["image_id"]] for id_ in listed} == set(folded)


def test_video_without_a_face_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    write_clip(path, [striped_image(index) for index in range(5)])
    score = watch(Video("empty", path, (), (), ()))
    assert (score.people, score.faces, score.seconds_on_nothing) == (0, 0, 0.0)
    assert score.meets_bars


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--video", "cats"], "no annotated video cats"), ([], "give the folder")]
)
def test_wrong_arguments_are_explained(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["video_truth.py", str(tmp_path), *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
