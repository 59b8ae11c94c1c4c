"""Finding labelled faces: every layout, and one clear line for whatever cannot be used."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.domain import Box, Label
from app.errors import DataError
from app.train.samples import class_folders, coco_frames, find_samples, label_of, labels_of, voc_frames, yolo_frames


def picture(path: Path, width_px: int = 40, height_px: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height_px, width_px, 3), 128, np.uint8))
    return path


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("WithMask", Label.MASK),
        ("with_mask", Label.MASK),
        ("WithoutMask", Label.NO_MASK),
        ("no_mask", Label.NO_MASK),
        ("mask_weared_incorrect", Label.INCORRECT),
        ("cat", None),
    ],
)
def test_names_of_public_sets_mean_our_labels(name: str, label: Label | None) -> None:
    assert label_of(name) == label


def test_the_kaggle_layout_keeps_its_splits(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        picture(tmp_path / split / "WithMask" / "a.jpg")
        picture(tmp_path / split / "WithoutMask" / "b.png")
    splits = find_samples(tmp_path)
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert {sample.label for sample in splits["test"]} == {Label.MASK, Label.NO_MASK}


def test_a_folder_that_is_no_label_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "mask" / "a.jpg")
    picture(tmp_path / "bananas" / "b.jpg")
    with pytest.raises(DataError, match="bananas"):
        class_folders(tmp_path)


def test_no_pictures_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "mask").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        find_samples(tmp_path)
    with pytest.raises(DataError, match="no data at"):
        find_samples(tmp_path / "absent")


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "mask" / "a.jpg")
    with pytest.raises(DataError, match="only mask"):
        labels_of(class_folders(tmp_path))


def coco(tmp_path: Path, category: str = "with_mask") -> Path:
    picture(tmp_path / "frames" / "one.jpg")
    tree = {
        "images": [{"id": 7, "file_name": "frames/one.jpg", "width": 40, "height": 30, "source": "somewhere"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [4, 5, 10, 12]}],
        "categories": [{"id": 1, "name": category}],
    }
    path = tmp_path / "faces.json"
    path.write_text(json.dumps(tree))
    return path


def test_coco_boxes_and_sources_are_read(tmp_path: Path) -> None:
    (sample,) = find_samples(coco(tmp_path))["train"]
    assert (sample.label, sample.box, sample.source) == (Label.MASK, Box(4, 5, 10, 12), "somewhere")
    assert sample.path == tmp_path / "frames" / "one.jpg"


def test_coco_that_is_broken_or_unknown_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label is called zebra"):
        coco_frames(coco(tmp_path, "zebra"))
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    with pytest.raises(DataError, match="not a COCO annotation file"):
        coco_frames(broken)
    broken.write_text('{"images": []}')
    with pytest.raises(DataError, match="not a COCO annotation file"):
        coco_frames(broken)


def test_voc_boxes_are_read_and_a_missing_picture_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "one.png")
    note = (
        "<annotation><object><name>without_mask</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>13</xmax>"
        "<ymax>24</ymax></bndbox></object></annotation>"
    )
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "one.xml").write_text(note)
    (sample,) = find_samples(tmp_path)["train"]
    assert (sample.label, sample.box) == (Label.NO_MASK, Box(3, 4, 10, 20))
    (tmp_path / "annotations" / "two.xml").write_text(note)
    with pytest.raises(DataError, match=r"two\.xml has no picture"):
        voc_frames(tmp_path)


def test_yolo_boxes_are_in_parts_of_the_picture(tmp_path: Path) -> None:
    picture(tmp_path / "one.jpg", width_px=200, height_px=100)
    (tmp_path / "classes.txt").write_text("mask\nno_mask\n")
    (tmp_path / "one.txt").write_text("1 0.5 0.5 0.1 0.4\n")
    (sample,) = find_samples(tmp_path)["train"]
    assert sample.label == Label.NO_MASK
    assert sample.box == Box(90, 30, 20, 40)
    (tmp_path / "one.txt").write_text("9 0.5 0.5 0.1 0.4\n")
    with pytest.raises(DataError, match="no YOLO line"):
        yolo_frames(tmp_path)
