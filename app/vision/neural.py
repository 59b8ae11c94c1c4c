"""Our own face detector: a small anchor-free network (``app/train/detector_network.py``) run by LiteRT.

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

from app import resources
from app.domain import Box, Detection, Image
from app.errors import ModelError
from app.vision.known import KEPT_PART, WORTH, squares_around
from app.vision.modelfile import read_detector_facts
from app.vision.overlap import PART_INSIDE
from app.vision.preprocess import resize
from app.vision.settings import DetectorSettings

Floats = NDArray[np.float32]

CHANNELS = 15
"""Per cell: score logit, centre (x, y), log size (w, h), five points (x, y); all but the first in strides."""

_PAD = 114
"""Grey that fills frames up to whole strides, as in training."""

_MOST_PLANS = 12
"""Input sizes kept ready. A camera needs three (one per look) and those of the squares around known faces; a folder of
photographs may have hundreds."""

_MOST_BOXES = 1000
"""Boxes that go into non-maximum suppression, best first: bounds its time on odd pictures."""


_SMALLER_LOOKS = ((320, 2), (480, 4))
"""Frames whose longer side has at least so many px are also looked at shrunk by so much, for a third more time: faces
that fill the picture are larger than those the network is trained on. Measured on development scenes: average precision
0.64 with one look, 0.70 with two, 0.71 with three; bare faces found 0.69, 0.77, 0.80."""

_SMALLER_LEAST_PX = 40.0
"""Faces below it are left to the first look; shrunk they would only add false ones."""

_SHRUNK_LEAST_PX = 24.0
"""What a face must measure in a shrunk picture to be found there as surely as in the whole one."""


def decode_level(raw: Floats, stride: int, score: float) -> Floats:
    """``raw``: (h, w, 15) float32, one output of the network. Returns (N, 15) float32: score, x, y, width, height and
    five points in input pixels, for the cells whose score is at least ``score``."""
    limit = math.log(max(score, 1e-6) / max(1.0 - score, 1e-6))
    rows, columns = np.nonzero(raw[..., 0] >= limit)
    cells = raw[rows, columns]
    found = np.empty_like(cells)
    found[:, 0] = 1.0 / (1.0 + np.exp(-cells[:, 0]))
    centers = np.stack([columns, rows], axis=1).astype(np.float32) + 0.5
    sizes = np.exp(np.minimum(cells[:, 3:5], 5.0))
    found[:, 1:3] = (centers + cells[:, 1:3] - sizes / 2) * stride
    found[:, 3:5] = sizes * stride
    found[:, 5:] = (np.tile(centers, 5) + cells[:, 5:]) * stride
    return found


def _stretch(found: Floats, horizontal: float, vertical: float) -> None:
    """Multiplies, in place, what ``decode_level`` gave in pixels: x and y take turns from the second column on."""
    found[:, 1::2] *= horizontal
    found[:, 2::2] *= vertical


def _move(found: Floats, dx: float, dy: float) -> None:
    """Moves, in place, what ``decode_level`` gave: the centre's and the points' columns, not width and height."""
    found[:, [1, *range(5, CHANNELS, 2)]] += dx
    found[:, [2, *range(6, CHANNELS, 2)]] += dy


def suppress(found: Floats, nms_iou: float) -> Floats:
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


class CnnDetector:
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

        self.facts = read_detector_facts(model)
        self._score = self.facts.score if score is None else score
        self._working_width_px = working_width_px
        self._min_face_px = min_face_px
        content = model.read_bytes()  # by path each plan would hold a file handle of its own
        self._new: Callable[[], Any] = lambda: Interpreter(model_content=content, num_threads=threads)
        self._plans: OrderedDict[tuple[int, int], Any] = OrderedDict()
        try:
            outputs = self._new().get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model} is damaged: {str(error).splitlines()[0]}; reinstall maskwatch") from error
        if [int(output["shape"][-1]) for output in outputs] != [CHANNELS] * len(self.facts.strides):
            raise ModelError(f"{model} is no face detector of this version; export it again")

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        seen = self._shrunk(image)
        looks = [self._look(seen)]
        looks += [self._look_smaller(seen, by) for from_px, by in _SMALLER_LOOKS if max(seen.shape[:2]) >= from_px]
        return self._detections(np.concatenate(looks), seen, image)

    def detect_known(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """See ``QuickDetector``: looks around each known face only, and as closely as it needs."""
        seen = self._shrunk(image)
        height, width = seen.shape[:2]
        levels: dict[int, list[Box]] = {}
        for box in known:
            shown = box.scaled(width / image.shape[1])
            levels.setdefault(self._divisor(shown, seen), []).append(shown)
        parts = [
            (*(by * length for length in square), by)
            for by, boxes in levels.items()
            for square in squares_around([box.scaled(1 / by) for box in boxes], width // by, height // by)
        ]
        if sum(across * down / by**2 for _, _, across, down, by in parts) > WORTH * width * height:
            return self.detect(image)
        found = []
        for x, y, across, down, by in parts:
            part = seen[y : y + down, x : x + across]
            found.append(self._look(part) if by == 1 else self._look_smaller(part, by))
            _move(found[-1], x, y)
        return self._detections(np.concatenate(found), seen, image)

    def _divisor(self, known: Box, seen: Image) -> int:
        """By how much ``seen`` may be shrunk for a face of about that size."""
        least_px, longer = KEPT_PART * known.size, max(seen.shape[:2])
        fit = [
            by
            for from_px, by in _SMALLER_LOOKS
            if longer >= from_px and least_px >= max(_SMALLER_LEAST_PX, _SHRUNK_LEAST_PX * by)
        ]
        return max(fit, default=1)

    def _shrunk(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if width <= self._working_width_px:
            return image
        return resize(image, self._working_width_px, max(1, round(height * self._working_width_px / width)))

    def _detections(self, found: Floats, seen: Image, image: Image) -> list[Detection]:
        """``found`` in ``seen``, which is ``image`` shrunk, each face once."""
        height, width = image.shape[:2]
        found = suppress(found, self.facts.nms_iou)
        _stretch(found, width / seen.shape[1], height / seen.shape[0])
        detections = []
        for score, x, y, w, h, *points in found.tolist():
            box = Box(x, y, w, h).clipped(width, height)
            if box.size >= self._min_face_px:
                landmarks = tuple(zip(points[::2], points[1::2], strict=True)) if self.facts.landmarks else ()
                detections.append(Detection(box, score, landmarks))
        return detections

    def _look(self, image: Image) -> Floats:
        """(N, 15) float32 as of ``decode_level``, all strides together, boxes not yet suppressed."""
        plan = self._run(image)
        # LiteRT orders outputs as it likes; their sizes tell which is which
        outputs = sorted(plan.get_output_details(), key=lambda output: -int(output["shape"][1] * output["shape"][2]))
        return np.concatenate(
            [
                decode_level(plan.tensor(output["index"])()[0], stride, self._score)  # its own memory: no copy
                for output, stride in zip(outputs, self.facts.strides, strict=True)
            ]
        )

    def _look_smaller(self, image: Image, divisor: int) -> Floats:
        """The larger faces of ``image``, in its pixels, seen shrunk."""
        small = resize(image, max(1, image.shape[1] // divisor), max(1, image.shape[0] // divisor))
        found = self._look(small)
        _stretch(found, image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])
        large: Floats = found[found[:, 3:5].min(axis=1, initial=np.inf) >= _SMALLER_LEAST_PX]
        return large

    def _run(self, image: Image) -> Any:
        """The plan that has run on ``image``. Its tensors are read and written in place, and no view of them may be
        left when it runs again: LiteRT refuses to."""
        step = max(self.facts.strides)
        height, width = image.shape[:2]
        plan = self._plan(*(math.ceil(side / step) * step for side in (height, width)))
        framed = plan.tensor(plan.get_input_details()[0]["index"])()[0]
        framed[:height, :width] = image
        framed[height:], framed[:height, width:] = _PAD, _PAD
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


def load_cnn(settings: DetectorSettings) -> CnnDetector:
    """The detector that the settings name, or the bundled one. Raises ModelError where its file cannot be used."""
    return CnnDetector(
        settings.model or resources.model("face_detector.tflite"),
        score=settings.score,
        working_width_px=settings.width_px,
        min_face_px=settings.least_px,
        threads=settings.threads,
    )
