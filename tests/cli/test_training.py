"""The commands ``train``, ``evaluate`` and ``paper``."""

import argparse
import html
import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from app.cli import training_commands
from app.cli.evaluate import chosen_split
from app.cli.train import is_fresh, labels_to_learn, plan_of, pool_of, print_choice
from app.cli.training_progress import TrainingProgress
from app.core.errors import DataError, ModelError, SettingsError
from app.core.resources import model
from app.core.types import Box, Detection, Image, Label
from app.training.classifier import shortcut_probe
from app.training.classifier.calibration import Calibration, UnsureRule
from app.training.classifier.training import FirstNetwork, load_first_network
from app.training.data.samples import find_samples
from app.training.data.splits import Splits, photograph
from app.training.data.user_splits import held_back, user_splits
from app.training.networks import ShippedNetwork
from app.training.types import EpochRecord, Sample
from app.vision.model_metadata import ClassifierMetadata, read_classifier_metadata

# Keras saves TensorFlow arrays in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def parsed(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    training_commands.register(parser.add_subparsers())
    return parser.parse_args([str(argument) for argument in arguments])


def call(*arguments: object) -> int:
    args = parsed(*arguments)
    return int(args.run(args))


def make_set(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Writes images of noise in class folders; masked ones have a pale lower half."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 160, (48, 48, 3), np.uint8)
            if name == "mask":
                image[24:] = image[24:] // 4 + 190
            cv2.imwrite(str(folder / name / f"{i:03}.png"), image)
    return folder


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


def test_why_a_class_is_missing_is_shown_with_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make_set(tmp_path / "own", {"images": 1})
    boxes = [{"image_id": 0, "category_id": 0, "bbox": [1, 1, 20, 20]}, {"image_id": 0, "category_id": 1, "bbox": []}]
    names = [{"id": 0, "name": "no_mask"}, {"id": 1, "name": "mask"}]
    tree = {"images": [{"id": 0, "file_name": "000.png"}], "annotations": boxes, "categories": names}
    (own / "coco.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="has only no_mask"):
        call("evaluate", own)
    assert "a box of 'mask' has no area" in capsys.readouterr().out


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


def test_development_split_has_all_labels_and_whole_photographs() -> None:
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


def test_same_file_names_in_different_folders_are_different_photographs(tmp_path: Path) -> None:
    faces = [
        Sample(tmp_path / label.value / f"person{i}" / "face.png", label, "own")
        for label in (Label.MASK, Label.NO_MASK)
        for i in range(40)
    ]
    held = held_back(faces)
    assert Counter(face.label for face in held) == {Label.MASK: 6, Label.NO_MASK: 6}
    assert set(held) == set(held_back(faces[::-1]))


def test_augmented_copies_of_validation_images_are_left_out_of_training(tmp_path: Path) -> None:
    own = make_set(tmp_path / "own" / "train", {"mask": 40, "no_mask": 40}).parent
    make_set(own / "validation", {"mask": 6, "no_mask": 6}, seed=1)
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


@pytest.mark.parametrize("count", [5, 24])
def test_too_few_faces_get_a_sentence_that_helps(tmp_path: Path, count: int) -> None:
    """Regression: five pictures a class gave '0 training faces of mask, besides 5 for development'."""
    own = make_set(tmp_path / "own", {"mask": count, "no_mask": count})
    with pytest.raises(DataError) as caught:
        user_splits(own, Console())
    assert f"too few faces to learn from: {count} of mask, {count} of no_mask; " in str(caught.value)
    assert "give each label at least 20 to train and 5 to check" in str(caught.value)


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
        ("train own --run run --seed -1", "must be 0 to 4294967295"),
        ("train own --run run --seed 4294967296", "must be 0 to 4294967295"),
        ("train own --run run --threads 96", "must be 1 to 64"),
        ("evaluate own --threads 96", "must be 1 to 64"),
        ("evaluate own --equal-px 100000", "must be 0 to 1024"),
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


def test_unknown_network_of_the_study_is_rejected(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        make_set(tmp_path / "faces12k" / split, {"WithMask": 2, "WithoutMask": 2})
    with pytest.raises(DataError, match="no network 'model_9'"):
        call("paper", tmp_path, "--run", tmp_path / "run", "--networks", "model_9")


def test_a_licence_is_refused_for_own_data(tmp_path: Path) -> None:
    make_set(tmp_path / "faces", {"mask": 4, "no_mask": 4})
    with pytest.raises(SettingsError, match="--licence needs --all-sources"):
        call("train", tmp_path / "faces", "--licence", "open", "--run", tmp_path / "run")


def test_splits_of_the_real_data_share_no_frame(shared_data: Path) -> None:
    from app.training.data.splits import training_sources

    splits = training_sources(shared_data)
    trained = {sample.path for sample in splits.train}
    assert trained.isdisjoint({sample.path for sample in splits.dev})
    forbidden = ("frames/test", "faces12k/Test", "vijaykumar")
    assert not [path for path in trained if any(part in path.as_posix() for part in forbidden)]
    assert {sample.label for sample in splits.dev} == {Label.MASK, Label.NO_MASK, Label.INCORRECT}


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


def test_missing_package_is_reported_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_commands, "find_spec", lambda _name: None)
    for arguments in (("train", tmp_path, "--run", tmp_path / "run"), ("paper", tmp_path, "--run", tmp_path / "run")):
        with pytest.raises(SettingsError, match=r"needs tensorflow: pip install 'maskwatch\[train\]'"):
            call(*arguments)
    with pytest.raises(SettingsError, match="--probe needs sklearn"):
        call("evaluate", tmp_path, "--probe")
