"""Collected faces: which are chosen, how many, what is hidden, and data sets that our own reader understands."""

import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import METADATA
from fakes_monitor import LiveCamera, fake_parts
from fakes_review import FACE, OTHER, detail, event, noise, result, track
from fakes_video import wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.cli.main import main
from app.cli.watch_session import WatchSession
from app.core.errors import SettingsError
from app.core.types import Box, Detection, FrameResult, Image, Label, Track
from app.review.collected import CROP, RECORD, SCENE, CollectedFace, CollectedFaces
from app.review.collector import Collector, reason_of
from app.review.dataset_export import export
from app.review.picture_folder import PictureFolder
from app.settings.load import load_settings
from app.settings.review import CollectSettings
from app.settings.vision import TrackingSettings
from app.training.data.samples import find_samples
from app.vision.tracker import Tracker


@pytest.fixture
def faces(tmp_path: Path) -> CollectedFaces:
    return CollectedFaces(PictureFolder(tmp_path / "collected"))


def unsure(number: int = 1, box: Box = FACE, **more: Any) -> Track:
    fields: dict[str, Any] = {"latest": {Label.MASK: 0.5, Label.NO_MASK: 0.5}, "latest_s": 5.0}
    return replace(track(number, box, Label.UNSURE), **fields | more)


def painted(number: int, *boxes: Box) -> Image:
    """Another pattern for each ``number``, so that no face is a near-duplicate."""
    image = np.full((120, 160, 3), 90, np.uint8)
    for i, box in enumerate(boxes):
        noise(box, image, 100 * number + i)
    return image


class Collecting:
    """A collector whose thread has stored everything after each call."""

    def __init__(self, faces: CollectedFaces, **settings: Any) -> None:
        given = CollectSettings(enabled=True, **{"random_per_day": 0} | settings)
        self.collector = Collector(given, faces.folder, random.Random(1))

    def __enter__(self) -> "Collecting":
        self.collector.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.collector.close(60)

    def see(self, found: FrameResult, number: int = 0, with_event: bool = False) -> None:
        self.collector.on_result(found)
        if with_event:
            self.collector.on_event(event(number), found)
        wait_until(lambda: self.collector.is_idle, "the face is stored")


DECIDED = replace(track(latest_s=5.0), latest={Label.NO_MASK: 0.97, Label.MASK: 0.03})


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (DECIDED, ""),
        (unsure(), "unsure"),
        (unsure(classified=1), ""),
        (unsure(first_s=4.5), ""),
        (unsure(latest_s=1.0), ""),
        (unsure(box=Box(0, 0, 20, 20)), ""),
        (replace(DECIDED, detected=0.3), "disagreement"),
        (replace(DECIDED, latest={Label.MASK: 0.95}), "disagreement"),
        (replace(DECIDED, latest={Label.NOT_FACE: 0.7}), "disagreement"),
        (replace(DECIDED, latest={Label.NOT_FACE: 0.7}, detected=0.6), ""),
    ],
)
def test_hard_examples_are_unsure_or_contradictory(seen: Track, reason: str) -> None:
    """Not: faces that are too small, too new, not classified lately, or on which all agree."""
    assert reason_of(seen, 5.0) == reason


def test_a_face_is_kept_as_crop_and_scene_without_bystanders(faces: CollectedFaces) -> None:
    image = painted(1, FACE, OTHER)
    with Collecting(faces) as collecting:
        collecting.see(result(5.0, (unsure(), track(2, OTHER)), image))
        collecting.see(result(5.1, (unsure(), track(2, OTHER)), painted(2, FACE, OTHER)))
    (face,) = faces.faces()
    assert (face.reason, face.label, face.camera) == ("unsure", "unsure", "door"), "once for each person"
    assert face.box == FACE
    scene, crop = (
        cv2.imdecode(np.frombuffer(faces.folder.read(face.id, kind) or b"", np.uint8), 1) for kind in (SCENE, CROP)
    )
    sharp = detail(image, FACE) / 2
    assert detail(scene, FACE) > sharp  # type: ignore[arg-type]
    assert detail(scene, OTHER) < sharp  # type: ignore[arg-type]
    assert detail(crop, face.crop_box) > sharp  # type: ignore[arg-type]
    assert crop.shape[:2] == face.crop_size[::-1]
    assert detail(image, OTHER) > sharp, "the frame itself is not changed"


def test_a_person_whom_the_classifier_rejects_is_kept_if_the_detector_is_sure(faces: CollectedFaces) -> None:
    """Nobody sees such a face, so without this no label could correct it."""
    rejected = replace(DECIDED, latest={Label.NOT_FACE: 0.7})
    with Collecting(faces) as collecting:
        collecting.see(result(5.0, (), painted(1, FACE), rejected=(rejected,)))
        collecting.see(result(5.0, (), painted(2, OTHER), rejected=(replace(rejected, id=2, detected=0.6),)))
    assert [face.reason for face in faces.faces()] == ["disagreement"]


def test_crops_alone_can_be_kept(faces: CollectedFaces) -> None:
    with Collecting(faces, scenes=False) as collecting:
        collecting.see(result(5.0, (unsure(),), painted(1, FACE)))
    (face,) = faces.faces()
    assert faces.folder.has(face.id, CROP)
    assert not faces.folder.has(face.id, SCENE)


def test_near_duplicates_are_left_out_also_after_a_restart(faces: CollectedFaces) -> None:
    """A statue in the entrance is a new track each time."""
    for start in (0, 10):
        with Collecting(faces) as collecting:
            for number in range(start + 1, start + 6):
                image = np.clip(painted(1, FACE).astype(int) + number, 0, 255).astype(np.uint8)
                collecting.see(result(5.0, (unsure(number),), image))
    assert len(list(faces.faces())) == 1


def test_a_day_has_a_limit_and_half_of_it_is_for_events(faces: CollectedFaces) -> None:
    with Collecting(faces, per_day=6) as collecting:
        for number in range(1, 8):
            collecting.see(result(5.0, (unsure(number),), painted(number, FACE)))
        assert len(list(faces.faces())) == 3
    with Collecting(faces, per_day=6) as collecting:
        for number in range(8, 20):
            collecting.see(result(5.0, (DECIDED,), painted(number, FACE)), number, with_event=True)
            collecting.see(result(5.0, (unsure(number),), painted(30 + number, FACE)))
    assert sorted(face.reason for face in faces.faces()) == ["event"] * 3 + ["unsure"] * 3


def test_a_random_sample_is_spread_over_the_day(faces: CollectedFaces) -> None:
    with Collecting(faces, random_per_day=20, per_day=1000) as collecting:
        now_s = time.time()
        for number in range(24 * 20):
            found = result(float(number), (DECIDED,), painted(number, FACE))
            collecting.see(replace(found, frame=replace(found.frame, wall_s=now_s + 180 * number)))
    times_s = [face.wall_s - now_s for face in faces.faces()]
    assert 10 <= len(times_s) <= 32
    assert {face.reason for face in faces.faces()} == {"random"}
    assert min(times_s) < 8 * 3600
    assert max(times_s) > 16 * 3600


def test_a_verdict_against_the_model_becomes_an_example(faces: CollectedFaces) -> None:
    with Collecting(faces) as collecting:
        for number in range(1, 5):
            collecting.see(result(5.0, (DECIDED,), painted(number, FACE)), number, with_event=True)
    for number, verdict, label in ((1, "right", ""), (2, "no_face", ""), (3, "wrong_label", "mask"), (9, "right", "")):
        faces.judge(event(number).id, verdict, label)
    found = {face.id: (face.reason, face.known_label) for face in faces.faces()}
    assert found == {
        event(1).id: ("event", Label.NO_MASK),
        event(2).id: ("verdict", Label.NOT_FACE),
        event(3).id: ("verdict", Label.MASK),
        event(4).id: ("event", None),
    }


def add(faces: CollectedFaces, number: int, label: str, verdict: str = "", right: str = "", scene: bool = True) -> None:
    image, box = painted(number, FACE, OTHER), Box(FACE.x + number, FACE.y, FACE.width, FACE.height)
    crop_box = Box(8, 8, box.width, box.height)
    faces.folder.create()
    for suffix, shown in ((CROP, image[22:90, 32:90]), *([(SCENE, image)] if scene else [])):
        faces.folder.file(f"{number}.5-x", suffix).write_bytes(cv2.imencode(".jpg", shown)[1].tobytes())
    faces.write(
        CollectedFace(f"{number}.5-x", "event", "door", float(number), label, 0.8, box, (160, 120), crop_box, (58, 68),
                      (OTHER,), verdict, right)
    )  # fmt: skip


def test_a_verdict_does_not_make_a_face_younger(faces: CollectedFaces) -> None:
    """Regression: a verdict wrote the record again, so the pictures were kept for longer than ``keep_days``."""
    with Collecting(faces) as collecting:
        collecting.see(result(5.0, (DECIDED,)), 1, with_event=True)
    week_ago_s = time.time() - 7 * 86_400
    for path in faces.folder.path.iterdir():
        os.utime(path, (week_ago_s, week_ago_s))
    faces.judge(event(1).id, "no_face", "")
    assert faces.folder.delete(before_s=time.time() - 86_400) == 1
    assert list(faces.folder.path.iterdir()) == []


def test_faces_of_two_cameras_at_the_same_time_are_both_kept(faces: CollectedFaces) -> None:
    """Regression: their ids did not name the camera, so one replaced the other."""
    with Collecting(faces) as collecting:
        first = result(5.0, (unsure(1),), painted(1, FACE))
        second = result(5.0, (unsure(1),), painted(2, FACE))
        collecting.see(first)
        frame = replace(second.frame, camera="yard", wall_s=first.frame.wall_s)
        collecting.see(replace(second, frame=frame))
    assert [face.camera for face in faces.faces()] == ["door", "yard"]


@pytest.fixture
def judged(faces: CollectedFaces) -> CollectedFaces:
    """Faces 1 to 4 with labels that a person gave, 5 and 6 without."""
    add(faces, 1, "no_mask", "right")
    add(faces, 2, "no_mask", "wrong_label", "mask")
    add(faces, 3, "mask", "wrong_label", "incorrect", scene=False)
    add(faces, 4, "no_mask", "no_face")
    add(faces, 5, "mask")
    add(faces, 6, "no_mask", "unsure")
    return faces


EXPECTED = {1: Label.NO_MASK, 2: Label.MASK, 3: Label.INCORRECT, 4: Label.NOT_FACE}


@pytest.mark.parametrize("data_format", ["coco", "yolo", "voc", "class-folders"])
def test_our_own_reader_finds_the_same_faces(judged: CollectedFaces, tmp_path: Path, data_format: str) -> None:
    done = export(judged, tmp_path / "out", data_format)
    assert (done.written, done.undecided) == (4, 2)
    found = find_samples(tmp_path / "out")
    samples = found.splits["train"] if "train" in found.splits else found.splits["validation"]
    assert {int(sample.path.stem.partition("_")[0]): sample.label for sample in samples} == EXPECTED
    for sample in samples:
        number = int(sample.path.stem.partition("_")[0])
        image = cv2.imread(str(sample.path))
        if data_format == "class-folders":
            assert sample.box is None
            assert image.shape[:2] == (68, 58)
            continue
        assert sample.box is not None
        box = Box(FACE.x + number, FACE.y, FACE.width, FACE.height) if number != 3 else Box(8, 8, 32, 40)
        assert sample.box.iou(box) > 0.95
        assert image.shape[:2] == ((120, 160) if number != 3 else (68, 58))
    blurred = [each for each in found.left_out if "group" in each.reason]
    assert len(blurred) == (3 if data_format == "coco" else 0), "hidden faces are regions without an answer"


def test_faces_without_a_verdict_get_the_models_label_on_request(judged: CollectedFaces, tmp_path: Path) -> None:
    done = export(judged, tmp_path / "out", "class-folders", with_model_labels=True)
    assert (done.written, done.undecided) == (5, 1), "of the face about which a person is unsure, nobody knows"
    assert (tmp_path / "out" / "mask" / "5_5-x.jpg").is_file()


def test_label_studio_gets_all_faces_with_predictions(judged: CollectedFaces, tmp_path: Path) -> None:
    assert export(judged, tmp_path / "out", "labelstudio").written == 6
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    for task in tasks:
        name = task["data"]["image"].partition("?d=out/")[2]
        assert (tmp_path / "out" / name).is_file()
        (region,) = task["predictions"][0]["result"]
        value = region["value"]
        shape = [
            value[key] / 100 * size for key, size in zip(("x", "width"), [region["original_width"]] * 2, strict=True)
        ]
        assert shape[1] == pytest.approx(32, abs=0.01)
        assert f'value="{value["rectanglelabels"][0]}"' in (tmp_path / "out" / "labels.xml").read_text()
    given = [task["annotations"][0]["result"][0]["value"]["rectanglelabels"] for task in tasks if "annotations" in task]
    assert given == [["no_mask"], ["mask"], ["incorrect"], ["not_face"]]


def test_the_command_shows_exports_and_deletes(
    judged: CollectedFaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(f"[collect]\nfolder = {json.dumps(str(judged.folder.path))}\n")
    run = ["--config", str(config)]
    assert main(["dataset", "status", *run]) == 0
    assert "6 faces" in capsys.readouterr().out
    assert main(["dataset", "export", str(tmp_path / "out"), "--format", "yolo", *run]) == 0
    shown = capsys.readouterr()
    assert "4 faces written" in shown.out
    assert "2 faces left out, because nobody said what they show" in shown.err
    assert main(["dataset", "export", str(tmp_path / "all"), "--model-labels", *run]) == 0
    shown = capsys.readouterr()
    assert "because nobody said, and the model is unsure, what they show" in shown.err
    assert "add --model-labels" not in shown.err
    assert main(["dataset", "export", str(tmp_path / "out"), *run]) != 0
    assert "not an empty folder" in capsys.readouterr().err
    assert main(["dataset", "purge", *run]) != 0
    assert "add --yes" in capsys.readouterr().err
    assert main(["dataset", "purge", "--yes", *run]) == 0
    assert "deleted 6 faces" in capsys.readouterr().out
    assert list(judged.folder.path.iterdir()) == []


@pytest.mark.parametrize("enabled", [False, True])
def test_no_face_leaves_the_memory_unless_collect_is_enabled(tmp_path: Path, enabled: bool) -> None:
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db"},
            "policy": {"dwell_s": 0.1, "min_observations": 1, "min_confidence": 0.5},
            "view": {"headless": True, "snapshots": tmp_path},
            **({"collect": {"enabled": True}} if enabled else {}),
        },
    )
    with WatchSession(settings, None, None, parts=fake_parts(source=LiveCamera("door"))) as session:
        wait_until(lambda: len(session.alerts.recent()) > 0, "an alert")
        collector = session.evidence.collector
        if collector is not None:
            wait_until(lambda: collector.is_idle, "the face is stored")
    pictures = [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("events.db")]
    assert len(pictures) == (3 if enabled else 0)
    assert all(name.endswith((CROP, RECORD, SCENE)) for name in pictures)
    assert main(["purge", "--yes", "--store", str(tmp_path / "events.db")]) == 0
    assert not any(path.suffix == ".jpg" for path in tmp_path.rglob("*"))


def test_it_is_reported_that_faces_of_the_demo_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tables = {"camera": [{"uri": "demo"}], "alerts": {"store": tmp_path / "events.db"}, "view": {"headless": True}}
    for collect in (False, True):
        caplog.clear()
        settings = load_settings(None, tables | {"collect": {"enabled": collect}})
        with WatchSession(settings, None, None, parts=fake_parts(boxes=())) as session:
            assert session.evidence.collector is None
        assert ("no clip or face is kept" in caplog.text) is collect


@pytest.mark.parametrize("tables", [{"view": {"blur": True}}, {"alerts": {"persist": False}}])
def test_collect_is_refused_where_pictures_must_not_be_kept(tables: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"collect .*; set one of them"):
        load_settings(None, {"collect": {"enabled": True}, **tables})


def test_a_sure_detector_is_part_of_a_track() -> None:
    shown: dict[float, float] = {}
    for score in (0.9, 0.75):
        tracker = Tracker(TrackingSettings(), METADATA, sure_score=0.8)
        for i in range(30):
            tracker.update([Detection(FACE, score)], i / 10)
        (seen,) = tracker.tracks()
        shown[score] = seen.detected
    assert shown[0.9] == 1
    assert 0.5 < shown[0.75] < 0.8
