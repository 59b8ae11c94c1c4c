"""Metrics: recalls with intervals, F1, calibration, and the effect of the label unsure. Pure numpy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.rate import Rate as Rate
from app.core.rate import wilson as wilson
from app.core.types import Label

Probabilities = NDArray[np.float32]
Targets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Unsure:
    """``rejected_share``: share of faces labelled unsure. ``removed``: share of the errors among these faces. Two-way
    errors are bare faces labelled masked, or the reverse, with ``incorrect`` ignored."""

    faces: int
    rejected_share: float
    errors: int
    removed: float
    two_way_errors: int
    two_way_removed: float


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's scores on one set. Two-way values ignore faces with the ground truth ``incorrect`` and compare only
    mask with no_mask; the strict value counts a predicted ``incorrect`` as an error. ``log_loss``: mean negative log
    likelihood (nats). ``risk_coverage``: area under the risk-coverage curve, lower is better. ``rejected``: faces that
    are called not_face; None if the model cannot. Like any other error they count as wrong in all other values."""

    faces: int
    accuracy: Rate
    recall: dict[Label, Rate]
    two_way: dict[Label, Rate]
    balanced_accuracy: float
    two_way_balanced: float
    strict_two_balanced: float
    macro_f1: float
    calibration_error: float
    log_loss: float
    risk_coverage: float
    confusion: tuple[tuple[int, ...], ...]
    rejected: Rate | None = None


def confusion_matrix(targets: Targets, chosen: Targets, classes: int) -> NDArray[np.int64]:
    """(C, C) counts: rows are the ground truth, columns the prediction."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (targets, chosen), 1)
    return counts


def calibration_error(probabilities: Probabilities, targets: Targets, bins: int = 15) -> float:
    """Expected calibration error (Naeini et al. 2015) of the most probable label, in equal bins of confidence."""
    if not len(targets):
        return math.nan
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(right[places == i].sum() - confidence[places == i].sum()) for i in range(bins)]
    return float(sum(gaps) / len(targets))


def log_loss(probabilities: Probabilities, targets: Targets) -> float:
    """The mean negative log likelihood of the ground truth in nats. A probability of 0 counts as 1e-7."""
    if not len(targets):
        return math.nan
    return float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7)).mean())


def risk_coverage(probabilities: Probabilities, targets: Targets) -> float:
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017): the error rate of the n most confident faces,
    averaged over all n. 0 without errors; the error rate of the set if confidence is random."""
    if not len(targets):
        return math.nan
    surest_first = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != targets)[surest_first]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean F1 of the classes that occur in the ground truth."""
    right, truth, answers = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    present = truth > 0
    f1 = 2 * right / np.maximum(truth + answers, 1)
    return float(f1[present].mean()) if present.any() else math.nan


def score(probabilities: Probabilities, targets: Targets, labels: Sequence[Label]) -> Scores:
    """``probabilities`` (N, C) and ``targets`` (N,) in the order of ``labels``."""
    chosen = probabilities.argmax(axis=1)
    confusion = confusion_matrix(targets, chosen, len(labels))
    present = [i for i in range(len(labels)) if confusion[i].sum()]
    recall = {labels[i]: wilson(int(confusion[i, i]), int(confusion[i].sum())) for i in present}
    two_way = _two_way(probabilities, targets, labels)
    plain = [recall[label].share for label in (Label.MASK, Label.NO_MASK) if label in recall]
    return Scores(
        faces=len(targets),
        accuracy=wilson(int((chosen == targets).sum()), len(targets)),
        recall=recall,
        two_way=two_way,
        balanced_accuracy=_mean([rate.share for rate in recall.values()]),
        two_way_balanced=_mean([rate.share for rate in two_way.values()]),
        strict_two_balanced=_mean(plain),
        macro_f1=macro_f1(confusion),
        calibration_error=calibration_error(probabilities, targets),
        log_loss=log_loss(probabilities, targets),
        risk_coverage=risk_coverage(probabilities, targets),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        rejected=_rejected(confusion, labels),
    )


def _rejected(confusion: NDArray[np.int64], labels: Sequence[Label]) -> Rate | None:
    if Label.NOT_FACE not in labels:
        return None
    place = labels.index(Label.NOT_FACE)
    faces = np.delete(confusion, place, axis=0)
    return wilson(int(faces[:, place].sum()), int(faces.sum()))


def _two_way(probabilities: Probabilities, targets: Targets, labels: Sequence[Label]) -> dict[Label, Rate]:
    places = _pair_places(labels)
    if not places:
        return {}
    chosen = np.array(places)[probabilities[:, places].argmax(axis=1)]
    if Label.NOT_FACE in labels:  # a face that is rejected is labelled neither
        rejected = probabilities.argmax(axis=1) == labels.index(Label.NOT_FACE)
        chosen = np.where(rejected, labels.index(Label.NOT_FACE), chosen)
    rates = {}
    for label, place in zip((Label.MASK, Label.NO_MASK), places, strict=True):
        mine = targets == place
        if mine.any():
            rates[label] = wilson(int((chosen[mine] == place).sum()), int(mine.sum()))
    return rates


def unsure_effect(
    probabilities: Probabilities, targets: Targets, unsure: NDArray[np.bool_], labels: Sequence[Label]
) -> Unsure:
    """The errors that labelling the faces in ``unsure`` (N,) bool as unsure removes."""
    wrong = probabilities.argmax(axis=1) != targets
    places = _pair_places(labels)
    pair = np.isin(targets, places)
    mistaken = np.zeros(len(targets), bool)
    if places:
        mistaken = pair & (np.array(places)[probabilities[:, places].argmax(axis=1)] != targets)
    rejected_share = float(unsure.mean()) if len(unsure) else math.nan
    return Unsure(
        len(targets),
        rejected_share,
        int(wrong.sum()),
        _share_removed(wrong, unsure),
        int(mistaken.sum()),
        _share_removed(mistaken, unsure),
    )


def _share_removed(wrong: NDArray[np.bool_], unsure: NDArray[np.bool_]) -> float:
    return float((wrong & unsure).sum() / wrong.sum()) if wrong.any() else math.nan


def _pair_places(labels: Sequence[Label]) -> list[int]:
    """The indices of mask and no_mask, or none if one of them is not in ``labels``."""
    pair = (Label.MASK, Label.NO_MASK)
    return [labels.index(label) for label in pair] if all(label in labels for label in pair) else []


def reliability(probabilities: Probabilities, targets: Targets) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, number of faces) for each tenth of confidence that has faces."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    places = np.minimum((confidence * 10).astype(int), 9)
    held = [places == i for i in range(10)]
    return [(float(confidence[own].mean()), float(right[own].mean()), int(own.sum())) for own in held if own.any()]


def _mean(shares: Sequence[float]) -> float:
    return float(np.mean(shares)) if shares else math.nan
