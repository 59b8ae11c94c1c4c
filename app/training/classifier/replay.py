"""A replay sample: features and labels of training faces, without images, so that a classifier that learns new faces
does not forget the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Label
from app.training.classifier.augmentation import AugmentedBatches, ClassifierAugmentation
from app.training.classifier.head import Floats, HeadModel
from app.training.data.face_pool import PooledFace, central_crops

BUNDLED = ("replay.npz", "open/replay.npz")
"""Those of the bundled classifiers."""


@dataclass(frozen=True, slots=True)
class ReplaySample:
    """``features`` (N, F) and ``targets`` (N,), indices into ``labels``. Those with ``is_guard`` (N,) are never
    learned: they show whether something is forgotten."""

    features: Floats
    targets: NDArray[np.int64]
    is_guard: NDArray[np.bool_]
    labels: tuple[Label, ...]
    fingerprint: str

    def write(self, path: Path) -> None:
        """Features as 8 bits between the least and the greatest value of each. Raises OSError."""
        least = self.features.min(axis=0)
        steps = np.maximum((self.features.max(axis=0) - least) / 255, 1e-12)
        np.savez_compressed(
            path,
            features=((self.features - least) / steps).round().astype(np.uint8),
            least=least,
            steps=steps,
            targets=self.targets.astype(np.uint8),
            is_guard=self.is_guard,
            labels=np.array(self.labels),
            fingerprint=np.array(self.fingerprint),
        )


def make_replay(
    model: HeadModel, train: Sequence[PooledFace], guard: Sequence[PooledFace], count: int, seed: int
) -> ReplaySample:
    """``count`` augmented crops of ``train``, as in training, and the plain crops of ``guard``."""
    metadata = model.metadata
    settings = ClassifierAugmentation(metadata.input_px, metadata.margin, seed=seed)
    batches = AugmentedBatches(train, metadata.labels, settings).epoch(0)
    features, targets = [], []
    for _ in range(-(-count // settings.batch)):
        crops, wanted = next(batches)
        features.append(model.features(crops))
        targets.append(wanted.argmax(axis=1))
    held = central_crops(guard, metadata.labels, metadata.input_px, metadata.margin)
    return ReplaySample(
        np.concatenate([np.concatenate(features)[:count], model.features(held.images)]),
        np.concatenate([np.concatenate(targets)[:count], held.targets]),
        np.arange(count + len(guard)) >= count,
        metadata.labels,
        model.fingerprint,
    )


def read_replay(model: HeadModel) -> ReplaySample:
    """The bundled sample of ``model``. Raises ModelError if there is none, or it cannot be read."""
    for path in BUNDLED:
        sample = _read(resources.model(path))
        if sample.fingerprint == model.fingerprint and sample.labels == model.metadata.labels:
            return sample
    raise ModelError(f"{model.path} was not made from a bundled classifier; give --replay FOLDER with labelled faces")


def _read(path: Path) -> ReplaySample:
    """Raises ModelError."""
    try:
        with np.load(path) as kept:
            return ReplaySample(
                kept["features"] * kept["steps"] + kept["least"],
                kept["targets"].astype(np.int64),
                kept["is_guard"],
                tuple(Label(name) for name in kept["labels"].tolist()),
                str(kept["fingerprint"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read {path}: {error}; reinstall maskwatch") from error
