"""Finding faces: the seam every detector stands behind, and the classic detector of the paper."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import imutils
import numpy as np

from app import resources
from app.domain import Box, Detection, Image
from app.errors import ModelError
from app.vision.settings import DetectorSettings


class FaceDetector(Protocol):
    """One detector serves one thread: most hold buffers."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of ``image`` ((H, W, 3) uint8 BGR), boxes in its pixels; ``[]`` where there are none."""


@runtime_checkable
class QuickDetector(FaceDetector, Protocol):
    """A detector that is quicker where small faces need not be found."""

    def detect_large(self, image: Image, least_px: float) -> list[Detection]:
        """Like ``detect``, but may leave out faces whose shorter side is below ``least_px`` (source pixels)."""


class HaarDetector:
    """Viola and Jones' cascade (``detectMultiScale``) on grey frames, as in the paper.

    Raises ModelError where the cascade file is missing or damaged: OpenCV itself stays silent then.
    """

    def __init__(self, settings: DetectorSettings, cascade: Path | None = None) -> None:
        path = cascade or settings.model or resources.asset("haarcascade_frontalface_default.xml")
        if not path.is_file():
            raise ModelError(f"no cascade file {path}; reinstall maskwatch or give --detector-model")
        try:
            self._cascade = cv2.CascadeClassifier(str(path))
        except (cv2.error, SystemError) as error:  # some damage raises, some does not
            raise ModelError(f"{path} is no usable cascade file; reinstall maskwatch") from error
        if self._cascade.empty():
            raise ModelError(f"{path} is no usable cascade file; reinstall maskwatch")
        self._settings = settings

    def detect(self, image: Image) -> list[Detection]:
        settings = self._settings
        height, width = image.shape[:2]
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if width > settings.working_width_px:
            # imutils keeps the aspect ratio but rounds the height down, so the two axes are mapped back on their own
            grey = imutils.resize(grey, width=settings.working_width_px, inter=cv2.INTER_AREA)
        if settings.equalize:
            grey = cv2.equalizeHist(grey)
        scale_x, scale_y = width / grey.shape[1], height / grey.shape[0]
        least = max(1, round(settings.min_face_px / scale_x))
        found, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=settings.scale_factor,
            minNeighbors=settings.min_neighbors,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        # The last stage's margin, squashed: an order among hits, not a probability.
        scores = 1.0 / (1.0 + np.exp(-np.asarray(weights, np.float64).reshape(-1) / 4.0))
        return [
            Detection(Box(x * scale_x, y * scale_y, w * scale_x, h * scale_y), float(score))
            for (x, y, w, h), score in zip(np.asarray(found).reshape(-1, 4), scores, strict=True)
        ]


def load_detector(settings: DetectorSettings) -> FaceDetector:
    """The detector that the settings name. Raises ModelError where its file cannot be used."""
    if settings.kind == "haar":
        return HaarDetector(settings)
    if settings.kind == "yunet":
        from app.vision.yunet import load_yunet

        return load_yunet(settings)
    from app.vision.neural import load_cnn

    return load_cnn(settings)
