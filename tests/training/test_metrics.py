"""Metrics against published values."""

import math

import numpy as np
import pytest

from app.core.types import Label
from app.training.metrics import calibration_error, log_loss, reliability, risk_coverage, score, unsure_effect, wilson

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)


def sure(chosen: list[int], confidence: float = 0.9) -> np.ndarray:
    probabilities = np.full((len(chosen), 3), (1 - confidence) / 2, np.float32)
    probabilities[np.arange(len(chosen)), chosen] = confidence
    return probabilities


def test_wilson_gives_64_of_64_a_lower_bound_of_94_3_percent() -> None:
    rate = wilson(64, 64)
    assert rate.low == pytest.approx(0.9434, abs=1e-4)
    assert rate.high == pytest.approx(1.0)


def test_wilson_agrees_with_newcombes_example() -> None:
    rate = wilson(81, 263)  # Newcombe 1998, table I
    assert (rate.low, rate.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


def test_an_empty_set_has_the_widest_interval() -> None:
    rate = wilson(0, 0)
    assert math.isnan(rate.share)
    assert (rate.low, rate.high) == (0.0, 1.0)


def test_recalls_f1_and_confusion_of_a_small_case() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    scores = score(sure([0, 0, 0, 1, 1, 1, 2, 0]), targets, LABELS)
    assert scores.confusion == ((3, 1, 0), (0, 2, 0), (1, 0, 1))
    assert scores.recall[Label.MASK].share == 0.75
    assert scores.balanced_accuracy == pytest.approx((0.75 + 1 + 0.5) / 3)
    assert scores.macro_f1 == pytest.approx((6 / 8 + 4 / 5 + 2 / 3) / 3)


def test_two_way_ignores_incorrect_in_ground_truth_and_prediction() -> None:
    probabilities = np.array([[0.4, 0.1, 0.5], [0.1, 0.3, 0.6], [0.0, 0.1, 0.9]], np.float32)
    scores = score(probabilities, np.array([0, 1, 2]), LABELS)
    assert scores.two_way_balanced == 1.0
    assert scores.strict_two_balanced == 0.0


def test_risk_coverage_is_lowest_if_errors_have_low_confidence() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    answers = np.column_stack([confidence, 1 - confidence])
    assert risk_coverage(answers, np.array([0, 0, 0, 1])) == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    assert risk_coverage(answers, np.array([1, 0, 0, 0])) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert risk_coverage(answers, np.array([0, 0, 0, 0])) == 0
    assert np.isnan(risk_coverage(answers[:0], np.array([], np.int64)))


def test_log_loss_is_finite_for_a_probability_of_zero() -> None:
    answers = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    assert log_loss(answers, np.array([0, 0])) == pytest.approx(np.log(2) / 2)
    assert log_loss(answers, np.array([0, 1])) == pytest.approx((np.log(2) - np.log(1e-7)) / 2)


def test_calibration_error_of_one_bin_is_the_gap() -> None:
    assert calibration_error(sure([0] * 10, 0.9), np.array([0] * 6 + [1] * 4)) == pytest.approx(0.3, abs=1e-6)
    assert reliability(sure([0] * 10, 0.85), np.zeros(10, np.int64)) == [(pytest.approx(0.85), 1.0, 10)]


def test_unsure_counts_faces_and_errors_among_them() -> None:
    targets = np.array([0, 0, 1, 1])
    effect = unsure_effect(sure([0, 1, 1, 0]), targets, np.array([False, True, True, False]), LABELS)
    assert (effect.rejected_share, effect.errors, effect.removed) == (0.5, 2, 0.5)
    assert (effect.two_way_errors, effect.two_way_removed) == (2, 0.5)


def test_two_way_errors_ignore_incorrect() -> None:
    probabilities = np.array([[0.4, 0.1, 0.5], [0.6, 0.4, 0.0], [0.9, 0.1, 0.0]], np.float32)
    effect = unsure_effect(probabilities, np.array([0, 1, 2]), np.array([False, True, False]), LABELS)
    assert (effect.errors, effect.removed) == (3, pytest.approx(1 / 3))
    assert (effect.two_way_errors, effect.two_way_removed) == (1, 1.0)


def test_a_face_that_is_called_not_face_is_wrong_and_a_negative_is_judged() -> None:
    labels = (*LABELS, Label.NOT_FACE)
    rows = np.eye(4, dtype=np.float32)[[0, 3, 1, 3, 3, 0]] * 0.8 + 0.05
    scores = score(rows, np.array([0, 0, 1, 1, 3, 3]), labels)
    assert {label: rate.share for label, rate in scores.recall.items()} == {
        Label.MASK: 0.5,
        Label.NO_MASK: 0.5,
        Label.NOT_FACE: 0.5,
    }
    assert {rate.share for rate in scores.two_way.values()} == {0.5}
    assert scores.confusion[0] == (1, 0, 0, 1)
    assert scores.confusion[3] == (1, 0, 0, 1)
    assert scores.rejected is not None
    assert (scores.rejected.right, scores.rejected.total) == (2, 4)
    assert score(rows[:, :3], np.array([0, 0, 1, 1, 0, 0]), LABELS).rejected is None
