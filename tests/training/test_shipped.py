"""Minimum accuracy of the bundled classifier on faces that were not used for training, and its training."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli.train import NoDetector
from app.core.resources import model as bundled
from app.core.types import Label
from app.training.classifier.augmentation import ClassifierAugmentation
from app.training.classifier.evaluation import predict_samples
from app.training.classifier.open_tests import held_out_faces
from app.training.classifier.training import SHIPPED_RECIPE, ShippedRun, train_shipped
from app.training.data.face_pool import build_pool
from app.training.data.samples import class_folders, coco_frames
from app.training.networks import ShippedNetwork
from app.training.types import Sample
from app.vision.classifier import LiteRtClassifier

FEW = 120


@pytest.fixture(scope="module")
def classifier() -> LiteRtClassifier:
    return LiteRtClassifier(bundled("classifier.tflite"), threads=1)


def right(classifier: LiteRtClassifier, samples: list[Sample], label: Label, min_face_px: float = 0.0) -> float:
    chosen = [
        sample for sample in samples if sample.label == label and (sample.box is None or sample.box.size >= min_face_px)
    ]
    predictions = predict_samples(classifier, [chosen[i] for i in np.linspace(0, len(chosen) - 1, FEW).astype(int)])
    return float((predictions.probabilities.argmax(axis=1) == predictions.crops.targets).mean())


@pytest.mark.parametrize("label", [Label.MASK, Label.NO_MASK])
def test_it_labels_test_faces_of_the_12k_set(classifier: LiteRtClassifier, shared_data: Path, label: Label) -> None:
    assert right(classifier, class_folders(shared_data / "faces12k" / "Test"), label) >= 0.9


@pytest.mark.parametrize(("label", "floor"), [(Label.MASK, 0.85), (Label.NO_MASK, 0.9)])
def test_it_labels_faces_in_frames(classifier: LiteRtClassifier, shared_data: Path, label: Label, floor: float) -> None:
    assert right(classifier, coco_frames(shared_data / "frames" / "test.json"), label, 20) >= floor


def test_it_labels_held_out_bare_faces_of_all_groups(classifier: LiteRtClassifier, shared_data: Path) -> None:
    assert right(classifier, held_out_faces(shared_data), Label.NO_MASK) >= 0.95


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_seed_determines_the_network_from_its_first_weights(tmp_path: Path) -> None:
    labels = (Label.MASK, Label.NO_MASK)
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8))
    faces = build_pool([Sample(tmp_path / f"{i}.png", labels[i % 2], "own") for i in range(4)], NoDetector()).faces

    def trained(name: str, seed: int) -> list[np.ndarray]:
        run = ShippedRun(
            tmp_path / name,
            labels,
            ShippedNetwork(widths=(4, 4, 4, 4), bottleneck=4),
            replace(SHIPPED_RECIPE, epochs=1, seed=seed),
            ClassifierAugmentation(batch=4, steps=1, seed=seed),
        )
        fitted = train_shipped(run, faces, faces, lambda *_: None, lambda *_: None)
        weights: list[np.ndarray] = fitted.model.get_weights()
        return weights

    one, again, other = trained("one", 5), trained("again", 5), trained("other", 6)
    for first, second in zip(one, again, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)
    assert not np.allclose(one[0], other[0], atol=1e-2)
