"""The bundled classifier on real faces that it never learned from: a floor, not the measurement."""

from pathlib import Path

import numpy as np
import pytest

from app.domain import Label
from app.resources import model as bundled
from app.train.evaluate import judge
from app.train.open_tests import held_out_faces
from app.train.samples import Sample, class_folders, coco_frames
from app.vision.classify import LiteRtClassifier

FEW = 120


@pytest.fixture(scope="module")
def classifier() -> LiteRtClassifier:
    return LiteRtClassifier(bundled("classifier.tflite"), threads=1)


def right(classifier: LiteRtClassifier, samples: list[Sample], label: Label, min_face_px: float = 0.0) -> float:
    chosen = [
        sample for sample in samples if sample.label == label and (sample.box is None or sample.box.size >= min_face_px)
    ]
    judged = judge(classifier, [chosen[i] for i in np.linspace(0, len(chosen) - 1, FEW).astype(int)])
    return float((judged.probabilities.argmax(axis=1) == judged.crops.targets).mean())


@pytest.mark.parametrize("label", [Label.MASK, Label.NO_MASK])
def test_it_knows_the_twelve_thousands_test_faces(
    classifier: LiteRtClassifier, shared_data: Path, label: Label
) -> None:
    assert right(classifier, class_folders(shared_data / "faces12k" / "Test"), label) >= 0.9


@pytest.mark.parametrize(("label", "floor"), [(Label.MASK, 0.85), (Label.NO_MASK, 0.9)])
def test_it_knows_faces_in_frames(classifier: LiteRtClassifier, shared_data: Path, label: Label, floor: float) -> None:
    assert right(classifier, coco_frames(shared_data / "frames" / "test.json"), label, 20) >= floor


def test_it_knows_held_out_bare_faces_of_all_kinds(classifier: LiteRtClassifier, shared_data: Path) -> None:
    assert right(classifier, held_out_faces(shared_data), Label.NO_MASK) >= 0.95
