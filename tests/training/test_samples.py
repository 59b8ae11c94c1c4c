"""Reading of labelled faces in every layout, and clear messages for unusable data."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.samples import (
    class_folders,
    coco_frames,
    find_samples,
    image_files,
    label_of,
    labels_of,
    show_left_out,
)
from app.training.data.yolo import read_table
from app.training.types import LeftOut


def write_image(path: Path, width_px: int = 40, height_px: int = 30) -> Path:
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
        ("face_mask", Label.MASK),
        ("face_no_mask", Label.NO_MASK),
        ("face_with_mask_incorrect", Label.INCORRECT),
        ("mask 2", Label.MASK),
        ("cat", None),
        ("без mask", None),
        ("无mask", None),
    ],
)
def test_names_of_public_sets_map_to_labels(name: str, label: Label | None) -> None:
    assert label_of(name) == label


def test_the_kaggle_layout_keeps_its_splits(tmp_path: Path) -> None:
    for split in ("Train", "Validation", "Test"):
        write_image(tmp_path / split / "WithMask" / "a.jpg")
        write_image(tmp_path / split / "WithoutMask" / "b.png")
    splits = find_samples(tmp_path).splits
    assert {name: len(samples) for name, samples in splits.items()} == {"train": 2, "validation": 2, "test": 2}
    assert {sample.label for sample in splits["test"]} == {Label.MASK, Label.NO_MASK}


def test_splits_within_the_class_folders_are_kept(tmp_path: Path) -> None:
    for label in ("mask", "no_mask"):
        for split in ("train", "test"):
            write_image(tmp_path / label / split / "a.jpg")
    stray = write_image(tmp_path / "mask" / "b.jpg")
    found = find_samples(tmp_path)
    assert {name: len(samples) for name, samples in found.splits.items()} == {"train": 2, "test": 2}
    assert found.left_out == (LeftOut(stray, "is not in any split"),)
    assert find_samples(tmp_path / "mask" / "..").splits.keys() == found.splits.keys()


def test_a_folder_without_a_label_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "mask" / "a.jpg")
    write_image(tmp_path / "bananas" / "b.jpg")
    with pytest.raises(DataError, match="bananas"):
        class_folders(tmp_path)


def test_missing_images_raise_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mask").mkdir()
    with pytest.raises(DataError, match="has no images"):
        find_samples(tmp_path)
    with pytest.raises(DataError, match="no data at"):
        find_samples(tmp_path / "absent")


def test_other_xml_files_beside_class_folders_are_ignored(tmp_path: Path) -> None:
    for name in ("mask", "no_mask"):
        write_image(tmp_path / name / "a.jpg")
    (tmp_path / "project.xml").write_text("<project><name>mask</name></project>")
    assert len(find_samples(tmp_path).splits["train"]) == 2


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    own, store = tmp_path / "own", tmp_path / "store"
    for name in ("mask", "no_mask"):
        write_image(store / name / "a.jpg")
        write_image(own / name / "day1" / "b.jpg")
        try:
            (own / name / "day2").symlink_to(store / name, target_is_directory=True)
        except OSError:
            pytest.skip("no permission to create links")
        (own / name / "again").symlink_to(own / name / "day1", target_is_directory=True)
        (own / name / "up").symlink_to(own / name, target_is_directory=True)
        (own / name / "gone.jpg").symlink_to(store / "gone.jpg")
    paths = {sample.path.relative_to(own).as_posix() for sample in find_samples(own).splits["train"]}
    assert paths == {f"{name}/{path}" for name in ("mask", "no_mask") for path in ("day1/b.jpg", "day2/a.jpg")}
    yolo(tmp_path / "yolo", "0 0.5 0.5 0.1 0.4")
    (tmp_path / "yolo" / "images").rename(store / "images")
    (tmp_path / "yolo" / "images").symlink_to(store / "images", target_is_directory=True)
    (tmp_path / "yolo" / "classes.txt").write_text("mask\n")
    assert len(find_samples(tmp_path / "yolo").splits["train"]) == 1


def test_images_as_browsers_save_them_are_read(tmp_path: Path) -> None:
    for name in ("mask/a.jpg", "no_mask/b.jpg"):
        path = write_image(tmp_path / name)
        path.rename(path.with_suffix(".JFIF"))
    assert len(find_samples(tmp_path).splits["train"]) == 2


def test_if_no_image_is_readable_one_is_named(tmp_path: Path) -> None:
    for name in ("mask", "no_mask"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "IMG_1.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(DataError, match=r"no images .* that can be read, for example .*IMG_1\.HEIC; expected"):
        find_samples(tmp_path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "mask" / "a.jpg")
    with pytest.raises(DataError, match="only mask"):
        labels_of(class_folders(tmp_path))


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


def test_hidden_files_and_archive_folders_are_skipped(tmp_path: Path) -> None:
    top = tmp_path / ".cache" / "download"  # only dots below the data folder hide files
    data = top / "Face Mask Dataset"
    for name in ("mask", "no_mask"):
        write_image(data / "Train" / name / "a.jpg")
        write_image(data / "Train" / name / "._a.jpg")
        write_image(data / "Train" / name / ".ipynb_checkpoints" / "a.jpg")
    write_image(top / "__MACOSX" / "Train" / "mask" / "a.jpg")
    (data / "Train" / "annotations_at").mkdir()
    (top / "readme.txt").write_text("hello")
    found = find_samples(top)
    assert found.left_out == ()
    assert [sample.path for sample in found.splits["train"]] == image_files(data)
    assert len(found.splits["train"]) == 2


def test_unsupported_and_unlabelled_images_are_reported(tmp_path: Path) -> None:
    for name in ("mask/a.TIFF", "no_mask/b.jpg", "loose.jpg"):
        write_image(tmp_path / "Train" / name)
    write_image(tmp_path / "more" / "mask" / "c.jpg")
    (tmp_path / "Train" / "mask" / "d.gif").write_bytes(b"GIF89a")
    found = find_samples(tmp_path)
    assert [sample.path.name for sample in found.splits["train"]] == ["a.TIFF", "b.jpg"]
    assert {entry.path.name: entry.reason for entry in found.left_out} == {
        "loose.jpg": "is not in a class folder",
        "d.gif": "cannot be read; save it as PNG or JPEG",
        "c.jpg": "is not in any split",
    }


def test_ten_left_out_entries_are_listed_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    show_left_out(Console(), [LeftOut(Path(f"{i}.jpg"), "is broken") for i in range(13)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "left out: 0.jpg: is broken"
    assert lines[9:] == ["left out: 9.jpg: is broken", "left out: 3 more"]
    show_left_out(Console(), [])
    assert capsys.readouterr().out == ""


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


def yolo(folder: Path, *lines: str) -> Path:
    """One image of 200 by 100 px in YOLO's usual folders."""
    path = write_image(folder / "images" / "one.jpg", width_px=200, height_px=100)
    (folder / "labels").mkdir()
    (folder / "labels" / "one.txt").write_text("\n".join(lines))
    return path


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
