"""The command ``train``, and what the training commands have in common."""

import html
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_training import call, make_set, parsed
from rich.console import Console

from app.cli import training_commands
from app.cli.train import is_fresh, labels_to_learn, plan_of, pool_of, print_choice
from app.cli.training_progress import TrainingProgress
from app.core.errors import DataError, ModelError, SettingsError
from app.core.resources import model
from app.core.types import Box, Detection, Image, Label
from app.training.classifier.calibration import Calibration, UnsureRule
from app.training.classifier.training import FirstNetwork, load_first_network
from app.training.data.samples import find_samples
from app.training.data.splits import Splits
from app.training.data.user_splits import user_splits
from app.training.networks import ShippedNetwork
from app.training.types import EpochRecord, Sample
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata

# Keras saves TensorFlow arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_fine_tuned_model_can_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    run = tmp_path / "run"
    assert call("train", own, "--run", run, "--epochs", 1, "--steps", 3) == 0
    metadata = read_classifier_metadata(run / "classifier.tflite")
    assert "Loss and accuracy by epoch" in (run / "report.html").read_text()
    assert all((run / f"{name}.svg").is_file() for name in ("curves", "confusion", "reliability"))
    assert metadata.labels == (Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.NOT_FACE)
    assert metadata.candidate_score is not None
    assert metadata.trained_on == ("own",)
    shipped = read_classifier_metadata(model("classifier.keras"))
    assert (metadata.temperature, metadata.min_two_way) == (shipped.temperature, shipped.min_two_way)
    assert "Unchanged: too few faces" in (run / "report.html").read_text()
    verdict = next(line for line in capsys.readouterr().out.splitlines() if "the bundled model is right on" in line)
    assert verdict.startswith(("Better: ", "Not better: ", "Not proven to be better: "))
    assert " Next: maskwatch " in verdict
    assert verdict.split(" Next: ")[0] in html.unescape((run / "report.html").read_text())
    assert {"dev", "choice", "best_epoch"} <= json.loads((run / "metrics.json").read_text()).keys()
    json_path, html_path = tmp_path / "out" / "figures.json", tmp_path / "out" / "report.html"
    flags = ("--model", run / "classifier.tflite", "--json", json_path, "--html", html_path, "--time")
    assert call("evaluate", own, *flags) == 0
    figures = json.loads(json_path.read_text())
    assert figures["sets"][0]["scores"]["faces"] == 100
    assert [entry["name"] for entry in figures["sets"]] == [str(own), f"{own} at 48 px"]
    assert figures["probes"][str(own)].keys() == {"size", "sharpness", "colour", "all three"}
    assert html_path.read_text().startswith("<!doctype html>")
    assert "mask" in capsys.readouterr().out


def test_faces_are_cut_out_of_whole_photographs_with_a_notice(tmp_path: Path) -> None:
    class SmallFace:
        def detect(self, image: Image) -> list[Detection]:
            return [Detection(Box(60, 60, 60, 60), 0.9, ((75, 80), (105, 80), (90, 92), (78, 105), (102, 105)))]

    own = make_set(tmp_path / "own", {"mask": 3, "no_mask": 2})
    samples = [sample for split in find_samples(own).splits.values() for sample in split]
    shown = io.StringIO()
    pool = pool_of(samples, SmallFace(), Console(file=shown, width=200))
    assert all(face.whole is None for face in pool.faces)
    assert "5 images show more than a face: the clearest face was detected and cut out" in shown.getvalue()


FIRST = FirstNetwork(
    None,
    ShippedNetwork(input_px=80, widths=(8, 8, 8, 8)),
    ClassifierMetadata(name="first", labels=(Label.MASK, Label.NO_MASK), input_px=80, margin=0.25),
)


def test_fine_tuning_keeps_the_input_of_the_first_network() -> None:
    plan = plan_of(parsed("train", "data", "--run", "run"), FIRST.metadata.labels, 1280, FIRST)
    assert plan.network == FIRST.network
    assert (plan.augmentation.input_px, plan.augmentation.margin) == (80, 0.25)
    large = plan_of(parsed("train", "data", "--run", "run", "--from-scratch", "--large"), (), 1280, None)
    assert (large.network.input_px, large.augmentation.input_px, large.augmentation.margin) == (96, 96, 0.3)


def test_all_sources_teach_a_new_network_what_is_not_a_face() -> None:
    labels = (Label.MASK, Label.NO_MASK)
    splits = Splits(tuple(Sample(Path("a.png"), label, "own") for label in labels), ())
    whole, own, ablation = (
        labels_to_learn(parsed("train", "data", "--run", "run", *flags), splits)
        for flags in (("--all-sources",), ("--from-scratch",), ("--all-sources", "--only-faces12k"))
    )
    assert whole == (*labels, Label.NOT_FACE)
    assert own == ablation == labels


def test_continued_shipped_recipe_has_a_higher_learning_rate_than_fine_tuning() -> None:
    plans = {}
    for name, flags in {
        "own": (),
        "whole": ("--all-sources",),
        "continued": ("--all-sources", "--from", "x.keras"),
    }.items():
        args = parsed("train", "data", "--run", "run", *flags)
        fresh = is_fresh(args)
        plans[name] = fresh, plan_of(args, (Label.MASK, Label.NO_MASK), 1280, None if fresh else FIRST)
    assert {name: fresh for name, (fresh, _) in plans.items()} == {"own": False, "whole": True, "continued": False}
    rates = {name: plan.recipe.learning_rate for name, (_, plan) in plans.items()}
    assert rates["own"] < rates["continued"] < rates["whole"]
    assert (
        plans["continued"][1].augmentation.steps
        == plans["whole"][1].augmentation.steps
        > plans["own"][1].augmentation.steps
    )


def test_only_thresholds_keeps_the_weights(tmp_path: Path) -> None:
    own = tmp_path / "own"
    make_set(own / "train", {"mask": 20, "no_mask": 20})
    make_set(own / "validation", {"mask": 60, "no_mask": 60}, seed=1)
    run = tmp_path / "run"
    assert call("train", own, "--run", run, "--only-thresholds") == 0
    shipped, metadata = (
        read_classifier_metadata(path) for path in (model("classifier.tflite"), run / "classifier.tflite")
    )
    assert metadata.labels == shipped.labels
    assert metadata.trained_on == shipped.trained_on
    assert metadata.temperature != shipped.temperature  # the model is unsure about noise
    chosen = json.loads((run / "metrics.json").read_text())["choice"]
    assert chosen["unsure"]["min_two_way"] == metadata.min_two_way
    assert not (run / "history.json").exists()


def test_thresholds_stay_unchanged_if_there_are_too_few_faces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = make_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    assert call("train", own, "--run", tmp_path / "run", "--only-thresholds") == 0
    assert "thresholds stay" in capsys.readouterr().out
    shipped, metadata = (
        read_classifier_metadata(path) for path in (model("classifier.tflite"), tmp_path / "run" / "classifier.tflite")
    )
    assert metadata == shipped


def test_too_few_training_faces_are_counted(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own", {"mask": 40, "no_mask": 5})
    with pytest.raises(DataError, match="own has too few faces to learn from: 5 of no_mask; give"):
        call("train", own, "--run", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_near_duplicates_of_test_images_are_left_out_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    make_set(own / "train", {"mask": 40, "no_mask": 40})
    make_set(own / "test", {"mask": 8, "no_mask": 8}, seed=1)
    for i in range(4):
        shutil.copy(own / "train" / "mask" / f"{i:03}.png", own / "test" / "mask" / f"copy{i}.png")
    splits, copies = user_splits(own, Console())
    assert len(copies) == 4
    assert "near-duplicates of faces of other splits, left out of training: " in capsys.readouterr().out
    assert call("evaluate", own, "--equal-px", 0, "--no-probe") == 0
    assert "near-duplicates of faces of other splits: 4, for example " in capsys.readouterr().out
    assert call("evaluate", own / "train", "--equal-px", 0, "--no-probe") == 0  # the only split
    assert "near-duplicates" not in capsys.readouterr().out
    trained = {sample.path for sample in splits.train}
    assert trained.isdisjoint(first for first, _ in copies)
    assert len({*trained, *(sample.path for sample in splits.dev), *(first for first, _ in copies)}) == 80
    assert not any("test" in path.parts for path in trained)


def test_split_with_one_class_is_reported(tmp_path: Path) -> None:
    own = tmp_path / "own"
    make_set(own / "train", {"mask": 25, "no_mask": 25})
    make_set(own / "validation", {"mask": 6}, seed=1)
    with pytest.raises(DataError, match="the validation split has only mask"):
        user_splits(own, Console())
    with pytest.raises(DataError, match=r"own \(validation\) has only mask"):
        call("evaluate", own, "--split", "val")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("train own --run run --seed -1", "is not a whole number from 0 to 4294967295"),
        ("train own --run run --seed 4294967296", "is not a whole number from 0 to 4294967295"),
        ("train own --run run --threads 96", "is not a whole number from 1 to 64"),
        ("evaluate own --threads 96", "is not a whole number from 1 to 64"),
        ("evaluate own --equal-px 100000", "is not a whole number from 0 to 1024"),
    ],
)
def test_numbers_out_of_range_are_rejected(argv: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*argv.split())
    assert words in capsys.readouterr().err


def test_only_a_keras_file_can_be_fine_tuned() -> None:
    with pytest.raises(ModelError, match=r"only a \.keras file can"):
        load_first_network(model("classifier.tflite"))


def test_progress_prints_epochs_and_how_to_resume() -> None:
    console = Console(file=io.StringIO(), width=90)
    record = EpochRecord(2, {"loss": 0.5, "accuracy": 0.75}, {"loss": 0.25}, 0.01, 7.4)

    def interrupted() -> None:
        with TrainingProgress(console) as progress:
            progress.on_step(1, 2, 0.5)
            progress.on_epoch(record)
            progress.on_epoch(replace(record, development={}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "epoch 3: loss 0.500, accuracy 0.750; development loss 0.250; 7 s\n" in output
    assert "epoch 3: loss 0.500, accuracy 0.750; 7 s\n" in output
    assert "stopped; run the same command to resume after the last complete epoch" in output


def test_brackets_in_a_run_name_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    print_choice(
        Console(), Calibration((0.0,), 1.0, UnsureRule(0.5, 0.0, 0.0), is_chosen=False), "wrote run [1] [/b]/a.keras"
    )
    assert "wrote run [1] [/b]/a.keras" in capsys.readouterr().out


def test_too_small_training_faces_are_reported(tmp_path: Path) -> None:
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
    with pytest.raises(DataError, match=r"0 of \d+ training faces of no_mask can be used.* under 14 px"):
        call("train", own, "--run", tmp_path / "run", "--epochs", 1, "--steps", 1)


def test_label_only_in_the_development_split_is_rejected(tmp_path: Path) -> None:
    own = tmp_path / "own"
    make_set(own / "train", {"mask": 25, "no_mask": 25})
    make_set(own / "validation", {"mask": 6, "no_mask": 6}, seed=1)
    make_set(own / "validation", {"incorrect": 6}, seed=2)
    with pytest.raises(DataError, match="6 of incorrect; give"):
        call("train", own, "--run", tmp_path / "run", "--from-scratch")


def test_other_networks_cannot_be_fine_tuned(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own", {"mask": 50, "no_mask": 50})
    with pytest.raises(ModelError, match="use --from-scratch"):
        call("train", own, "--run", tmp_path / "run", "--from", model("paper/model_6.keras"))


def test_different_training_in_a_run_folder_is_rejected(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = make_set(tmp_path / "first", {"mask": 40, "no_mask": 40})
    assert call("train", first, "--run", run, "--epochs", 1, "--steps", 1) == 0
    settings = json.loads((run / "settings.json").read_text())
    assert settings["data"]["path"] == str(first)
    assert settings["data"]["faces"]["dev"] == {"mask": 6, "no_mask": 6}
    assert settings["recipe"]["seed"] == 42
    second = make_set(tmp_path / "second", {"mask": 40, "no_mask": 40}, seed=5)
    with pytest.raises(DataError, match=r"with data\.digest"):
        call("train", second, "--run", run, "--epochs", 2, "--steps", 1)
    with pytest.raises(DataError, match=r"with .*seed 42, not 7"):
        call("train", first, "--run", run, "--epochs", 2, "--steps", 1, "--seed", 7)
    (run / "detections.json").write_text('{"half')  # as after a full disk
    assert call("train", first, "--run", run, "--epochs", 2, "--steps", 1) == 0
    assert len(json.loads((run / "history.json").read_text())) == 2


def test_single_class_is_rejected(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own", {"mask": 40})
    with pytest.raises(DataError, match="only mask"):
        call("train", own, "--run", tmp_path / "run")
    with pytest.raises(DataError, match="only mask"):
        call("evaluate", own)


def test_a_licence_is_refused_for_own_data(tmp_path: Path) -> None:
    make_set(tmp_path / "faces", {"mask": 4, "no_mask": 4})
    with pytest.raises(SettingsError, match="--licence needs --all-sources"):
        call("train", tmp_path / "faces", "--licence", "open", "--run", tmp_path / "run")


def test_missing_package_is_reported_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_commands, "find_spec", lambda _name: None)
    for arguments in (("train", tmp_path, "--run", tmp_path / "run"), ("paper", tmp_path, "--run", tmp_path / "run")):
        with pytest.raises(SettingsError, match=r"needs tensorflow: pip install 'maskwatch\[train\]'"):
            call(*arguments)
    with pytest.raises(SettingsError, match="--probe needs sklearn"):
        call("evaluate", tmp_path, "--probe")
