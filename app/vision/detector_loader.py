"""Builds the detector that is selected in the settings, with its working width, tiles and region."""

from collections.abc import Callable
from functools import partial

from app.core import resources
from app.settings.vision import MAX_WIDTH_PX, DetectorSettings
from app.vision.backends import OpenNetwork, SharedNetworks, open_network
from app.vision.detector import FaceDetector
from app.vision.haar_detector import HaarDetector
from app.vision.model_metadata import read_detector_metadata
from app.vision.tiling import DownscalingDetector, RegionDetector, TilingDetector

RELIABLE_PX = {"haar": 40, "cnn": 24}
"""Per kind of detector, the size to which faces can be shrunk while 90 % of them are still detected.

Measured on development scenes by ``benchmarks/face_sizes.py``.
"""

SLACK = 0.8
"""Bounding boxes of a face vary by 20 %: a detector for faces of ``min_face_px`` must accept boxes that are smaller."""


_VIDEO_SCORE = 0.45
"""In video, detections from this score on continue a track; a new one needs more (``DetectorSettings.sure_score``)."""


def leaves_score(settings: DetectorSettings) -> bool:
    """Whether ``settings`` are those of the bundled CNN, or of one that ``improve`` has made from it, without a score:
    video and photos then use the score that suits them."""
    if settings.kind != "cnn" or settings.score is not None:
        return False
    if settings.model is None:
        return True
    from app.vision.yunet_detector import BUNDLED

    return read_detector_metadata(settings.model) == read_detector_metadata(resources.model(BUNDLED["int8"]))


def for_video(settings: DetectorSettings) -> DetectorSettings:
    """``settings`` with which a tracker sees weak detections too, if they leave the score open."""
    return settings.model_copy(update={"score": _VIDEO_SCORE}) if leaves_score(settings) else settings


def load_detector(settings: DetectorSettings, open_model: OpenNetwork = open_network) -> FaceDetector:
    """Raises ModelError if the model file of the detector cannot be used. ``open_model`` may share its networks."""
    if settings.kind == "haar":
        return wrap_detector(settings, HaarDetector)
    from app.vision.yunet_detector import load_yunet  # imported late, so that this module loads fast

    return wrap_detector(settings, partial(load_yunet, open_model=open_model))


def shared_detector_loader() -> Callable[[DetectorSettings], FaceDetector]:
    """A ``load_detector`` whose detectors share their networks, so that each further camera needs little memory."""
    return partial(load_detector, open_model=SharedNetworks())


def wrap_detector(settings: DetectorSettings, load: Callable[[DetectorSettings], FaceDetector]) -> FaceDetector:
    """Wraps the detector that ``load`` returns with the downscaling, tiles and region of ``settings``.

    An explicit working width, or tiles, have priority over the width that follows from ``min_face_px``.
    """
    reliable_px = RELIABLE_PX[settings.kind]
    is_width_from_face = (
        settings.min_face_px is not None and settings.working_width_px is None and settings.tiles is None
    )
    detector: FaceDetector
    if is_width_from_face:
        factor = min(reliable_px / settings.least_px, 1.0)
        changes = {"working_width_px": MAX_WIDTH_PX, "min_face_px": max(round(SLACK * factor * settings.least_px), 1)}
        detector = load(settings.model_copy(update=changes))
        if factor < 1:
            detector = DownscalingDetector(detector, factor)
    elif settings.tiles == "auto":
        detector = load(settings.model_copy(update={"min_face_px": max(round(SLACK * settings.least_px), 1)}))
    else:
        detector = load(settings)
    if settings.tiles is not None:
        detector = TilingDetector(
            detector,
            None if settings.tiles == "auto" else (int(settings.tiles[0]), int(settings.tiles[2])),
            width_px=settings.width_px,
            reliable_px=reliable_px,
            min_face_px=settings.least_px,
        )
    return RegionDetector(detector, settings.region) if settings.region is not None else detector
