"""The command ``paper``."""

import json
from pathlib import Path

import pytest
from fakes_training import call, make_set

from app.core.errors import DataError
from app.vision.model_metadata import read_classifier_metadata

# Keras saves TensorFlow arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_unknown_network_of_the_study_is_rejected(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        make_set(tmp_path / "faces12k" / split, {"WithMask": 2, "WithoutMask": 2})
    with pytest.raises(DataError, match="no network 'model_9'"):
        call("paper", tmp_path, "--run", tmp_path / "run", "--networks", "model_9")


def test_study_is_resumed_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, split in enumerate(("Train", "Validation", "Test")):
        make_set(tmp_path / "faces12k" / split, {"WithMask": 6, "WithoutMask": 6}, seed=place)
    report = tmp_path / "docs" / "paper.md"
    arguments = (
        "paper",
        tmp_path,
        "--run",
        tmp_path / "run",
        "--networks",
        "model_2",
        "--table",
        "I",
        "--report",
        report,
    )
    assert call(*arguments) == 0
    cell_path = tmp_path / "run" / "I-model_2" / "record.json"
    cell, trained = json.loads(cell_path.read_text())["cell"], cell_path.stat().st_mtime_ns
    assert (cell["epochs"], cell["whole"]["mask"]["total"]) == (9, 6)
    assert read_classifier_metadata(tmp_path / "run" / "I-model_2" / "model_2.tflite").input_px == 128
    assert report.read_text().count("not run yet") == 10
    assert (report.parent / "paper" / "I-model_2.svg").is_file()
    assert (report.parent / "paper" / "I-model_2.jpg").is_file()
    assert call(*arguments) == 0
    assert cell_path.stat().st_mtime_ns == trained
    assert "epoch 9" in capsys.readouterr().out
