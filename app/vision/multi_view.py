"""Searches a single image in several views, because what a detector finds in all of them is more surely a face."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import not_

from app.core.images import resize
from app.core.types import Detection, Image
from app.vision.detector import FaceDetector
from app.vision.nms import PART_INSIDE, shared_area


@dataclass(frozen=True, slots=True)
class View:
    """The image, resized by ``factor``, perhaps mirrored."""

    factor: float
    is_mirrored: bool = False


VIEWS = (View(0.7), View(1.0, is_mirrored=True), View(1.5))
"""They cost 3.7 passes over the image. Different sizes agree less on what is no face than equal ones."""

_MAX_ENLARGED_PX = 2600
"""The longer side of an enlarged view: larger images show small faces well, and would take seconds."""

_SAME_IOU = 0.35
"""Boxes that overlap this much are one face: the views place them differently."""

MISSING = 0.15
"""A detection that one view lacks counts there as this much below the least score."""

AGREED = 0.2
"""The mean of several views is surer than a score of one view: its log-odds rise by this much. Chosen on development
images for no more false positives than OpenCV's YuNet has in any group (``benchmarks/image_views.py``)."""

_MIRRORED_LANDMARKS = (1, 0, 2, 4, 3)
"""The right eye of a mirrored face is its left one."""


class MultiViewDetector:
    """Runs ``detector`` on ``views`` of an image. The score of a face is the mean of all views, made comparable
    with that of one view, at least ``score``; ``detector`` itself should report detections from ``MISSING`` below it.
    Faces below ``least_px`` in the image are left out."""

    def __init__(
        self,
        detector: FaceDetector,
        score: float,
        least_px: float,
        views: Sequence[View] = VIEWS,
        agreed: float = AGREED,
    ) -> None:
        self._detector, self._score, self._least_px = detector, score, least_px
        self._views, self._agreed = views, agreed

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        found = [(each, view) for view in self._views for each in self._detect_in(view, image)]
        found.sort(key=lambda each: -each[0].score)
        joined = []
        while found:
            best = found[0][0]
            is_same = [each.box.iou(best.box) >= _SAME_IOU for each, _ in found]
            scores = dict.fromkeys(self._views, self._score - MISSING)
            for each, view in reversed(list(compress(found, is_same))):
                scores[view] = each.score
            joined.append(replace(best, score=comparable_score(sum(scores.values()) / len(self._views), self._agreed)))
            found = list(compress(found, map(not_, is_same)))
        joined = sorted((each for each in joined if each.score >= self._score), key=lambda each: -each.score)
        return [each for place, each in enumerate(joined) if not any(_is_part(each, b) for b in joined[:place])]

    def _detect_in(self, view: View, image: Image) -> list[Detection]:
        """The detections of ``view`` in pixels of ``image``."""
        height, width = image.shape[:2]
        factor = min(view.factor, max(1.0, _MAX_ENLARGED_PX / max(height, width)))
        shown = resize(image, max(round(width * factor), 1), max(round(height * factor), 1))
        if view.is_mirrored:
            found = [_mirrored(each, shown.shape[1]) for each in self._detector.detect(shown[:, ::-1].copy())]
        else:
            found = self._detector.detect(shown)
        mapped = [each.mapped(width / shown.shape[1], height / shown.shape[0]) for each in found]
        mapped = [replace(each, box=each.box.clipped(width, height)) for each in mapped]
        return [each for each in mapped if each.box.size >= self._least_px]


def comparable_score(mean: float, agreed: float = AGREED) -> float:
    """The score of one view that is as sure as this mean of several views."""
    return mean / (mean + (1 - mean) * math.exp(-agreed))


def _mirrored(found: Detection, width: int) -> Detection:
    """``found`` in the mirror image of an image of this width."""
    landmarks = tuple((width - x, y) for x, y in found.landmarks)
    if landmarks:
        landmarks = tuple(landmarks[index] for index in _MIRRORED_LANDMARKS)
    return replace(found, box=replace(found.box, x=width - found.box.x2), landmarks=landmarks)


def _is_part(found: Detection, better: Detection) -> bool:
    """Whether most of ``found`` lies in the larger box of ``better``."""
    box = found.box
    return box.area < better.box.area and shared_area(box, better.box) >= PART_INSIDE * box.area
