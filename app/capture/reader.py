"""What all sources of video share: images from a ``VideoReader`` and what it knows about them."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import cv2

from app.capture.geometry import corrected
from app.capture.opencv_backend import VideoReader, to_bgr
from app.core.errors import SourceError
from app.core.types import Image
from app.settings.source import SourceSettings

FALLBACK_FPS = 25.0
_MAX_FPS = 250.0
"""A higher value is not a frame rate but the time base: 1000 in Matroska with a variable rate, 90000 in MPEG."""
ATTEMPTS = 10
"""Failed reads in a row after which a source has ended; a damaged packet causes only one."""

Reader = TypeVar("Reader", bound=VideoReader)


@contextmanager
def released(reader: Reader) -> Iterator[Reader]:
    """Context manager that releases ``reader`` at the end, as ``contextlib.closing`` does."""
    try:
        yield reader
    finally:
        reader.release()


def decode_image(reader: VideoReader, settings: SourceSettings) -> tuple[Image | None, bool]:
    """(image or None, whether the read succeeded). Raises SourceError if OpenCV raises an error."""
    try:
        ok, image = reader.read()
        if not ok or image is None:
            return None, False
        if image.size == 0 or image.ndim < 2:
            return None, True
        return corrected(to_bgr(image), settings, _pixel_aspect(reader)), True
    except (cv2.error, ValueError) as error:
        raise SourceError(f"cannot decode {settings.shown}: {str(error).splitlines()[0]}") from error


def _pixel_aspect(reader: VideoReader) -> float:
    """Width of a pixel divided by its height; 1 if it is unknown."""
    width, height = reader.get(cv2.CAP_PROP_SAR_NUM), reader.get(cv2.CAP_PROP_SAR_DEN)
    return width / height if width > 0 and height > 0 else 1.0


def image_stamp_s(reader: VideoReader) -> float | None:
    """The time stamp (s) of the last read image; None if it is not valid."""
    stamp_s = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    return stamp_s if math.isfinite(stamp_s) else None


def stamp_fault(reader: VideoReader, settings: SourceSettings) -> str:
    """Why the stamps of a stream are not used; empty if they may be."""
    codec = int(reader.get(cv2.CAP_PROP_FOURCC))
    is_motion_jpeg = codec == cv2.VideoWriter.fourcc(*"MJPG")
    # Motion JPEG over HTTP has no stamps: FFmpeg counts 25 images a second, whatever the camera sends.
    return "are invented" if is_motion_jpeg and settings.uri.lower().startswith("http") else ""


def nominal_step_s(reader: VideoReader) -> float | None:
    fps = plausible_fps(reader)
    return None if fps is None else 1.0 / fps


def plausible_fps(reader: VideoReader) -> float | None:
    fps = reader.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else None


def plausible_count(reader: VideoReader) -> int | None:
    """The frame count; None without a frame rate, because OpenCV estimates the count from it."""
    count = reader.get(cv2.CAP_PROP_FRAME_COUNT)
    is_plausible = plausible_fps(reader) is not None and math.isfinite(count) and 0 < count < 1e9
    return int(count) if is_plausible else None
