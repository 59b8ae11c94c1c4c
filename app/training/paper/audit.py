"""What is wrong with the study's evaluation, each point measured on the data itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.types import Label
from app.training.data.crops import read_image
from app.training.data.near_duplicates import shared_faces
from app.training.data.samples import Sample, class_folders
from app.training.data.splits import photograph
from app.training.metrics import wilson


@dataclass(frozen=True, slots=True)
class Audit:
    """``width_tells``: share of the test split whose class a single threshold on the picture's width tells, chosen on
    the training split; ``siblings`` of ``augmented`` masks of the test split whose photograph is in training;
    ``doubles`` of ``second`` pictures of the study's second set that nearly equal one of the first set's training."""

    floor_of_64: float
    width_px: int
    width_tells: float
    siblings: int
    augmented: int
    doubles: int
    second: int


def audit(splits: Mapping[str, Sequence[Sample]], second: Path) -> Audit:
    """``second`` is the folder of the study's second set; where it is absent its figures are 0."""
    width_px = _best_width(splits["train"])
    test_widths, test_masks = _widths(splits["test"])
    tells = float(np.mean((test_widths > width_px) == test_masks))
    seen = {photograph(sample.path) for sample in splits["train"]}
    augmented = [sample.path for sample in splits["test"] if sample.path.name.startswith("Augmented_")]
    others = class_folders(second) if second.is_dir() else []
    doubles = shared_faces(others, splits["train"])
    return Audit(
        floor_of_64=wilson(64, 64).low,
        width_px=width_px,
        width_tells=tells,
        siblings=sum(photograph(path) in seen for path in augmented),
        augmented=len(augmented),
        doubles=len(doubles),
        second=len(others),
    )


def audit_lines(found: Audit) -> list[str]:
    lines = [
        f"64 of 64 right has a Wilson 95 % interval down to {found.floor_of_64:.1%}",
        f"'wider than {found.width_px} px is masked' is right on {found.width_tells:.1%} of the test split",
        f"{found.siblings} of {found.augmented} augmented masks of the test split have a sibling in training",
    ]
    if found.second:
        lines.append(f"{found.doubles} of {found.second} pictures of the second set nearly equal one in training")
    return lines


def _widths(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    pictures = [(read_image(sample.path), sample.label) for sample in samples]
    known = [(picture.shape[1], label == Label.MASK) for picture, label in pictures if picture is not None]
    return np.array([width for width, _ in known]), np.array([mask for _, mask in known])


def _best_width(samples: Sequence[Sample]) -> int:
    widths, masks = _widths(samples)
    tried = range(int(widths.min()), int(widths.max()))
    return max(tried, key=lambda width_px: float(np.mean((widths > width_px) == masks)))
