"""Training of the detector: batches of training views, one step, and the initial network."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.training.detector.augmentation import Sampler, TrainingView
from app.training.detector.loss import Grid, cell_grid, detector_loss
from app.training.detector.network import build_detector, load_detector_network, load_onnx
from app.training.trainer import checkpoint_weights
from app.training.types import KerasModel, Recipe

DETECTOR_RECIPE = Recipe(
    epochs=60,
    batch=16,
    optimizer="adamw",
    learning_rate=3e-4,
    cosine=True,
    warmup_epochs=2.5,
    weight_decay=1e-3,
    ema=0.999,
    evaluate_every=5,
    seed=7,
)

SIZES_PX = (256, 320)
"""Image sizes that alternate with each step, so that the network does not depend on one size."""

CALM_SHARE = 0.1
"""The last share of training, with few mosaics (Ge et al. 2021), so that its images resemble real frames."""

MOST_FACES = 48
"""Most faces of one training image. Further faces, the smallest ones, become neutral regions."""

_FACES_STEP = 8
"""Batches are padded to a multiple of it. Padding to 48 rows for 8 faces made a training step a tenth slower."""

_BOX_WEIGHT, _POINTS_WEIGHT = 2.0, 3.0
"""The loss of the landmarks is a mean of ten coordinates. With weight 0.5 the network learned only the mean face."""


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """images (B, S, S, 3) uint8 BGR; truths (B, M, 4), points (B, M, 10) float32; ignored (B, N) bool."""

    images: NDArray[np.uint8]
    truths: NDArray[np.float32]
    points: NDArray[np.float32]
    ignored: NDArray[np.bool_]


def to_batch(views: Sequence[TrainingView], grid: Grid) -> DetectorBatch:
    """Views of one size, padded to the largest number of faces in a view (at most ``MOST_FACES``)."""
    count, size = len(views), views[0].image.shape[0]
    images = np.empty((count, size, size, 3), np.uint8)
    fullest = max(1, *(len(view.faces) for view in views))
    rows = min(MOST_FACES, math.ceil(fullest / _FACES_STEP) * _FACES_STEP)
    truths = np.zeros((count, rows, 4), np.float32)
    points = np.full((count, rows, 10), np.nan, np.float32)
    ignored = np.zeros((count, len(grid.strides)), np.bool_)
    x, y = grid.centers.T
    for i, view in enumerate(views):
        images[i] = view.image
        largest = np.argsort(-(view.faces[:, 2:4] - view.faces[:, :2]).min(axis=1, initial=1e9))
        kept, left = view.faces[largest[:MOST_FACES]], view.faces[largest[MOST_FACES:], :4]
        truths[i, : len(kept)], points[i, : len(kept)] = kept[:, :4], kept[:, 4:]
        for left_px, top, right, bottom in np.concatenate([view.neutral, left]):
            ignored[i] |= (x > left_px - 4) & (x < right + 4) & (y > top - 4) & (y < bottom + 4)
    return DetectorBatch(images, truths, points, ignored)


def open_network(path: Path) -> KerasModel:
    """The initial network, from a detector's ``.keras`` file, YuNet's ``.onnx`` file, or the checkpoint of a run.
    Raises DataError if the file cannot be used."""
    if path.suffix == ".onnx":
        return load_onnx(path)
    try:
        if path.suffix == ".keras":
            return load_detector_network(path)
        model = build_detector()
        model.set_weights(checkpoint_weights(path, "best", "averaged", "model"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} has no weights of a detector: {reason}; give another file") from error
    return model


class DetectorTask:
    """Training of the detector on the scenes of ``sampler``; ``calm`` samples the last epochs. ``judge`` returns the
    metrics of the network on the development split."""

    def __init__(
        self,
        model: KerasModel,
        recipe: Recipe,
        sampler: Sampler,
        calm: Sampler,
        judge: Callable[[KerasModel], dict[str, float]],
        sizes_px: Sequence[int] = SIZES_PX,
    ) -> None:
        import keras

        self.model = model
        self.optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=10.0
        )
        self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        self.optimizer.build(model.trainable_variables)
        self._recipe, self._sampler, self._calm, self._judge = recipe, sampler, calm, judge
        self._sizes_px = sizes_px
        self._update = _update(model, self.optimizer)

    @property
    def steps(self) -> int:
        return len(self._sampler.scenes) // self._recipe.batch

    def batches(self, epoch: int, progress: float) -> Iterator[DetectorBatch]:
        """One pass over the scenes."""
        sampler = self._calm if progress >= 1.0 - CALM_SHARE else self._sampler
        rng = np.random.default_rng((self._recipe.seed, epoch))
        order, batch = rng.permutation(len(sampler.scenes)), self._recipe.batch
        for step in range(self.steps):
            size = self._sizes_px[step % len(self._sizes_px)]
            views = [sampler.sample(int(i), size, rng) for i in order[step * batch : (step + 1) * batch]]
            yield to_batch(views, cell_grid(size, size))

    def train_step(self, batch: DetectorBatch) -> dict[str, float]:
        score, box, points = map(float, self._update(batch.images, batch.truths, batch.points, batch.ignored))
        return {"loss": score + box + points, "score": score, "box": box, "landmarks": points}

    def evaluate(self) -> dict[str, float]:
        """The loss is what the average precision lacks to 1."""
        metrics = self._judge(self.model)
        return {"loss": 1.0 - metrics.get("ap", 0.0), **metrics}


def _update(model: KerasModel, optimizer: Any) -> Callable[..., tuple[Any, Any, Any]]:
    """The function for one training step, with one graph per image size. XLA was nine times slower on the CPU."""
    import tensorflow as tf

    def step(grid: Grid, images: Any, truths: Any, points: Any, ignored: Any) -> Any:
        with tf.GradientTape() as tape:
            maps = model(tf.cast(images, tf.float32), training=True)
            losses = detector_loss(maps, truths, points, ignored, grid)
            total = losses[0] + _BOX_WEIGHT * losses[1] + _POINTS_WEIGHT * losses[2]
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(total, variables), variables)
        return losses

    graphs: dict[int, Any] = {}

    def update(images: Any, truths: Any, points: Any, ignored: Any) -> tuple[Any, Any, Any]:
        size = int(images.shape[1])
        if size not in graphs:
            grid = cell_grid(size, size)  # a constant of the graph, because TensorFlow cannot trace it as an argument
            graphs[size] = tf.function(
                lambda *batch: step(grid, *batch),
                input_signature=(
                    tf.TensorSpec((None, size, size, 3), tf.uint8),
                    tf.TensorSpec((None, None, 4), tf.float32),
                    tf.TensorSpec((None, None, 10), tf.float32),
                    tf.TensorSpec((None, len(grid.strides)), tf.bool),
                ),
            )
        losses: tuple[Any, Any, Any] = graphs[size](images, truths, points, ignored)
        return losses

    return update
