"""False finds: kept where nobody has a face, and taught as no label at all."""

from pathlib import Path

import cv2
import numpy as np

from app.core.types import Box, Detection, Image, Label
from app.training.data.hard_negatives import mine_hard_negatives
from app.training.data.samples import Sample


class Finds:
    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        return [Detection(box, 0.5) for box in self.boxes if box.x2 <= width and box.y2 <= height]


class FindsInWhite:
    """A face in every picture that is white."""

    def detect(self, image: Image) -> list[Detection]:
        return [Detection(Box(0, 0, 9, 9), 0.9)] if image.min() == 255 else []


def picture(path: Path, grey: int, size_px: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((size_px, size_px, 3), grey, np.uint8))
    return path


def test_finds_are_nothing_where_neither_annotation_nor_teacher_has_a_face(tmp_path: Path) -> None:
    frame = picture(tmp_path / "frame.png", 90, 400)
    annotated, taught, false = Box(10, 10, 60, 60), Box(200, 10, 60, 60), Box(100, 200, 60, 60)
    found = mine_hard_negatives(
        tmp_path / "none",
        [Sample(frame, Label.MASK, "a", annotated)],
        Finds(annotated, Box(205, 12, 60, 60), false),
        Finds(taught),
    )
    assert [(sample.label, sample.box) for sample in found] == [(Label.UNSURE, false)]


def test_pictures_said_to_show_no_face_are_looked_at_once_more(tmp_path: Path) -> None:
    picture(tmp_path / "not_face" / "a.png", 255, 64)
    dark = picture(tmp_path / "not_face" / "b.png", 40, 64)
    found = mine_hard_negatives(tmp_path / "not_face", [], Finds(), FindsInWhite())
    assert [(sample.path, sample.label, sample.box) for sample in found] == [(dark, Label.UNSURE, None)]
