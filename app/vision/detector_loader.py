"""Builds the detector that is selected in the settings."""

from app.settings.vision import DetectorSettings
from app.vision.detector import FaceDetector
from app.vision.haar_detector import HaarDetector


def load_detector(settings: DetectorSettings) -> FaceDetector:
    """Returns the selected detector with its region, tiles and working width.

    Raises ModelError if its model file cannot be used.
    """
    from app.vision.tiling import wrap_detector

    return wrap_detector(settings, _load)


def _load(settings: DetectorSettings) -> FaceDetector:
    if settings.kind == "haar":
        return HaarDetector(settings)
    from app.vision.yunet_detector import load_yunet

    return load_yunet(settings)
