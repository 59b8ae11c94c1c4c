"""The self-test passes where all is well and, above all, fails where something is not."""

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
from app.settings.root import load_settings
from app.vision import classifier, detector_loader
from app.vision.classifier import Crops, MaskClassifier, Probabilities

SUBJECTS = ["detector", "classifier", "picture", "clip", "events", "alert", "program"]


def test_all_parts_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["self-test"]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", subject] for subject in SUBJECTS]
    assert "no_mask" in lines[2]
    assert "320 frames of 640x480" in lines[3]
    assert total.startswith("7 of 7 parts work")


def checks(folder: Path, *wanted: str) -> dict[str, self_test.Check]:
    """The outcome of the parts that are ``wanted``, each run once."""
    test = self_test.SelfTest(load_settings(), folder)
    found: dict[str, self_test.Check] = {}
    for check in test.checks():
        found[check.subject] = check
        if set(wanted) <= found.keys():
            break
    return found


def test_a_damaged_model_is_a_fault_and_the_rest_is_still_tried(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"no model" * 99)
    assert main(["self-test", "--json", "--model", str(junk)]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    assert record["first_label_wall_s"] is None
    faults = {check["subject"]: check["words"] for check in record["checks"] if not check["ok"]}
    assert faults.keys() == {"classifier", "picture"}
    assert "junk.tflite" in faults["classifier"]
    assert "not tried" in faults["picture"]


class Contrary:
    """Gives each face the label of its opposite."""

    def __init__(self, honest: MaskClassifier) -> None:
        self.metadata = honest.metadata
        self._honest = honest

    def classify(self, crops: Crops) -> Probabilities:
        given = self._honest.classify(crops)
        names = list(self.metadata.labels)
        mask, bare = names.index("mask"), names.index("no_mask")
        turned = given.copy()
        turned[:, [mask, bare]] = given[:, [bare, mask]]
        return turned


def test_a_wrong_label_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = classifier.load_classifier(load_settings().classifier)
    monkeypatch.setattr(classifier, "load_classifier", lambda settings: Contrary(honest))
    found = checks(tmp_path, "picture")["picture"]
    assert not found.ok
    assert found.words == "said mask of the face that is no_mask in self_test.jpg"


def test_a_face_that_is_not_found_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        def detect(self, image: np.ndarray) -> list[object]:  # type: ignore[type-arg]
            return []

    monkeypatch.setattr(detector_loader, "load_detector", lambda settings: Blind())
    found = checks(tmp_path, "picture")["picture"]
    assert not found.ok
    assert "was not found" in found.words


def test_a_clip_cut_short_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(resources.root() / "assets", tmp_path / "assets")
    clip = tmp_path / "assets" / "demo.mp4"
    clip.write_bytes(clip.read_bytes()[:150_000])
    models = resources.root() / "models"
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    monkeypatch.setattr(resources, "model", lambda name: models / name)
    found = checks(tmp_path, "clip")["clip"]
    assert not found.ok
    assert "demo.mp4" in found.words or "of 320 frames" in found.words


def test_an_alert_that_nobody_takes_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "own_command", lambda: (str(tmp_path / "no such program"),))
    monkeypatch.setattr(self_test, "_ALERT_TIMEOUT_S", 2.0)
    found = checks(tmp_path, "alert")["alert"]
    assert not found.ok
    assert "not delivered" in found.words
    assert "no such program" in found.words


def test_the_other_end_keeps_what_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"id": "ü"}'.encode())))
    assert main(["self-test", "--receive", str(tmp_path / "told.json")]) == 0
    assert json.loads((tmp_path / "told.json").read_text(encoding="utf-8")) == {"id": "ü"}


def test_modules_from_elsewhere_are_named() -> None:
    source = Path(self_test.__file__).parent
    names = self_test.foreign_modules(source)
    assert "app.cli.self_test" not in names
    assert "numpy" in names


def test_an_executable_tells_of_its_making(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "version": "1.2.3",
        "commit": "0123456789abcdef",
        "form": "one folder",
        "system": "linux",
        "python": "3.11",
    }
    (tmp_path / "build.json").write_text(json.dumps(facts))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    monkeypatch.setattr(self_test, "foreign_modules", lambda root: [])
    test = self_test.SelfTest(load_settings(), tmp_path)
    assert "1.2.3, one folder for linux, commit 0123456789ab" in test._describe_program()
    monkeypatch.setattr(self_test, "foreign_modules", lambda root: ["numpy"])
    with pytest.raises(self_test.SelfTestError, match="numpy"):
        test._describe_program()
