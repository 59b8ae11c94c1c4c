"""Evaluation of a classifier file on whole sets, with the same runtime and the same crops as the monitor."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.types import Label
from app.training.classifier.shortcut_probe import Probe
from app.training.data.crops import UNREADABLE, Crops, load_crops
from app.training.metrics import Probabilities, Scores, Unsure, score, unsure_effect
from app.training.types import Sample
from app.vision.classifier import MaskClassifier, decide, weigh_not_face
from app.vision.model_metadata import ClassifierMetadata
from app.vision.preprocess import sharpness

UNSURE_MIN_FACE_PX = 32
MIN_SLICE = 25
"""Slices with fewer faces are left out, because their intervals are too wide."""

UTKFACE_SEXES = ("male", "female")
UTKFACE_ETHNICITIES = ("White", "Black", "Asian", "Indian", "other")
AGE_BANDS = ((0, 12), (13, 19), (20, 39), (40, 59), (60, 120))


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions for one set: (N, C) calibrated probabilities, with the ground truth in ``crops``. ``left_out``: the
    number of faces that were not evaluated, by reason."""

    crops: Crops
    probabilities: Probabilities
    metadata: ClassifierMetadata
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetReport:
    """The results of one set. ``unsure`` is for faces of at least 32 px."""

    name: str
    scores: Scores
    unsure: Unsure | None
    slices: Mapping[str, Scores] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReportedSet:
    """The results for one set with its ``predictions``, for reliability and errors. ``equalised``: scores at equal
    resolution. ``copies``: pairs of near-duplicates, each an image and one of another split of the same data."""

    report: SetReport
    predictions: Predictions
    equalised: SetReport | None = None
    probe: Probe | None = None
    copies: tuple[tuple[Path, Path], ...] = ()

    @property
    def reports(self) -> tuple[SetReport, ...]:
        return (self.report,) if self.equalised is None else (self.report, self.equalised)


def predict_samples(
    classifier: MaskClassifier,
    samples: Sequence[Sample],
    min_face_px: float = 0.0,
    resolution_px: int = 0,
    progress: Callable[[int], None] = lambda _done: None,
) -> Predictions:
    """Predictions for all samples with one of the model's labels and at least ``min_face_px``. ``resolution_px`` brings
    every crop to one resolution. Raises DataError if no face is left."""
    metadata = classifier.metadata
    crops = load_crops(samples, metadata.labels, metadata.input_px, metadata.margin, resolution_px, progress)
    large = crops.sizes_px >= min_face_px
    left_out = left_out_faces(samples, metadata)
    unreadable = {entry.path for entry in crops.left_out if entry.reason == UNREADABLE}
    if unreadable:
        left_out["in images that cannot be read"] = sum(sample.path in unreadable for sample in samples)
    if not large.all():
        left_out[f"smaller than {min_face_px:g} px"] = int((~large).sum())
    crops = crops.where(large)
    if not len(crops.targets):
        raise DataError(
            f"no face of at least {min_face_px:g} px has a label that {metadata.name} knows; lower --min-face-px"
        )
    return predict_crops(classifier, crops, left_out)


def predict_crops(classifier: MaskClassifier, crops: Crops, left_out: Mapping[str, int] | None = None) -> Predictions:
    """Predictions for faces that are annotated, so no detector has a score for them."""
    probabilities = weigh_not_face(classifier.classify(crops.images), None, classifier.metadata)
    return Predictions(crops, probabilities, classifier.metadata, left_out or {})


def left_out_faces(samples: Sequence[Sample], metadata: ClassifierMetadata) -> dict[str, int]:
    """The number of faces whose label the model does not know, by reason."""
    counts = Counter(sample.label for sample in samples if sample.label not in metadata.labels)
    return {f"{label.value}, which {metadata.name} does not know": count for label, count in sorted(counts.items())}


def report(name: str, predictions: Predictions, slices: Mapping[str, NDArray[np.bool_]] | None = None) -> SetReport:
    labels, targets = predictions.metadata.labels, predictions.crops.targets
    large = predictions.crops.sizes_px >= UNSURE_MIN_FACE_PX
    unsure = None
    if large.any():
        unsure = unsure_effect(
            predictions.probabilities[large], targets[large], unsure_mask(predictions)[large], labels
        )
    parts = {
        part: score(predictions.probabilities[chosen], targets[chosen], labels)
        for part, chosen in (slices or {}).items()
        if chosen.sum() >= MIN_SLICE
    }
    scores = score(predictions.probabilities, targets, labels)
    return SetReport(name, scores, unsure, parts, predictions.left_out)


def unsure_mask(predictions: Predictions) -> NDArray[np.bool_]:
    """(N,) bool: faces that the monitor would label unsure, by the monitor's own rule."""
    rows = zip(predictions.probabilities, predictions.crops.sizes_px, predictions.crops.images, strict=True)
    return np.array(
        [
            decide(row.tolist(), predictions.metadata, size, sharpness(crop)).label == Label.UNSURE
            for row, size, crop in rows
        ]
    )


def subset(predictions: Predictions, chosen: NDArray[np.bool_]) -> Predictions:
    return replace(predictions, crops=predictions.crops.where(chosen), probabilities=predictions.probabilities[chosen])


def time_per_face_ms(classifier: MaskClassifier, batch: int, seconds: float = 2.0) -> float:
    """The median time per face in batches of ``batch``, after a warm-up, measured for about ``seconds``."""
    size_px = classifier.metadata.input_px
    crops = np.random.default_rng(0).integers(0, 256, (batch, size_px, size_px, 3), np.uint8)
    for _ in range(10):
        classifier.classify(crops)
    times_s: list[float] = []
    while sum(times_s) < seconds:
        began_s = time.perf_counter()
        classifier.classify(crops)
        times_s.append(time.perf_counter() - began_s)
    return 1000 * float(np.median(times_s)) / batch


def without_siblings(predictions: Predictions) -> NDArray[np.bool_]:
    """(N,) bool: False for faces12k's ``Augmented_`` images, whose photographs are in its training split."""
    return np.array([not sample.path.name.startswith("Augmented_") for sample in predictions.crops.samples])


def usual_slices(predictions: Predictions) -> dict[str, NDArray[np.bool_]]:
    """Slices by size, by UTKFace's attributes, and by source if there are several."""
    samples = predictions.crops.samples
    slices = size_slices(predictions.crops.sizes_px) | utkface_slices(samples)
    return slices | source_slices(samples) if len({sample.source for sample in samples}) > 1 else slices


def source_slices(samples: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    names = np.array([sample.source for sample in samples])
    return {f"source {name}": names == name for name in sorted(set(names.tolist()))}


def size_slices(sizes_px: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    edges = (0, 20, 32, 48, 96, 100_000)
    return {
        f"{low} to {high} px" if high < edges[-1] else f"over {low} px": (sizes_px >= low) & (sizes_px < high)
        for low, high in pairwise(edges)
    }


def utkface_slices(samples: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Slices by sex, ethnicity and age from UTKFace's file names; none for other file names."""
    rows = [_utkface_attributes(sample.path) for sample in samples]
    slices: dict[str, NDArray[np.bool_]] = {}
    for place, name in enumerate(UTKFACE_SEXES):
        slices[name] = np.array([row is not None and row[1] == place for row in rows])
    for place, name in enumerate(UTKFACE_ETHNICITIES):
        slices[name] = np.array([row is not None and row[2] == place for row in rows])
    for low, high in AGE_BANDS:
        slices[f"age {low}-{high}"] = np.array([row is not None and low <= row[0] <= high for row in rows])
    return slices


def _utkface_attributes(path: Path) -> tuple[int, int, int] | None:
    found = re.match(r"([0-9]{1,3})_([01])_([0-4])_[0-9]{17}", path.name)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))
