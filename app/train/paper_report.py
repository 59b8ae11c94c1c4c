"""The study's two tables beside ours: on the whole test split, under the study's own protocol, and on unseen faces."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.domain import Label
from app.train.dataset import Crops, load_crops
from app.train.export import export_model
from app.train.finish import ask
from app.train.fit import EpochRecord, Fitted, write_json
from app.train.metrics import Rate, wilson
from app.train.open_tests import MIN_FACE_PX
from app.train.paper import LABELS, PaperRun, paper_crops, paper_facts
from app.train.samples import Sample, coco_frames
from app.train.tables import markdown, percent, plain

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
"""Accuracy, mask_acc, no_mask_acc, avg_acc in per cent, as printed in the study."""

FIRST, PER_CLASS = 64, 32
HEADINGS = (
    "network", "epochs (best)", "study: acc / mask / no_mask / avg", "ours, its protocol",
    "whole test: mask %", "no_mask %", "no siblings: mask %", "unseen: mask %", "no_mask %", "unseen balanced %",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One network of one table as we got it. ``protocol``: accuracy of the first 64 test pictures in file order, of
    the first 32 of each class, and the mean of those two, in per cent, as the study counted."""

    table: str
    network: str
    epochs: int
    best_epoch: int
    stopped: str
    protocol: tuple[float, float, float, float]
    whole: dict[str, Rate]
    no_siblings: dict[str, Rate]
    unseen: dict[str, Rate]


def judge_cell(run: PaperRun, fitted: Fitted, splits: Mapping[str, Sequence[Sample]], data: Path) -> Cell:
    """Judges the trained network, and keeps it as ``.keras`` and ``.tflite`` in its run folder."""
    export_model(fitted.model, paper_facts(run.network), run.folder / run.network.name)
    test = paper_crops(list(splits["test"]), run.network)
    right = ask(fitted.model, test).argmax(axis=1) == test.targets
    original = np.array([not sample.path.name.startswith("Augmented_") for sample in test.samples])
    unseen: dict[str, Rate] = {}
    frames = data / "frames" / "test.json"
    if frames.is_file():
        faces = [face for face in coco_frames(frames) if face.box is not None and face.box.size >= MIN_FACE_PX]
        crops = load_crops(faces, LABELS, run.network.input_px, paper_facts(run.network).margin)
        unseen = _recalls(ask(fitted.model, crops).argmax(axis=1) == crops.targets, crops)
    return Cell(
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


def study_protocol(right: NDArray[np.bool_], targets: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """As the study counted: ``right`` (N,) bool in file order, masks first."""
    overall = float(right[:FIRST].mean())
    mask, bare = (float(right[targets == place][:PER_CLASS].mean()) for place in (0, 1))
    return 100 * overall, 100 * mask, 100 * bare, 50 * (mask + bare)


def _recalls(right: NDArray[np.bool_], crops: Crops) -> dict[str, Rate]:
    chosen = {label.value: crops.targets == place for place, label in enumerate(crops.labels)}
    return {name: wilson(int(right[mine].sum()), int(mine.sum())) for name, mine in chosen.items()}


def save_cell(run: Path, cell: Cell) -> None:
    write_json(run / f"{cell.table}-{cell.network}" / "cell.json", plain(cell))


def load_cells(run: Path) -> list[Cell]:
    """Every finished cell of a run folder, in the order of the tables."""
    cells = []
    for table, networks in PAPER.items():
        for network in networks:
            path = run / f"{table}-{network}" / "cell.json"
            if path.is_file():
                tree = json.loads(path.read_text("utf-8"))
                tree["protocol"] = tuple(tree["protocol"])
                for part in ("whole", "no_siblings", "unseen"):
                    tree[part] = {name: wilson(rate["right"], rate["total"]) for name, rate in tree[part].items()}
                cells.append(Cell(**tree))
    return cells


def load_history(run: Path, cell: Cell) -> tuple[EpochRecord, ...]:
    path = run / f"{cell.table}-{cell.network}" / "history.json"
    return tuple(EpochRecord(**entry) for entry in json.loads(path.read_text("utf-8")))


def paper_markdown(cells: Sequence[Cell], run: Path) -> str:
    """Both tables as far as they have been run, and each run's validation curve in figures."""
    known = {(cell.table, cell.network): cell for cell in cells}
    parts = []
    for table, networks in PAPER.items():
        length = "9 epochs" if table == "I" else "at most 40 epochs, early stopping"
        parts.append(f"## Table {table} ({length})\n")
        rows = [_row(name, figures, known.get((table, name))) for name, figures in networks.items()]
        parts.append(markdown(HEADINGS, rows) + "\n")
    for cell in cells:
        losses = " ".join(f"{record.val_loss:.3f}" for record in load_history(run, cell))
        parts.append(f"Table {cell.table}, {cell.network}, validation loss by epoch: {losses} ({cell.stopped}).\n")
    return "\n".join(parts)


def _row(name: str, figures: Sequence[float], cell: Cell | None) -> tuple[str, ...]:
    study = " / ".join(f"{value:g}" for value in figures)
    if cell is None:
        return (name, "not run", study, *["-"] * (len(HEADINGS) - 3))
    mask, bare = Label.MASK.value, Label.NO_MASK.value
    unseen = [cell.unseen.get(label) for label in (mask, bare)]
    balanced = "-"
    if unseen[0] is not None and unseen[1] is not None:
        balanced = f"{50 * (unseen[0].share + unseen[1].share):.1f}"
    return (
        name,
        f"{cell.epochs} ({cell.best_epoch})",
        study,
        " / ".join(f"{value:.4g}" for value in cell.protocol),
        percent(cell.whole[mask]),
        percent(cell.whole[bare]),
        percent(cell.no_siblings[mask]),
        *("-" if rate is None else percent(rate) for rate in unseen),
        balanced,
    )
