"""The classic detector of the paper: Haar cascades."""

from dataclasses import replace
from pathlib import Path

import cv2
import imutils
import numpy as np

from app.core import resources
from app.core.errors import ModelError
from app.core.files import is_file
from app.core.types import Box, Detection, Image
from app.settings.vision import DetectorSettings
from app.vision.nms import merge_passes


class HaarDetector:
    """Viola and Jones' cascade (``detectMultiScale``) on grey frames, as in the paper; with ``profile`` a second one
    for faces seen from the side, whose hits count where the first has none.

    Raises ModelError where a cascade file is missing or damaged: OpenCV itself stays silent then.
    """

    def __init__(self, settings: DetectorSettings, cascade: Path | None = None) -> None:
        self._frontal = _cascade(cascade or settings.model or resources.asset("haarcascade_frontalface_default.xml"))
        self._profile = _cascade(resources.asset("haarcascade_profileface.xml")) if settings.profile else None
        self._settings = settings

    def detect(self, image: Image) -> list[Detection]:
        settings = self._settings
        height, width = image.shape[:2]
        grey: Image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)  # type: ignore[assignment]
        if width > settings.width_px and height * settings.width_px >= width:  # of a sliver nothing would be left
            # imutils keeps the aspect ratio but rounds the height down, so the two axes are mapped back on their own
            grey = imutils.resize(grey, width=settings.width_px, inter=cv2.INTER_AREA)
        if settings.equalize:
            grey = cv2.equalizeHist(grey)  # type: ignore[assignment]
        scale_x, scale_y = width / grey.shape[1], height / grey.shape[0]
        least = max(1, round(settings.least_px / scale_x))
        looks = [self._hits(self._frontal, grey, least)]
        if self._profile is not None:  # it knows faces turned to their right only
            mirrored = self._hits(self._profile, np.ascontiguousarray(grey[:, ::-1]), least)
            looks.append(self._hits(self._profile, grey, least))
            looks.append(
                [replace(hit, box=hit.box.moved(grey.shape[1] - hit.box.x - hit.box.x2, 0)) for hit in mirrored]
            )
        return [
            Detection(Box(box.x * scale_x, box.y * scale_y, box.width * scale_x, box.height * scale_y), hit.score)
            for hit, box in ((hit, hit.box) for hit in merge_passes(looks))
        ]

    def _hits(self, cascade: cv2.CascadeClassifier, grey: Image, least: int) -> list[Detection]:
        """``grey``: (H, W) uint8; boxes in its pixels, none smaller than ``least``."""
        found, _, weights = cascade.detectMultiScale3(
            grey,
            scaleFactor=self._settings.scale_factor,
            minNeighbors=self._settings.min_neighbors,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        # The last stage's margin, squashed: an order among hits, not a probability.
        scores = 1.0 / (1.0 + np.exp(-np.asarray(weights, np.float64).reshape(-1) / 4.0))
        return [
            Detection(Box(*map(float, box)), float(score))
            for box, score in zip(np.asarray(found).reshape(-1, 4).tolist(), scores, strict=True)
        ]


def _cascade(path: Path) -> cv2.CascadeClassifier:
    if not is_file(path):
        raise ModelError(f"no cascade file {path}; reinstall maskwatch or give --detector-model")
    try:
        cascade = cv2.CascadeClassifier(str(path)) if str(path).isascii() else _cascade_from_memory(path)
    except (cv2.error, SystemError, OSError) as error:  # some damage raises, some does not
        raise ModelError(f"{path} is no usable cascade file; reinstall maskwatch") from error
    if cascade.empty():
        raise ModelError(f"{path} is no usable cascade file; reinstall maskwatch")
    return cascade


def _cascade_from_memory(path: Path) -> cv2.CascadeClassifier:
    """OpenCV on Windows opens no path with letters beyond its code page. Cascades of the form before OpenCV 2.4 cannot
    be had so."""
    text = path.read_text("utf-8", "replace")
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)  # its nodes end with it
    cascade = cv2.CascadeClassifier()
    cascade.read(storage.getFirstTopLevelNode())
    return cascade
