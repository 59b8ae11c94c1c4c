"""The commands ``improve`` and ``models list|use|rollback``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_improve import BOX, picture, right_label, write_weak
from fakes_review import add_face, event

from app.alerts.event_store import EventStore
from app.alerts.marks import Marks, write_marks
from app.alerts.store_types import WriteBatch
from app.cli.main import main
from app.core import resources
from app.review.collected import SCENE, CollectedFaces
from app.review.picture_folder import PictureFolder
from app.settings.load import load_settings
from app.training.classifier import improvement
from app.training.classifier.head import HeadModel
from app.training.detector import improvement as detector_improvement
from app.training.detector.head import DetectorHead
from app.training.detector.improvement import improve_detector
from app.vision.model_metadata import fingerprint, network_bytes
from app.vision.yunet_detector import BUNDLED


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(improvement, "VIEWS", 3)
    monkeypatch.setattr(improvement, "STEPS", 100)
    monkeypatch.setattr(detector_improvement, "VIEWS", 1)
    monkeypatch.setattr(detector_improvement, "STEPS", 5)
    monkeypatch.setattr(detector_improvement, "STRENGTHS", (0.1,))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(
        f'# mine\n[alerts]\nstore = "{(tmp_path / "events.db").as_posix()}"\n[policy]\ndwell_s = 3.0  # slow\n'
    )
    return path


@pytest.fixture
def collect(tmp_path: Path) -> Callable[[int], None]:
    """Stores pictures of a face, four a day, with the verdict that they show what the bundled model sees."""
    label = right_label(HeadModel(resources.model("classifier.tflite")))

    def add(count: int) -> None:
        faces = CollectedFaces(PictureFolder(tmp_path / "events.db.collected"))
        for number in range(count):
            more = {"box": BOX, "crop_box": BOX, "label": "unsure", "verdict": "wrong_label", "right_label": label}
            add_face(faces, f"{number:04}.5-a", picture(number), wall_s=1e9 + number * 21_600, **more)

    return add


def run(*argv: str) -> int:
    return main(list(argv))


def test_a_better_model_is_made_used_and_taken_back(
    config: Path, collect: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(24)
    bundled = HeadModel(resources.model("classifier.tflite"))
    weak = tmp_path / "weak.tflite"
    write_weak(bundled, weak)
    options = ["--config", str(config)]
    config.write_text(config.read_text() + f'[classifier]\nmodel = "{weak.as_posix()}"\n')
    assert run("improve", *options) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert ": better. Use it: maskwatch models use " in first
    version = first.split("models use ")[1].split()[0]
    model = tmp_path / "events.db.models" / f"{version}.tflite"
    assert HeadModel(model).fingerprint == bundled.fingerprint
    assert fingerprint(network_bytes(model)) == version, "as a fleet shows it"
    before = config.read_text()
    assert load_settings(config).classifier.model == weak, "nothing is used unless it is asked for"
    assert run("models", "use", version[:4], *options) == 0
    store = ["--store", str(tmp_path / "events.db")]
    assert run("models", "use", version, *store) != 0, "no settings file is given"
    assert load_settings(config).classifier.model == model
    assert config.read_text() == before.replace(str(weak), str(model)), "the rest, with its comments, is unchanged"
    capsys.readouterr()
    assert run("models", "list", *options) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(version)]
    assert "IN USE" in line
    assert run("improve", *options) == 0
    assert "better. Use it" not in capsys.readouterr().out, "it is no better than itself"
    assert run("models", "rollback", *options) == 0
    assert load_settings(config).classifier.model == weak
    assert run("models", "rollback", *options) != 0
    assert "no model in the settings is a version of 'improve'" in capsys.readouterr().err


def test_too_few_labels_and_unknown_versions_are_reported(
    config: Path, collect: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    collect(5)
    assert run("improve", "--config", str(config)) != 0
    assert "5 collected faces with a label; give verdicts on the review page" in capsys.readouterr().err
    assert run("models", "use", "abc", "--config", str(config)) != 0
    assert "no version 'abc'; there are: none" in capsys.readouterr().err
    assert run("models", "use", "bundled") != 0
    assert "give --config FILE" in capsys.readouterr().err


def test_another_classifier_needs_its_own_replay_faces(
    config: Path, collect: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that shares no features with the bundled one is refused, unless labelled faces are given."""
    collect(24)
    other = resources.model("paper/model_6.tflite")
    config.write_text(config.read_text() + f'[classifier]\nmodel = "{other.as_posix()}"\n')
    assert run("improve", "--config", str(config)) != 0
    assert "was not made from a bundled classifier" in capsys.readouterr().err
    replay = ["--replay", str(tmp_path / "own")]
    for label, light, count in (("mask", 150, 24), ("no_mask", 60, 19), ("no_mask", 90, 24)):
        (tmp_path / "own" / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(tmp_path / "own" / label / f"{number}.png"), np.full((64, 64, 3), light + number, np.uint8))
        if count == 19:
            assert run("improve", "--config", str(config), *replay) != 0
            assert "fewer than 20 readable faces labelled no_mask" in capsys.readouterr().err
    assert run("improve", "--config", str(config), *replay) == 0
    assert "On the replay sample" in capsys.readouterr().out


def test_objects_that_it_cannot_reject_are_counted_with_advice(
    config: Path, collect: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The detector is as sure of them as of a face: a statue, a poster."""
    collect(28)
    faces = CollectedFaces(PictureFolder(tmp_path / "events.db.collected"))
    for face in list(faces.faces()):
        faces.write(replace(face, verdict="no_face", score=0.95))
    assert run("improve", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "better. Use it" not in shown
    assert "8 of 8 detections that you called no face still count as faces: paint such places black" in shown


def test_a_better_detector_is_made_used_and_taken_back(
    config: Path,
    collect: Callable[[int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The detector in use misses the face."""
    monkeypatch.setattr(detector_improvement, "STEPS", 30)
    monkeypatch.setattr(detector_improvement, "STRENGTHS", (3.0,))
    collect(24)
    head, weak = DetectorHead(resources.model(BUNDLED["int8"])), tmp_path / "weak.tflite"
    dull = head.weights.copy()
    dull[..., -1] -= 4
    windows = [np.zeros((1, 9, 65), np.float32)] * 3
    head.write(weak, head.network_with(dull, windows))
    config.write_text(config.read_text() + f'[detector]\nmodel = "{weak.as_posix()}"\n')
    options = ["--config", str(config)]
    assert run("improve", *options) == 0
    sentences = capsys.readouterr().out.splitlines()
    assert sentences[0].startswith("Of your own cameras, the model in use is right on"), "the classifier comes first"
    assert "Of your own scenes, the detector in use is right on 0%" in sentences[1]
    assert ": better. Use it: maskwatch models use " in sentences[1]
    version = sentences[1].split("models use ")[1].split()[0]
    assert load_settings(config).detector.model == weak, "nothing is used unless it is asked for"
    assert run("models", "use", version, *options) == 0
    settings = load_settings(config)
    assert settings.detector.model == tmp_path / "events.db.models" / f"{version}.tflite"
    assert settings.classifier.model is None
    capsys.readouterr()
    assert run("models", "list", *options) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(version)]
    assert "detector" in line
    assert "IN USE" in line
    assert run("models", "rollback", "classifier", *options) != 0
    assert run("models", "rollback", *options) == 0
    assert load_settings(config).detector.model == weak


def test_the_bundled_models_need_no_tables(config: Path) -> None:
    before = config.read_text()
    assert run("models", "use", "bundled", "--config", str(config)) == 0
    assert config.read_text() == before


def test_a_detector_that_cannot_be_trained_is_named(
    config: Path, collect: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    collect(24)
    before = config.read_text()
    for table, words in (
        ('kind = "haar"', "only the default detector"),
        (f'model = "{resources.model("classifier.tflite").as_posix()}"', "The detector was not trained: "),
    ):
        config.write_text(f"{before}[detector]\n{table}\n")
        assert run("improve", "--config", str(config)) == 0
        assert words in capsys.readouterr().out


def test_a_picture_that_is_deleted_meanwhile_keeps_what_the_classifier_learned(
    config: Path,
    collect: Callable[[int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The monitor deletes old pictures while the detector learns, which takes minutes."""
    collect(24)

    def delete_first(*args: Any) -> Any:
        CollectedFaces(PictureFolder(tmp_path / "events.db.collected")).folder.file("0000.5-a", SCENE).unlink()
        return improve_detector(*args)

    monkeypatch.setattr(detector_improvement, "improve_detector", delete_first)
    assert run("improve", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "Of your own cameras, the model in use is right on" in shown
    assert "The detector was not trained: cannot read the image" in shown


def test_thresholds_are_chosen_from_verdicts_and_saved(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EventStore(tmp_path / "events.db") as store:
        for number in range(12):
            alert = replace(event(number, wall_s=1e9 + number), confidence=0.8 + number / 100)
            store.write(WriteBatch(((alert, None),)), 1e9)
            verdict = "no_face" if number < 6 else "right"
            write_marks(store, alert.id, Marks().judged(verdict, "", 1e9, "me"))
    options = ["--config", str(config), "--false-alerts-per-day"]
    assert run("improve", *options, "2") == 0
    shown = capsys.readouterr().out
    assert "door: 6 false alerts per day (12 of 12 alerts have a verdict)" in shown
    assert "policy.min_label_confidence = 0.831 leaves 2 and loses 0 of 6 right alerts" in shown
    assert load_settings(config).policy.min_label_confidence == 0
    assert run("improve", *options, "2", "--save") == 0
    assert load_settings(config).policy.min_label_confidence == 0.831
    assert run("improve", *options, "3", "--save") == 0
    assert "= 0.831, as it is, is enough" in capsys.readouterr().out
    assert load_settings(config).policy.min_label_confidence == 0.831
    config.write_text(config.read_text() + '[[camera]]\nuri = "demo"\nname = "yard"\n')
    assert run("improve", *options, "1", "--save") == 0
    assert "has no camera 'door'" in capsys.readouterr().out
    assert load_settings(config).policy.min_label_confidence == 0.831, "it is not that of other cameras"


def test_with_the_open_models_nothing_is_learned_from_scenes_for_research(
    config: Path, collect: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The open classifier is improved with its own replay sample, the detector is not."""
    collect(24)
    config.write_text(config.read_text() + '[classifier]\nmodels = "open"\n')
    assert run("improve", "--config", str(config)) == 0
    shown = capsys.readouterr().out
    assert "On the replay sample" in shown
    assert "The detector was not trained: its replay sample comes from scenes for research only" in shown
