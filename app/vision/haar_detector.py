"""The face detector of the paper: Haar cascades."""

from pathlib import Path

import cv2
import numpy as np

from app.core import resources
from app.core.errors import ModelError
from app.core.files import is_file
from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.nms import merge_passes


class HaarDetector:
    """Viola and Jones' cascade (``detectMultiScale``) on grey frames, as in the paper.

    With ``profile`` a second cascade adds faces in profile that the first one has not found.
    Raises ModelError if a cascade file is missing or damaged: OpenCV itself reports no error.
    """

    def __init__(self, settings: DetectorSettings, cascade: Path | None = None) -> None:
        self._frontal = _cascade(cascade or settings.model or resources.asset("haarcascade_frontalface_default.xml"))
        self._profile = _cascade(resources.asset("haarcascade_profileface.xml")) if settings.profile else None
        self._settings = settings

    def detect(self, image: Image) -> list[Detection]:
        settings = self._settings
        height, width = image.shape[:2]
        grey: Image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)  # type: ignore[assignment]
        if width > settings.width_px and height * settings.width_px >= width:  # not if less than one row would remain
            import imutils  # imported late: it imports ssl

            # It rounds the height down, so each axis has its own scale factor.
            grey = imutils.resize(grey, width=settings.width_px, inter=cv2.INTER_AREA)
        if settings.equalize:
            grey = cv2.equalizeHist(grey)  # type: ignore[assignment]
        scale_x, scale_y = width / grey.shape[1], height / grey.shape[0]
        min_px = max(1, round(settings.least_px / scale_x))
        passes = [self._run_pass(self._frontal, grey, min_px)]
        if self._profile is not None:  # it finds only faces in right profile: the mirrored image shows the others
            mirrored = self._run_pass(self._profile, np.ascontiguousarray(grey[:, ::-1]), min_px)
            passes.append(self._run_pass(self._profile, grey, min_px))
            passes.append([found.mapped(1, 1, grey.shape[1] - found.box.x - found.box.x2) for found in mirrored])
        return [found.mapped(scale_x, scale_y) for found in merge_passes(passes)]

    def _run_pass(self, cascade: cv2.CascadeClassifier, grey: Image, min_px: int) -> list[Detection]:
        """``grey``: (H, W) uint8. Returns bounding boxes in its pixels, none smaller than ``min_px``."""
        boxes, _, weights = cascade.detectMultiScale3(
            grey,
            scaleFactor=self._settings.scale_factor,
            minNeighbors=self._settings.min_neighbors,
            minSize=(min_px, min_px),
            outputRejectLevels=True,
        )
        # A sigmoid of the last stage's margin: it orders the detections but is no probability.
        scores = 1.0 / (1.0 + np.exp(-np.asarray(weights, np.float64).reshape(-1) / 4.0))
        return [
            Detection(Box(*map(float, box)), float(score))
            for box, score in zip(np.asarray(boxes).reshape(-1, 4).tolist(), scores, strict=True)
        ]


def _cascade(path: Path) -> cv2.CascadeClassifier:
    if not is_file(path):
        raise ModelError(f"no cascade file {path}; reinstall maskwatch or set --detector-model")
    try:
        cascade = cv2.CascadeClassifier(str(path)) if str(path).isascii() else _cascade_from_memory(path)
    except (cv2.error, SystemError, OSError) as error:  # OpenCV raises for some damaged files only
        raise ModelError(f"{path} is not a usable cascade file; reinstall maskwatch") from error
    if cascade.empty():
        raise ModelError(f"{path} is not a usable cascade file; reinstall maskwatch")
    return cascade


def _cascade_from_memory(path: Path) -> cv2.CascadeClassifier:
    """Loads a cascade from a path that OpenCV on Windows cannot open: one with characters outside its code page.

    Cascades in the format before OpenCV 2.4 cannot be loaded this way.
    """
    text = path.read_text("utf-8", "replace")
    storage = cv2.FileStorage(
        text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY
    )  # the nodes are valid only while it exists
    cascade = cv2.CascadeClassifier()
    cascade.read(storage.getFirstTopLevelNode())
    return cascade
