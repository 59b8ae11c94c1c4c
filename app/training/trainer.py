"""Training in a run folder with settings, versions, history and a checkpoint per epoch, so that it can resume."""

import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError, OutputError
from app.core.files import write_json
from app.training.data.crops import Batches, Crops
from app.training.networks import KerasModel, Recipe
from app.vision.tensorflow_import import import_tensorflow

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")

CHECKPOINT = "last.keras"
BEST = "best.weights.h5"
AVERAGED = "averaged.npz"
HISTORY = "history.json"
PART = "part-"
"""Prefix of a file that is incomplete, or whose epoch is not over."""
OUT_OF_TIME = "out of time"
MAY_CHANGE = frozenset({"recipe.epochs", "epochs", "data", "data.path", "began_with.file"})
"""Settings that may differ when a run is resumed."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The results of one epoch. ``val_*`` are of the averaged weights if the recipe averages."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network with its best weights, and the history of its training."""

    model: KerasModel
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: str


def limit_threads(threads: int) -> None:
    """Limits TensorFlow's threads. Call it before the first network is built, because TensorFlow creates its thread
    pools at its first operation.

    TensorFlow enables oneDNN's kernels only on newer CPUs. On a Zen 3 core with AVX2 they took 254 ms instead of 361
    for a step of the study's model_2, and 0.61 s instead of 1.29 for a step of the face detector."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import_tensorflow()
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        log.debug("threads are not limited: %s", error)


def best_epoch(history: tuple[EpochRecord, ...], start_from_epoch: int) -> int:
    """The epoch of the lowest validation loss. Epochs before ``start_from_epoch`` count only if there are no others."""
    counted = [record for record in history if record.epoch >= start_from_epoch] or list(history)
    return min(counted, key=lambda record: record.val_loss).epoch


def should_stop(history: tuple[EpochRecord, ...], patience: int, start_from_epoch: int) -> bool:
    """As Keras' EarlyStopping (mode min): the last ``patience`` epochs were not better."""
    if patience <= 0 or not history or history[-1].epoch < start_from_epoch:
        return False
    return history[-1].epoch - best_epoch(history, start_from_epoch) >= patience


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Constant, or a linear warm-up and a cosine decay to a hundredth (Loshchilov and Hutter 2017)."""
    warm = recipe.warmup_epochs * steps
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    if not recipe.cosine:
        return recipe.learning_rate
    done = min((step - warm) / max(recipe.epochs * steps - warm, 1.0), 1.0)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def compile_network(model: KerasModel, recipe: Recipe) -> None:
    import keras

    optimizers = {
        "adam": lambda: keras.optimizers.Adam(recipe.learning_rate),
        "sgd": lambda: keras.optimizers.SGD(recipe.learning_rate),
        "adamw": lambda: keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay),
    }
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    # XLA's CPU convolutions were twelve times slower than oneDNN's
    model.compile(optimizers[recipe.optimizer](), loss, metrics=["accuracy"], jit_compile=False)


def begin_run(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Creates the run folder, adds ``settings`` and package versions to its settings file, and returns all settings.

    Raises OutputError if it cannot write, and DataError if the folder has epochs that were trained with other settings.
    ``MAY_CHANGE`` lists settings that may differ, such as the number of epochs or the path of moved data."""
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy", "opencv-python")}
    versions = {"python": platform.python_version(), "machine": platform.machine(), **packages}
    path = folder / "settings.json"
    settings = json.loads(json.dumps(settings))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if any((folder / name).is_file() for name in (HISTORY, PART + HISTORY)):
            _check_same(folder, earlier, settings)
        merged = {**earlier, **settings, "versions": versions}
        write_json(path, merged)
    except OSError as error:
        raise OutputError(f"cannot write the run folder {folder}: {error.strerror}; choose another --run") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; choose another --run") from error
    return merged


def _check_same(folder: Path, earlier: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    was, now = dict(_flat(earlier)), dict(_flat(settings))
    for name in sorted((was.keys() & now.keys()) - MAY_CHANGE):
        if was[name] != now[name]:
            raise DataError(
                f"the run in {folder} was started with {name} {was[name]}, not {now[name]}; choose another --run"
            )


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def file_identity(path: Path) -> dict[str, str]:
    """The name and digest of an initial model file, for a run's settings."""
    return {"file": path.name, "digest": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}


@dataclass(slots=True)
class Trainer:
    """One training run. ``deadline_s`` is a ``time.monotonic()`` value, after which no epoch starts and the current one
    is aborted."""

    model: KerasModel
    recipe: Recipe
    batches: Batches
    validation: Crops
    folder: Path
    deadline_s: float = math.inf
    on_step: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None
    on_epoch: Callable[[EpochRecord, KerasModel], None] = lambda _record, _model: None

    def run(self) -> Fitted:
        import keras

        keras.utils.set_random_seed(self.recipe.seed)
        history = self._resumed()
        stopped = "all epochs ran"
        while len(history) < self.recipe.epochs:
            if should_stop(history, self.recipe.patience, self.recipe.start_from_epoch):
                stopped = "early stopping"
                break
            record = self._epoch(len(history), history)
            if record is None:
                stopped = OUT_OF_TIME
                break
            history = (*history, record)
            self._keep(history)
            self.on_epoch(record, self.model)
        if not history:
            raise DataError(f"{self.folder}: no epoch was completed; allow more time")
        if not self.recipe.restore_best:
            return Fitted(self.model, history, history[-1].epoch, stopped)
        self.model.load_weights(self.folder / BEST)
        return Fitted(self.model, history, best_epoch(history, self.recipe.start_from_epoch), stopped)

    def _resumed(self) -> tuple[EpochRecord, ...]:
        import keras

        compile_network(self.model, self.recipe)
        self._move_into_place()
        history_path = self.folder / HISTORY
        if not history_path.exists():
            return ()
        kept = keras.saving.load_model(self.folder / CHECKPOINT)
        self.model.set_weights(kept.get_weights())
        self.model.optimizer.build(self.model.trainable_variables)
        for own, saved in zip(self.model.optimizer.variables, kept.optimizer.variables, strict=True):
            own.assign(saved)
        history = tuple(EpochRecord(**entry) for entry in json.loads(history_path.read_text("utf-8")))
        log.info("resuming %s after epoch %d", self.folder, history[-1].epoch)
        return history

    def _epoch(self, index: int, history: tuple[EpochRecord, ...]) -> EpochRecord | None:
        began_s, steps = time.monotonic(), self.batches.steps
        for name in (AVERAGED, BEST):
            (self.folder / (PART + name)).unlink(missing_ok=True)
        averaged = self._averaged(index)
        self._seed_generators(index * steps)
        rate, losses = 0.0, np.zeros((steps, 2))
        for step, (crops, targets) in enumerate(prefetched(self.batches.epoch(index))):
            if time.monotonic() > self.deadline_s:
                return None
            rate = learning_rate(self.recipe, index * steps + step, steps)
            self.model.optimizer.learning_rate = rate
            losses[step] = self.model.train_on_batch(crops, targets)
            if averaged is not None and step % 4 == 3:
                averaged = _average(averaged, self.model.get_weights(), self.recipe.ema, index * steps + step)
            self.on_step(step + 1, steps, float(losses[step, 0]))
        raw = self.model.get_weights()
        if averaged is not None:
            self.model.set_weights(averaged)
        val_loss, val_accuracy = self.model.evaluate(
            self.validation.images, self.validation.one_hot(), batch_size=64, verbose=0
        )
        loss, accuracy = losses.mean(axis=0).tolist()
        record = EpochRecord(
            index, loss, accuracy, float(val_loss), float(val_accuracy), rate, time.monotonic() - began_s
        )
        if best_epoch((*history, record), self.recipe.start_from_epoch) == index:
            self.model.save_weights(self.folder / (PART + BEST))
        if averaged is not None:
            np.savez(self.folder / (PART + AVERAGED), *averaged)
            self.model.set_weights(raw)
        return record

    def _seed_generators(self, step: int) -> None:
        """Sets the state of the random generators, which a checkpoint does not contain. Dropout depends only on seed
        and step, so a resumed run draws the same values."""
        import keras

        states = [variable for variable in self.model.variables if variable.path.endswith("seed_generator_state")]
        for place, state in enumerate(states):
            state.assign(keras.ops.convert_to_tensor([(self.recipe.seed + place) % 2**31, step], state.dtype))

    def _averaged(self, index: int) -> list[NDArray[np.float32]] | None:
        if not self.recipe.ema:
            return None
        path = self.folder / AVERAGED
        if index and path.exists():
            with np.load(path) as kept:
                return [kept[name] for name in kept.files]
        weights: list[NDArray[np.float32]] = self.model.get_weights()
        return weights

    def _keep(self, history: tuple[EpochRecord, ...]) -> None:
        self.model.save(self.folder / (PART + CHECKPOINT))
        write_json(self.folder / (PART + HISTORY), [asdict(record) for record in history])
        self._move_into_place()

    def _move_into_place(self) -> None:
        """Moves the files of a complete epoch to their final names. The history is written and moved last, so a run
        that was killed during the moves completes them when it resumes."""
        if (self.folder / (PART + HISTORY)).exists():
            for name in (AVERAGED, BEST, CHECKPOINT, HISTORY):
                partial = self.folder / (PART + name)
                if partial.exists():
                    partial.replace(self.folder / name)


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yields ``batches`` and prepares the next one on a thread, so that a GPU does not wait for the augmentation."""
    with ThreadPoolExecutor(1, "batches") as executor:
        upcoming = executor.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = executor.submit(next, batches, None)
            yield batch


def _average(
    averaged: list[NDArray[np.float32]], weights: list[NDArray[np.float32]], momentum: float, step: int
) -> list[NDArray[np.float32]]:
    """Exponential moving average with a warm-up, so that the first steps lose their weight."""
    keep = min(momentum, (1 + step) / (10 + step))
    return [(keep * old + (1 - keep) * new).astype(np.float32) for old, new in zip(averaged, weights, strict=True)]
