"""The self-test passes on a correct installation and fails for each fault."""

import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from app.cli import self_test
from app.cli.main import main
from app.core import resources
from app.settings.load import load_settings
from app.vision import classifier, detector_loader
from app.vision.classifier import Crops, MaskClassifier, Probabilities

SUBJECTS = ["detector", "classifier", "picture", "clip", "events", "alert", "program"]


def test_all_tests_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["self-test"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", subject] for subject in SUBJECTS]
    assert "no_mask" in lines[2]
    assert "320 frames of 640x480" in lines[3]
    assert total.startswith("7 of 7 tests passed")


def checks(folder: Path, *wanted: str) -> dict[str, self_test.Check]:
    """The results up to the last of the ``wanted`` tests."""
    test = self_test.SelfTest(load_settings(), folder)
    found: dict[str, self_test.Check] = {}
    for check in test.checks():
        found[check.subject] = check
        if set(wanted) <= found.keys():
            break
    return found


def test_damaged_model_fails_and_other_tests_still_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"no model" * 99)
    assert main(["self-test", "--json", "--model", str(junk)]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    assert record["first_label_wall_s"] is None
    faults = {check["subject"]: check["words"] for check in record["checks"] if not check["ok"]}
    assert faults.keys() == {"classifier", "picture"}
    assert "junk.tflite" in faults["classifier"]
    assert "not run" in faults["picture"]


class SwappedClassifier:
    """Swaps mask and no_mask."""

    def __init__(self, classifier: MaskClassifier) -> None:
        self.metadata = classifier.metadata
        self._classifier = classifier

    def classify(self, crops: Crops) -> Probabilities:
        probabilities = self._classifier.classify(crops)
        names = list(self.metadata.labels)
        mask, bare = names.index("mask"), names.index("no_mask")
        swapped = probabilities.copy()
        swapped[:, [mask, bare]] = probabilities[:, [bare, mask]]
        return swapped


def test_wrong_label_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = classifier.load_classifier(load_settings().classifier)
    monkeypatch.setattr(classifier, "load_classifier", lambda settings: SwappedClassifier(original))
    found = checks(tmp_path, "picture")["picture"]
    assert not found.ok
    assert found.words == "a no_mask face in self_test.jpg was labelled mask"


def test_an_unsure_label_is_no_fault(tmp_path: Path) -> None:
    """The installation works: the open models are less exact than the default ones."""
    test = self_test.SelfTest(load_settings(None, {"classifier": {"models": "open"}}), tmp_path)
    found = {check.subject: check for check in test.checks(["detector", "classifier", "picture"])}
    assert found["picture"].ok
    assert "maskwatch-open" in found["classifier"].words
    assert "no_mask" in found["picture"].words


def test_missed_face_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EmptyDetector:
        def detect(self, image: np.ndarray) -> list[object]:  # type: ignore[type-arg]
            return []

    monkeypatch.setattr(detector_loader, "load_detector", lambda settings: EmptyDetector())
    found = checks(tmp_path, "picture")["picture"]
    assert not found.ok
    assert "was not detected" in found.words


def test_truncated_clip_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(resources.root() / "assets", tmp_path / "assets")
    clip = tmp_path / "assets" / "demo.mp4"
    clip.write_bytes(clip.read_bytes()[:150_000])
    models = resources.root() / "models"
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    monkeypatch.setattr(resources, "model", lambda name: models / name)
    found = checks(tmp_path, "clip")["clip"]
    assert not found.ok
    assert "demo.mp4" in found.words or "of 320 frames" in found.words


def test_undelivered_alert_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "own_command", lambda: (str(tmp_path / "no such program"),))
    monkeypatch.setattr(self_test, "_ALERT_TIMEOUT_S", 2.0)
    found = checks(tmp_path, "alert")["alert"]
    assert not found.ok
    assert "not delivered" in found.words
    assert "no such program" in found.words


def test_receiver_writes_the_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"id": "ü"}'.encode())))
    assert main(["self-test", "--receive", str(tmp_path / "received.json")]) == 0
    assert json.loads((tmp_path / "received.json").read_text(encoding="utf-8")) == {"id": "ü"}


def test_modules_outside_the_folder_are_named() -> None:
    source = Path(self_test.__file__).parent
    names = self_test.foreign_modules(source)
    assert "app.cli.self_test" not in names
    assert "numpy" in names


def test_executable_describes_its_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = {
        "version": "1.2.3",
        "commit": "0123456789abcdef",
        "form": "one folder",
        "system": "linux",
        "python": "3.11",
    }
    (tmp_path / "build.json").write_text(json.dumps(build))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    monkeypatch.setattr(self_test, "foreign_modules", lambda root: [])
    test = self_test.SelfTest(load_settings(), tmp_path)
    assert "1.2.3, one folder for linux, commit 0123456789ab" in test.describe_program()
    monkeypatch.setattr(self_test, "foreign_modules", lambda root: ["numpy"])
    with pytest.raises(self_test.SelfTestError, match="numpy"):
        test.describe_program()
