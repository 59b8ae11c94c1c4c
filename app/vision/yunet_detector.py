"""The default face detector: YuNet's graph (``app/training/detector/network.py``) run by LiteRT.

Nothing here is light to start but everything is light to import: LiteRT is loaded when a detector is made.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.model_metadata import read_detector_metadata
from app.vision.nms import PART_INSIDE
from app.vision.preprocess import resize
from app.vision.roi import WORTH, roi_squares

Floats = NDArray[np.float32]

CHANNELS = 15
"""Of a detection: score, x, y, width, height, five points (x, y)."""

MAPS = (1, 1, 4, 10)
"""Channels of the four maps of each stride: logits of class and objectness, box, points."""

PAD = 114
"""Grey that fills frames up to whole strides, as in training."""

_MOST_PLANS = 12
"""Input sizes kept ready. A camera needs two and those of the squares around known faces; a folder of photographs may
have hundreds."""

_MOST_BOXES = 1000
"""Boxes that go into non-maximum suppression, best first: bounds its time on odd pictures."""


COARSE = 4
"""Pictures whose longer side has ``COARSE_FROM_PX`` are also seen shrunk by so much, for a fifteenth of the time: of
faces 300 px high the pass at full size finds 0.92, both 0.94; of faces 480 px high 0.84 and 0.94 (development
scenes)."""

COARSE_FROM_PX = 320

_COARSE_LEAST_PX = 120.0
"""Smaller faces are left to the pass at full size; shrunk they would only add false ones."""


def decode_level(maps: Sequence[Floats], stride: int, score: float) -> Floats:
    """``maps``: those of one stride, each (h, w, channels) float32, channels as ``MAPS``. Returns (N, 15) float32:
    score, x, y, width, height and five points in input pixels, for the cells whose score (the root of the product of
    the sigmoids of class and objectness, as in YuNet) is at least ``score``."""
    classes, objects, boxes, points = maps
    with np.errstate(over="ignore"):  # exp of a large negative logit is infinity, its sigmoid 0
        scores = 1.0 / np.sqrt((1.0 + np.exp(-classes[..., 0])) * (1.0 + np.exp(-objects[..., 0])))
    rows, columns = np.nonzero(scores >= max(score, 1e-6))
    found = np.empty((len(rows), CHANNELS), np.float32)
    found[:, 0] = scores[rows, columns]
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    box = boxes[rows, columns]
    sizes = np.exp(np.minimum(box[:, 2:], 5.0))
    found[:, 1:3] = (cells + box[:, :2] - sizes / 2) * stride
    found[:, 3:5] = sizes * stride
    found[:, 5:] = (np.tile(cells, 5) + points[rows, columns]) * stride
    return found


def _stretch(found: Floats, horizontal: float, vertical: float) -> None:
    """Multiplies, in place, what ``decode_level`` gave in pixels: x and y take turns from the second column on."""
    found[:, 1::2] *= horizontal
    found[:, 2::2] *= vertical


def _move(found: Floats, dx: float, dy: float) -> None:
    """Moves, in place, what ``decode_level`` gave: the centre's and the points' columns, not width and height."""
    found[:, [1, *range(5, CHANNELS, 2)]] += dx
    found[:, [2, *range(6, CHANNELS, 2)]] += dy


def non_max_suppression(found: Floats, nms_iou: float) -> Floats:
    """``found`` (N, 15) as of ``decode_level`` without the boxes that a better one overlaps, best first, and without
    parts of a face that a better box shows whole: of one that fills the picture, the closest look finds the middle."""
    found = found[np.argsort(-found[:, 0], kind="stable")[:_MOST_BOXES]]
    if len(found) < 2:
        return found
    kept = cv2.dnn.NMSBoxes(found[:, 1:5].tolist(), found[:, 0].tolist(), 0.0, nms_iou)
    found = found[np.asarray(kept, np.intp).reshape(-1)]
    return found[~_is_part_of_better(found)]


def _is_part_of_better(found: Floats) -> NDArray[np.bool_]:
    """(N,) of ``found`` (N, 15), best first: ``PART_INSIDE`` of it lies in a larger box that is better. Measured on 360
    development and training scenes: of 162 false boxes it drops 8 to 10, of 686 right ones none."""
    left, top, across, down = found[:, 1:5].T
    width = np.minimum.outer(left + across, left + across) - np.maximum.outer(left, left)
    height = np.minimum.outer(top + down, top + down) - np.maximum.outer(top, top)
    area = across * down
    inside = np.maximum(width, 0) * np.maximum(height, 0) >= PART_INSIDE * area[:, None]
    is_part: NDArray[np.bool_] = np.tril(inside & (area[:, None] < area), -1).any(axis=1)
    return is_part


class YuNetDetector:
    """The shipped detector on colour frames of any size. One instance serves one thread: it holds LiteRT's buffers.

    Frames wider than ``working_width_px`` are shrunk to it, and faces below ``min_face_px`` (source pixels) are not
    reported. ``score`` stands in for the threshold that the model carries.
    Raises ModelError where the file is missing, damaged, or no detector of ours.
    """

    def __init__(
        self,
        model: Path,
        *,
        score: float | None = None,
        working_width_px: int = 640,
        min_face_px: int = 10,
        threads: int = 2,
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.metadata = read_detector_metadata(model)
        self._score = self.metadata.score if score is None else score
        self._working_width_px = working_width_px
        self._min_face_px = min_face_px
        content = model.read_bytes()  # by path each plan would hold a file handle of its own
        self._new: Callable[[], Any] = lambda: Interpreter(model_content=content, num_threads=threads)
        self._plans: OrderedDict[tuple[int, int], Any] = OrderedDict()
        try:
            outputs = self._new().get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model} is damaged: {str(error).splitlines()[0]}; reinstall maskwatch") from error
        channels = sorted(int(output["shape"][-1]) for output in outputs)
        if channels != sorted(MAPS * len(self.metadata.strides)):
            raise ModelError(f"{model} is no face detector of this version; train and export it again")

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        seen = self._shrunk(image)
        found = [self._look(seen)]
        if max(seen.shape[:2]) >= COARSE_FROM_PX:
            found.append(self._look_coarsely(seen))
        return self._detections(np.concatenate(found), seen, image)

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """See ``RoiDetector``: looks around each known face only."""
        seen = self._shrunk(image)
        height, width = seen.shape[:2]
        shown = [box.scaled(width / image.shape[1]) for box in known]
        squares = roi_squares(shown, width, height)
        if sum(across * down for _, _, across, down in squares) > WORTH * width * height:
            return self.detect(image)
        found = []
        for x, y, across, down in squares:
            found.append(self._look(seen[y : y + down, x : x + across]))
            _move(found[-1], x, y)
        return self._detections(np.concatenate(found), seen, image)

    def _shrunk(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if width <= self._working_width_px:
            return image
        return resize(image, self._working_width_px, max(1, round(height * self._working_width_px / width)))

    def _detections(self, found: Floats, seen: Image, image: Image) -> list[Detection]:
        """``found`` in ``seen``, which is ``image`` shrunk, each face once."""
        height, width = image.shape[:2]
        found = non_max_suppression(found, self.metadata.nms_iou)
        _stretch(found, width / seen.shape[1], height / seen.shape[0])
        detections = []
        for score, x, y, w, h, *points in found.tolist():
            box = Box(x, y, w, h).clipped(width, height)
            if box.size >= self._min_face_px:
                detections.append(Detection(box, score, tuple(zip(points[::2], points[1::2], strict=True))))
        return detections

    def _look(self, image: Image) -> Floats:
        """(N, 15) float32 as of ``decode_level``, all strides together, boxes not yet suppressed."""
        plan = self._run(image)
        # LiteRT orders outputs as it likes. Their sizes tell the stride and their channels the map, but for class and
        # objectness, which may change places.
        outputs = sorted(
            plan.get_output_details(), key=lambda one: (-int(np.prod(one["shape"][1:3])), one["shape"][-1])
        )
        maps = [plan.tensor(output["index"])()[0] for output in outputs]  # LiteRT's own memory: no copy
        return np.concatenate(
            [
                decode_level(maps[4 * i : 4 * i + 4], stride, self._score)
                for i, stride in enumerate(self.metadata.strides)
            ]
        )

    def _look_coarsely(self, image: Image) -> Floats:
        """The large faces of ``image``, in its pixels, seen shrunk."""
        small = resize(image, max(1, image.shape[1] // COARSE), max(1, image.shape[0] // COARSE))
        found = self._look(small)
        _stretch(found, image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])
        large: Floats = found[found[:, 3:5].min(axis=1, initial=np.inf) >= _COARSE_LEAST_PX]
        return large

    def _run(self, image: Image) -> Any:
        """The plan that has run on ``image``. Its tensors are read and written in place, and no view of them may be
        left when it runs again: LiteRT refuses to."""
        step = max(self.metadata.strides)
        height, width = image.shape[:2]
        plan = self._plan(*(math.ceil(side / step) * step for side in (height, width)))
        framed = plan.tensor(plan.get_input_details()[0]["index"])()[0]
        framed[:height, :width] = image
        framed[height:], framed[:height, width:] = PAD, PAD
        del framed
        plan.invoke()
        return plan

    def _plan(self, height: int, width: int) -> Any:
        key = (height, width)
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        plan = self._new()
        plan.resize_tensor_input(plan.get_input_details()[0]["index"], [1, height, width, 3])
        plan.allocate_tensors()
        self._plans[key] = plan
        if len(self._plans) > _MOST_PLANS:
            self._plans.popitem(last=False)
        return plan


BUNDLED = {"int8": "face_detector.tflite", "float32": "face_detector_float32.tflite"}


def load_yunet(settings: DetectorSettings) -> YuNetDetector:
    """The detector that the settings name, or the bundled one. Raises ModelError where its file cannot be used."""
    return YuNetDetector(
        settings.model or resources.model(BUNDLED[settings.precision]),
        score=settings.score,
        working_width_px=settings.width_px,
        min_face_px=settings.least_px,
        threads=settings.threads,
    )
