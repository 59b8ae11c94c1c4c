"""Samples from COCO and VOC files."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes_training import write_image

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.samples import coco_frames, find_samples
from app.training.types import LeftOut


def coco(tmp_path: Path, category: str = "with_mask") -> Path:
    write_image(tmp_path / "frames" / "one.jpg")
    tree = {
        "images": [{"id": 7, "file_name": "frames/one.jpg", "width": 40, "height": 30, "source": "somewhere"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [4, 5, 10, 12]}],
        "categories": [{"id": 1, "name": category}],
    }
    path = tmp_path / "faces.json"
    path.write_text(json.dumps(tree))
    return path


def test_coco_boxes_and_sources_are_read(tmp_path: Path) -> None:
    (sample,) = find_samples(coco(tmp_path)).splits["train"]
    assert (sample.label, sample.box, sample.source) == (Label.MASK, Box(4, 5, 10, 12), "somewhere")
    assert sample.path == tmp_path / "frames" / "one.jpg"


def test_broken_coco_or_unknown_labels_raise_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label is named zebra"):
        coco_frames(coco(tmp_path, "zebra"))
    broken = tmp_path / "broken.json"
    broken.write_text('{"images": [')
    with pytest.raises(DataError, match="not a usable COCO file"):
        coco_frames(broken)
    broken.write_text('{"images": []}')
    with pytest.raises(DataError, match="not a usable COCO file"):
        coco_frames(broken)


@pytest.mark.parametrize(
    "text", ['{"images": [', '{"images": [], "annotations": []}', "[" * 100_000], ids=["cut", "part", "deep"]
)
@pytest.mark.parametrize("split", ["", "train"])
def test_a_damaged_coco_file_of_a_folder_is_named(tmp_path: Path, text: str, split: str) -> None:
    write_image(tmp_path / split / "a.jpg")
    path = tmp_path / split / "_annotations.coco.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"no images in class folders.*_annotations\.coco\.json is not a usable COCO"):
        find_samples(tmp_path)


BOX = {"image_id": 7, "category_id": 1, "bbox": [4, 5, 10, 12]}


def coco_file(path: Path, *annotations: dict[str, Any], name: str = "one.jpg") -> None:
    """A COCO file of one image with a good box and ``annotations``."""
    tree = {
        "images": [{"id": 7, "file_name": name}],
        "annotations": [BOX, *annotations],
        "categories": [{"id": 1, "name": "with_mask"}, {"id": 2, "name": "person"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iscrowd": 1}, "a box of 'with_mask' stands for a group (iscrowd)"),
        ({"category_id": 2}, "no label is named person; use mask, no_mask, incorrect"),
        ({"category_id": 77}, "category 77 has no name; add it to the categories"),
        *(
            ({"bbox": bbox}, "a box of 'with_mask' has no area")
            for bbox in ([1, 1, 0, 5], [9, 9, -3, 5], [float("nan"), 1, 2, 2], [1, 1, float("inf"), 2], [], None)
        ),
    ],
)
def test_unusable_coco_boxes_are_left_out_and_reported(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = write_image(tmp_path / "one.jpg")
    coco_file(tmp_path / "a.JSON", BOX | change)
    for place in (tmp_path, tmp_path / "a.JSON"):
        found = find_samples(place)
        assert [sample.box for sample in found.splits["train"]] == [Box(4, 5, 10, 12)]
        assert found.left_out == (LeftOut(path, reason),)
    with pytest.raises(DataError, match=r"one\.jpg"):
        coco_frames(tmp_path / "a.JSON")


def test_coco_annotations_without_box_are_left_out_and_numbers_may_be_text(tmp_path: Path) -> None:
    path = write_image(tmp_path / "one.jpg")
    outline = {"image_id": "7", "category_id": "1", "segmentation": [[1, 1, 5, 1, 5, 5]]}
    coco_file(tmp_path / "a.json", {**BOX, "image_id": "7"}, outline)
    found = find_samples(tmp_path)
    assert [sample.box for sample in found.splits["train"]] == [Box(4, 5, 10, 12)] * 2
    assert found.left_out == (LeftOut(path, "a box of 'with_mask' has no area"),)


def test_coco_boxes_of_unlisted_images_are_reported(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"categories": [{"id": 1, "name": "mask"}], "images": [], "annotations": []}
    for i in range(20):
        write_image(tmp_path / f"{i}.png")
        tree["images"].append({"id": i, "file_name": f"{i}.png"})
        tree["annotations"].append({**BOX, "image_id": i})
    tree["annotations"] += [{**BOX, "image_id": 99}, {"category_id": 1, "bbox": [1, 1, 5, 5]}]
    note = tmp_path / "a.json"
    note.write_text(json.dumps(tree))
    found = find_samples(tmp_path)
    assert len(found.splits["train"]) == 20
    assert found.left_out == (LeftOut(note, "has boxes of images that it does not list (2); export it again"),)
    tree["images"][1]["id"] = 0  # as in merged files
    note.write_text(json.dumps(tree))
    with pytest.raises(DataError, match="some images share an id"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    ("note", "images_at"),
    [
        ("{0}/_annotations.coco.json", "{0}"),
        ("annotations/instances_{0}2017.json", "images/{0}"),
        ("annotations/instances_{0}.json", "{0}2017"),
        ("annotations/{0}.json", "images"),
    ],
)
def test_coco_folders_have_splits(tmp_path: Path, note: str, images_at: str) -> None:
    shown = {}
    for folder, split in {"train": "train", "val": "validation", "test": "test"}.items():
        shown[split] = write_image(tmp_path / images_at.format(folder) / f"{folder}.jpg")
        coco_file(tmp_path / note.format(folder), name=f"{folder}.jpg")
    splits = find_samples(tmp_path).splits
    assert {split: [sample.path for sample in samples] for split, samples in splits.items()} == {
        split: [path] for split, path in shown.items()
    }
    alone = find_samples(tmp_path / note.format("val")).splits
    assert [sample.path.resolve() for sample in alone["train"]] == [shown["validation"]]


def voc_file(path: Path, x: int, name: str = "without_mask", x2: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = f"<xmin>{x}</xmin><ymin>4</ymin><xmax>{x2}</xmax><ymax>24</ymax>"
    path.write_text(f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>")
    return path


@pytest.mark.parametrize(
    ("annotations_at", "images_at"),
    [("{0}", "{0}"), ("annotations/{0}", "images/{0}"), ("{0}/Annotations", "{0}/JPEGImages")],
)
def test_voc_images_of_one_name_keep_their_own_boxes_and_splits(
    tmp_path: Path, annotations_at: str, images_at: str
) -> None:
    for x, folder in enumerate(("train", "valid")):
        write_image(tmp_path / images_at.format(folder) / "0001.jpg")
        voc_file(tmp_path / annotations_at.format(folder) / "0001.XML", x)
    splits = find_samples(tmp_path).splits
    for x, (split, folder) in enumerate({"train": "train", "validation": "valid"}.items()):
        (sample,) = splits[split]
        assert sample.path == tmp_path / images_at.format(folder) / "0001.jpg"
        assert sample.box == Box(x, 4, 30 - x, 20)


def test_voc_lists_give_splits_and_the_annotation_folder_is_enough(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        write_image(tmp_path / "JPEGImages" / f"{name}.PNG")
        voc_file(tmp_path / "Annotations" / f"{name}.xml", 1)
    for name, listed in {"train": "a", "trainval": "a b", "val": "b", "test": "c"}.items():
        (lists / f"{name}.txt").write_text("\n".join(listed.split()) + "\n")
    found = find_samples(tmp_path)
    names = {split: [sample.path.stem for sample in samples] for split, samples in found.splits.items()}
    assert names == {"train": ["a"], "validation": ["b"], "test": ["c"]}
    assert found.left_out == (LeftOut(tmp_path / "JPEGImages" / "d.PNG", "is not in any split"),)
    assert len(find_samples(tmp_path / "Annotations").splits["train"]) == 4


def test_unusable_voc_files_are_left_out_and_too_many_raise(tmp_path: Path) -> None:
    for i in range(20):
        write_image(tmp_path / "images" / f"{i:02}.png")
        voc_file(tmp_path / "annotations" / f"{i:02}.xml", 1)
    voc_file(tmp_path / "annotations" / "00.xml", 50)
    voc_file(tmp_path / "annotations" / "01.xml", 1, "helmet")
    gone = voc_file(tmp_path / "annotations" / "gone.xml", 1)
    (tmp_path / "annotations" / "03.xml").write_text("<annotation><obj")
    found = find_samples(tmp_path)
    assert len(found.splits["train"]) == 17
    reasons = {entry.path.stem: entry.reason for entry in found.left_out}
    assert reasons.keys() == {"00", "01", "03", "gone"}
    assert "has no area" in reasons["00"]
    assert "named helmet" in reasons["01"]
    assert "not a usable VOC file" in reasons["03"]
    assert "names the image gone.jpg" in reasons[gone.stem]
    (tmp_path / "images" / "04.png").unlink()
    with pytest.raises(DataError, match="3 of 21 annotated images cannot be used"):
        find_samples(tmp_path)
