"""Problems of the study's evaluation, measured on its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.types import Label
from app.training.data.images import read_image
from app.training.data.near_duplicates import shared_faces
from app.training.data.samples import class_folders
from app.training.data.splits import photograph
from app.training.metrics import wilson
from app.training.types import Sample


@dataclass(frozen=True, slots=True)
class Audit:
    """``width_accuracy``: accuracy on the test split of one threshold on the image width, chosen on the training split.
    ``siblings``: how many of ``augmented`` masks of the test split come from a training photograph.
    ``near_duplicates``: how many of ``second`` images of the second set are near-duplicates of training images."""

    lower_bound_of_64: float
    width_px: int
    width_accuracy: float
    siblings: int
    augmented: int
    near_duplicates: int
    second: int


def audit(splits: Mapping[str, Sequence[Sample]], second: Path) -> Audit:
    """``second`` is the folder of the study's second set. If it does not exist, its counts are 0."""
    width_px = _best_width(splits["train"])
    test_widths, test_masks = _widths(splits["test"])
    accuracy = float(np.mean((test_widths > width_px) == test_masks))
    seen = {photograph(sample.path) for sample in splits["train"]}
    augmented = [sample.path for sample in splits["test"] if sample.path.name.startswith("Augmented_")]
    others = class_folders(second) if second.is_dir() else []
    near_duplicates = shared_faces(others, splits["train"])
    return Audit(
        lower_bound_of_64=wilson(64, 64).low,
        width_px=width_px,
        width_accuracy=accuracy,
        siblings=sum(photograph(path) in seen for path in augmented),
        augmented=len(augmented),
        near_duplicates=len(near_duplicates),
        second=len(others),
    )


def audit_lines(found: Audit) -> list[str]:
    lines = [
        f"64 of 64 right has a Wilson 95 % interval from {found.lower_bound_of_64:.1%}",
        f"'wider than {found.width_px} px is masked' is correct for {found.width_accuracy:.1%} of the test split",
        f"{found.siblings} of {found.augmented} augmented masks of the test split have an augmented copy in training",
    ]
    if found.second:
        lines.append(
            f"{found.near_duplicates} of {found.second} images of the second set are near-duplicates of training images"
        )
    return lines


def _widths(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    images = [(read_image(sample.path), sample.label) for sample in samples]
    sizes = [(image.shape[1], label == Label.MASK) for image, label in images if image is not None]
    return np.array([width for width, _ in sizes]), np.array([mask for _, mask in sizes])


def _best_width(samples: Sequence[Sample]) -> int:
    widths, masks = _widths(samples)
    tried = range(int(widths.min()), int(widths.max()))
    return max(tried, key=lambda width_px: float(np.mean((widths > width_px) == masks)))
