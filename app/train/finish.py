"""From best weights to a model file: everything that is chosen is chosen on the development faces, then exported."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from app.domain import Label
from app.train.choose import (
    Choice,
    UnsureRule,
    add_offsets,
    balanced_weights,
    choose_offsets,
    choose_temperature,
    choose_unsure,
)
from app.train.dataset import Crops
from app.train.export import export_model
from app.train.metrics import Probabilities, Scores, score
from app.train.networks import KerasModel
from app.train.pool import Face, central_crops
from app.vision.classify import calibrated
from app.vision.modelfile import ClassifierFacts
from app.vision.preprocess import sharpness

MIN_FACE_PX = 20
"""Below it the open tests do not judge either."""
UNSURE_FROM_PX = 32
MIN_FACES, MIN_MISTAKES = 100, 5
"""With fewer development faces, or fewer of them mistaken, what would be chosen is chance: the temperature of a model
that makes no mistake is 0."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The model's files, its facts, and its figures on the development faces it was finished with."""

    files: tuple[Path, Path]
    facts: ClassifierFacts
    choice: Choice
    dev: Scores
    dev_frames: Scores | None


def finish(
    model: KerasModel, labels: tuple[Label, ...], dev: Sequence[Face], stem: Path, facts: ClassifierFacts
) -> Finished:
    """Chooses offsets, temperature and the unsure rule on ``dev``, folds them in, and writes ``stem.*``.

    ``facts`` gives the name, margin and origins; its temperature and thresholds are replaced, unless ``dev`` is too
    small to choose by. Faces in frames are what the monitor meets, so where there are enough of them the choices are
    made on them alone.
    """
    crops = central_crops(dev, labels, facts.input_px, facts.margin)
    in_frames = np.array([sample.box is not None for sample in crops.samples])
    judges = in_frames & (crops.sizes_px >= MIN_FACE_PX)
    if judges.sum() < 200:
        judges = np.ones(len(crops.targets), bool)
    chosen_on = crops.where(judges)
    mistaken = int((ask(model, chosen_on).argmax(axis=1) != chosen_on.targets).sum())
    if len(chosen_on.targets) >= MIN_FACES and mistaken >= MIN_MISTAKES:
        choice = _chosen(model, chosen_on, crops.where(judges & (crops.sizes_px >= UNSURE_FROM_PX)))
    else:
        choice = _kept(facts)
    probabilities = calibrated(ask(model, crops), choice.temperature)
    own = facts.model_copy(
        update={
            "labels": labels,
            "temperature": round(choice.temperature, 4),
            **asdict(choice.unsure),
            "min_face_px": MIN_FACE_PX,
        }
    )
    files = export_model(model, own, stem)
    frames = score(probabilities[judges], crops.targets[judges], labels) if in_frames.any() else None
    return Finished(files, own, choice, score(probabilities, crops.targets, labels), frames)


def _chosen(model: KerasModel, crops: Crops, large: Crops) -> Choice:
    """On ``crops``, the unsure rule on ``large`` alone. Folds the offsets into ``model``."""
    weights = balanced_weights(crops.targets, [sample.source for sample in crops.samples], crops.labels, 1.0)
    offsets = choose_offsets(ask(model, crops), crops.targets, weights)
    add_offsets(model, offsets)
    temperature = choose_temperature(ask(model, crops), crops.targets, weights)
    return Choice(offsets, temperature, unsure_rule(model, large if len(large.targets) else crops, temperature))


def _kept(facts: ClassifierFacts) -> Choice:
    rule = UnsureRule(facts.min_confidence, facts.min_two_way, facts.min_sharpness)
    return Choice((0.0,) * len(facts.labels), facts.temperature, rule, is_chosen=False)


def unsure_rule(model: KerasModel, crops: Crops, temperature: float) -> UnsureRule:
    """Chosen on the crops and on their mirror images: few are mistaken, and the mirrored ones are so otherwise."""
    mirrored = replace(crops, images=crops.images[:, :, ::-1])
    probabilities = np.concatenate([calibrated(ask(model, shown), temperature) for shown in (crops, mirrored)])
    sharp = np.array([sharpness(crop) for crop in crops.images])
    return choose_unsure(probabilities, np.tile(crops.targets, 2), np.tile(sharp, 2), crops.labels)


def ask(model: KerasModel, crops: Crops) -> Probabilities:
    """(N, C) float32 uncalibrated probabilities."""
    return np.asarray(model.predict(crops.images, batch_size=256, verbose=0), np.float32)
