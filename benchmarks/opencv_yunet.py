"""OpenCV's YuNet: the reference for the default detector."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.core.images import resize
from app.core.types import Box, Detection, Image

DEFAULT_SCORE = 0.6
NMS_IOU = 0.3
_MOST_FACES = 5000


class OpenCvYuNet:
    """``cv2.FaceDetectorYN`` on frames of any size. OpenCV sets its threads for the whole process."""

    def __init__(
        self, model: Path, *, score: float | None = None, working_width_px: int = 640, min_face_px: int = 10
    ) -> None:
        self._working_width_px = working_width_px
        self._min_face_px = min_face_px
        score = DEFAULT_SCORE if score is None else score
        self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score, NMS_IOU, _MOST_FACES)

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        height, width = image.shape[:2]
        if width > self._working_width_px:
            small_height = max(1, round(height * self._working_width_px / width))
            resized = resize(image, self._working_width_px, small_height)
        else:
            resized = image
        scale_x, scale_y = width / resized.shape[1], height / resized.shape[0]
        self._network.setInputSize((resized.shape[1], resized.shape[0]))
        rows: Any = self._network.detect(resized)[1]  # None without a face, contrary to its type stubs
        if rows is None:
            return []
        detections = []
        rows = np.asarray(rows, np.float64)
        for x, y, w, h, *points, score in rows[np.isfinite(rows).all(axis=1)].tolist():  # very narrow images give NaN
            box = Box(x * scale_x, y * scale_y, w * scale_x, h * scale_y).clipped(width, height)
            if box.size < max(self._min_face_px, 1):
                continue
            landmarks = tuple((u * scale_x, v * scale_y) for u, v in zip(points[::2], points[1::2], strict=True))
            detections.append(Detection(box, float(score), landmarks))
        return detections
