"""Samples from YOLO files."""

from pathlib import Path

import pytest
from fakes_training import write_image, yolo

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.samples import find_samples
from app.training.data.yolo import read_table


def test_yolo_boxes_and_outlines_are_relative_to_the_image(tmp_path: Path) -> None:
    path = yolo(tmp_path, "1 0.5 0.5 0.1 0.4", "", "0 0.25 0.5 0.5 0.25 0.75 0.75", "")
    (tmp_path / "classes.txt").write_text("\ufeffwith mask\nwithout mask\n", "utf-8")
    (tmp_path / "README.txt").write_text("hello there")
    found = find_samples(tmp_path)
    assert [(sample.label, sample.box) for sample in found.splits["train"]] == [
        (Label.NO_MASK, Box(90, 30, 20, 40)),
        (Label.MASK, Box(50, 25, 100, 50)),
    ]
    assert found.left_out == ()
    assert found.splits["train"][0].path == path


def test_unusable_yolo_lines_are_left_out_and_reported(tmp_path: Path) -> None:
    path = yolo(tmp_path, "0 0.5 0.5 0.1 0.4", "-1 0 0 1 1", "9 0 0 1 1", "0 0.5 0.5 0 0", "0 0.5", "2 0.5 0.5 0.1 0.1")
    (tmp_path / "classes.txt").write_text("mask\nno_mask\nperson\n")
    found = find_samples(tmp_path)
    assert len(found.splits["train"]) == 1
    assert {entry.path for entry in found.left_out} == {path}
    reasons = " ".join(entry.reason for entry in found.left_out)
    for part in ("class -1 has", "class 9 has", "'mask' has no area", "'0 0.5' is not a YOLO line", "named person"):
        assert part in reasons
    (tmp_path / "labels" / "one.txt").write_text("9 0.5 0.5 0.1 0.4\n")
    with pytest.raises(DataError, match="class 9 has no name"):
        find_samples(tmp_path)


def test_yolo_labels_without_an_image_are_reported_and_too_many_raise(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.1 0.4")
    (tmp_path / "classes.txt").write_text("mask\n")
    (tmp_path / "labels" / "two.txt").write_text("0 0.5 0.5 0.1 0.4\n")
    with pytest.raises(DataError, match=r"1 of 2 annotated images cannot be used.*two\.txt has no image"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        "names: ['with mask', \"no_mask\"]",
        "names: [with mask,\n        no_mask]",
        "names:\n- with mask\n- no_mask",
        "names:\n  0: with mask  # worn\n  1: 'no_mask'",
        "names: {0: with mask, 1: no_mask}",
    ],
)
@pytest.mark.parametrize(
    ("paths", "at"),
    [
        ("train: ../train/images\nval: ../valid/images\n", "{0}/{1}"),
        ("path: ../datasets/masks  # root\ntrain: images/train\nval:\n  - images/valid\n", "{1}/{0}"),
        ("train: a.txt\nval: elsewhere\n", "{1}/{0}"),
    ],
)
def test_yolo_tables_name_classes_and_splits(tmp_path: Path, names: str, paths: str, at: str) -> None:
    for number, folder in enumerate(("train", "valid")):
        write_image(tmp_path / at.format(folder, "images") / "0001.jpg")
        note = tmp_path / at.format(folder, "labels") / "0001.txt"
        note.parent.mkdir(parents=True)
        note.write_text(f"{number} 0.5 0.5 0.5 0.5\n")
    (tmp_path / "a.txt").write_text("./images/train/0001.jpg\n")
    (tmp_path / "data.yaml").write_text(f"{paths}nc: 2\n{names}\nroboflow:\n  license: none\n")
    for place in (tmp_path, tmp_path / "data.yaml"):
        splits = find_samples(place).splits
        assert {split: [sample.label for sample in samples] for split, samples in splits.items()} == {
            "train": [Label.MASK],
            "validation": [Label.NO_MASK],
        }
        assert splits["validation"][0].path == tmp_path / at.format("valid", "images") / "0001.jpg"


def test_a_yolo_table_gives_the_split_if_folders_do_not(tmp_path: Path) -> None:
    for folder in ("day", "night", "spare"):
        write_image(tmp_path / "images" / folder / "a.jpg")
        (tmp_path / "labels" / folder).mkdir(parents=True)
        (tmp_path / "labels" / folder / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images/day\ntest: images/night\nnames: [mask]\n")
    found = find_samples(tmp_path)
    assert {split: [sample.path.parent.name for sample in part] for split, part in found.splits.items()} == {
        "train": ["day"],
        "test": ["night"],
    }
    assert [entry.path.parent.name for entry in found.left_out] == ["spare"]


def test_an_unreadable_yolo_table_raises_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [mask\ntrain: images\n")
    for place in (tmp_path, tmp_path / "data.yaml"):
        with pytest.raises(
            DataError, match=r"data\.yaml is not readable YAML: .*line 2.*; fix it or move it away"
        ) as raised:
            find_samples(place)
        assert "\n" not in str(raised.value)


def test_a_class_named_no_keeps_its_name(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.5 0.1 0.4")
    (tmp_path / "data.yaml").write_text("names: [mask, no]\n")
    assert read_table(tmp_path / "data.yaml")["names"] == (("0", "mask"), ("1", "no"))


def test_a_yolo_table_without_names_raises_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: images\n")
    with pytest.raises(DataError, match="has no class names"):
        find_samples(tmp_path / "data.yaml")


def test_yolo_lists_may_be_relative_to_the_root_and_must_name_existing_files(tmp_path: Path) -> None:
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.png")
        note = tmp_path / "labels" / f"{number}.txt"
        note.parent.mkdir(exist_ok=True)
        note.write_text(f"{number % 2} 0.5 0.5 0.5 0.5\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "data.yaml").write_text("train: lists/train.txt\nval: lists/val.txt\nnames: [mask, no_mask]\n")
    (tmp_path / "lists" / "train.txt").write_text("".join(f"images/{number}.png\n" for number in range(4)))
    (tmp_path / "lists" / "val.txt").write_text("images\\4.png\nimages/5.png\n")
    splits = find_samples(tmp_path).splits
    assert {split: len(samples) for split, samples in splits.items()} == {"train": 4, "validation": 2}
    (tmp_path / "lists" / "val.txt").write_text("/home/me/images/4.png\n/home/me/images/5.png\n")
    with pytest.raises(DataError, match=r"cannot be used; the first: .*4\.png is listed for the split validation but"):
        find_samples(tmp_path)
