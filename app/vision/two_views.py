"""Searches a single image in two views, because what a detector finds in both is more surely a face."""

from dataclasses import replace
from itertools import compress
from operator import not_

from app.core.types import Box, Detection, Image
from app.vision.detector import FaceDetector
from app.vision.nms import PART_INSIDE, shared_area
from app.vision.preprocess import resize

ENLARGED = 1.5
"""The second view is mirrored and enlarged by this factor, for 2.25 more passes: small faces need more pixels."""

_MAX_ENLARGED_PX = 2600
"""The longer side of an enlarged view: larger images show small faces well, and would take seconds."""

_SAME_IOU = 0.5

MISSING = 0.05
"""A detection that one view lacks counts there as this much below the least score."""

_MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)
"""The right eye of a mirrored face is its left one."""


class TwoViewDetector:
    """Runs ``detector`` on the image and on its enlarged mirror image. The score of a face is the mean of both, at
    least ``score``; ``detector`` itself should report detections from ``MISSING`` below it. Faces below ``least_px`` in
    the image are left out."""

    def __init__(self, detector: FaceDetector, score: float, least_px: float) -> None:
        self._detector, self._score, self._least_px = detector, score, least_px

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        height, width = image.shape[:2]
        factor = max(1.0, min(ENLARGED, _MAX_ENLARGED_PX / max(height, width)))
        view = resize(image, round(width * factor), round(height * factor))[:, ::-1]
        found = [
            *((detection, 0) for detection in self._detector.detect(image)),
            *((_mirrored(each, view.shape[1], width, height), 1) for each in self._detector.detect(view.copy())),
        ]
        found = [each for each in found if each[0].box.size >= self._least_px]
        found.sort(key=lambda each: -each[0].score)
        joined = []
        while found:
            best, of_view = found.pop(0)
            is_same = [each.box.iou(best.box) >= _SAME_IOU for each, _ in found]
            same = list(compress(found, is_same))
            found = list(compress(found, map(not_, is_same)))
            missing = self._score - MISSING
            other = next((detection.score for detection, view_index in same if view_index != of_view), missing)
            joined.append(replace(best, score=(best.score + other) / 2))
        joined = sorted((each for each in joined if each.score >= self._score), key=lambda each: -each.score)
        return [each for place, each in enumerate(joined) if not any(_is_part(each, b) for b in joined[:place])]


def _mirrored(found: Detection, view_width: int, width: int, height: int) -> Detection:
    """``found`` in the mirrored view, as a detection of the image."""
    scale = width / view_width
    box = Box(view_width - found.box.x2, found.box.y, found.box.width, found.box.height)
    landmarks = tuple((view_width - x, y) for x, y in found.landmarks)
    if landmarks:
        landmarks = tuple(landmarks[index] for index in _MIRRORED_LANDMARKS)
    mapped = Detection(box, found.score, landmarks).mapped(scale, scale)
    return replace(mapped, box=mapped.box.clipped(width, height))


def _is_part(found: Detection, better: Detection) -> bool:
    """Whether most of ``found`` lies in the larger box of ``better``."""
    box = found.box
    return box.area < better.box.area and shared_area(box, better.box) >= PART_INSIDE * box.area
