"""Evaluation of whole sets, slices, the unsure rule, the shortcut probe, and the report."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.classifier.evaluation import (
    predict_samples,
    report,
    size_slices,
    subset,
    utkface_slices,
    without_siblings,
)
from app.training.classifier.open_tests import held_out_faces
from app.training.classifier.shortcut_probe import shortcut_probe
from app.training.data.crops import Crops
from app.training.data.samples import find_samples
from app.training.data.splits import held_out_utkface
from app.training.reports.tables import HEADINGS, markdown, plain, rows
from app.training.types import Sample
from app.vision.model_metadata import ClassifierMetadata

METADATA = ClassifierMetadata(
    name="bright", labels=(Label.MASK, Label.NO_MASK), input_px=32, margin=0.0, min_confidence=0.6, min_face_px=1
)


class BrightIsMask:
    """A classifier with predictable output: the probability of mask is the mean brightness."""

    metadata = METADATA

    def classify(self, crops: np.ndarray) -> np.ndarray:
        bright = crops.reshape(len(crops), -1).mean(axis=1) / 255
        return np.column_stack([bright, 1 - bright]).astype(np.float32)


class GreyIsNotFace:
    """As ``BrightIsMask``, but crops of middle brightness are not a face."""

    metadata = METADATA.model_copy(update={"labels": (Label.MASK, Label.NO_MASK, Label.NOT_FACE)})

    def classify(self, crops: np.ndarray) -> np.ndarray:
        two = BrightIsMask().classify(crops)
        grey = two.max(axis=1) < 0.7
        return np.column_stack([two * np.where(grey, 0.1, 1.0)[:, None], grey * 0.9]).astype(np.float32)


def shade(path: Path, level: int, size_px: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size_px, size_px, 3), level, np.uint8))
    return path


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    levels = {"a.png": (230, Label.MASK), "Augmented_1_2.png": (20, Label.MASK), "c.png": (20, Label.NO_MASK)}
    levels["d.png"] = (115, Label.NO_MASK)
    return [Sample(shade(tmp_path / name, level), label, "here") for name, (level, label) in levels.items()]


def test_every_face_of_a_set_is_evaluated(samples: list[Sample]) -> None:
    scores = report("here", predict_samples(BrightIsMask(), samples)).scores
    assert scores.faces == 4
    assert scores.confusion == ((1, 1), (0, 2))
    assert scores.recall[Label.MASK].share == 0.5


def test_the_unsure_rule_is_the_monitors_own(samples: list[Sample]) -> None:
    unsure = report("here", predict_samples(BrightIsMask(), samples)).unsure
    assert unsure is not None
    assert (unsure.faces, unsure.rejected_share, unsure.errors, unsure.removed) == (4, 0.25, 1, 0.0)


def test_siblings_of_training_images_can_be_left_out(samples: list[Sample]) -> None:
    predictions = predict_samples(BrightIsMask(), samples)
    assert report("here", subset(predictions, without_siblings(predictions))).scores.faces == 3


def test_labels_that_the_model_does_not_know_are_left_out(samples: list[Sample]) -> None:
    odd = Sample(samples[0].path, Label.INCORRECT, "here")
    predictions = predict_samples(BrightIsMask(), [*samples, odd])
    assert len(predictions.crops.targets) == 4
    assert report("here", predictions).left_out == {"incorrect, which bright does not know": 1}


def test_a_folder_of_negatives_is_judged_only_by_a_model_that_knows_them(tmp_path: Path) -> None:
    for name, level in {"mask": 230, "no_mask": 20, "not_face": 90, "Not face": 110}.items():
        shade(tmp_path / name / "a.png", level)
    found = find_samples(tmp_path).splits["train"]
    assert Counter(sample.label for sample in found)[Label.NOT_FACE] == 2
    two = report("two", predict_samples(BrightIsMask(), found))
    assert (two.scores.faces, two.left_out) == (2, {"not_face, which bright does not know": 2})
    four = report("four", predict_samples(GreyIsNotFace(), found))
    assert four.scores.recall[Label.NOT_FACE].right == 2
    assert four.scores.rejected is not None
    assert (four.scores.rejected.right, four.scores.rejected.total) == (0, 2)
    assert "100.0 (34.2-100.0)" in markdown(HEADINGS, rows([four]))


def test_no_face_left_raises_a_clear_error(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="at least 500 px"):
        predict_samples(BrightIsMask(), samples, min_face_px=500)


TAKEN = "20170109150557335"


def test_slices_by_size_and_by_utkface_attributes() -> None:
    slices = size_slices(np.array([10.0, 25.0, 300.0]))
    assert slices["20 to 32 px"].tolist() == [False, True, False]
    assert slices["over 96 px"].tolist() == [False, False, True]
    named = [
        Sample(Path(name), Label.NO_MASK, "u")
        for name in (f"25_1_2_{TAKEN}.jpg", f"70_0_1_{TAKEN}.jpg", "2024_01_02_0900.jpg", "1_\u00b2_3_a.jpg")
    ]
    parts = utkface_slices(named)
    assert parts["female"].tolist() == [True, False, False, False]
    assert parts["Asian"].tolist() == [True, False, False, False]
    assert parts["age 60-120"].tolist() == [False, True, False, False]


def test_the_held_out_third_is_the_same_everywhere(tmp_path: Path) -> None:
    for i in range(60):
        shade(tmp_path / "crops" / "utkface" / "no_mask" / f"{i}_0_0_1.png", 100, 8)
    names = {sample.path.name for sample in held_out_faces(tmp_path)}
    assert 8 <= len(names) <= 32
    assert all(held_out_utkface(Path("elsewhere") / name) for name in names)


def probed(sizes: list[int], targets: list[int], tmp_path: Path) -> dict[str, float]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(sizes), 16, 16, 3), np.uint8)
    paths = [shade(tmp_path / f"{i}.png", 100, size) for i, size in enumerate(sizes)]
    samples = tuple(Sample(path, METADATA.labels[target], "a") for path, target in zip(paths, targets, strict=True))
    return shortcut_probe(Crops(images, np.array(targets), np.array(sizes, float), samples, METADATA.labels))


def test_the_probe_detects_a_size_that_predicts_the_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    targets = [i % 2 for i in range(80)]
    predictive = probed(
        [20 + 20 * target + int(rng.integers(5)) for target in targets], targets, tmp_path / "predictive"
    )
    untold = probed([int(size) for size in rng.integers(20, 60, 80)], targets, tmp_path / "untold")
    assert predictive["size"] > 0.95
    assert untold["size"] < 0.75


def test_reports_as_json_and_markdown(samples: list[Sample]) -> None:
    predictions = predict_samples(BrightIsMask(), samples)
    one = report("here", predictions, {"all": np.ones(4, bool)})
    tree = json.loads(json.dumps(plain([one])))
    assert tree[0]["scores"]["recall"]["mask"]["total"] == 2
    assert markdown(HEADINGS, rows([one])).count("\n") == 2


def test_a_small_box_is_left_out_by_its_shorter_side(samples: list[Sample]) -> None:
    boxed = [Sample(samples[0].path, Label.MASK, "a", Box(0, 0, 30, side)) for side in (10, 25)]
    predictions = predict_samples(BrightIsMask(), boxed, min_face_px=20)
    assert predictions.crops.sizes_px.tolist() == [25]
    assert predictions.left_out == {"smaller than 20 px": 1}


def test_a_detected_face_is_evaluated_with_the_detectors_box(samples: list[Sample]) -> None:
    from app.core.types import Detection, Image
    from app.training.classifier.open_tests import found_by

    class Larger:
        def detect(self, image: Image) -> list[Detection]:
            return [Detection(Box(0, 0, 30, 30), 0.9), Detection(Box(500, 500, 10, 10), 0.9)]

    given = [Sample(samples[0].path, Label.MASK, "a", box) for box in (Box(4, 4, 20, 20), Box(28, 28, 8, 8))]
    assert [face.box for face in found_by(Larger(), given)] == [Box(0, 0, 30, 30)]
