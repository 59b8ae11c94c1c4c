"""Trains the study's networks with its settings and data. ``results`` evaluates them, ``page`` reports them."""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.types import Image, Label
from app.training.classifier.training import ClassifierTask
from app.training.data.crops import Crops, load_crops
from app.training.data.samples import split_folders
from app.training.networks import PaperNetwork, build_paper, built
from app.training.trainer import CHECKPOINT, HISTORY, Fitted, Trainer, begin_run, checkpoint_history
from app.training.types import EpochRecord, Recipe, Sample
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
            self._held[split] = load_crops(self.splits[split], LABELS, network.input_px, margin=0.0)
        return self._held[split]


def train_paper(
    run: PaperRun, data: PaperData, on_step: Callable[[int, int, float], None], on_epoch: Callable[[EpochRecord], None]
) -> Fitted:
    """Trains one network, or resumes its training. The returned model computes in float32."""
    recipe = run.recipe()
    settings = begin_run(run.folder, run.settings())
    if run.table == "II":
        take_first_epochs(run, settings)
    training, validation = (data.crops(name, run.network) for name in ("train", "validation"))
    task = ClassifierTask(
        built(lambda: build_paper(run.network, for_training=True), run.precision, recipe.seed),
        recipe,
        PaperBatches(training, recipe.batch, recipe.seed),
        validation,
    )
    fitted = Trainer(task, recipe, run.folder, run.deadline_s, on_step=on_step, on_epoch=on_epoch).run()
    model = built(lambda: build_paper(run.network))
    model.set_weights(fitted.model.get_weights())
    return replace(fitted, model=model)


def take_first_epochs(run: PaperRun, settings: Mapping[str, object]) -> None:
    """Copies the epochs of a table I run beside ``run``, if its settings and versions are those of ``settings`` (from
    ``begin_run``). Table II starts with the same seed, order and settings, so they need not be trained again."""
    first = replace(run, table="I", folder=run.folder.with_name(f"I-{run.network.name}"))
    if (run.folder / CHECKPOINT).exists() or not (first.folder / CHECKPOINT).exists():
        return
    began = json.loads((first.folder / "settings.json").read_text("utf-8"))
    wanted = json.loads(json.dumps({**settings, **first.settings()}))
    if began == wanted and 5 < len(checkpoint_history(first.folder / CHECKPOINT)) <= run.recipe().epochs:
        for name in (HISTORY, CHECKPOINT):
            shutil.copyfile(first.folder / name, run.folder / name)


@dataclass(frozen=True, slots=True)
class PaperBatches:
    """The study's training batches: shuffled, with flip, zoom and shear as in Keras' ImageDataGenerator. Zoom is drawn
    for each axis, shear is in degrees (so hardly visible), and edges are repeated."""

    crops: Crops
    batch: int
    seed: int
    zoom: float = 0.2
    shear_deg: float = 0.2

    @property
    def steps(self) -> int:
        return -(-len(self.crops.targets) // self.batch)

    def epoch(self, index: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        rng = np.random.default_rng((self.seed, index))
        order = rng.permutation(len(self.crops.targets))
        targets = self.crops.one_hot()
        for start in range(0, len(order), self.batch):
            chosen = order[start : start + self.batch]
            images = np.stack([self._augmented(self.crops.images[i], rng) for i in chosen])
            yield images, targets[chosen]

    def _augmented(self, crop: Image, rng: np.random.Generator) -> Image:
        zoom_x, zoom_y = rng.uniform(1 - self.zoom, 1 + self.zoom, 2)
        shear = np.deg2rad(rng.uniform(-self.shear_deg, self.shear_deg))
        flip = -1.0 if rng.random() < 0.5 else 1.0
        matrix = np.array([[zoom_x * flip, -np.sin(shear)], [0.0, zoom_y * np.cos(shear)]])
        middle = np.full(2, (crop.shape[0] - 1) / 2)
        affine = np.column_stack([matrix, middle - matrix @ middle])
        size = (crop.shape[1], crop.shape[0])
        return cv2.warpAffine(  # type: ignore[return-value]
            crop, affine, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )


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
