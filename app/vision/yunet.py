"""YuNet through OpenCV: the reference face detector, whose weights the user brings."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.domain import Box, Detection, Image
from app.errors import ModelError
from app.paths import is_file
from app.vision.fetch import YUNET, model_folder
from app.vision.preprocess import resize
from app.vision.settings import DetectorSettings

DEFAULT_SCORE = 0.6
NMS_IOU = 0.3
_MOST_FACES = 5000


class YuNetDetector:
    """``cv2.FaceDetectorYN`` on colour frames of any size. One instance serves one thread: it holds buffers, and its
    input size follows the frames.

    OpenCV sets threads for the whole process, so there is no setting of them here.
    Raises ModelError where the file is missing, damaged, or another network.
    """

    def __init__(
        self, model: Path, *, score: float | None = None, working_width_px: int = 640, min_face_px: int = 10
    ) -> None:
        if not is_file(model):
            raise ModelError(f"no YuNet file {model}; get it with 'maskwatch models fetch yunet'")
        self._score = DEFAULT_SCORE if score is None else score
        self._working_width_px = working_width_px
        self._min_face_px = min_face_px
        try:
            content = np.fromfile(model, np.uint8)  # OpenCV on Windows opens no path with letters beyond its code page
            none = np.empty(0, np.uint8)
            self._network = cv2.FaceDetectorYN.create(
                "onnx", content, none, (320, 320), self._score, NMS_IOU, _MOST_FACES
            )
            self._network.detect(np.zeros((320, 320, 3), np.uint8))  # another network fails only when run
        except (cv2.error, OSError) as error:
            raise ModelError(f"{model} is no usable YuNet file; get it with 'maskwatch models fetch yunet'") from error

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR."""
        height, width = image.shape[:2]
        if width > self._working_width_px:
            small_height = max(1, round(height * self._working_width_px / width))
            seen = resize(image, self._working_width_px, small_height)
        else:
            seen = image
        scale_x, scale_y = width / seen.shape[1], height / seen.shape[0]
        self._network.setInputSize((seen.shape[1], seen.shape[0]))
        rows: Any = self._network.detect(seen)[1]  # None where there is no face, which its types do not say
        if rows is None:
            return []
        found = []
        rows = np.asarray(rows, np.float64)
        for x, y, w, h, *points, score in rows[np.isfinite(rows).all(axis=1)].tolist():  # slivers give garbage
            box = Box(x * scale_x, y * scale_y, w * scale_x, h * scale_y).clipped(width, height)
            if box.size < max(self._min_face_px, 1):
                continue
            landmarks = tuple((u * scale_x, v * scale_y) for u, v in zip(points[::2], points[1::2], strict=True))
            found.append(Detection(box, float(score), landmarks))
        return found


def load_yunet(settings: DetectorSettings) -> YuNetDetector:
    """With the file that the settings name, else the one that was fetched. Raises ModelError where there is none, or
    one that cannot be used."""
    path = settings.model or model_folder() / YUNET.file_name
    if settings.model is None and not is_file(path):
        raise ModelError(
            "YuNet's file is not part of maskwatch: get it with 'maskwatch models fetch yunet', "
            "or give it as --detector-model FILE"
        )
    return YuNetDetector(
        path,
        score=settings.score,
        working_width_px=settings.width_px,
        min_face_px=settings.least_px,
    )
