"""The default face detector: the YuNet network (``app/training/detector/network.py``), run by LiteRT.

LiteRT is imported only when a detector is created, so that this module loads fast.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError
from app.core.images import fast_resized, resize
from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.backend_choice import resolved_detector
from app.vision.backends import OpenNetwork, open_network, runs_onnx
from app.vision.litert import LiteRtModel
from app.vision.model_metadata import read_detector_metadata
from app.vision.network import Network
from app.vision.nms import PART_INSIDE
from app.vision.roi import MAX_AREA_SHARE, area_share, roi_squares

Floats = NDArray[np.float32]
OpenModel = Callable[[Path, int], Network]

CHANNELS = 15
"""Columns of a candidate: score, x, y, width, height, five landmarks (x, y)."""

MAPS = (1, 1, 4, 10)
"""Channels of the four maps of each stride: class logit, objectness logit, box, landmarks."""

PAD = 114
"""Grey level that pads frames to a multiple of the stride, as in training."""

_MAX_CANDIDATES = 1000
"""Candidates that enter non-maximum suppression, best first: limits its time on unusual images."""

COARSE_FACTOR = 4
"""Images whose longer side has ``COARSE_FROM_PX`` get a second pass, shrunk by this power of 2, for 1/15 of the time.

Recall with one and with both passes: 0.92 and 0.94 for faces of 300 px, 0.84 and 0.94 for 480 px (development scenes).
"""

COARSE_FROM_PX = 320

_COARSE_MIN_PX = 120.0
"""Smaller faces are taken from the full-size pass only: the shrunk image would add false positives."""


_TRACKED_PX = 48.0
"""A tracked face is searched in a shrunk image if it has this size there: of faces of 47 px, 98 % are still found."""

_HALVED_PX = 32.0
"""If the ROIs are too large, a tracked face is searched in the halved image if it has this size there."""

_HALVED_MIN_PX = 24.0
"""Faces below this size are not taken from a pass over the halved image."""

_HALVED_SHARE = 0.3
"""If the ROIs of the moved parts add more than this share of the image, a pass over the halved image costs less."""


def decode_level(maps: Sequence[Floats], stride: int, score: float) -> Floats:
    """Decodes the maps of one stride, each (h, w, channels) float32 in the order of ``MAPS``.

    Returns candidates (N, 15) float32, columns as ``CHANNELS``, in input pixels, with at least ``score``.
    A cell's score is sqrt(sigmoid(class) * sigmoid(objectness)), as in YuNet.
    """
    classes, objects, boxes, landmarks = maps
    square = min(score, 1.0 - 1e-6) ** 2
    # The least logit of either factor, as the other is at most 1
    min_logit = math.log(square / (1.0 - square)) if score > 0 else -math.inf
    class_map, object_map = classes.reshape(-1), objects.reshape(-1)
    found = np.flatnonzero(class_map >= min_logit)  # few cells, so most numpy calls on whole maps are saved
    found = found[object_map[found] >= min_logit]
    if found.size == 0:
        return np.empty((0, CHANNELS), np.float32)
    with np.errstate(over="ignore"):  # exp overflows to infinity for large negative logits: sigmoid 0
        scores = 1.0 / np.sqrt((1.0 + np.exp(-class_map[found])) * (1.0 + np.exp(-object_map[found])))
    sure = scores >= score
    scores = scores[sure]
    rows, columns = np.divmod(found[sure], classes.shape[1])
    candidates = np.empty((len(rows), CHANNELS), np.float32)
    candidates[:, 0] = scores
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    box = boxes[rows, columns]
    sizes = np.exp(np.minimum(box[:, 2:], 5.0))
    candidates[:, 1:3] = (cells + box[:, :2] - sizes / 2) * stride
    candidates[:, 3:5] = sizes * stride
    candidates[:, 5:] = (np.tile(cells, 5) + landmarks[rows, columns]) * stride
    return candidates


def _scale(candidates: Floats, horizontal: float, vertical: float) -> None:
    """Scales candidates (N, 15) in place: after the score, the columns are x and y in turn."""
    candidates[:, 1::2] *= horizontal
    candidates[:, 2::2] *= vertical


def _move(candidates: Floats, dx: float, dy: float) -> None:
    """Moves candidates (N, 15) in place: the columns of the corner and the landmarks, not width and height."""
    candidates[:, [1, *range(5, CHANNELS, 2)]] += dx
    candidates[:, [2, *range(6, CHANNELS, 2)]] += dy


def non_max_suppression(candidates: Floats, nms_iou: float) -> Floats:
    """Returns the candidates (N, 15) that no better one overlaps, best first.

    Also drops parts of a face that a better box shows whole: a full-size pass may find the middle of a large face.
    """
    candidates = candidates[np.argsort(-candidates[:, 0], kind="stable")[:_MAX_CANDIDATES]]
    if len(candidates) < 2:
        return candidates
    kept = cv2.dnn.NMSBoxes(candidates[:, 1:5].tolist(), candidates[:, 0].tolist(), 0.0, nms_iou)
    candidates = candidates[np.asarray(kept, np.intp).reshape(-1)]
    return candidates[~_is_part_of_better(candidates)]


def _is_part_of_better(candidates: Floats) -> NDArray[np.bool_]:
    """For candidates (N, 15), best first: (N,) whether ``PART_INSIDE`` of a box lies in a larger box that is better.

    On 360 development and training scenes it drops 8 to 10 of 162 false positives and none of 686 correct boxes.
    """
    left, top, width, height = candidates[:, 1:5].T
    shared_width = np.minimum.outer(left + width, left + width) - np.maximum.outer(left, left)
    shared_height = np.minimum.outer(top + height, top + height) - np.maximum.outer(top, top)
    area = width * height
    inside = np.maximum(shared_width, 0) * np.maximum(shared_height, 0) >= PART_INSIDE * area[:, None]
    is_part: NDArray[np.bool_] = np.tril(inside & (area[:, None] < area), -1).any(axis=1)
    return is_part


def _tracked_factor(size_px: float) -> int:
    """By which factor the image is shrunk to find a tracked face of this size again."""
    return next((factor for factor in (4, 2) if size_px >= factor * _TRACKED_PX), 1)


class YuNetDetector:
    """YuNet on colour frames of any size. ``open_model`` may return a network that other detectors use too.

    Frames wider than ``working_width_px`` are shrunk to it; faces below ``min_face_px`` (source pixels) are omitted.
    ``score`` replaces the threshold in the model's metadata.
    Raises ModelError if the file is missing, damaged, or not a maskwatch face detector.
    """

    def __init__(
        self,
        model: Path,
        *,
        score: float | None = None,
        working_width_px: int = 640,
        min_face_px: int = 10,
        threads: int = 2,
        open_model: OpenModel = LiteRtModel,
    ) -> None:
        self.metadata = read_detector_metadata(model)
        self._score = self.metadata.score if score is None else score
        self._working_width_px = working_width_px
        self._min_face_px = min_face_px
        self.network = open_model(model, threads)
        if self.network.channels != sorted(MAPS * len(self.metadata.strides)):
            raise ModelError(f"{model} is not a face detector of this version; train and export it again")

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        working = self._shrink(image)
        candidates = [self.run_pass(working)]
        if max(working.shape[:2]) >= COARSE_FROM_PX:
            candidates.append(self._run_shrunk_pass(working, COARSE_FACTOR, _COARSE_MIN_PX))
        return self._detections(np.concatenate(candidates), working, image)

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        """See ``RoiDetector``: searches only the ROIs around the tracked faces and the moved parts.

        Large tracked faces are searched in a smaller image, which also shows them with more of their surroundings.
        If the moved parts are large, a pass over the halved image replaces their ROIs; if the ROIs would cover most of
        the image, also those of all but small faces. Newcomers that small wait for the next full pass.
        """
        working = self._shrink(image)
        height, width = working.shape[:2]
        scale = width / image.shape[1]
        least_px: dict[int, float] = {}
        """For each shrunk pass: the smallest size of the faces that it must find."""
        small: list[Box] = []
        for box in tracked:
            factor = _tracked_factor(box.size * scale)
            if factor == 1:
                small.append(box.scaled(scale))
            else:
                least_px[factor] = _COARSE_MIN_PX * factor / COARSE_FACTOR
        tracked_rois = roi_squares(small, [], width, height)
        rois = roi_squares(small, [box.scaled(scale) for box in moved], width, height) if moved else tracked_rois
        tracked_share = area_share(tracked_rois, width, height)
        if tracked_share <= MAX_AREA_SHARE and area_share(rois, width, height) - tracked_share > _HALVED_SHARE:
            rois, least_px[2] = tracked_rois, _HALVED_MIN_PX
        elif moved and max(height, width) >= COARSE_FROM_PX:
            least_px[COARSE_FACTOR] = _COARSE_MIN_PX
        if area_share(rois, width, height) > MAX_AREA_SHARE:
            rois = roi_squares([box for box in small if box.size < 2 * _HALVED_PX], [], width, height)
            if area_share(rois, width, height) <= MAX_AREA_SHARE - 0.25:
                least_px[2] = _HALVED_MIN_PX
            else:
                rois = [(0, 0, width, height)]
        candidates = []
        for x, y, roi_width, roi_height in rois:
            candidates.append(self.run_pass(working[y : y + roi_height, x : x + roi_width]))
            _move(candidates[-1], x, y)
        for factor, size_px in sorted(least_px.items()):
            candidates.append(self._run_shrunk_pass(working, factor, size_px))
        return self._detections(np.concatenate(candidates), working, image)

    def _shrink(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if width <= self._working_width_px:
            return image
        return fast_resized(image, self._working_width_px, max(1, round(height * self._working_width_px / width)))

    def _detections(self, candidates: Floats, working: Image, image: Image) -> list[Detection]:
        """Applies NMS to the candidates of ``working``, the shrunk ``image``, and maps them to ``image``."""
        height, width = image.shape[:2]
        candidates = non_max_suppression(candidates, self.metadata.nms_iou)
        _scale(candidates, width / working.shape[1], height / working.shape[0])
        detections = []
        for score, x, y, w, h, *landmarks in candidates.tolist():
            box = Box(x, y, w, h).clipped(width, height)
            if box.size >= self._min_face_px:
                detections.append(Detection(box, score, tuple(zip(landmarks[::2], landmarks[1::2], strict=True))))
        return detections

    def run_pass(self, image: Image) -> Floats:
        """One detection pass: the candidates (N, 15) float32 of all strides, before NMS.

        Size gives the stride of an output and channels give the map; class and objectness may be swapped, which does
        not change the score.
        """
        step = max(self.metadata.strides)
        height, width = image.shape[:2]
        with self.network.plan(1, *(math.ceil(side / step) * step for side in (height, width)), 3) as plan:
            padded = plan.input()[0]
            padded[:height, :width] = image
            padded[height:], padded[:height, width:] = PAD, PAD
            del padded
            plan.invoke()
            return np.concatenate(
                [
                    decode_level([output()[0] for output in plan.outputs[4 * i : 4 * i + 4]], stride, self._score)
                    for i, stride in enumerate(self.metadata.strides)
                ]
            )

    def _run_shrunk_pass(self, image: Image, factor: int, least_px: float) -> Floats:
        """One detection pass over the image shrunk by ``factor``, for faces from ``least_px``; candidates in pixels of
        ``image``."""
        small = image
        for _ in range(factor.bit_length() - 1):  # by halves: twice as fast as OpenCV's average of 4 x 4 px
            small = resize(small, max(1, small.shape[1] // 2), max(1, small.shape[0] // 2))
        candidates = self.run_pass(small)
        _scale(candidates, image.shape[1] / small.shape[1], image.shape[0] / small.shape[0])
        large: Floats = candidates[candidates[:, 3:5].min(axis=1, initial=np.inf) >= least_px]
        return large


BUNDLED = {"int8": "face_detector.tflite", "float32": "face_detector_float32.tflite"}


def detector_file(settings: DetectorSettings) -> Path:
    """The model file of settings without ``auto``. Raises ModelError if none is bundled for them."""
    if settings.model is not None:
        return settings.model
    if settings.backend != "litert" and settings.precision == "int8":
        raise ModelError(f"only LiteRT runs int8: for {settings.backend}, set detector.precision to auto or float32")
    return resources.model("face_detector.onnx" if runs_onnx(settings.backend) else BUNDLED[settings.precision])


def load_yunet(settings: DetectorSettings, open_model: OpenNetwork = open_network) -> YuNetDetector:
    """Returns YuNet with the model file of the settings, or a bundled one. Raises ModelError if it cannot be used."""
    settings = resolved_detector(settings)
    return YuNetDetector(
        detector_file(settings),
        score=settings.score,
        working_width_px=settings.width_px,
        min_face_px=settings.least_px,
        threads=settings.max_threads,
        open_model=lambda path, threads: open_model(path, threads, settings.backend),
    )
