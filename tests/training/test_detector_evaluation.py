"""Scores of face detectors on small scenes, counted by hand."""

import argparse
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from app.cli import training_commands
from app.core.errors import DataError, ModelError
from app.core.types import Box, Detection, FaceLabel, Image, Label
from app.training.data.images import ImageCache
from app.training.detector.comparison import (
    PAPER,
    ComparisonRow,
    ComparisonSettings,
    compared_detectors,
    evaluate_all,
    haar_options,
    to_tables,
    to_tree,
)
from app.training.detector.evaluation import (
    average_precision,
    choose_score,
    match,
    run_detector,
    score_detections,
    score_end_to_end,
    time_in_turn,
)
from app.training.detector.scene_reader import read_scenes
from app.training.types import Scene, SceneFace

MASKED, BARE, WORN_BADLY = Box(0, 0, 40, 40), Box(100, 0, 30, 40), Box(200, 0, 20, 24)
SMALL, TINY, FALSE_POSITIVE = Box(0, 100, 12, 15), Box(50, 100, 8, 8), Box(300, 100, 30, 30)
UNKNOWN, CROWD = Box(0, 200, 30, 30), Box(100, 200, 80, 80)

SCENE = Scene(
    Path("a"),
    "",
    (
        SceneFace(MASKED, Label.MASK),
        SceneFace(BARE, Label.NO_MASK),
        SceneFace(WORN_BADLY, Label.INCORRECT),
        SceneFace(SMALL, Label.NO_MASK),
        SceneFace(TINY, Label.MASK),
    ),
)
MIXED = Scene(Path("b"), "", (SceneFace(MASKED, Label.MASK), SceneFace(UNKNOWN, None)), (CROWD,))
"""A face of unknown class, and a neutral region."""


def found(*boxes: Box, score: float = 0.9) -> list[Detection]:
    return [Detection(box, score) for box in boxes]


def test_a_face_is_matched_once_by_the_best_detection() -> None:
    twice = [Detection(MASKED.moved(2, 0), 0.5), Detection(MASKED.moved(4, 0), 0.8), Detection(BARE, 0.7)]
    assert match([MASKED, BARE], twice, 0.4) == [-1, 0, 1]
    assert match([], twice, 0.4) == [-1, -1, -1]
    assert match([MASKED], [], 0.4) == []


@pytest.mark.parametrize(("shift", "hit"), [(17, True), (18, False)])
def test_a_match_needs_an_iou_of_two_fifths(shift: float, hit: bool) -> None:
    # 40 px boxes, shifted by 17: 23 / 57 = 0.404; by 18: 22 / 58 = 0.379
    score = score_detections([SCENE], [found(MASKED.moved(shift, 0))], 0.5)
    assert score.recall["mask"] == hit


def test_recall_by_class_and_size_and_precision() -> None:
    score = score_detections([SCENE], [found(MASKED, SMALL, TINY, FALSE_POSITIVE)], 0.5, ms=3.0)
    assert score.recall == {"mask": 1.0, "no_mask": 0.0, "incorrect": 0.0}
    assert score.faces == {"mask": 1, "no_mask": 1, "incorrect": 1, "any": 3, "small": 1}
    assert score.recall_small == 1.0
    assert score.by_size == {
        "mask": [(0, 0), (0, 0), (1, 1), (0, 0), (0, 0)],
        "no_mask": [(1, 1), (0, 1), (0, 0), (0, 0), (0, 0)],
        "incorrect": [(0, 0), (0, 1), (0, 0), (0, 0), (0, 0)],
        "any": [(1, 1), (0, 2), (1, 1), (0, 0), (0, 0)],
    }
    assert score.recall_all == pytest.approx(1 / 3)
    assert score.false_boxes == 1
    assert score.precision == 0.75  # a tiny face counts, a detection without annotation does not
    assert score.ms == 3.0


def test_faces_of_unknown_class_count_and_neutral_regions_do_not() -> None:
    inside = CROWD.moved(10, 10).scaled(1.0)
    score = score_detections([MIXED], [found(UNKNOWN, inside, FALSE_POSITIVE)], 0.5)
    assert score.recall_all == 0.5
    assert score.recall["mask"] == 0
    assert score.false_boxes == 1  # FALSE_POSITIVE; detections in the crowd are not evaluated
    assert score.precision == 0.5
    assert average_precision([MIXED], [found(MASKED, UNKNOWN, inside)]) == pytest.approx(1)


def test_a_score_without_faces_is_nan() -> None:
    one = Scene(Path("a"), "", (SceneFace(MASKED, Label.MASK),))
    score = score_detections([one], [[]], 0.5)
    assert score.recall["mask"] == 0.0
    assert all(map(math.isnan, (score.recall["no_mask"], score.recall_small, score.precision)))
    row = ComparisonRow("cnn", 0.5, score, None, None, 1.0)
    tree = to_tree([row], [one], 576)["detectors"][0]["found"]
    assert tree["recall"] == {"mask": 0.0, "no_mask": None, "incorrect": None}
    assert tree["recall_intervals"]["mask"] == pytest.approx([0.0, 0.7935], abs=1e-3)
    console = Console(width=120, file=io.StringIO())
    console.print(to_tables([row])[0])
    shown = console.file.getvalue()
    assert shown.split("cnn")[1].split()[:8] == [
        "0.50",
        "0.000",
        "0.000",
        "-",
        "-",
        "-",
        "0.000",
        "0.000",
    ]


def test_detections_with_low_scores_count_for_average_precision_only() -> None:
    detections = [*found(MASKED, BARE, score=0.9), *found(FALSE_POSITIVE, score=0.6), *found(WORN_BADLY, score=0.4)]
    score = score_detections([SCENE], [detections], 0.5)
    assert score.recall["incorrect"] == 0
    # recall 1/3 and 2/3 at precision 1, then 1 at 3/4
    assert score.ap == pytest.approx(2 / 3 + 1 / 3 * 3 / 4)
    assert average_precision([SCENE], [[]]) == 0
    assert math.isnan(average_precision([Scene(Path("b"), "", ())], [found(FALSE_POSITIVE)]))


def test_small_faces_are_ignored_by_average_precision() -> None:
    assert average_precision([SCENE], [found(MASKED, BARE, WORN_BADLY, SMALL, TINY)]) == pytest.approx(1)


def test_end_to_end_needs_the_correct_label_and_counts_false_alarms(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    scene = Scene(path, "", SCENE.faces)
    answers = {MASKED: Label.NO_MASK, BARE: Label.NO_MASK, WORN_BADLY: Label.UNSURE, FALSE_POSITIVE: Label.NO_MASK}

    def classify(_: Image, boxes: Sequence[Box]) -> list[FaceLabel]:
        return [FaceLabel(answers[box], 1.0) for box in boxes]

    score = score_end_to_end([scene], [found(*answers)], ImageCache(), classify)
    assert score.right == {"mask": 0.0, "no_mask": 1.0, "incorrect": 0.0}
    assert score.false_alarms == 2  # the masked face, and the false positive
    unknown = Scene(path, "", MIXED.faces, MIXED.neutral)
    answers |= {UNKNOWN: Label.NO_MASK, CROWD: Label.NO_MASK}
    assert score_end_to_end([unknown], [found(UNKNOWN, CROWD)], ImageCache(), classify).false_alarms == 0


def test_the_threshold_is_the_lowest_with_enough_precision() -> None:
    detections = [*found(MASKED, score=0.8), *found(BARE, score=0.5), *found(FALSE_POSITIVE, score=0.45)]
    assert choose_score([SCENE], [detections], 1.0) == 0.46
    assert choose_score([SCENE], [detections], 0.5) == 0.2
    assert choose_score([SCENE], [found(FALSE_POSITIVE, score=0.995)], 0.5) == 0.99


def test_detectors_alternate_and_first_calls_are_not_timed(tmp_path: Path) -> None:
    scenes = []
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((8, 8 + i, 3), np.uint8))
        scenes.append(Scene(tmp_path / f"{i}.png", "", ()))
    calls: list[tuple[str, int]] = []

    def named(name: str) -> Callable[[Image], list[Detection]]:
        def detect(image: Image) -> list[Detection]:
            calls.append((name, image.shape[1]))
            return []

        return detect

    times_ms = time_in_turn([named("a"), named("b")], scenes, ImageCache(), images=2)
    assert calls == [("a", 8), ("a", 8), ("b", 8), ("b", 8), ("a", 9), ("a", 9), ("b", 9), ("b", 9)]
    assert all(ms > 0 for ms in times_ms)
    assert run_detector(named("c"), scenes, ImageCache()) == [[], [], []]


def test_options_of_the_cascade_are_parsed() -> None:
    both = haar_options("profile+min40")
    assert (both.name, both.equalize, both.profile, both.min_face_px) == ("haar+profile+min40", False, True, 40)
    for words in ("", "smile", "min0", "equalize+"):
        with pytest.raises(ValueError, match="is not one of"):
            haar_options(words)


def test_all_detectors_in_one_table(shared_data: Path, tmp_path: Path) -> None:
    from app.core import resources

    scenes = read_scenes(shared_data / "frames" / "train.json")[:6]
    rows = evaluate_all(
        scenes,
        compared_detectors(
            ComparisonSettings(
                ours=resources.model("face_detector.tflite"),
                width_px=576,
                haar=(PAPER, haar_options("equalize+profile+min24")),
            )
        ),
        classifier=resources.model("paper/model_6.tflite"),
    )
    assert [row.name for row in rows] == ["haar", "haar+equalize+profile+min24", "cnn"]
    assert rows[2].relative_time == 1.0
    assert all(row.end_to_end is not None and row.refusing is not None for row in rows)
    assert all(row.relative_time > 0 for row in rows)
    console = Console(width=80, file=io.StringIO())
    for table in to_tables(rows):
        console.print(table)
    shown = console.file.getvalue()
    assert "…" not in shown
    assert f"{rows[1].found.precision:.3f}" in shown
    assert "≥160px" in shown
    tree = json.loads(json.dumps(to_tree(rows, scenes, 576)))
    assert tree["pictures"] == 6
    assert tree["detectors"][2]["found"]["recall"]["mask"] == rows[2].found.recall["mask"]


def test_the_command_reports_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    training_commands.register(parser.add_subparsers())
    args = parser.parse_args(["evaluate-detector", "--data", str(tmp_path)])
    with pytest.raises(DataError, match="no annotations"):
        args.run(args)
    (tmp_path / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    for flag in ("--model", "--classifier"):
        args = parser.parse_args(["evaluate-detector", "--data", str(tmp_path), flag, str(tmp_path / "typo.tflite")])
        with pytest.raises(ModelError, match=r"no model file .*typo\.tflite"):
            args.run(args)
    with pytest.raises(SystemExit):
        parser.parse_args(["evaluate-detector", "--data", "x", "--haar-options", "equalize,smile"])
    assert "'smile' is not one of equalize" in capsys.readouterr().err
    for words in (["--sizes-px", "100"], ["--epochs", "0"], ["--hours", "0"]):
        with pytest.raises(SystemExit):
            parser.parse_args(["train-detector", "--data", "x", "--run", "y", *words])
    assert "multiples of 32" in capsys.readouterr().err


def test_too_few_scenes_or_other_data_raise_a_clear_error(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    training_commands.register(parser.add_subparsers())
    file, run = tmp_path / "train.json", str(tmp_path / "run")
    args = parser.parse_args(["train-detector", "--data", str(file), "--run", run])
    with pytest.raises(DataError, match=r"train\.json does not exist"):
        args.run(args)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    image = {"id": 1, "file_name": "a.png"}
    mark = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}
    tree = {"images": [image], "annotations": [mark], "categories": [{"id": 1, "name": "mask"}]}
    file.write_text(json.dumps(tree))
    args = parser.parse_args(["train-detector", "--data", str(file), "--run", f"{run}2"])
    with pytest.raises(DataError, match=r"train\.json: [01] training scenes; add images, at least 16 are needed"):
        args.run(args)
    (tmp_path / "run2" / "history.json").write_text("[]")
    file.write_text(json.dumps(tree) + " ")
    with pytest.raises(DataError, match=r"started with annotations0\.digest"):
        args.run(args)
    lists = tmp_path / "lists.json"
    lists.write_text("[]")
    flags = ["--held-back", str(lists), "--begin-with", str(tmp_path / "none.onnx")]
    with pytest.raises(DataError, match=r"no weights file .*none\.onnx"):
        args.run(parser.parse_args(["train-detector", "--data", str(file), "--run", f"{run}3", *flags]))
    with pytest.raises(DataError, match="it needs a list named 'development'"):
        args.run(parser.parse_args(["train-detector", "--data", str(file), "--run", f"{run}3", *flags[:2]]))
