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
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError, OutputError
from app.core.files import atomic_write, write_json
from app.training.types import EpochRecord, KerasModel, Recipe
from app.vision.tensorflow_import import import_tensorflow

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
History = tuple[EpochRecord, ...]
Weights = list[NDArray[np.float32]]

CHECKPOINT = "checkpoint.npz"
HISTORY = "history.json"
OUT_OF_TIME = "out of time"
MAY_CHANGE = frozenset({"recipe.epochs", "epochs", "data", "data.path", "began_with.file"})
"""Settings that may differ when a run is resumed."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The network with its best weights, and the history of its training."""

    model: KerasModel
    history: History
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


def best_epoch(history: History, start_from_epoch: int = 0) -> int:
    """The epoch of the lowest development loss, or the last if none was evaluated. Epochs before ``start_from_epoch``
    count only if there are no others."""
    evaluated = [record for record in history if "loss" in record.development]
    counted = [record for record in evaluated if record.epoch >= start_from_epoch] or evaluated or [history[-1]]
    return min(counted, key=lambda record: record.development.get("loss", 0.0)).epoch


def should_stop(history: History, patience: int, start_from_epoch: int) -> bool:
    """As Keras' EarlyStopping (mode min): the last ``patience`` epochs were not better."""
    if patience <= 0 or not history or history[-1].epoch < start_from_epoch:
        return False
    return history[-1].epoch - best_epoch(history, start_from_epoch) >= patience


def learning_rate(recipe: Recipe, epochs: float, progress: float) -> float:
    """Constant, or a cosine decay to a hundredth with the ``progress`` from 0 to 1 (Loshchilov and Hutter 2017). The
    warm-up is linear in the ``epochs`` that have passed."""
    warm = min(epochs / recipe.warmup_epochs, 1.0) if recipe.warmup_epochs else 1.0
    decay = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) if recipe.cosine else 1.0
    return recipe.learning_rate * warm * decay


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
        if (folder / HISTORY).is_file():
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


class Task(Protocol):
    """What a run trains: the network, its optimizer (built for the network's variables), batches and metrics."""

    model: KerasModel
    optimizer: Any

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def batches(self, epoch: int, progress: float) -> Iterator[Any]:
        """The batches of an epoch that starts at ``progress`` (0 to 1) of the run. They depend only on the arguments,
        so a resumed run gets the same batches."""

    def train_step(self, batch: Any) -> Mapping[str, float]:
        """Updates the network with one batch. Returns its losses, the one to show first, and other metrics."""

    def evaluate(self) -> dict[str, float]:
        """The metrics of the network on the development split; ``loss`` selects the best epoch."""


@dataclass(slots=True)
class _State:
    """The state of a run besides the network. ``averaged`` and ``best`` are weights, or empty."""

    history: History
    averaged: Weights
    best: Weights


@dataclass(slots=True)
class Trainer:
    """One training run. ``deadline_s`` is a ``time.monotonic()`` value, after which no epoch starts and the current one
    is aborted. ``budget_s`` limits the seconds of training: the learning rate decays within it, and the last epoch is
    shortened."""

    task: Task
    recipe: Recipe
    folder: Path
    deadline_s: float = math.inf
    budget_s: float = math.inf
    on_step: Callable[[int, int, float], None] = lambda _step, _steps, _loss: None
    on_epoch: Callable[[EpochRecord], None] = lambda _record: None

    def run(self) -> Fitted:
        """Trains or resumes. Raises DataError if no epoch was completed or the checkpoint does not fit the network."""
        import keras

        keras.utils.set_random_seed(self.recipe.seed)
        model, state = self.task.model, self._resumed()
        stopped = "all epochs ran"
        while self._progress(len(state.history), state.history) < 1.0:
            if should_stop(state.history, self.recipe.patience, self.recipe.start_from_epoch):
                stopped = "early stopping"
                break
            record = self._epoch(state)
            if record is None:
                stopped = OUT_OF_TIME
                break
            state.history = (*state.history, record)
            self._keep(state)
            self.on_epoch(record)
        if not state.history:
            raise DataError(f"{self.folder}: no epoch was completed; allow more time")
        if not self.recipe.restore_best:
            return Fitted(model, state.history, state.history[-1].epoch, stopped)
        model.set_weights(state.best or state.averaged or model.get_weights())
        return Fitted(model, state.history, best_epoch(state.history, self.recipe.start_from_epoch), stopped)

    def _progress(self, epochs: float, history: History, elapsed_s: float = 0.0) -> float:
        """The progress by epochs or by time, whichever is larger; 1 or more is the end."""
        spent_s = sum(record.seconds for record in history) + elapsed_s
        return max(epochs / self.recipe.epochs, spent_s / self.budget_s)

    def _epoch(self, state: _State) -> EpochRecord | None:
        began_s, epoch, task = time.monotonic(), len(state.history), self.task
        steps, rate = task.steps, 0.0
        rows: list[Mapping[str, float]] = []
        self._seed_generators(epoch * steps)
        for step, batch in enumerate(prefetched(task.batches(epoch, self._progress(epoch, state.history)))):
            progress = self._progress(epoch + step / steps, state.history, time.monotonic() - began_s)
            if time.monotonic() > self.deadline_s:
                return None
            if progress >= 1.0 and rows:
                break
            rate = learning_rate(self.recipe, epoch + (step + 1) / steps, progress)
            task.optimizer.learning_rate = rate
            rows.append(task.train_step(batch))
            self._average(state.averaged, epoch * steps + step)
            self.on_step(step + 1, steps, next(iter(rows[-1].values())))
        training = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        development: dict[str, float] = {}
        is_last = self._progress(epoch + 1, state.history, time.monotonic() - began_s) >= 1.0
        if is_last or (epoch + 1) % self.recipe.evaluate_every == 0:
            raw = task.model.get_weights()
            if state.averaged:
                task.model.set_weights(state.averaged)
            development = task.evaluate()
            record = EpochRecord(epoch, training, development, rate, 0.0)
            if best_epoch((*state.history, record), self.recipe.start_from_epoch) == epoch:
                state.best = task.model.get_weights()
            task.model.set_weights(raw)
        return EpochRecord(epoch, training, development, rate, time.monotonic() - began_s)

    def _seed_generators(self, step: int) -> None:
        """Sets the state of the random generators, which a checkpoint does not contain. Dropout depends only on seed
        and step, so a resumed run draws the same values."""
        import keras

        states = [each for each in self.task.model.variables if each.path.endswith("seed_generator_state")]
        for place, state in enumerate(states):
            state.assign(keras.ops.convert_to_tensor([(self.recipe.seed + place) % 2**31, step], state.dtype))

    def _average(self, averaged: Weights, step: int) -> None:
        """Exponential moving average with a warm-up, so that the first steps lose their weight."""
        keep = min(self.recipe.ema, (1 + step) / (10 + step))
        for mean, variable in zip(averaged, self.task.model.weights if averaged else (), strict=True):
            mean += (1 - keep) * (variable.numpy() - mean)

    def _keep(self, state: _State) -> None:
        """Writes the checkpoint: one file, so a killed run resumes from a complete epoch."""
        entries = [asdict(record) for record in state.history]
        groups = {
            "model": self.task.model.get_weights(),
            "optimizer": [np.array(variable) for variable in self.task.optimizer.variables],
            "averaged": state.averaged,
            "best": state.best,
        }
        arrays = {f"{name}{i}": array for name, group in groups.items() for i, array in enumerate(group)}
        with atomic_write(self.folder / CHECKPOINT) as partial:
            np.savez(partial, history=np.array(json.dumps(entries)), **arrays)
        write_json(self.folder / HISTORY, entries)

    def _resumed(self) -> _State:
        path = self.folder / CHECKPOINT
        if not path.exists():
            averaged = [np.array(weights) for weights in self.task.model.get_weights()] if self.recipe.ema else []
            return _State((), averaged, [])
        history = checkpoint_history(path)
        self.task.model.set_weights(checkpoint_weights(path, "model"))
        for variable, kept in zip(self.task.optimizer.variables, checkpoint_weights(path, "optimizer"), strict=True):
            variable.assign(kept)
        log.info("resuming %s after epoch %d", self.folder, history[-1].epoch)
        return _State(history, checkpoint_weights(path, "averaged"), checkpoint_weights(path, "best"))


def checkpoint_weights(path: Path, *groups: str) -> Weights:
    """The arrays of the first of ``groups`` ("model", "optimizer", "averaged", "best") that a checkpoint has.
    Raises OSError or ValueError if it is damaged."""
    with np.load(path) as kept:
        for group in groups:
            names = sorted((name for name in kept.files if name.startswith(group)), key=lambda name: (len(name), name))
            if names:
                return [kept[name] for name in names]
    return []


def checkpoint_history(path: Path) -> History:
    with np.load(path) as kept:
        return tuple(EpochRecord(**entry) for entry in json.loads(str(kept["history"])))


def prefetched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yields ``batches`` and prepares the next one on a thread, so that a GPU does not wait for the augmentation."""
    with ThreadPoolExecutor(1, "batches") as executor:
        upcoming = executor.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = executor.submit(next, batches, None)
            yield batch
