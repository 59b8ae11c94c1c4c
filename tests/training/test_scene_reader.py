"""Reading of annotated scenes in the usual VOC and COCO layouts, and clear messages for unusable files."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.detector.scene_reader import read_scenes
from app.training.types import Scene, SceneFace

VOC = """<annotation><filename>a.jpg</filename><object><name>{name}</name><bndbox><xmin>3</xmin><ymin>4</ymin>
<xmax>{x2}</xmax><ymax>24</ymax></bndbox></object></annotation>"""


def voc(name: str = "no_mask", x2: object = 13) -> str:
    return VOC.format(name=name, x2=x2)


def coco(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.jpg", "source": "web"}],
        "categories": [{"id": 1, "name": "with_mask"}, {"id": 2, "name": "person"}],
        "annotations": [{"image_id": 7, "category_id": 1, "bbox": [3, 4, 10, 20]}],
    }
    return tree | changes


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("name", "label"),
    [("with_mask", Label.MASK), ("mask_weared_incorrect", Label.INCORRECT), ("no_mask", Label.NO_MASK)],
)
@pytest.mark.parametrize(
    ("annotations", "images"),
    [("", ""), ("annotations", "images"), ("", "images"), ("Annotations", "JPEGImages")],
)
def test_voc_folders_are_read(tmp_path: Path, name: str, label: Label, annotations: str, images: str) -> None:
    image = touch(tmp_path / images / "a.jpg")
    file = touch(tmp_path / annotations / "a.xml")
    file.write_text(voc(name))
    for place in (tmp_path, file):
        (scene,) = read_scenes(place)
        assert scene.path.resolve() == image
        assert scene.faces == (SceneFace(Box(3, 4, 10, 20), label),)


@pytest.mark.parametrize("images", ["", "images"])
def test_coco_files_are_read_alone_or_in_their_folder(tmp_path: Path, images: str) -> None:
    image = touch(tmp_path / images / "a.jpg")
    crowd = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 90, 90], "iscrowd": 1}
    tree = coco()
    (tmp_path / "annotations.json").write_text(json.dumps(tree | {"annotations": [*tree["annotations"], crowd]}))
    (tmp_path / "other.json").write_text("[1, 2]")
    expected = [Scene(image, "web", (SceneFace(Box(3, 4, 10, 20), Label.MASK),), (Box(0, 0, 90, 90),))]
    assert read_scenes(tmp_path / "annotations.json") == read_scenes(tmp_path) == expected


def test_yolo_folders_are_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 200, 3), np.uint8))
    (tmp_path / "a.txt").write_text("1 0.5 0.5 0.1 0.2\n0 0.1 0.1 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("names: [head, no_mask]")
    expected = Scene(tmp_path / "a.png", "", (SceneFace(Box(90, 40, 20, 20), Label.NO_MASK),), (Box(10, 5, 20, 10),))
    assert read_scenes(tmp_path) == read_scenes(tmp_path / "data.yaml") == [expected]


def test_faces_of_unknown_class_and_neutral_regions_are_read(tmp_path: Path) -> None:
    names = ["face", "head", "ignore", "veil", "no_mask", "not_face"]
    tree = coco(
        categories=[{"id": i, "name": name} for i, name in enumerate(names)],
        annotations=[{"image_id": 7, "category_id": i, "bbox": [i, 4, 10, 20]} for i in range(6)],
    )
    touch(tmp_path / "a.jpg")
    (tmp_path / "annotations.json").write_text(json.dumps(tree))
    (scene,) = read_scenes(tmp_path)
    assert scene.faces == (SceneFace(Box(0, 4, 10, 20), None), SceneFace(Box(4, 4, 10, 20), Label.NO_MASK))
    assert scene.neutral == tuple(Box(i, 4, 10, 20) for i in (1, 2, 3))


def test_the_class_face_means_bare_beside_mask_alone(tmp_path: Path) -> None:
    tree = coco(categories=[{"id": 1, "name": "face"}, {"id": 2, "name": "face_mask"}])
    tree["annotations"] = [{"image_id": 7, "category_id": i, "bbox": [i, 4, 10, 20]} for i in (1, 2)]
    touch(tmp_path / "a.jpg")
    (tmp_path / "annotations.json").write_text(json.dumps(tree))
    (scene,) = read_scenes(tmp_path)
    assert [face.label for face in scene.faces] == [Label.NO_MASK, Label.MASK]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation", r"a\.xml is not a usable VOC file"),
        (voc("hat"), "no label is named 'hat'"),
        (voc(x2=3), "has no area"),
        (voc(x2="nan"), "has no area"),
        (voc(x2="wide"), "not a usable VOC file"),
        (voc(), "names the image a.jpg"),
    ],
)
def test_unusable_voc_files_raise_the_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_scenes(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 8, "category_id": 1, "bbox": [3, 4, 10, 20]}]}, "does not list"),
        ({"annotations": [{"image_id": 7, "category_id": 2, "bbox": [3, 4, 10, 20]}]}, "named 'person'"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [3, 4, 10, 0]}]}, "no area"),
        ({"annotations": [{"image_id": 7, "category_id": 1, "bbox": [3, 4]}]}, "no area"),
        ({"annotations": [7]}, "not a usable COCO file"),
        ({"images": [{"id": 7}], "annotations": []}, "no entry 'file_name'"),
        ({"images": [{"id": 7, "file_name": "b.jpg"}]}, "names the image b.jpg"),
    ],
)
def test_unusable_coco_files_raise_the_reason(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text(json.dumps(coco(**changes)))
    with pytest.raises(DataError, match=message) as raised:
        read_scenes(tmp_path / "a.json")
    assert "a.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_paths_without_annotations_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no annotations in"):
        read_scenes(tmp_path)
    (tmp_path / "coco.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"no annotations in .*coco\.json is not a usable COCO file"):
        read_scenes(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_scenes(tmp_path / "gone")
    (tmp_path / "a.txt").write_text("no JSON")
    with pytest.raises(DataError, match="not a usable COCO"):
        read_scenes(tmp_path / "a.txt")
    for name in ("train.json", "test.json"):
        (tmp_path / name).write_text(json.dumps(coco()))
    with pytest.raises(DataError, match=r"2 COCO files \(test\.json, train\.json\)"):
        read_scenes(tmp_path)
