"""The three commands as words in and exit codes out."""

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from app.cli import training_commands
from app.cli.evaluate import chosen_split
from app.cli.train import is_fresh, plan_of, print_choice
from app.core.errors import DataError, ModelError, SettingsError
from app.core.resources import model
from app.core.types import Label
from app.training.classifier.calibration import Calibration, UnsureRule
from app.training.data.samples import Sample
from app.training.data.splits import photograph
from app.training.data.user_splits import held_back, user_splits
from app.training.reports import set_report
from app.vision.model_metadata import read_classifier_metadata

# Keras saves TensorFlow's arrays in a way that numpy 2 warns of; nothing of ours can change it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    training_commands.register(parser.add_subparsers())
    return parser.parse_args([str(word) for word in words])


def call(*words: object) -> int:
    args = parsed(*words)
    return int(args.run(args))


def made_set(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Pictures of noise, the masked ones pale below the middle."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 160, (48, 48, 3), np.uint8)
            if name == "mask":
                image[24:] = image[24:] // 4 + 190
            cv2.imwrite(str(folder / name / f"{i:03}.png"), image)
    return folder


def test_fine_tuning_writes_a_model_that_evaluate_can_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = made_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    run = tmp_path / "run"
    assert call("train", own, "--run", run, "--epochs", 1, "--steps", 3) == 0
    metadata = read_classifier_metadata(run / "classifier.tflite")
    assert "Loss and accuracy by epoch" in (run / "report.html").read_text()
    assert all((run / f"{name}.svg").is_file() for name in ("curves", "confusion", "reliability"))
    assert metadata.labels == (Label.MASK, Label.NO_MASK, Label.INCORRECT)
    assert metadata.trained_on == ("own",)
    shipped = read_classifier_metadata(model("classifier.keras"))
    assert (metadata.temperature, metadata.min_two_way) == (shipped.temperature, shipped.min_two_way)
    assert "Kept: too few faces" in (run / "report.html").read_text()
    assert {"dev", "choice", "best_epoch"} <= json.loads((run / "metrics.json").read_text()).keys()
    json_path, html_path = tmp_path / "out" / "figures.json", tmp_path / "out" / "report.html"
    words = ("--model", run / "classifier.tflite", "--json", json_path, "--html", html_path, "--time")
    assert call("evaluate", own, *words) == 0
    figures = json.loads(json_path.read_text())
    assert figures["sets"][0]["scores"]["faces"] == 100
    assert [entry["name"] for entry in figures["sets"]] == [str(own), f"{own} at 48 px"]
    assert figures["probes"][str(own)].keys() == {"size", "sharpness", "colour", "all three"}
    assert html_path.read_text().startswith("<!doctype html>")
    assert "mask" in capsys.readouterr().out


def test_one_resolution_and_the_probe_can_be_turned_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = made_set(tmp_path / "own", {"mask": 6, "no_mask": 6})
    json_path, page = tmp_path / "figures.json", tmp_path / "figures.md"
    assert call("evaluate", own, "--equal-px", 0, "--no-probe", "--json", json_path, "--markdown", page) == 0
    figures = json.loads(json_path.read_text())
    assert (len(figures["sets"]), figures["probes"]) == (1, {})
    assert "shortcuts" not in capsys.readouterr().out + page.read_text()
    assert call("evaluate", own, "--equal-px", 24, "--markdown", page) == 0
    assert f"{own} at 24 px | 12" in page.read_text()
    assert "shortcuts" in page.read_text()


def test_without_scikit_learn_the_probe_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(set_report, "find_spec", lambda _name: None)
    own = made_set(tmp_path / "own", {"mask": 6, "no_mask": 6})
    assert call("evaluate", own) == 0
    assert "the shortcut probe needs scikit-learn" in " ".join(capsys.readouterr().out.split())


def test_what_a_model_of_two_labels_cannot_judge_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = made_set(tmp_path / "own", {"mask": 4, "no_mask": 4, "incorrect": 3})
    assert call("evaluate", own, "--model", model("paper/model_6.tflite")) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "3 faces left out: incorrect, which model_6 does not know" in told
    assert "too few faces for the shortcut probe" in told


def test_the_shipped_recipe_goes_on_from_named_weights_at_a_higher_rate_than_fine_tuning() -> None:
    plans = {}
    for name, words in {"own": (), "whole": ("--all-sources",), "on": ("--all-sources", "--from", "x.keras")}.items():
        args = parsed("train", "data", "--run", "run", *words)
        fresh = is_fresh(args)
        plans[name] = fresh, plan_of(args, (Label.MASK, Label.NO_MASK), 1280, fine_tuning=not fresh)
    assert {name: fresh for name, (fresh, _) in plans.items()} == {"own": False, "whole": True, "on": False}
    rates = {name: plan.recipe.learning_rate for name, (_, plan) in plans.items()}
    assert rates["own"] < rates["on"] < rates["whole"]
    assert (
        plans["on"][1].augmentation.steps == plans["whole"][1].augmentation.steps > plans["own"][1].augmentation.steps
    )


def test_thresholds_are_chosen_anew_and_the_weights_stay(tmp_path: Path) -> None:
    own = tmp_path / "own"
    made_set(own / "train", {"mask": 20, "no_mask": 20})
    made_set(own / "validation", {"mask": 60, "no_mask": 60}, seed=1)
    run = tmp_path / "run"
    assert call("train", own, "--run", run, "--only-thresholds") == 0
    shipped, metadata = (
        read_classifier_metadata(path) for path in (model("classifier.tflite"), run / "classifier.tflite")
    )
    assert metadata.labels == shipped.labels
    assert metadata.trained_on == shipped.trained_on
    assert metadata.temperature != shipped.temperature  # noise is no face: it is never sure of it
    chosen = json.loads((run / "metrics.json").read_text())["choice"]
    assert chosen["unsure"]["min_two_way"] == metadata.min_two_way
    assert not (run / "history.json").exists()


def test_thresholds_stay_where_there_are_too_few_faces_to_choose_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = made_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    assert call("train", own, "--run", tmp_path / "run", "--only-thresholds") == 0
    assert "thresholds stay" in capsys.readouterr().out
    shipped, metadata = (
        read_classifier_metadata(path) for path in (model("classifier.tflite"), tmp_path / "run" / "classifier.tflite")
    )
    assert metadata == shipped


def test_too_few_faces_to_learn_from_are_counted(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 40, "no_mask": 5})
    with pytest.raises(DataError, match="0 faces of no_mask to learn from, beside 5 to choose by and 0 near"):
        call("train", own, "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_development_split_has_some_of_each_label_and_whole_photographs() -> None:
    faces = [Sample(Path(f"Augmented_{i // 4}_{i}.png"), Label.MASK, "a") for i in range(400)]
    faces += [Sample(Path(f"bare{i}.png"), Label.NO_MASK, "a") for i in range(60)]
    faces += [Sample(Path(f"wrong{i}.png"), Label.INCORRECT, "a") for i in range(12)]
    held = held_back(faces)
    assert set(held) == set(held_back(faces[::-1]))
    counts = {label: sum(sample.label == label for sample in held) for label in Label}
    assert (counts[Label.NO_MASK], counts[Label.INCORRECT]) == (9, 5)
    assert counts[Label.MASK] == 60
    chosen = {photograph(sample.path) for sample in held}
    assert not chosen & {photograph(sample.path) for sample in faces if sample not in held}


def test_pictures_that_nearly_equal_test_pictures_are_not_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    made_set(own / "train", {"mask": 40, "no_mask": 40})
    made_set(own / "test", {"mask": 8, "no_mask": 8}, seed=1)
    for i in range(4):
        shutil.copy(own / "train" / "mask" / f"{i:03}.png", own / "test" / "mask" / f"copy{i}.png")
    splits, copies = user_splits(own, Console())
    assert len(copies) == 4
    assert "near-duplicates of faces of other splits, left out of training: " in capsys.readouterr().out
    assert call("evaluate", own, "--equal-px", 0, "--no-probe") == 0
    assert "near-duplicates of faces of other splits: 4, as " in capsys.readouterr().out
    assert call("evaluate", own / "train", "--equal-px", 0, "--no-probe") == 0  # all there is: no other split
    assert "near-duplicates" not in capsys.readouterr().out
    learned = {sample.path for sample in splits.train}
    assert learned.isdisjoint(first for first, _ in copies)
    assert len({*learned, *(sample.path for sample in splits.dev), *(first for first, _ in copies)}) == 80
    assert not any("test" in path.parts for path in learned)


def test_pictures_called_alike_in_folders_of_persons_are_different_photographs(tmp_path: Path) -> None:
    faces = [
        Sample(tmp_path / label.value / f"person{i}" / "face.png", label, "own")
        for label in (Label.MASK, Label.NO_MASK)
        for i in range(40)
    ]
    held = held_back(faces)
    assert {label: sum(face.label == label for face in held) for label in Label} == {
        Label.MASK: 6,
        Label.NO_MASK: 6,
        Label.INCORRECT: 0,
        Label.UNSURE: 0,
    }
    assert set(held) == set(held_back(faces[::-1]))


def test_varied_copies_of_a_judged_photograph_are_not_learned_from(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own" / "train", {"mask": 40, "no_mask": 40}).parent
    made_set(own / "validation", {"mask": 6, "no_mask": 6}, seed=1)
    named = {
        "train/mask/000": "Augmented_7_1",
        "train/mask/001": "Augmented_8_1",
        "validation/mask/000": "Augmented_7_2",
    }
    for place, name in named.items():
        path = own / f"{place}.png"
        path.rename(path.with_stem(name))
    splits, copies = user_splits(own, Console())
    assert [tuple(path.name for path in pair) for pair in copies] == [("Augmented_7_1.png", "Augmented_7_2.png")]
    assert "Augmented_8_1.png" in {sample.path.name for sample in splits.train}
    dated = {photograph(Path(f"20240501__cam1__{i}.png")) for i in range(9)}
    assert len(dated) == 9
    assert photograph(Path("door_jpg.rf.abc.jpg")) == photograph(Path("door_jpg.rf.def.jpg"))


def test_what_is_held_back_is_told_where_too_few_are_left(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 22, "no_mask": 22})
    with pytest.raises(DataError, match="17 faces of mask to learn from, beside 5 to choose by and 0 near-dup"):
        user_splits(own, Console())


def test_a_split_of_one_class_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own"
    made_set(own / "train", {"mask": 25, "no_mask": 25})
    made_set(own / "validation", {"mask": 6}, seed=1)
    with pytest.raises(DataError, match="the validation split holds only mask"):
        user_splits(own, Console())
    with pytest.raises(DataError, match=r"own \(validation\) holds only mask"):
        call("evaluate", own, "--split", "val")


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_seeds_that_nothing_takes_are_refused(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("train", "own", "--run", "run", "--seed", seed)
    assert "must be 0 to 4294967295" in capsys.readouterr().err


def test_brackets_in_the_name_of_a_run_are_told_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_choice(
        Console(), Calibration((0.0,), 1.0, UnsureRule(0.5, 0.0, 0.0), is_chosen=False), "wrote run [1] [/b]/a.keras"
    )
    assert "wrote run [1] [/b]/a.keras" in capsys.readouterr().out


def test_faces_too_small_to_learn_from_are_told(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "images").mkdir(parents=True)
    entries: dict[str, list[object]] = {"images": [], "annotations": []}
    for i in range(60):
        rng = np.random.default_rng(i)
        cv2.imwrite(str(own / "images" / f"{i}.png"), rng.integers(0, 256, (80, 120, 3), np.uint8))
        entries["images"].append({"id": i, "file_name": f"{i}.png"})
        for category, side in ((1, 40), (2, 8)):
            box = [60 * (category - 1) + 5, 20, side, side]
            entries["annotations"].append({"id": 2 * i + category, "image_id": i, "category_id": category, "bbox": box})
    names = [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}]
    (own / "faces.json").write_text(json.dumps({**entries, "categories": names}))
    with pytest.raises(DataError, match=r"faces of no_mask to learn from 0 can be used.* under 14 px"):
        call("train", own, "--run", tmp_path / "run", "--epochs", 1, "--steps", 1)


def test_a_report_says_which_split_was_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own"
    for split in ("train", "test"):
        made_set(own / split, {"mask": 3, "no_mask": 3})
    told = tmp_path / "told.json"
    for words, behind in (((), "(test)"), (("--split", "train"), "(train)")):
        assert call("evaluate", own, "--equal-px", 0, "--no-probe", "--json", told, *words) == 0
        assert json.loads(told.read_text())["sets"][0]["name"] == f"{own} {behind}"
    (own / "test").rename(own / "validation")
    assert call("evaluate", own, "--equal-px", 0, "--no-probe") == 0
    assert "(train and validation)" in " ".join(capsys.readouterr().out.split())


def test_a_label_that_only_the_development_split_has_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own"
    made_set(own / "train", {"mask": 25, "no_mask": 25})
    made_set(own / "validation", {"mask": 6, "no_mask": 6}, seed=1)
    made_set(own / "validation", {"incorrect": 6}, seed=2)
    with pytest.raises(DataError, match="0 faces of incorrect to learn from"):
        call("train", own, "--run", tmp_path / "run", "--from-scratch")


def test_another_network_cannot_be_fine_tuned(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    with pytest.raises(ModelError, match="another network than the shipped one; use --from-scratch"):
        call("train", own, "--run", tmp_path / "run", "--from", model("paper/model_6.keras"))


def test_a_second_training_in_a_run_folder_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = made_set(tmp_path / "first", {"mask": 40, "no_mask": 40})
    assert call("train", first, "--run", run, "--epochs", 1, "--steps", 1) == 0
    settings = json.loads((run / "settings.json").read_text())
    assert settings["data"]["path"] == str(first)
    assert settings["data"]["faces"]["dev"] == {"mask": 6, "no_mask": 6}
    assert settings["recipe"]["seed"] == 42
    second = made_set(tmp_path / "second", {"mask": 40, "no_mask": 40}, seed=5)
    with pytest.raises(DataError, match=r"begun with data\.digest"):
        call("train", second, "--run", run, "--epochs", 2, "--steps", 1)
    with pytest.raises(DataError, match=r"begun with .*seed 42, not 7"):
        call("train", first, "--run", run, "--epochs", 2, "--steps", 1, "--seed", 7)
    (run / "train.npz").write_bytes((run / "train.npz").read_bytes()[:3000])  # as after a full disk
    assert call("train", first, "--run", run, "--epochs", 2, "--steps", 1) == 0
    assert len(json.loads((run / "history.json").read_text())) == 2


def test_one_class_only_is_refused_by_both(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 40})
    with pytest.raises(DataError, match="only mask"):
        call("train", own, "--run", tmp_path / "run")
    with pytest.raises(DataError, match="only mask"):
        call("evaluate", own)


def test_a_model_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 2, "no_mask": 2})
    (tmp_path / "model.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="no maskwatch model or is damaged"):
        call("evaluate", own, "--model", tmp_path / "model.tflite")


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    own = made_set(tmp_path / "own", {"mask": 2, "no_mask": 2})
    with pytest.raises(DataError, match="no split 'test'; there is train"):
        call("evaluate", own, "--split", "test")


@pytest.mark.parametrize("wanted", ["validation", "valid", "val", "Validation"])
def test_a_split_is_asked_for_as_its_folder_may_be_called(wanted: str) -> None:
    splits = {name: [Sample(Path(name), Label.MASK, "a")] for name in ("train", "validation", "test")}
    assert chosen_split(splits, wanted) == splits["validation"]
    assert chosen_split(splits, "") == chosen_split(splits, "Test") == splits["test"]


def test_an_unknown_network_of_the_study_names_the_seven(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        made_set(tmp_path / "faces12k" / split, {"WithMask": 2, "WithoutMask": 2})
    with pytest.raises(DataError, match="no network 'model_9'"):
        call("paper", tmp_path, "--run", tmp_path / "run", "--networks", "model_9")


def test_the_open_splits_of_the_real_data_share_no_frame(shared_data: Path) -> None:
    from app.training.data.splits import training_sources

    splits = training_sources(shared_data)
    learned = {sample.path for sample in splits.train}
    assert learned.isdisjoint({sample.path for sample in splits.dev})
    forbidden = ("frames/test", "faces12k/Test", "vijaykumar")
    assert not [path for path in learned if any(part in path.as_posix() for part in forbidden)]
    assert {sample.label for sample in splits.dev} == {Label.MASK, Label.NO_MASK, Label.INCORRECT}


def test_the_study_is_run_resumably_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, split in enumerate(("Train", "Validation", "Test")):
        made_set(tmp_path / "faces12k" / split, {"WithMask": 6, "WithoutMask": 6}, seed=place)
    report = tmp_path / "docs" / "paper.md"
    words = ("paper", tmp_path, "--run", tmp_path / "run", "--networks", "model_2", "--table", "I", "--report", report)
    assert call(*words) == 0
    cell_path = tmp_path / "run" / "I-model_2" / "cell.json"
    cell, trained = json.loads(cell_path.read_text()), cell_path.stat().st_mtime_ns
    assert (cell["epochs"], cell["whole"]["mask"]["total"]) == (9, 6)
    assert read_classifier_metadata(tmp_path / "run" / "I-model_2" / "model_2.tflite").input_px == 128
    assert report.read_text().count("not run yet") == 10
    assert (report.parent / "paper" / "I-model_2.svg").is_file()
    assert (report.parent / "paper" / "I-model_2.jpg").is_file()
    assert call(*words) == 0
    assert cell_path.stat().st_mtime_ns == trained
    assert "epoch 9" in capsys.readouterr().out


def test_an_absent_package_is_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_commands, "find_spec", lambda _name: None)
    for words in (("train", tmp_path, "--run", tmp_path / "run"), ("paper", tmp_path, "--run", tmp_path / "run")):
        with pytest.raises(SettingsError, match=r"needs tensorflow: pip install 'maskwatch\[train\]'"):
            call(*words)
    with pytest.raises(SettingsError, match="--probe needs sklearn"):
        call("evaluate", tmp_path, "--probe")
