"""Early stopping, schedules, and the resumption of interrupted runs."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import DataError, OutputError
from app.core.types import Label
from app.training.classifier.training import ClassifierTask
from app.training.data.crops import Crops
from app.training.trainer import (
    CHECKPOINT,
    HISTORY,
    Trainer,
    begin_run,
    best_epoch,
    file_identity,
    learning_rate,
    prefetched,
    should_stop,
)
from app.training.types import EpochRecord, Recipe, Sample
from app.vision.tensorflow_import import silence_tensorflow

LABELS = (Label.MASK, Label.NO_MASK)

# Keras causes a deprecation warning of numpy 2 when it saves TensorFlow's arrays; we cannot change that.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def history(*losses: float) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(i, {}, {"loss": loss}, 0.01, 1.0) for i, loss in enumerate(losses))


def test_tensorflow_does_not_log_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    silence_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    silence_tensorflow()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def test_tensorflow_is_loaded_without_output() -> None:
    code = "from app.training.trainer import limit_threads; limit_threads(1); import keras; keras.ops.ones(1)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "")


def test_epochs_before_the_start_do_not_count() -> None:
    losses = history(0.1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.55, 0.56, 0.57)
    assert best_epoch(losses, start_from_epoch=5) == 5
    assert not should_stop(losses, patience=4, start_from_epoch=5)
    assert should_stop(
        history(*(record.development["loss"] for record in losses), 0.58), patience=4, start_from_epoch=5
    )


def test_stopping_agrees_with_keras() -> None:
    import keras

    rng = np.random.default_rng(0)
    for _ in range(20):
        losses = rng.random(30).tolist()
        theirs = keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=4, start_from_epoch=5)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.stop_training = False  # fit() sets it before the first epoch
        theirs.set_model(model)
        theirs.on_train_begin()
        for epoch, loss in enumerate(losses):
            theirs.on_epoch_end(epoch, {"val_loss": loss})
            if theirs.model.stop_training:
                break
        ours = next(n for n in range(1, 31) if n == 30 or should_stop(history(*losses[:n]), 4, 5))
        assert ours == epoch + 1


def test_epochs_without_evaluation_are_not_the_best() -> None:
    one, two, three = history(0.5, 0.4, 0.3)
    assert best_epoch((one, two, replace(three, development={}))) == 1
    assert best_epoch((replace(one, development={}),)) == 0


def test_the_learning_rate_warms_up_and_falls() -> None:
    recipe = Recipe(epochs=10, learning_rate=1.0, cosine=True, warmup_epochs=1.0)
    rates = [learning_rate(recipe, (step + 1) / 10, step / 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(recipe, 9.9, 3.0) == pytest.approx(0.01)  # a time limit that is exceeded
    assert learning_rate(Recipe(epochs=10, learning_rate=0.01), 7.7, 0.77) == 0.01


def test_prefetched_batches_keep_their_order_and_leave_no_thread() -> None:
    before = set(threading.enumerate())
    assert list(prefetched(iter(range(20)))) == list(range(20))
    early = prefetched(iter(range(20)))
    assert next(early) == 0
    early.close()
    assert set(threading.enumerate()) == before


def test_errors_of_a_prefetched_batch_are_raised_to_the_caller() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OutputError("no second batch")

    made = prefetched(broken())
    assert next(made) == 1
    with pytest.raises(OutputError, match="no second batch"):
        next(made)


@dataclass(frozen=True)
class BrightBatches:
    """Batches in which bright images are masks: easy to learn, and equal in every run."""

    steps: int = 6

    def epoch(self, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng(index)
        for _ in range(self.steps):
            targets = rng.integers(0, 2, 8)
            images = rng.integers(0, 100, (8, 16, 16, 3)) + 120 * (1 - targets)[:, None, None, None]
            yield images.astype(np.uint8), np.eye(2, dtype=np.float32)[targets]


def validation() -> Crops:
    images, targets = next(BrightBatches().epoch(99))
    sample = Sample(Path("a.png"), Label.MASK, "a")
    return Crops(images, targets.argmax(axis=1).astype(np.int64), np.full(8, 16.0), (sample,) * 8, LABELS)


def tiny():  # type: ignore[no-untyped-def]
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
    layers.append(keras.layers.BatchNormalization(momentum=0.5))  # a slower mean would not follow in so few steps
    layers += [keras.layers.Dropout(0.3), keras.layers.GlobalAveragePooling2D()]
    layers.append(keras.layers.Dense(2))
    return keras.Sequential([*layers, keras.layers.Softmax()])


def trainer(folder: Path, recipe: Recipe) -> Trainer:
    begin_run(folder, {"test": True})
    return Trainer(ClassifierTask(tiny(), recipe, BrightBatches(), validation()), recipe, folder)


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, learning_rate=0.02, ema=0.9, cosine=True, restore_best=False)
    whole = trainer(tmp_path / "whole", recipe).run()
    broken = trainer(tmp_path / "broken", recipe)
    broken.on_epoch = lambda record: setattr(broken, "deadline_s", 0.0) if record.epoch == 0 else None
    assert broken.run().stopped == "out of time"
    resumed = trainer(tmp_path / "broken", recipe).run()
    assert [record.epoch for record in resumed.history] == [0, 1, 2]
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_run_killed_while_it_keeps_an_epoch_resumes_from_one_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """Killed before or after the checkpoint of the second epoch is in place."""
    recipe = Recipe(epochs=2, learning_rate=0.02, ema=0.9)
    whole = trainer(tmp_path / "whole", recipe).run()
    broken = trainer(tmp_path / "broken", recipe)
    left, move = [renamed], Path.replace

    def killed(path: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return move(path, target)

    broken.on_epoch = lambda _record: monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    monkeypatch.undo()
    resumed = trainer(tmp_path / "broken", recipe).run()
    assert [record.epoch for record in resumed.history] == [0, 1]
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == [CHECKPOINT, HISTORY, "settings.json"]


def test_a_time_budget_shortens_the_last_epoch_and_evaluates_it(tmp_path: Path) -> None:
    run = trainer(tmp_path, Recipe(epochs=1000, evaluate_every=500))
    run.budget_s = 1e-6
    (record,) = run.run().history
    assert record.epoch == 0
    assert record.development["loss"] > 0


def test_a_run_with_other_initial_weights_is_not_resumed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    begin_run(tmp_path, {"began_with": file_identity(tmp_path / "one")})
    (tmp_path / "history.json").write_text("[]")
    (tmp_path / "moved").write_text("one")
    begin_run(tmp_path, {"began_with": file_identity(tmp_path / "moved")})
    with pytest.raises(DataError, match=r"started with began_with\.digest"):
        begin_run(tmp_path, {"began_with": file_identity(tmp_path / "two")})


def test_a_completed_run_has_all_files_for_its_evaluation(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, Recipe(epochs=8, learning_rate=0.05)).run()
    assert fitted.history[-1].development["loss"] < fitted.history[0].development["loss"]
    assert fitted.best_epoch == min(fitted.history, key=lambda record: record.development["loss"]).epoch
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert {"tensorflow", "keras", "numpy"} <= settings["versions"].keys()
    assert len(json.loads((tmp_path / "history.json").read_text())) == 8


def test_the_last_weights_are_kept_if_the_best_are_not_restored(tmp_path: Path) -> None:
    seen: list[list[np.ndarray]] = []
    run = trainer(tmp_path, Recipe(epochs=3, learning_rate=0.05, restore_best=False))
    run.on_epoch = lambda _record: seen.append(run.task.model.get_weights())
    fitted = run.run()
    assert fitted.best_epoch == 2
    again = trainer(tmp_path, run.recipe).run()  # all epochs are complete, so the checkpoint is evaluated
    for one, two, three in zip(seen[-1], fitted.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_a_completed_run_repeats_no_epoch(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1)
    first = trainer(tmp_path, recipe).run()
    again = trainer(tmp_path, replace(recipe)).run()
    assert first.history == again.history


def test_an_unwritable_run_folder_raises_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --run"):
        begin_run(tmp_path / "file" / "run", {})


def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    settings = {"data": {"path": "here", "digest": "a"}, "recipe": {"seed": 1, "epochs": 3}}
    begin_run(tmp_path, settings)
    other = {"data": {"path": "here", "digest": "b"}}
    begin_run(tmp_path, other)  # no epoch was trained yet
    begin_run(tmp_path, settings)
    (tmp_path / "history.json").write_text("[]")
    with pytest.raises(DataError, match=r"started with data\.digest a, not b; choose another --run"):
        begin_run(tmp_path, other)
    with pytest.raises(DataError, match=r"started with recipe\.seed 1, not 2"):
        begin_run(tmp_path, {"recipe": {"seed": 2, "epochs": 3}})
    begun = begin_run(tmp_path, {"data": {"path": "moved", "digest": "a"}, "recipe": {"seed": 1, "epochs": 9}})
    assert begun == json.loads((tmp_path / "settings.json").read_text())
    assert (begun["data"]["path"], begun["recipe"]["epochs"]) == ("moved", 9)


def test_settings_of_several_steps_are_merged(tmp_path: Path) -> None:
    begin_run(tmp_path, {"data": "here"})
    assert {"data", "labels", "versions"} == begin_run(tmp_path, {"labels": ("mask", "no_mask")}).keys()
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(DataError, match=r"settings\.json is damaged"):
        begin_run(tmp_path, {})
