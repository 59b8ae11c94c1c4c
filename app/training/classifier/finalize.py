"""From the best weights to a model file: calibration on the development faces, then export."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from app.core.types import Label
from app.training.classifier.calibration import (
    Calibration,
    UnsureRule,
    add_offsets,
    balanced_weights,
    choose_offsets,
    choose_temperature,
    choose_unsure,
)
from app.training.data.crops import Crops
from app.training.data.face_pool import PooledFace, central_crops
from app.training.export import export_classifier
from app.training.metrics import Probabilities, Scores, score
from app.training.types import KerasModel
from app.vision.classifier import calibrated
from app.vision.model_metadata import ClassifierMetadata
from app.vision.preprocess import sharpness

MIN_FACE_PX = 20
"""Smallest face that is evaluated, as in the open tests."""
UNSURE_FROM_PX = 32
MIN_FACES, MIN_ERRORS = 100, 5
"""With fewer development faces, or fewer errors among them, calibration would be random: the best temperature of a
model without errors is 0."""


@dataclass(frozen=True, slots=True)
class FinalizedModel:
    """The model's files, its metadata, and its results on the development faces."""

    files: tuple[Path, Path]
    metadata: ClassifierMetadata
    choice: Calibration
    dev: Scores
    dev_frames: Scores | None


def finalize_model(
    model: KerasModel,
    labels: tuple[Label, ...],
    dev: Sequence[PooledFace],
    stem: Path,
    metadata: ClassifierMetadata,
    offsets: tuple[float, ...] | None = None,
) -> FinalizedModel:
    """Chooses offsets (unless given), temperature and the unsure rule on ``dev``, applies them, and writes ``stem.*``.

    ``metadata`` gives name, margin and origins. Its temperature and thresholds are replaced, unless ``dev`` is too
    small. The monitor sees faces in frames, so the choice uses only them if there are enough. Hard negatives are
    not used: they are mined at a low score, so they are far more frequent in ``dev`` than in the monitor.
    """
    crops = central_crops(dev, labels, metadata.input_px, metadata.margin)
    in_frames = np.array([sample.box is not None for sample in crops.samples])
    is_face = np.array([sample.label is not Label.NOT_FACE for sample in crops.samples])
    is_evaluated = is_face & in_frames & (crops.sizes_px >= MIN_FACE_PX)
    if is_evaluated.sum() < 200:
        is_evaluated = is_face
    chosen_on = crops.where(is_evaluated)
    errors = int((predict_faces(model, chosen_on).argmax(axis=1) != chosen_on.targets).sum())
    if len(chosen_on.targets) >= MIN_FACES and errors >= MIN_ERRORS:
        large = crops.where(is_evaluated & (crops.sizes_px >= UNSURE_FROM_PX))
        choice = _calibrated_on(model, chosen_on, large, offsets)
    else:
        choice = _unchanged(metadata)
    probabilities = calibrated(predict(model, crops), choice.temperature)
    own = metadata.model_copy(
        update={
            "labels": labels,
            "temperature": round(choice.temperature, 4),
            **asdict(choice.unsure),
            "min_face_px": MIN_FACE_PX,
        }
    )
    files = export_classifier(model, own, stem)
    frames = score(probabilities[is_evaluated], crops.targets[is_evaluated], labels) if in_frames.any() else None
    return FinalizedModel(files, own, choice, score(probabilities, crops.targets, labels), frames)


def _calibrated_on(model: KerasModel, crops: Crops, large: Crops, offsets: tuple[float, ...] | None) -> Calibration:
    """Calibrates on ``crops``, the unsure rule on ``large`` only. Adds the offsets to ``model``."""
    weights = balanced_weights(crops.targets, [sample.source for sample in crops.samples], crops.labels, 1.0)
    offsets = offsets or choose_offsets(predict_faces(model, crops), crops.targets, weights)
    add_offsets(model, offsets)
    temperature = choose_temperature(predict_faces(model, crops), crops.targets, weights)
    return Calibration(offsets, temperature, unsure_rule(model, large if len(large.targets) else crops, temperature))


def _unchanged(metadata: ClassifierMetadata) -> Calibration:
    rule = UnsureRule(metadata.min_confidence, metadata.min_two_way, metadata.min_sharpness)
    return Calibration((0.0,) * len(metadata.labels), metadata.temperature, rule, is_chosen=False)


def unsure_rule(model: KerasModel, crops: Crops, temperature: float) -> UnsureRule:
    """The unsure rule, chosen on the crops and their mirror images, which have different errors."""
    mirrored = replace(crops, images=crops.images[:, :, ::-1])
    both = [predict_faces(model, shown) for shown in (crops, mirrored)]
    probabilities = calibrated(np.concatenate(both), temperature)
    sharp = np.array([sharpness(crop) for crop in crops.images])
    return choose_unsure(probabilities, np.tile(crops.targets, 2), np.tile(sharp, 2), crops.labels)


def predict(model: KerasModel, crops: Crops) -> Probabilities:
    """(N, C) float32 uncalibrated probabilities."""
    return np.asarray(model.predict(crops.images, batch_size=256, verbose=0), np.float32)


def predict_faces(model: KerasModel, crops: Crops) -> Probabilities:
    """As ``predict``, of the labels of faces only: whether it is a face is decided together with the detector."""
    faces = predict(model, crops)[:, [i for i, label in enumerate(crops.labels) if label is not Label.NOT_FACE]]
    return np.asarray(faces / faces.sum(axis=1, keepdims=True), np.float32)
