"""How well size, sharpness and colour alone separate the classes. A model that is not better may use only these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.training.data.crops import Crops
from app.training.data.images import read_image
from app.vision.preprocess import sharpness

MIN_PROBED = 5
"""Fewest faces of a class: the number of folds in the probe's cross-validation."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Balanced accuracy (0 to 1) of each shortcut alone, by name. ``missing`` says why there is none."""

    found: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


def probe_of(crops: Crops) -> Probe:
    """The shortcut probe on the classes with enough faces, if scikit-learn is installed."""
    if find_spec("sklearn") is None:
        return Probe(missing="the shortcut probe needs scikit-learn: pip install 'maskwatch[train]'")
    counts = np.bincount(crops.targets, minlength=len(crops.labels))
    enough = np.flatnonzero(counts >= MIN_PROBED)
    if len(enough) < 2:
        return Probe(missing=f"too few faces for the shortcut probe; it needs {MIN_PROBED} of each of two classes")
    return Probe(shortcut_probe(crops.where(np.isin(crops.targets, enough))))


def shortcut_probe(crops: Crops, seed: int = 42) -> dict[str, float]:
    """How well size, sharpness and colour alone predict the class: cross-validated balanced accuracy (0 to 1) of a
    logistic regression on each, and on all three. A model that is not better may use only these shortcuts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    clues = shortcut_features(crops)
    counts = np.bincount(crops.targets, minlength=len(crops.labels))
    folds = StratifiedKFold(max(2, min(5, int(counts[counts > 0].min()))), shuffle=True, random_state=seed)
    found = {}
    for name, columns in {"size": [0], "sharpness": [1], "colour": [2, 3, 4, 5], "all three": list(range(6))}.items():
        probe = make_pipeline(
            StandardScaler(), PolynomialFeatures(2), LogisticRegression(max_iter=2000, class_weight="balanced")
        )
        chosen = cross_val_predict(probe, clues[:, columns], crops.targets, cv=folds)
        shares = [(chosen[crops.targets == i] == i).mean() for i in np.flatnonzero(counts)]
        found[name] = float(np.mean(shares))
    return found


def shortcut_features(crops: Crops) -> NDArray[np.float64]:
    """(N, 6) float64: log image size, log sharpness, mean red, green, blue, contrast."""
    sizes: dict[Path, float] = {}
    rows = []
    for sample, image, size_px in zip(crops.samples, crops.images, crops.sizes_px, strict=True):
        if sample.box is None and sample.path not in sizes:
            source = read_image(sample.path)
            sizes[sample.path] = float(source.shape[1]) if source is not None else size_px
        size = size_px if sample.box is not None else sizes[sample.path]
        mean = image.reshape(-1, 3).mean(axis=0)
        rows.append((np.log(max(size, 1.0)), np.log(sharpness(image) + 1), *mean, image.std()))
    return np.array(rows)
