"""Evaluation of a trained network of the study on the whole test split, with the study's own protocol, and on unseen
faces; and its stored record."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import DataError
from app.core.files import write_json
from app.training.classifier.finalize import predict
from app.training.classifier.open_tests import MIN_FACE_PX
from app.training.data.crops import Crops, load_crops
from app.training.data.samples import coco_frames
from app.training.export import export_classifier
from app.training.metrics import Rate, wilson
from app.training.paper.training import LABELS, PaperData, PaperRun, paper_metadata
from app.training.reports.tables import plain
from app.training.trainer import Fitted
from app.training.types import EpochRecord

PAPER: dict[str, dict[str, tuple[float, ...]]] = {
    "I": {
        "baseline": (100, 100, 0, 50),
        "model_1": (82.8125, 81.25, 87.5, 84.375),
        "model_2": (95.3125, 93.75, 100, 96.875),
        "model_3": (98.4375, 100, 46.875, 73.4375),
        "model_4": (98.4375, 100, 93.75, 96.875),
        "model_5": (87.5, 84.375, 93.75, 89.0625),
        "model_6": (85.9375, 84.375, 100, 92.1875),
    },
    "II": {
        "model_2": (100, 100, 68.75, 84.375),
        "model_4": (98.4375, 100, 59.375, 79.6875),
        "model_5": (96.875, 100, 84.375, 92.1875),
        "model_6": (100, 100, 100, 100),
    },
}
"""Accuracy, mask_acc, no_mask_acc and avg_acc in percent, as printed in the study."""

FIRST, PER_CLASS = 64, 32
RECORD = "record.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """Our results for one network of one table. ``protocol``, as in the study: accuracy in percent of the first 64 test
    images in file order, of the first 32 of each class, and the mean of those two."""

    table: str
    network: str
    epochs: int
    best_epoch: int
    stopped: str
    protocol: tuple[float, float, float, float]
    whole: dict[str, Rate]
    no_siblings: dict[str, Rate]
    unseen: dict[str, Rate]

    @property
    def stem(self) -> str:
        """The name of its run folder, record and images."""
        return f"{self.table}-{self.network}"


@dataclass(frozen=True, slots=True)
class Record:
    """A completed cell with its training history (NaN if unknown) and settings."""

    cell: Cell
    history: tuple[EpochRecord, ...]
    settings: dict[str, Any]


def evaluate_cell(run: PaperRun, fitted: Fitted, data: PaperData, folder: Path) -> None:
    """Evaluates the trained network, also on the unseen frames of ``folder``. Writes its record, ``.keras`` and
    ``.tflite`` into its run folder."""
    export_classifier(fitted.model, paper_metadata(run.network), run.folder / run.network.name)
    test = data.crops("test", run.network)
    right = predict(fitted.model, test).argmax(axis=1) == test.targets
    original = np.array([not sample.path.name.startswith("Augmented_") for sample in test.samples])
    unseen: dict[str, Rate] = {}
    frames = folder / "frames" / "test.json"
    if frames.is_file():
        faces = [face for face in coco_frames(frames) if face.box is not None and face.box.size >= MIN_FACE_PX]
        crops = load_crops(faces, LABELS, run.network.input_px, paper_metadata(run.network).margin)
        unseen = _recalls(predict(fitted.model, crops).argmax(axis=1) == crops.targets, crops)
    cell = Cell(
        run.table,
        run.network.name,
        len(fitted.history),
        fitted.best_epoch + 1,
        fitted.stopped,
        study_protocol(right, test.targets),
        _recalls(right, test),
        _recalls(right[original], test.where(original)),
        unseen,
    )
    settings = json.loads((run.folder / "settings.json").read_text("utf-8"))
    keep_record(run.folder / RECORD, Record(cell, fitted.history, settings))


def study_protocol(right: NDArray[np.bool_], targets: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """The accuracies of the study's protocol. ``right`` (N,) bool in file order, masks first."""
    overall = float(right[:FIRST].mean())
    mask, bare = (float(right[targets == place][:PER_CLASS].mean()) for place in (0, 1))
    return 100 * overall, 100 * mask, 100 * bare, 50 * (mask + bare)


def _recalls(right: NDArray[np.bool_], crops: Crops) -> dict[str, Rate]:
    chosen = {label.value: crops.targets == place for place, label in enumerate(crops.labels)}
    return {name: wilson(int(right[mine].sum()), int(mine.sum())) for name, mine in chosen.items()}


def run_records(run: Path) -> dict[str, Record]:
    """Every completed cell of a run folder, by stem."""
    return read_records(run.glob(f"*/{RECORD}"))


def read_records(paths: Iterable[Path]) -> dict[str, Record]:
    """The records in JSON files, by stem. Raises DataError if one is damaged."""
    records = [_read(path) for path in sorted(paths)]
    return {record.cell.stem: record for record in records}


def keep_record(path: Path, record: Record) -> None:
    write_json(path, plain(record))


def _read(path: Path) -> Record:
    try:
        tree = json.loads(path.read_text("utf-8"))
        history = tuple(EpochRecord(**_with_nan(entry)) for entry in tree["history"])
        return Record(_cell(tree["cell"]), history, tree["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}; delete its folder to train that network again") from error


def _cell(tree: dict[str, Any]) -> Cell:
    rates = {
        part: {name: wilson(rate["right"], rate["total"]) for name, rate in tree[part].items()}
        for part in ("whole", "no_siblings", "unseen")
    }
    return Cell(**{**tree, **rates, "protocol": tuple(tree["protocol"])})


def _with_nan(tree: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: ``plain`` writes null."""
    return {
        name: _with_nan(value) if isinstance(value, dict) else math.nan if value is None else value
        for name, value in tree.items()
    }
