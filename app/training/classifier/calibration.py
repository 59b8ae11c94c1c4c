"""Choices after training, made on the development split only: class offsets, temperature and the unsure rule."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.types import Label
from app.training.metrics import Probabilities, Targets
from app.training.types import KerasModel
from app.vision.classifier import TWO_WAY

UNSURE_BUDGET = 0.045
"""Largest share of development faces of at least 32 px that may be unsure."""


@dataclass(frozen=True, slots=True)
class UnsureRule:
    """Thresholds of ``ClassifierMetadata``; a prediction below one of them is unsure."""

    min_confidence: float
    min_two_way: float
    min_sharpness: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """``offsets`` are added to the logit of each label before the softmax. ``is_chosen`` is False if there were too few
    faces or errors to choose, so that the values of the first model were kept."""

    offsets: tuple[float, ...]
    temperature: float
    unsure: UnsureRule
    is_chosen: bool = True


def choose_offsets(probabilities: Probabilities, targets: Targets, weights: NDArray[np.float64]) -> tuple[float, ...]:
    """The offsets of all labels but the first (0) that give the best mean of balanced accuracy and weighted macro-F1.

    Training draws the rare class far more often than it occurs, so its scores are too high (Menon et al. 2021).
    """
    scores = np.log(np.clip(probabilities, 1e-9, 1.0))
    grid = np.round(np.arange(-1.2, 1.21, 0.1), 1)
    best: tuple[float, ...] = (0.0,) * scores.shape[1]
    for _ in range(3):
        for place in np.unique(targets[targets > 0]):  # a label without faces keeps its scores
            tried = [(*best[:place], float(step), *best[place + 1 :]) for step in grid]
            gains = [
                _objective((scores + np.array(offsets)).argmax(axis=1), targets, weights)
                - 0.002 * float(np.abs(offsets).sum())
                for offsets in tried
            ]
            best = tried[int(np.argmax(gains))]
    return best


def _objective(chosen: NDArray[np.int64], targets: Targets, weights: NDArray[np.float64]) -> float:
    recalls, f1 = [], []
    for label in np.unique(targets):
        mine, said = targets == label, chosen == label
        both = float(weights[mine & said].sum())
        recalls.append(both / float(weights[mine].sum()))
        f1.append(2 * both / max(float(weights[mine].sum() + weights[said].sum()), 1e-9))
    return float(np.mean(recalls) + np.mean(f1)) / 2


def choose_temperature(probabilities: Probabilities, targets: Targets, weights: NDArray[np.float64]) -> float:
    """Temperature scaling (Guo et al. 2017): the T with the lowest weighted negative log likelihood."""
    scores = np.log(np.clip(probabilities, 1e-9, 1.0))
    grid = np.exp(np.linspace(np.log(0.3), np.log(3.0), 120))
    costs = []
    for temperature in grid:
        scaled = scores / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        costs.append(-float((weights * log_p[np.arange(len(targets)), targets]).sum() / weights.sum()))
    return float(grid[int(np.argmin(costs))])


def choose_unsure(
    probabilities: Probabilities,
    targets: Targets,
    sharpness: NDArray[np.float64],
    labels: Sequence[Label],
    budget: float = UNSURE_BUDGET,
) -> UnsureRule:
    """The thresholds that remove most errors while at most a share ``budget`` of the faces is unsure. Among equals,
    those with the fewest unsure faces."""
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != targets
    shares = two_way_shares(probabilities, labels)
    best, worth = UnsureRule(0.5, 0.0, 0.0), (0, -0.0)
    for least_sharp in (0.0, *np.quantile(sharpness, (0.003, 0.006, 0.01, 0.02))):
        blurred = sharpness < least_sharp
        for least in np.arange(0.5, 0.981, 0.02):
            doubtful = blurred | (confidence < least)
            if doubtful.mean() > budget:
                break
            for least_share in (0.0, *np.arange(0.5, 0.981, 0.01)):
                unsure = doubtful | (shares < least_share)
                rejected_share, removed = float(unsure.mean()), int((wrong & unsure).sum())
                if rejected_share <= budget and (removed, -rejected_share) > worth:
                    worth = removed, -rejected_share
                    best = UnsureRule(
                        round(float(least), 2), round(float(least_share), 2), round(float(least_sharp), 1)
                    )
    return best


def two_way_shares(probabilities: Probabilities, labels: Sequence[Label]) -> NDArray[np.float64]:
    """(N,) For each prediction mask or no_mask its share of the sum of both; 1 for other predictions."""
    shares = np.ones(len(probabilities))
    pair = [place for place, label in enumerate(labels) if label in TWO_WAY]
    chosen = probabilities.argmax(axis=1)
    is_two_way = np.isin(chosen, pair)
    shares[is_two_way] = probabilities[is_two_way, chosen[is_two_way]] / probabilities[is_two_way][:, pair].sum(axis=1)
    return shares


def add_offsets(model: KerasModel, offsets: Sequence[float]) -> None:
    """Adds ``offsets`` of the first labels to the bias of the last dense layer: inference needs no extra step."""
    dense = next(layer for layer in reversed(model.layers) if type(layer).__name__ == "Dense")
    kernel, bias = dense.get_weights()
    bias[: len(offsets)] += np.array(offsets, np.float32)
    dense.set_weights([kernel, bias])


def balanced_weights(
    targets: Targets, sources: Sequence[str], labels: Sequence[Label], power: float = 0.5
) -> NDArray[np.float64]:
    """(N,) weights that give n faces of one source and class a total of n ** power, so that no large set dominates."""
    keys = [f"{source}/{labels[target]}" for source, target in zip(sources, targets, strict=True)]
    names, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    del names
    return np.asarray(counts[inverse] ** (power - 1.0), np.float64)
