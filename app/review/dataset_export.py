"""Writes collected faces as a data set: COCO, YOLO, Pascal VOC, Label Studio or class folders."""

import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import OutputError
from app.core.files import exists, is_file, is_folder, output_errors, write_json, write_text
from app.core.types import FACE_LABELS, Box, Label
from app.review.collected import CROP, SCENE, CollectedFace, CollectedFaces

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT, Label.NOT_FACE)
"""The classes of a data set, in this order."""
BLURRED = "blurred"
"""COCO's category of faces that were hidden: regions in which no answer is wrong (``iscrowd``)."""


@dataclass(frozen=True, slots=True)
class _Example:
    """A face with its image (``file`` below the folder of the images) and its label; None: nobody said which."""

    face: CollectedFace
    source: Path
    file: str
    box: Box
    size: tuple[int, int]
    others: tuple[Box, ...]
    label: Label | None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """``undecided``: faces left out because no person said what they are, or because a person was unsure too."""

    written: int
    undecided: int


def export(faces: CollectedFaces, output: Path, data_format: str, with_model_labels: bool = False) -> ExportResult:
    """Writes a data set to the new folder ``output``. Faces without a verdict are left out, unless they
    get the label of the model (``with_model_labels``); Label Studio gets all. Raises OutputError."""
    is_crop = data_format == "class-folders"
    examples, undecided = [], 0
    for face in faces.faces():
        label = face.known_label
        if label is None and with_model_labels and not face.verdict and face.label in LABELS:
            label = Label(face.label)
        if label is None and data_format != "labelstudio":
            undecided += 1
            continue
        example = _example(faces, face, label, is_crop)
        if example is not None:
            examples.append(example)
    with output_errors(output, "choose another folder"):
        if exists(output) and (not is_folder(output) or any(output.iterdir())):
            raise OutputError(f"{output} exists and is not an empty folder; choose a new one")
        output.mkdir(parents=True, exist_ok=True)
        WRITERS[data_format](examples, output)
    return ExportResult(len(examples), undecided)


def _example(faces: CollectedFaces, face: CollectedFace, label: Label | None, is_crop: bool) -> _Example | None:
    scene, crop = faces.folder.file(face.id, SCENE), faces.folder.file(face.id, CROP)
    name = scene.name.removesuffix(SCENE).replace("%2E", "_").replace("%", "_") + ".jpg"
    if is_file(scene) and not is_crop:
        return _Example(face, scene, name, face.box, face.size, face.others, label)
    if not is_file(crop):
        return None
    box = face.crop_box.clipped(*face.crop_size)
    return _Example(face, crop, name, box, face.crop_size, (), label)


def _copy_images(examples: Sequence[_Example], folder: Path) -> None:
    folder.mkdir(parents=True)
    for each in examples:
        shutil.copyfile(each.source, folder / each.file)


def _write_coco(examples: Sequence[_Example], output: Path) -> None:
    _copy_images(examples, output / "images")
    names = [*LABELS, BLURRED]
    boxes: list[dict[str, object]] = []
    for number, each in enumerate(examples, 1):
        assert each.label is not None
        for category, box, is_crowd in [
            (names.index(each.label), each.box, 0),
            *((names.index(BLURRED), box, 1) for box in each.others),
        ]:
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number,
                    "category_id": category + 1,
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": box.area,
                    "iscrowd": is_crowd,
                }
            )
    images = [
        {
            "id": number,
            "file_name": each.file,
            "width": each.size[0],
            "height": each.size[1],
            "source": each.face.camera,
        }
        for number, each in enumerate(examples, 1)
    ]
    categories = [{"id": number, "name": str(name)} for number, name in enumerate(names, 1)]
    write_json(output / "annotations.json", {"images": images, "annotations": boxes, "categories": categories})


def _write_yolo(examples: Sequence[_Example], output: Path) -> None:
    _copy_images(examples, output / "images")
    (output / "labels").mkdir()
    for each in examples:
        assert each.label is not None
        box = each.box.stretched(1 / each.size[0], 1 / each.size[1])
        numbers = " ".join(f"{value:.6f}" for value in (*box.center, box.width, box.height))
        write_text((output / "labels" / each.file).with_suffix(".txt"), f"{LABELS.index(each.label)} {numbers}\n")
    names = "".join(f"  {number}: {label}\n" for number, label in enumerate(LABELS))
    write_text(output / "data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{names}")


def _write_voc(examples: Sequence[_Example], output: Path) -> None:
    _copy_images(examples, output / "JPEGImages")
    (output / "Annotations").mkdir()
    for each in examples:
        root = ElementTree.Element("annotation")
        _add(root, "filename", each.file)
        size = ElementTree.SubElement(root, "size")
        for name, value in (("width", each.size[0]), ("height", each.size[1]), ("depth", 3)):
            _add(size, name, value)
        entry = ElementTree.SubElement(root, "object")
        _add(entry, "name", each.label)
        box = ElementTree.SubElement(entry, "bndbox")
        sides = (("xmin", each.box.x), ("ymin", each.box.y), ("xmax", each.box.x2), ("ymax", each.box.y2))
        for name, side in sides:
            _add(box, name, round(side))
        text = ElementTree.tostring(root, encoding="unicode")
        write_text((output / "Annotations" / each.file).with_suffix(".xml"), text + "\n")


def _add(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _write_label_studio(examples: Sequence[_Example], output: Path) -> None:
    """Tasks with the label of the model as prediction, and that of a person as annotation."""
    _copy_images(examples, output / "images")
    tasks = []
    for each in examples:
        prediction = {
            "model_version": "maskwatch",
            "score": each.face.confidence,
            "result": [_region(each, each.face.label)],
        }
        task: dict[str, object] = {
            "data": {
                "image": f"/data/local-files/?d={output.name}/images/{each.file}",
                "camera": each.face.camera,
                "reason": each.face.reason,
            },
            "predictions": [prediction],
        }
        if each.label is not None:
            task["annotations"] = [{"result": [_region(each, each.label)]}]
        tasks.append(task)
    write_json(output / "tasks.json", tasks)
    labels = "".join(f'    <Label value="{label}"/>\n' for label in dict.fromkeys((*LABELS, *FACE_LABELS)))
    write_text(
        output / "labels.xml",
        '<View>\n  <Image name="image" value="$image"/>\n  <RectangleLabels name="label" toName="image">\n'
        f"{labels}  </RectangleLabels>\n</View>\n",
    )


def _region(example: _Example, label: str) -> dict[str, object]:
    """Label Studio measures in percent."""
    box = example.box.stretched(100 / example.size[0], 100 / example.size[1])
    return {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": example.size[0],
        "original_height": example.size[1],
        "image_rotation": 0,
        "value": {
            **{name: round(getattr(box, name), 4) for name in ("x", "y", "width", "height")},
            "rotation": 0,
            "rectanglelabels": [str(label)],
        },
    }


def _write_class_folders(examples: Sequence[_Example], output: Path) -> None:
    for each in examples:
        assert each.label is not None
        folder = output / each.label
        folder.mkdir(exist_ok=True)
        shutil.copyfile(each.source, folder / each.file)


WRITERS: dict[str, Callable[[Sequence[_Example], Path], None]] = {
    "coco": _write_coco,
    "yolo": _write_yolo,
    "voc": _write_voc,
    "labelstudio": _write_label_studio,
    "class-folders": _write_class_folders,
}
