"""The page of the study: the text between the markers, the text around them, and the images."""

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fakes import METADATA

from app.core.errors import DataError, OutputError
from app.core.types import Box, Detection, Image
from app.training.metrics import wilson
from app.training.paper.figures import demo_frames, figure, labelled_strip
from app.training.paper.page import BEGIN, END, known_records, report_text, write_page
from app.training.paper.results import PAPER, RECORD, Cell, Record, keep_record, read_records, run_records
from app.training.types import EpochRecord
from app.vision.classifier import Crops, Probabilities

RATES = {"mask": wilson(480, 483), "no_mask": wilson(490, 509)}
EPOCHS = (
    EpochRecord(0, {"loss": 0.3, "accuracy": 0.9}, {"loss": 0.25, "accuracy": 0.9}, 0.01, 60.0),
    EpochRecord(1, {"loss": 0.2, "accuracy": 0.95}, {"loss": 0.15, "accuracy": 0.94}, 0.01, 60.0),
)
UNKNOWN = replace(EPOCHS[0], training={"loss": math.nan, "accuracy": math.nan})


def made_cell(table: str = "II", network: str = "model_6") -> Cell:
    return Cell(table, network, 2, 2, "early stopping", (100.0, 100.0, 96.875, 98.4375), RATES, RATES, RATES)


def kept_run(run: Path, cell: Cell) -> None:
    (run / cell.stem).mkdir(parents=True)
    keep_record(run / cell.stem / RECORD, Record(cell, EPOCHS, {}))


def test_cells_are_loaded_and_missing_runs_are_marked(tmp_path: Path) -> None:
    kept_run(tmp_path, made_cell())
    records = run_records(tmp_path)
    assert records == {"II-model_6": Record(made_cell(), EPOCHS, {})}
    text = report_text(records)
    assert text.count("not run yet") == 10
    assert "99.4 (98.2-99.8)" in text
    assert "0.250 0.150" in text


def test_our_recall_is_compared_with_the_interval_of_the_studys_32_images() -> None:
    poor = {"mask": wilson(480, 483), "no_mask": wilson(240, 509)}
    (row,) = [
        line
        for line in report_text({"II-model_6": Record(replace(made_cell(), whole=poor), EPOCHS, {})}).splitlines()
        if line.startswith("| model_6 | 2 (2) |")
    ]
    assert "| yes, no |" in row


def test_with_every_network_run_the_page_is_complete(tmp_path: Path) -> None:
    page, run = tmp_path / "docs" / "paper.md", tmp_path / "run"
    for table, networks in PAPER.items():
        for network in networks:
            kept_run(run, made_cell(table, network))
    page.parent.mkdir()
    page.write_text(f"by hand, before\n{BEGIN}\nold results\n{END}\nby hand, after\n")
    write_page(page, run)
    text = page.read_text()
    assert text.startswith("by hand, before\n")
    assert text.endswith("by hand, after\n")
    assert "old results" not in text
    assert "not run" not in text
    for table, networks in PAPER.items():
        for network in networks:
            assert f"### Table {table}, {network}\n" in text
            assert f"(paper/{table}-{network}.svg)" in text
            assert (page.parent / "paper" / f"{table}-{network}.svg").is_file()
    write_page(page, run)
    assert page.read_text() == text


def test_a_record_is_kept_without_its_run_folder_and_replaced_by_a_new_run(tmp_path: Path) -> None:
    page, run = tmp_path / "paper.md", tmp_path / "run"
    kept_run(run, made_cell())
    write_page(page, run)
    assert known_records(tmp_path / "elsewhere", page) == run_records(run)
    kept_run(tmp_path / "again", replace(made_cell(), epochs=14))
    assert known_records(tmp_path / "again", page)["II-model_6"].cell.epochs == 14


def test_missing_values_of_a_record_stay_missing(tmp_path: Path) -> None:
    keep_record(tmp_path / "a.json", Record(made_cell(), (UNKNOWN,), {}))
    (epoch,) = read_records(tmp_path.glob("*.json"))["II-model_6"].history
    assert math.isnan(epoch.training["loss"])
    assert epoch.development["loss"] == 0.25


def test_a_page_without_markers_is_not_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine")
    with pytest.raises(OutputError, match="no markers for the report"):
        write_page(page, tmp_path / "run")
    assert page.read_text() == "mine"


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    kept_run(tmp_path, made_cell())
    (tmp_path / "II-model_6" / RECORD).write_text("{")
    with pytest.raises(DataError, match=r"record\.json is damaged"):
        run_records(tmp_path)


def test_curves_show_available_values_and_every_count() -> None:
    drawing = ElementTree.fromstring(figure("a <title>", (UNKNOWN, EPOCHS[1]), 2, [("whole", RATES)]))
    texts = ["".join(node.itertext()).strip() for node in drawing.iter() if node.tag.endswith("text")]
    assert {"480", "3", "490", "19", "a <title>", "epoch 2, whose weights are kept"} <= set(texts)
    assert "nan" not in "".join(texts)


class OneFace:
    def detect(self, image: Image) -> list[Detection]:
        return [Detection(Box(100, 100, 80, 80), 0.9)]


class Always:
    metadata = METADATA

    def classify(self, crops: Crops) -> Probabilities:
        return np.tile(np.array([0.1, 0.8, 0.1], np.float32), (len(crops), 1))


def test_every_demo_frame_is_labelled() -> None:
    frames = demo_frames()
    assert len(frames) == 3
    before = [frame.copy() for frame in frames]
    strip = labelled_strip(frames, OneFace(), Always())
    assert strip.shape == (240, 960, 3)
    assert all(np.array_equal(one, other) for one, other in zip(before, frames, strict=True))
    for left in (0, 320, 640):  # the top edge of each box, in the colour of no_mask
        assert np.abs(strip[50, left + 60].astype(int) - (0, 94, 213)).max() < 40
