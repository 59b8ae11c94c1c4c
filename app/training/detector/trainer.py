"""Training of the detector in a run folder: checkpoints, averaged weights, and scores on a development split."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.files import write_json
from app.training.detector.augmentation import Sampler, TrainingView
from app.training.detector.loss import Grid, cell_grid, detector_loss
from app.training.detector.network import build_detector, load_detector_network, load_onnx
from app.training.networks import KerasModel
from app.training.trainer import prefetched

log = logging.getLogger(__name__)

AVERAGED = "averaged.npz"
"""The final weights of a run, in the order of the network's weights."""

BEST = "best.npz"
"""The averaged weights of the best epoch on the development split, in the same format."""

MOST_FACES = 48
"""Most faces of one training image. Further faces, the smallest ones, become neutral regions."""

_FACES_STEP = 8
"""Batches are padded to a multiple of it. Padding to 48 rows for 8 faces made a training step a tenth slower."""

_BOX_WEIGHT, _POINTS_WEIGHT = 2.0, 3.0
"""The loss of the landmarks is a mean of ten coordinates. With weight 0.5 the network learned only the mean face."""


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """``sizes_px`` alternate with each step, so that the network does not depend on one image size."""

    epochs: int = 60
    budget_s: float = math.inf
    """Most seconds of training, even if epochs are left. The learning rate schedule takes it into account."""
    batch: int = 16
    sizes_px: tuple[int, ...] = (256, 320)
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    warmup_steps: int = 300
    average: float = 0.999
    calm: float = 0.1
    """The last share of training, with few mosaics (Ge et al. 2021), so that its images resemble real frames."""
    seed: int = 7


@dataclass(frozen=True, slots=True)
class DetectorEpoch:
    """Mean losses of one epoch, and the score on the development split if it was computed."""

    epoch: int
    score_loss: float
    box_loss: float
    points_loss: float
    learning_rate: float
    seconds: float
    development: dict[str, float] | None = None


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
    """The initial network, from a detector's ``.keras`` file, YuNet's ``.onnx`` file, or the weights of an earlier run.
    Raises DataError if the file cannot be used."""
    if path.suffix == ".onnx":
        return load_onnx(path)
    if path.suffix == ".keras":
        try:
            return load_detector_network(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a detector: {str(error).splitlines()[0]}; give another file") from error
    model = build_detector()
    load_weights(model, path)
    return model


def load_weights(model: KerasModel, path: Path) -> None:
    """Loads the weights of an earlier run (``AVERAGED``) into ``model``. Raises DataError if they do not fit."""
    try:
        with np.load(path) as kept:
            model.set_weights([kept[f"arr_{i}"] for i in range(len(kept.files))])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} has no weights for this network: {error}; give the {AVERAGED} of a run with the same network"
        ) from error


def learning_rate_at(recipe: DetectorRecipe, step: int, progress: float) -> float:
    """Linear warm-up by steps, times a cosine decay with ``progress`` (0 to 1) down to a hundredth."""
    warm = min((step + 1) / recipe.warmup_steps, 1.0)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def epoch_batches(sampler: Sampler, recipe: DetectorRecipe, epoch: int) -> Iterator[DetectorBatch]:
    """One pass over the scenes. It depends only on seed and epoch, so a resumed run gets the same batches."""
    rng = np.random.default_rng((recipe.seed, epoch))
    order = rng.permutation(len(sampler.scenes))
    for step in range(len(order) // recipe.batch):
        size = recipe.sizes_px[step % len(recipe.sizes_px)]
        chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
        yield to_batch([sampler.sample(int(i), size, rng) for i in chosen], cell_grid(size, size))


@dataclass(slots=True)
class DetectorTrainer:
    """One training run. ``calm`` samples the last epochs. ``judge`` scores the averaged network on the development
    split, every ``judge_every`` epochs and at the end. The weights with the best ``ap`` are the result."""

    model: KerasModel
    recipe: DetectorRecipe
    sampler: Sampler
    calm: Sampler
    folder: Path
    judge: Callable[[KerasModel], dict[str, float]] | None = None
    judge_every: int = 5
    on_step: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None
    on_epoch: Callable[[DetectorEpoch], None] = lambda _record: None

    def run(self) -> list[DetectorEpoch]:
        """Trains, then puts the averaged weights (of the best epoch if scored) in ``model`` and ``AVERAGED``."""
        import keras

        keras.utils.set_random_seed(self.recipe.seed)
        optimizer = keras.optimizers.AdamW(
            self.recipe.learning_rate, weight_decay=self.recipe.weight_decay, global_clipnorm=10.0
        )
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        optimizer.build(self.model.trainable_variables)
        averaged = [np.array(weights) for weights in self.model.get_weights()]
        history = self._resume(optimizer, averaged)
        update = _update(self.model, optimizer)
        while self._progress(history, 0.0, 0) < 1.0:
            record = self._epoch(history, update, optimizer, averaged)
            history.append(record)
            self._keep(history, optimizer, averaged)
            self.on_epoch(record)
        self.model.set_weights(averaged)
        if self.judge is not None and history[-1].development is None:
            history[-1] = replace(history[-1], development=self.judge(self.model))
            self._keep(history, optimizer, averaged)
        if (self.folder / BEST).exists():
            load_weights(self.model, self.folder / BEST)
        np.savez(self.folder / AVERAGED, *self.model.get_weights())
        return history

    def _progress(self, history: list[DetectorEpoch], elapsed_s: float, steps_done: int) -> float:
        """The progress by epochs or by time, whichever is larger; 1 or more is the end."""
        steps = len(self.sampler.scenes) // self.recipe.batch
        spent_s = sum(record.seconds for record in history) + elapsed_s
        return max((len(history) + steps_done / steps) / self.recipe.epochs, spent_s / self.recipe.budget_s)

    def _epoch(
        self, history: list[DetectorEpoch], update: Any, optimizer: Any, averaged: list[NDArray[np.float32]]
    ) -> DetectorEpoch:
        began_s, epoch = time.monotonic(), len(history)
        steps = len(self.sampler.scenes) // self.recipe.batch
        sampler = self.calm if self._progress(history, 0.0, 0) >= 1.0 - self.recipe.calm else self.sampler
        losses: list[list[float]] = []
        for step, batch in enumerate(prefetched(epoch_batches(sampler, self.recipe, epoch))):
            progress = self._progress(history, time.monotonic() - began_s, step)
            if progress >= 1.0 and losses:
                break
            done = epoch * steps + step
            optimizer.learning_rate = learning_rate_at(self.recipe, done, progress)
            losses.append([float(loss) for loss in update(batch.images, batch.truths, batch.points, batch.ignored)])
            keep = min(self.recipe.average, (1 + done) / (10 + done))
            for mean, variable in zip(averaged, self.model.weights, strict=True):
                mean += (1 - keep) * (variable.numpy() - mean)
            self.on_step(step + 1, steps, sum(losses[-1]))
        score, box, points = np.mean(losses, axis=0).tolist()
        development = None
        if self.judge is not None and epoch % self.judge_every == self.judge_every - 1:
            raw = self.model.get_weights()
            self.model.set_weights(averaged)
            development = self.judge(self.model)
            self.model.set_weights(raw)
        learning_rate = float(optimizer.learning_rate)
        return DetectorEpoch(epoch, score, box, points, learning_rate, time.monotonic() - began_s, development)

    def _keep(self, history: list[DetectorEpoch], optimizer: Any, averaged: list[NDArray[np.float32]]) -> None:
        arrays = {f"model{i}": value for i, value in enumerate(self.model.get_weights())}
        arrays |= {f"averaged{i}": value for i, value in enumerate(averaged)}
        arrays |= {f"optimizer{i}": variable.numpy() for i, variable in enumerate(optimizer.variables)}
        partial = self.folder / "part-checkpoint.npz"
        np.savez(partial, **arrays)
        partial.replace(self.folder / "checkpoint.npz")
        if _is_best(history):
            np.savez(partial, *averaged)
            partial.replace(self.folder / BEST)
        write_json(self.folder / "history.json", [asdict(record) for record in history])

    def _resume(self, optimizer: Any, averaged: list[NDArray[np.float32]]) -> list[DetectorEpoch]:
        if not (self.folder / "history.json").exists():
            return []
        with np.load(self.folder / "checkpoint.npz") as kept:
            self.model.set_weights([kept[f"model{i}"] for i in range(len(averaged))])
            averaged[:] = [kept[f"averaged{i}"] for i in range(len(averaged))]
            for i, variable in enumerate(optimizer.variables):
                variable.assign(kept[f"optimizer{i}"])
        history = [DetectorEpoch(**entry) for entry in json.loads((self.folder / "history.json").read_text("utf-8"))]
        log.info("resuming %s after epoch %d", self.folder, history[-1].epoch)
        return history


def _is_best(history: Sequence[DetectorEpoch]) -> bool:
    """Whether the last epoch was scored and no earlier one was better."""
    scores = [record.development.get("ap", 0.0) for record in history if record.development is not None]
    return history[-1].development is not None and scores[-1] >= max(scores)


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
