"""Trains the study's networks with its settings and data. ``results`` evaluates them, ``page`` reports them."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from app.core.errors import DataError
from app.core.types import Label
from app.training.data.crops import Crops, PaperBatches, load_crops
from app.training.data.samples import Sample, split_folders
from app.training.networks import PaperNetwork, Recipe, build_paper, built
from app.training.trainer import BEST, CHECKPOINT, EpochRecord, Fitted, Trainer, begin_run
from app.vision.model_metadata import ClassifierMetadata

LABELS = (Label.MASK, Label.NO_MASK)
"""The study's label order: the alphabetical order of the folders WithMask and WithoutMask."""

Table = Literal["I", "II"]
TABLE_I = ("baseline", "model_1", "model_2", "model_3", "model_4", "model_5", "model_6")
TABLE_II = ("model_2", "model_4", "model_5", "model_6")


@dataclass(frozen=True, slots=True)
class PaperRun:
    """One cell of the study: a network, the table whose training it uses, and its run folder."""

    network: PaperNetwork
    table: Table
    folder: Path
    epochs: int = 0
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    deadline_s: float = math.inf

    def recipe(self) -> Recipe:
        """Table I: 9 epochs, last weights. Table II: at most 40 epochs, early stopping on the validation loss, best
        weights. Both have the same ``start_from_epoch``, so that table II can continue a run of table I."""
        recipe = Recipe(
            epochs=self.epochs or 9,
            optimizer=self.network.optimizer,
            learning_rate=self.network.learning_rate,
            precision=self.precision,
            start_from_epoch=5,
        )
        if self.table == "I":
            return replace(recipe, restore_best=False)
        return replace(recipe, epochs=self.epochs or 40, patience=4)

    def settings(self) -> dict[str, object]:
        return {"network": asdict(self.network), "table": self.table, "recipe": asdict(self.recipe())}


def paper_splits(folder: Path) -> Mapping[str, list[Sample]]:
    """The splits of the 12k set. Raises DataError if ``folder`` does not have Train, Validation and Test."""
    splits = split_folders(folder)
    missing = {"train", "validation", "test"} - splits.keys()
    if missing:
        raise DataError(
            f"{folder} has no {', '.join(sorted(missing))}; give the folder of the 12k set: Train, Validation, Test"
        )
    return splits


@dataclass(slots=True)
class PaperData:
    """The three splits, and the crops of the last input size, so that networks of one size load them once."""

    splits: Mapping[str, list[Sample]]
    _input_px: int = 0
    _held: dict[str, Crops] = field(default_factory=dict)

    def crops(self, split: str, network: PaperNetwork) -> Crops:
        if network.input_px != self._input_px:
            self._held, self._input_px = {}, network.input_px
        if split not in self._held:
            self._held[split] = paper_crops(self.splits[split], network)
        return self._held[split]


def paper_crops(samples: list[Sample], network: PaperNetwork) -> Crops:
    return load_crops(samples, LABELS, network.input_px, margin=0.0)


def train_paper(
    run: PaperRun,
    data: PaperData,
    on_step: Callable[[int, int, float], None],
    on_epoch: Callable[[EpochRecord, object], None],
) -> Fitted:
    """Trains one network, or resumes its training. The returned model computes in float32."""
    recipe = run.recipe()
    settings = begin_run(run.folder, run.settings())
    if run.table == "II":
        take_first_epochs(run, settings)
    training, validation = (data.crops(name, run.network) for name in ("train", "validation"))
    trainer = Trainer(
        built(lambda: build_paper(run.network, for_training=True), run.precision, recipe.seed),
        recipe,
        PaperBatches(training, recipe.batch, recipe.seed),
        validation,
        run.folder,
        run.deadline_s,
        on_step,
        on_epoch,
    )
    fitted = trainer.run()
    model = built(lambda: build_paper(run.network))
    model.set_weights(fitted.model.get_weights())
    return replace(fitted, model=model)


def take_first_epochs(run: PaperRun, settings: Mapping[str, object]) -> None:
    """Copies the epochs of a table I run beside ``run``, if its settings and versions are those of ``settings`` (from
    ``begin_run``). Table II starts with the same seed, order and settings, so they need not be trained again."""
    first = replace(run, table="I", folder=run.folder.with_name(f"I-{run.network.name}"))
    files = ("history.json", CHECKPOINT, BEST)
    if (run.folder / files[0]).exists() or not all((first.folder / name).exists() for name in files):
        return
    done = json.loads((first.folder / files[0]).read_text("utf-8"))
    began = json.loads((first.folder / "settings.json").read_text("utf-8"))
    wanted = json.loads(json.dumps({**settings, **first.settings()}))
    if began != wanted or not 5 < len(done) <= run.recipe().epochs:
        return
    for name in reversed(files):  # the history last, because a resumed run checks for it
        shutil.copyfile(first.folder / name, run.folder / name)


def paper_metadata(network: PaperNetwork) -> ClassifierMetadata:
    """Metadata without thresholds for unsure, which the study does not have."""
    return ClassifierMetadata(
        name=network.name,
        labels=LABELS,
        input_px=network.input_px,
        margin=0.1,
        min_confidence=0.5,
        min_face_px=1,
        trained_on=("faces12k/Train",),
    )
