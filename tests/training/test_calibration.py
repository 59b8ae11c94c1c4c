"""Calibration on development faces: offsets, temperature, the unsure rule."""

import numpy as np
import pytest

from app.core.types import Label
from app.training.classifier.calibration import (
    add_offsets,
    balanced_weights,
    choose_offsets,
    choose_temperature,
    choose_unsure,
    two_way_shares,
)

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_the_temperature_corrects_overconfidence() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1.5, (6000, 3))
    chances = softmax(scores).astype(float)
    targets = np.array([rng.choice(3, p=row / row.sum()) for row in chances])
    assert choose_temperature(softmax(scores * 2), targets, np.ones(6000)) == pytest.approx(2.0, rel=0.1)


def test_offsets_correct_a_class_that_is_predicted_too_often() -> None:
    rng = np.random.default_rng(1)
    targets = rng.choice(3, 3000, p=[0.5, 0.4, 0.1])
    scores = rng.normal(0, 1, (3000, 3)) + 3 * np.eye(3)[targets]
    scores[:, 2] += 1.0
    offsets = choose_offsets(softmax(scores), targets, np.ones(3000))
    assert offsets[2] < -0.4
    assert offsets[0] == 0.0


def test_unsure_removes_errors_within_its_budget() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.4, 1.0, 2000)
    targets = (rng.random(2000) > confidence).astype(np.int64)
    probabilities = np.column_stack([confidence, 1 - confidence, np.zeros(2000)]).astype(np.float32)
    rule = choose_unsure(probabilities, targets, np.full(2000, 50.0), LABELS, budget=0.1)
    shares = two_way_shares(probabilities, LABELS)
    unsure = (probabilities.max(axis=1) < rule.min_confidence) | (shares < rule.min_two_way)
    wrong = probabilities.argmax(axis=1) != targets
    assert rule.min_sharpness == 0.0
    assert unsure.mean() <= 0.1
    assert (wrong & unsure).sum() / wrong.sum() > 0.1


def test_unsure_separates_two_way_doubt_from_other_doubt() -> None:
    sure = np.tile([0.6, 0.01, 0.39], (900, 1))  # often correct with low confidence: certainly not bare
    torn = np.tile([0.7, 0.29, 0.01], (100, 1))  # as often wrong as correct
    probabilities = np.concatenate([sure, torn]).astype(np.float32)
    targets = np.concatenate([np.zeros(900, np.int64), np.tile([0, 1], 50)])
    rule = choose_unsure(probabilities, targets, np.full(1000, 50.0), LABELS, budget=0.15)
    unsure = (probabilities.max(axis=1) < rule.min_confidence) | (
        two_way_shares(probabilities, LABELS) < rule.min_two_way
    )
    assert unsure.tolist() == [False] * 900 + [True] * 100


def test_two_way_shares_use_mask_and_no_mask_only() -> None:
    probabilities = np.array([[0.6, 0.2, 0.2], [0.1, 0.3, 0.6], [0.1, 0.5, 0.4]], np.float32)
    assert two_way_shares(probabilities, LABELS).tolist() == pytest.approx([0.75, 1.0, 0.5 / 0.6])


def test_large_sets_do_not_dominate() -> None:
    weights = balanced_weights(np.array([0, 0, 0, 0, 1]), ["a", "a", "a", "a", "b"], LABELS, power=0.0)
    assert weights[:4].sum() == pytest.approx(weights[4])


def test_offsets_are_added_to_the_network() -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax()])
    shown = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before = np.log(np.asarray(model(shown)))
    add_offsets(model, (0.0, 0.5, -1.0))
    expected = softmax(before + np.array([0.0, 0.5, -1.0]))
    np.testing.assert_allclose(np.asarray(model(shown)), expected, atol=1e-5)
