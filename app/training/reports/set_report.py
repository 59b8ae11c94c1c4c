"""The results for one set: scores, scores at equal resolution, and the accuracy of shortcuts alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from app.training.classifier.evaluation import Predictions, SetReport
from app.training.classifier.open_tests import shortcut_probe
from app.training.data.crops import Crops

MIN_PROBED = 5
"""Fewest faces of a class: the number of folds in the probe's cross-validation."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Balanced accuracy (0 to 1) of each shortcut alone, by name. ``missing`` says why there is none."""

    found: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class ReportedSet:
    """``predictions``: predictions for reliability and errors. ``equalised``: scores at equal resolution, or None.
    ``copies``: pairs of near-duplicates, each an image and one of another split of the same data."""

    report: SetReport
    predictions: Predictions
    equalised: SetReport | None = None
    probe: Probe | None = None
    copies: tuple[tuple[Path, Path], ...] = ()

    @property
    def reports(self) -> tuple[SetReport, ...]:
        return (self.report,) if self.equalised is None else (self.report, self.equalised)


def probe_of(crops: Crops) -> Probe:
    """The shortcut probe on the classes with enough faces, if scikit-learn is installed."""
    if find_spec("sklearn") is None:
        return Probe(missing="the shortcut probe needs scikit-learn: pip install 'maskwatch[train]'")
    counts = np.bincount(crops.targets, minlength=len(crops.labels))
    enough = np.flatnonzero(counts >= MIN_PROBED)
    if len(enough) < 2:
        return Probe(missing=f"too few faces for the shortcut probe; it needs {MIN_PROBED} of each of two classes")
    return Probe(shortcut_probe(crops.where(np.isin(crops.targets, enough))))
