"""The study's tables and its protocol."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import DataError
from app.core.files import write_json
from app.training.networks import paper_network
from app.training.paper.results import PAPER, study_protocol
from app.training.paper.training import TABLE_I, TABLE_II, PaperRun, paper_splits, take_first_epochs
from app.training.trainer import CHECKPOINT, begin_run, checkpoint_history
from app.training.types import EpochRecord


def test_the_averages_of_the_study_are_those_of_its_classes() -> None:
    for table in PAPER.values():
        for _accuracy, mask, bare, average in table.values():
            assert average == (mask + bare) / 2
    assert (tuple(PAPER["I"]), tuple(PAPER["II"])) == (TABLE_I, TABLE_II)


def test_every_accuracy_of_the_study_fits_64_images_that_could_all_be_masks() -> None:
    for table in PAPER.values():
        for accuracy, mask, bare, _average in table.values():
            right, first, bare_right = accuracy * 0.64, mask * 0.32, bare * 0.32
            assert right == round(right)
            assert first == round(first)
            assert bare_right == round(bare_right)
            assert 0 <= right - first <= 32  # the next 32, if they are masks too


def test_the_studys_accuracy_uses_masks_only() -> None:
    targets = np.array([0] * 100 + [1] * 100)
    right = np.array([True] * 100 + [False] * 100)
    assert study_protocol(right, targets) == (100.0, 100.0, 0.0, 50.0)


def test_the_two_trainings_differ_as_in_the_study() -> None:
    network = paper_network("model_6")
    first, second = (PaperRun(network, table, Path("run")).recipe() for table in ("I", "II"))
    assert (first.epochs, first.patience, first.batch, first.seed) == (9, 0, 16, 42)
    assert (first.restore_best, second.restore_best) == (False, True)
    assert (second.epochs, second.patience, second.start_from_epoch) == (40, 4, 5)


def test_the_second_table_continues_the_first_ones_epochs(tmp_path: Path) -> None:
    network = paper_network("model_2")
    first, second = (PaperRun(network, table, tmp_path / f"{table}-model_2") for table in ("I", "II"))
    begin_run(first.folder, first.settings())
    settings = begin_run(second.folder, second.settings())
    take_first_epochs(second, settings)
    assert not (second.folder / CHECKPOINT).exists(), "table I has not run"
    keep_epochs(first.folder, 9)
    take_first_epochs(PaperRun(network, "II", second.folder, precision="mixed_bfloat16"), settings)
    assert not (second.folder / CHECKPOINT).exists(), "trained with other settings"
    take_first_epochs(second, {**settings, "versions": {"keras": "1"}})
    assert not (second.folder / CHECKPOINT).exists(), "trained with another version"
    take_first_epochs(second, settings)
    assert len(checkpoint_history(second.folder / CHECKPOINT)) == 9
    assert (second.folder / "history.json").is_file()
    keep_epochs(second.folder, 11)
    take_first_epochs(second, settings)
    assert len(checkpoint_history(second.folder / CHECKPOINT)) == 11, "its own epochs are kept"


def keep_epochs(folder: Path, count: int) -> None:
    entries = [asdict(EpochRecord(i, {}, {}, 0.01, 1.0)) for i in range(count)]
    np.savez(folder / CHECKPOINT, history=np.array(json.dumps(entries)))
    write_json(folder / "history.json", entries)


def test_a_folder_without_the_three_splits_raises_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "Train" / "WithMask"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="has no test, validation"):
        paper_splits(tmp_path)


def test_the_audit_finds_a_predictive_width_and_siblings_across_splits(tmp_path: Path) -> None:
    import cv2

    from app.training.paper.audit import audit, audit_lines

    def write_image(place: str, width_px: int, seed: int) -> None:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (width_px, width_px), interpolation=cv2.INTER_CUBIC))

    for split, names in (
        ("Train", ("Augmented_7_1.png", "b.png")),
        ("Validation", "cd"),
        ("Test", ("Augmented_7_2.png", "f.png")),
    ):
        for i, name in enumerate(names):
            stem = name if name.endswith(".png") else f"{name}.png"
            write_image(f"first/{split}/WithMask/{stem}", 90, len(name) + 10 * i)
            write_image(f"first/{split}/WithoutMask/bare{i}.png", 40, 50 + i)
    write_image("second/mask/copy.png", 60, len("Augmented_7_1.png"))
    write_image("second/no_mask/own.png", 60, 999)
    found = audit(paper_splits(tmp_path / "first"), tmp_path / "second")
    assert (found.width_accuracy, found.siblings, found.augmented) == (1.0, 1, 1)
    assert (found.near_duplicates, found.second) == (1, 2)
    assert any("1 of 2 images of the second set" in line for line in audit_lines(found))
