"""The records that the parts of training exchange."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Label

KerasModel = Any
"""A ``keras.Model``. TensorFlow has no types for mypy."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled face: a bounding box in an image, or a whole image that is already the crop (``box`` is None)."""

    path: Path
    label: Label
    source: str
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An entry that cannot be used, and why. ``path`` is the image, or the annotation file if that is at fault."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SceneFace:
    """An annotated face. ``points`` as in ``Detection.landmarks``, or empty. ``label`` is ``None`` if the class is
    unknown."""

    box: Box
    label: Label | None
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """An image with its faces. ``neutral``: boxes that may contain a face, where no answer is wrong."""

    path: Path
    source: str
    faces: tuple[SceneFace, ...]
    neutral: tuple[Box, ...] = ()


class Batches(Protocol):
    """A source of training batches. An epoch depends only on its index, so a resumed run gets the same batches."""

    @property
    def steps(self) -> int: ...

    def epoch(self, index: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        """Yields ``steps`` pairs of crops (B, S, S, 3) uint8 RGB and targets (B, C) float32."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained. ``warmup_epochs`` and ``cosine`` shape the learning rate; ``ema`` is the momentum of
    the averaged weights, 0 for none. Every ``evaluate_every`` epochs, and at the end, the network is evaluated on the
    development split. ``patience`` 0 disables early stopping. Without ``restore_best`` the last weights are used."""

    epochs: int
    batch: int = 16
    optimizer: Literal["adam", "sgd", "adamw"] = "adam"
    learning_rate: float = 0.01
    cosine: bool = False
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    evaluate_every: int = 1
    patience: int = 0
    start_from_epoch: int = 0
    restore_best: bool = True
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    seed: int = 42


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The results of one epoch: the means of its steps, and the metrics on the development split, empty if it was not
    evaluated. The epoch with the lowest ``development["loss"]`` is the best."""

    epoch: int
    training: dict[str, float]
    development: dict[str, float]
    learning_rate: float
    seconds: float
