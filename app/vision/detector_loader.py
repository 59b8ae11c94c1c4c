"""Builds the detector that the settings name."""

from app.settings.vision import DetectorSettings
from app.vision.detector import FaceDetector
from app.vision.haar_detector import HaarDetector


def load_detector(settings: DetectorSettings) -> FaceDetector:
    """The detector that the settings name, looking where and how closely they say. Raises ModelError where its file
    cannot be used."""
    from app.vision.tiling import wrap_detector

    return wrap_detector(settings, _load)


def _load(settings: DetectorSettings) -> FaceDetector:
    if settings.kind == "haar":
        return HaarDetector(settings)
    from app.vision.yunet_detector import load_yunet

    return load_yunet(settings)
