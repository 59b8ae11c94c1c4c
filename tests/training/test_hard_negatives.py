"""Mining of hard negatives from false_positive positives."""

from pathlib import Path

import cv2
import numpy as np

from app.core.types import Box, Detection, Image, Label
from app.training.data.face_pool import mine_hard_negatives
from app.training.types import Sample


class FixedDetections:
    def __init__(self, *boxes: Box) -> None:
        self.boxes = boxes

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        return [Detection(box, 0.5) for box in self.boxes if box.x2 <= width and box.y2 <= height]


class DetectsWhite:
    """Detects a face in every white image."""

    def detect(self, image: Image) -> list[Detection]:
        return [Detection(Box(0, 0, 9, 9), 0.9)] if image.min() == 255 else []


def write_image(path: Path, grey: int, size_px: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((size_px, size_px, 3), grey, np.uint8))
    return path


def test_detections_without_annotation_or_teacher_face_are_hard_negatives(tmp_path: Path) -> None:
    frame = write_image(tmp_path / "frame.png", 90, 400)
    annotated, seen_by_teacher, false_positive = Box(10, 10, 60, 60), Box(200, 10, 60, 60), Box(100, 200, 60, 60)
    found = mine_hard_negatives(
        tmp_path / "none",
        [Sample(frame, Label.MASK, "a", annotated)],
        FixedDetections(annotated, Box(205, 12, 60, 60), false_positive),
        FixedDetections(seen_by_teacher),
    )
    assert [(sample.label, sample.box) for sample in found] == [(Label.UNSURE, false_positive)]


def test_images_without_faces_are_checked_by_the_teacher(tmp_path: Path) -> None:
    write_image(tmp_path / "not_face" / "a.png", 255, 64)
    dark = write_image(tmp_path / "not_face" / "b.png", 40, 64)
    found = mine_hard_negatives(tmp_path / "not_face", [], FixedDetections(), DetectsWhite())
    assert [(sample.path, sample.label, sample.box) for sample in found] == [(dark, Label.UNSURE, None)]
