"""The command ``evaluate``."""

import json
from pathlib import Path

import pytest
from fakes_training import call, make_set

from app.cli.evaluate import chosen_split
from app.core.errors import DataError, ModelError
from app.core.resources import model
from app.core.types import Label
from app.training.classifier import shortcut_probe
from app.training.types import Sample

# Keras saves TensorFlow arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_equal_resolution_and_probe_can_be_disabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make_set(tmp_path / "own", {"mask": 6, "no_mask": 6})
    json_path, page = tmp_path / "figures.json", tmp_path / "figures.md"
    assert call("evaluate", own, "--equal-px", 0, "--no-probe", "--json", json_path, "--markdown", page) == 0
    figures = json.loads(json_path.read_text())
    assert (len(figures["sets"]), figures["probes"]) == (1, {})
    assert "shortcuts" not in capsys.readouterr().out + page.read_text()
    assert call("evaluate", own, "--equal-px", 24, "--markdown", page) == 0
    assert f"{own} at 24 px | 12" in page.read_text()
    assert "shortcuts" in page.read_text()


def test_probe_without_scikit_learn_prints_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shortcut_probe, "find_spec", lambda _name: None)
    own = make_set(tmp_path / "own", {"mask": 6, "no_mask": 6})
    assert call("evaluate", own) == 0
    assert "the shortcut probe needs scikit-learn" in " ".join(capsys.readouterr().out.split())


def test_faces_with_a_label_unknown_to_the_model_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = make_set(tmp_path / "own", {"mask": 4, "no_mask": 4, "incorrect": 3})
    assert call("evaluate", own, "--model", model("paper/model_6.tflite")) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "3 faces left out: incorrect, which model_6 does not know" in output
    assert "too few faces for the shortcut probe" in output


def test_report_names_the_evaluated_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own"
    for split in ("train", "test"):
        make_set(own / split, {"mask": 3, "no_mask": 3})
    json_path = tmp_path / "figures.json"
    for flags, suffix in (((), "(test)"), (("--split", "train"), "(train)")):
        assert call("evaluate", own, "--equal-px", 0, "--no-probe", "--json", json_path, *flags) == 0
        assert json.loads(json_path.read_text())["sets"][0]["name"] == f"{own} {suffix}"
    (own / "test").rename(own / "validation")
    assert call("evaluate", own, "--equal-px", 0, "--no-probe") == 0
    assert "(train and validation)" in " ".join(capsys.readouterr().out.split())


def test_invalid_model_is_one_clear_error(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own", {"mask": 2, "no_mask": 2})
    (tmp_path / "model.tflite").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"model\.tflite.*damaged"):
        call("evaluate", own, "--model", tmp_path / "model.tflite")


def test_missing_split_error_names_the_existing_ones(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own", {"mask": 2, "no_mask": 2})
    with pytest.raises(DataError, match="no split 'test'; choose from train"):
        call("evaluate", own, "--split", "test")


@pytest.mark.parametrize("wanted", ["validation", "valid", "val", "Validation"])
def test_split_names_may_be_spelled_like_folders(wanted: str) -> None:
    splits = {name: [Sample(Path(name), Label.MASK, "a")] for name in ("train", "validation", "test")}
    assert chosen_split(splits, wanted) == splits["validation"]
    assert chosen_split(splits, "") == chosen_split(splits, "Test") == splits["test"]


def test_why_a_class_is_missing_is_shown_with_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make_set(tmp_path / "own", {"images": 1})
    boxes = [{"image_id": 0, "category_id": 0, "bbox": [1, 1, 20, 20]}, {"image_id": 0, "category_id": 1, "bbox": []}]
    names = [{"id": 0, "name": "no_mask"}, {"id": 1, "name": "mask"}]
    tree = {"images": [{"id": 0, "file_name": "000.png"}], "annotations": boxes, "categories": names}
    (own / "coco.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="has only no_mask"):
        call("evaluate", own)
    assert "a box of 'mask' has no area" in capsys.readouterr().out
