"""Mining of hard negatives: false positives of the detector, and crops without a face."""

import json
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np

from app.cli.train import hard_negatives_of
from app.core.resources import model as bundled
from app.core.types import Box, Detection, Image, Label
from app.training.data.face_pool import landmark_detector, mine_hard_negatives
from app.training.data.images import CachedDetector
from app.training.data.splits import NegativeSources, Splits, negative_sources
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
    head, in_head = Box(250, 200, 140, 180), Box(300, 240, 20, 20)
    found = mine_hard_negatives(
        [],
        {frame: [annotated, head]},
        FixedDetections(annotated, Box(205, 12, 60, 60), false_positive, in_head),
        FixedDetections(seen_by_teacher),
    )
    assert [(sample.label, sample.box) for sample in found] == [(Label.NOT_FACE, false_positive)]


def test_all_detections_in_an_image_without_faces_are_hard_negatives(tmp_path: Path) -> None:
    empty, box = write_image(tmp_path / "empty.png", 90, 400), Box(10, 10, 60, 60)
    found = mine_hard_negatives([], {empty: []}, FixedDetections(box), FixedDetections(box))
    assert [(sample.path, sample.box) for sample in found] == [(empty, box)]


def test_crops_without_faces_are_checked_by_the_teacher(tmp_path: Path) -> None:
    white = write_image(tmp_path / "not_face" / "a.png", 255, 64)
    dark = write_image(tmp_path / "not_face" / "b.png", 40, 64)
    found = mine_hard_negatives([white, dark], {}, FixedDetections(), DetectsWhite())
    assert [(sample.path, sample.label, sample.box) for sample in found] == [(dark, Label.NOT_FACE, None)]


def test_the_bundled_detector_finds_hard_negatives(shared_data: Path, tmp_path: Path) -> None:
    """In images without a face every detection is one. At the score of the search there are some."""
    images: dict[Path, list[Box]] = {
        shared_data / "scenes" / "empty" / f"{name}.webp": [] for name in ("05211", "05270")
    }
    args = Namespace(threads=1, folder=tmp_path)
    with CachedDetector(landmark_detector(1), tmp_path / "detections.json") as teacher:
        found = hard_negatives_of(args, NegativeSources((), images), teacher)
    assert found
    for face in found:
        assert face.label is Label.NOT_FACE
        assert face.sample.path in images
        assert face.box is not None


def test_hard_negatives_of_development_are_not_used_for_training(shared_data: Path) -> None:
    frames = sorted((shared_data / "frames" / "train").glob("*.jpg"))[:4]
    samples = [Sample(path, Label.MASK, "own", Box(1, 2, 30, 40)) for path in frames]
    train, dev = negative_sources(shared_data, Splits(tuple(samples[:2]), tuple(samples[2:])))
    assert set(train.images).isdisjoint(dev.images)
    assert set(train.crops).isdisjoint(dev.crops)
    assert {frames[0], frames[1]} <= set(train.images)
    assert {frames[2], frames[3]} <= set(dev.images)
    held_back = json.loads(bundled("held_back.json").read_text("utf-8"))
    names = {path.name for path in (*train.images, *dev.images)}
    assert names.isdisjoint(held_back["empty_test"])
    assert set(held_back["development"]).isdisjoint(path.name for path in train.images)
    assert min(len(train.crops), len(dev.crops), len(dev.images)) > 50
