"""Trains the last layer of a classifier on faces of the user's own cameras, together with a replay sample, and decides
on a later part of these faces whether the result is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.rate import Z_95
from app.core.text import counted
from app.core.types import Label
from app.training.classifier.augmentation import ClassifierAugmentation, augmented_crop
from app.training.classifier.head import Floats, HeadModel, probabilities_of
from app.training.classifier.replay import ReplaySample
from app.training.data.face_pool import PooledFace, central_crops
from app.vision.classifier import calibrated, weigh_not_face
from app.vision.model_metadata import ClassifierMetadata

MIN_FACES, MIN_HELD = 20, 8
"""With fewer labelled faces, or fewer of them held back, nothing is learned."""
HELD_SHARE = 0.3
MAX_FORGOTTEN, MAX_FORGOTTEN_LABEL = 0.01, 0.03
"""How much the right answers on the replay sample may fall: on average over all labels, where a gain counts as 0, and
for one label of a face."""
VIEWS = 8
"""Augmented crops of each face that are learned: with other light, sharpness and place."""
STRENGTHS = (0.5, 0.25, 0.12, 0.06)
"""Weights of the user's faces against the replay sample. The first that forgets nothing is used."""
STEPS, RATE = 200, 0.03


@dataclass(frozen=True, slots=True)
class OwnFace:
    """A labelled face of the user's cameras. ``score``: that of the detector."""

    face: PooledFace
    wall_s: float
    score: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same ``faces``: the right answers of each, and how many only one of them has right."""

    faces: int
    old_right: int
    new_right: int
    gained: int
    lost: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference of the shares (Bonett and Price 2012)."""
        return _interval(self.gained, self.lost, self.faces)

    def share_text(self, old: str, new: str) -> str:
        """The shares that both models have right, and the interval of the difference."""
        low, high = (f"{100 * each:+.0f}" for each in self.interval)
        return (
            f"{old} is right on {self.old_right / self.faces:.0%}, {new} on {self.new_right / self.faces:.0%} of "
            f"{counted(self.faces, 'face')} (95 % interval of the difference: {low} to {high} points)"
        )

    @property
    def more_needed(self) -> int:
        """How many more such faces make the interval lie above zero, if the shares stay; 0 if they never will."""
        if self.gained <= self.lost:
            return 0
        factor = 1.0
        while _interval(self.gained * factor, self.lost * factor, self.faces * factor)[0] <= 0:
            factor *= 1.05
        return max(math.ceil(self.faces * factor) - self.faces, 0)

    @property
    def more_verdicts(self) -> int:
        """How many more verdicts are needed: only a part of the faces is held back."""
        return math.ceil(self.more_needed / HELD_SHARE)


def _interval(gained: float, lost: float, faces: float) -> tuple[float, float]:
    up, down = (gained + 1) / (faces + 2), (lost + 1) / (faces + 2)
    half = Z_95 * math.sqrt((up + down - (up - down) ** 2) / (faces + 2))
    return up - down - half, up - down + half


@dataclass(frozen=True, slots=True)
class Improvement:
    """``forgotten``: by label, how far the right answers on the replay sample fall (a share; negative: they rise).
    ``objects``: how many of the faces held back are no face; ``still_faces``: how many of these the new model does not
    reject."""

    weights: Floats
    learned: int
    comparison: Comparison
    forgotten: Mapping[Label, float]
    objects: int
    still_faces: int

    @property
    def forgets(self) -> bool:
        return _forgets(self.forgotten)

    @property
    def is_better(self) -> bool:
        return self.comparison.interval[0] > 0 and not self.forgets


def held_back(times_s: Sequence[float], days: Sequence[str]) -> int:
    """The index from which the faces, oldest first, are held back: a whole number of ``days`` if there are several."""
    wanted = round(len(times_s) * (1 - HELD_SHARE))
    starts = [i for i in range(1, len(days)) if days[i] != days[i - 1]]
    near = [i for i in starts if abs(i - wanted) <= 0.15 * len(times_s)]
    return min(near, key=lambda i: abs(i - wanted), default=wanted)


def improve(
    old: HeadModel, replay: ReplaySample, faces: Sequence[OwnFace], days: Sequence[str], seed: int
) -> Improvement:
    """``faces``: oldest first, with their ``days``. Learns the earlier ones and compares with ``old`` on the others.
    Raises DataError if there are too few."""
    first = held_back([each.wall_s for each in faces], days)
    held = faces[first:]
    missing = max(MIN_FACES - len(faces), math.ceil((MIN_HELD - len(held)) / HELD_SHARE))
    if missing > 0:
        raise DataError(
            f"{counted(len(faces), 'collected face')} with a label; give verdicts on the review page, or label faces, "
            f"until there are {len(faces) + missing}: {missing} more"
        )
    own, targets = _views(old, faces[:first], seed)
    guard = replay.features[replay.is_guard], replay.targets[replay.is_guard]
    known = replay.features[~replay.is_guard], replay.targets[~replay.is_guard]
    for strength in STRENGTHS:
        weights = fit(old.weights, known, (own, targets), strength)
        forgotten = _forgotten(guard, old.weights, weights, old.metadata)
        if not _forgets(forgotten):
            break
    was, now = _right_answers(old, held, weights)
    is_object = np.array([each.face.label is Label.NOT_FACE for each in held])
    objects = int(is_object.sum()), int((is_object & ~now).sum())
    return Improvement(weights, first, compare(was, now), forgotten, *objects)


def _views(model: HeadModel, faces: Sequence[OwnFace], seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """The features of ``VIEWS`` augmented crops of each face, and their labels."""
    metadata, rng = model.metadata, np.random.default_rng(seed)
    settings = ClassifierAugmentation(metadata.input_px, metadata.margin)
    crops = [augmented_crop(each.face.patch, each.face, settings, rng) for each in faces for _ in range(VIEWS)]
    targets = [metadata.labels.index(each.face.label) for each in faces]
    return model.features(np.stack(crops)), np.repeat(np.array(targets, np.int64), VIEWS)


def fit(
    begin: Floats, known: tuple[Floats, NDArray[np.int64]], own: tuple[Floats, NDArray[np.int64]], strength: float
) -> Floats:
    """The weights that give nearly the outputs of ``begin`` on ``known``, each label alike (distillation, Hinton et al.
    2015), and with ``strength`` times that weight the labels of ``own``: Adam (Kingma and Ba 2015) on all examples."""
    features = np.concatenate([known[0], own[0]])
    wanted = np.concatenate([probabilities_of(known[0], begin), np.eye(begin.shape[1], dtype=np.float32)[own[1]]])
    balanced = 1 / np.bincount(known[1])[known[1]]
    share = np.concatenate([balanced / balanced.sum(), np.full(len(own[1]), strength / len(own[1]))]).astype(np.float32)
    weights = begin.astype(np.float32).copy()
    mean = square = np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        error = (probabilities_of(features, weights) - wanted) * share[:, None]
        slope = np.vstack([features.T @ error, error.sum(axis=0)]).astype(np.float32)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rate = RATE * min(1.0, 2 * (1 - step / (STEPS + 1)))
        weights -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return weights


def chosen(
    features: Floats, weights: Floats, scores: Sequence[float] | None, metadata: ClassifierMetadata
) -> NDArray[np.int64]:
    """(N,) the index of the label that the monitor would choose, ``unsure`` left out."""
    rows = weigh_not_face(calibrated(probabilities_of(features, weights), metadata.temperature), scores, metadata)
    if Label.NOT_FACE not in metadata.labels:
        return np.asarray(rows.argmax(axis=1), np.int64)
    place = metadata.labels.index(Label.NOT_FACE)
    best = np.where(np.arange(rows.shape[1]) == place, -1.0, rows).argmax(axis=1)
    return np.where(rows[:, place] > metadata.max_not_face, place, best)


def _forgotten(
    guard: tuple[Floats, NDArray[np.int64]], before: Floats, after: Floats, metadata: ClassifierMetadata
) -> dict[Label, float]:
    features, targets = guard
    was, now = (chosen(features, weights, None, metadata) == targets for weights in (before, after))
    fall = was.astype(float) - now
    return {label: float(fall[targets == i].mean()) for i, label in enumerate(metadata.labels) if i in targets}


def _forgets(forgotten: Mapping[Label, float]) -> bool:
    faces = [fall for label, fall in forgotten.items() if label is not Label.NOT_FACE]
    falls = [max(fall, 0.0) for fall in forgotten.values()]  # a gain elsewhere does not make up for it
    return bool(np.mean(falls) > MAX_FORGOTTEN or max(faces) > MAX_FORGOTTEN_LABEL)


def compare(old_right: NDArray[np.bool_], new_right: NDArray[np.bool_]) -> Comparison:
    """(N,) which faces each of two models has right."""
    gained, lost = new_right & ~old_right, old_right & ~new_right
    return Comparison(len(old_right), *(int(each.sum()) for each in (old_right, new_right, gained, lost)))


def _right_answers(
    old: HeadModel, held: Sequence[OwnFace], weights: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) which faces ``old`` has right, and which it has right with ``weights``."""
    metadata = old.metadata
    crops = central_crops([each.face for each in held], metadata.labels, metadata.input_px, metadata.margin)
    features, scores = old.features(crops.images), [each.score for each in held]
    was, now = (chosen(features, each, scores, metadata) == crops.targets for each in (old.weights, weights))
    return was, now
