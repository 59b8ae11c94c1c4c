"""Judging a classifier file on whole sets, through the same run time and the same crops as the monitor."""

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
from app.training.data.crops import Crops, load_crops
from app.training.data.samples import Sample
from app.training.metrics import Probabilities, Scores, Unsure, score, unsure_effect
from app.vision.classifier import MaskClassifier, decide
from app.vision.model_metadata import ClassifierMetadata
from app.vision.preprocess import sharpness

UNSURE_MIN_FACE_PX = 32
MIN_SLICE = 25
"""Slices of fewer faces are left out: their intervals say nothing."""

UTKFACE_SEXES = ("male", "female")
UTKFACE_ETHNICITIES = ("White", "Black", "Asian", "Indian", "other")
AGE_BANDS = ((0, 12), (13, 19), (20, 39), (40, 59), (60, 120))


@dataclass(frozen=True, slots=True)
class Predictions:
    """A set as the model saw it: (N, C) calibrated probabilities beside the truth. ``left_out``: how many faces of the
    set were not judged, by the reason."""

    crops: Crops
    probabilities: Probabilities
    metadata: ClassifierMetadata
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetReport:
    """One set's figures. ``unsure`` concerns faces of at least 32 px."""

    name: str
    scores: Scores
    unsure: Unsure | None
    slices: Mapping[str, Scores] = field(default_factory=dict)
    unreadable: tuple[Path, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def predict_samples(
    classifier: MaskClassifier,
    samples: Sequence[Sample],
    min_face_px: float = 0.0,
    sight_px: int = 0,
    progress: Callable[[int], None] = lambda _done: None,
) -> Predictions:
    """Every sample whose label the model knows; smaller faces than ``min_face_px`` are left out. ``sight_px`` shows
    every crop at one resolution. Raises DataError where nothing is left."""
    metadata = classifier.metadata
    crops = load_crops(samples, metadata.labels, metadata.input_px, metadata.margin, sight_px, progress)
    large = crops.sizes_px >= min_face_px
    left_out = left_out_faces(samples, metadata)
    if not large.all():
        left_out[f"smaller than {min_face_px:g} px"] = int((~large).sum())
    crops = crops.where(large)
    if not len(crops.targets):
        raise DataError(
            f"no face of at least {min_face_px:g} px with a label that {metadata.name} knows; lower --min-face-px"
        )
    return Predictions(crops, classifier.classify(crops.images), metadata, left_out)


def left_out_faces(samples: Sequence[Sample], metadata: ClassifierMetadata) -> dict[str, int]:
    """How many faces have a label that the model does not know, by what is told of them."""
    counts = Counter(sample.label for sample in samples if sample.label not in metadata.labels)
    return {f"{label.value}, which {metadata.name} does not know": count for label, count in sorted(counts.items())}


def report(name: str, judged: Predictions, slices: Mapping[str, NDArray[np.bool_]] | None = None) -> SetReport:
    labels, targets = judged.metadata.labels, judged.crops.targets
    large = judged.crops.sizes_px >= UNSURE_MIN_FACE_PX
    unsure = None
    if large.any():
        unsure = unsure_effect(judged.probabilities[large], targets[large], unsure_mask(judged)[large], labels)
    parts = {
        part: score(judged.probabilities[chosen], targets[chosen], labels)
        for part, chosen in (slices or {}).items()
        if chosen.sum() >= MIN_SLICE
    }
    scores = score(judged.probabilities, targets, labels)
    return SetReport(name, scores, unsure, parts, judged.crops.unreadable, judged.left_out)


def unsure_mask(judged: Predictions) -> NDArray[np.bool_]:
    """(N,) what the monitor would call unsure, by its own rule."""
    rows = zip(judged.probabilities, judged.crops.sizes_px, judged.crops.images, strict=True)
    return np.array(
        [decide(row.tolist(), judged.metadata, size, sharpness(crop)).label == Label.UNSURE for row, size, crop in rows]
    )


def subset(judged: Predictions, chosen: NDArray[np.bool_]) -> Predictions:
    return replace(judged, crops=judged.crops.where(chosen), probabilities=judged.probabilities[chosen])


def time_per_face_ms(classifier: MaskClassifier, batch: int, seconds: float = 2.0) -> float:
    """The median time a face in batches of ``batch``, after a warm-up, over about ``seconds``."""
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


def without_siblings(judged: Predictions) -> NDArray[np.bool_]:
    """(N,) False for faces12k's ``Augmented_`` pictures: their photographs are in its training split."""
    return np.array([not sample.path.name.startswith("Augmented_") for sample in judged.crops.samples])


def usual_slices(judged: Predictions) -> dict[str, NDArray[np.bool_]]:
    """By size, by what UTKFace's names state, and by source where there are several."""
    samples = judged.crops.samples
    slices = size_slices(judged.crops.sizes_px) | utkface_slices(samples)
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
    """By sex, ethnicity and age band, as UTKFace's file names state them; nothing for other names."""
    rows = [_utkface_facts(sample.path) for sample in samples]
    slices: dict[str, NDArray[np.bool_]] = {}
    for place, name in enumerate(UTKFACE_SEXES):
        slices[name] = np.array([row is not None and row[1] == place for row in rows])
    for place, name in enumerate(UTKFACE_ETHNICITIES):
        slices[name] = np.array([row is not None and row[2] == place for row in rows])
    for low, high in AGE_BANDS:
        slices[f"age {low}-{high}"] = np.array([row is not None and low <= row[0] <= high for row in rows])
    return slices


def _utkface_facts(path: Path) -> tuple[int, int, int] | None:
    found = re.match(r"([0-9]{1,3})_([01])_([0-4])_[0-9]{17}", path.name)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))
