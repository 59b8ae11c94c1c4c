"""Fake detector and classifier with fixed answers."""

from collections.abc import Callable, Sequence

import numpy as np

from app.core.types import Box, Detection, Frame, Image
from app.vision.classifier import Crops, Probabilities
from app.vision.model_metadata import ClassifierMetadata

METADATA = ClassifierMetadata(
    name="fake", labels=("mask", "no_mask", "incorrect"), input_px=16, margin=0.0, min_confidence=0.6, min_face_px=10
)


def plain_frame(index: int, fps: float = 10.0, colour: int = 0, camera: str = "door", size: int = 120) -> Frame:
    image = np.full((size, size, 3), colour, np.uint8)
    return Frame(image, index, index / fps, 100.0 + index / fps, 1_700_000_000.0 + index / fps, camera)


class BoxesDetector:
    """A detector whose call number ``i`` (from 0) returns ``boxes_of(i)``."""

    def __init__(self, boxes_of: Callable[[int], Sequence[Box]]) -> None:
        self._boxes_of = boxes_of
        self.calls = 0

    def detect(self, image: Image) -> list[Detection]:
        boxes = self._boxes_of(self.calls)
        self.calls += 1
        return [Detection(box, 0.9) for box in boxes]


class BrightnessClassifier:
    """Dark crops are bare faces, bright crops masked ones and grey crops unsure: tests paint the label into a frame."""

    metadata = METADATA

    def __init__(self) -> None:
        self.batches: list[int] = []

    def classify(self, crops: Crops) -> Probabilities:
        self.batches.append(len(crops))
        light = crops.mean(axis=(1, 2, 3)) / 255.0
        rows = np.stack([light, 1.0 - light, np.zeros_like(light)], axis=1)
        return rows.astype(np.float32)  # type: ignore[no-any-return]
