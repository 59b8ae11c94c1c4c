"""What a camera's settings change in every image: blackout, square pixels, rotation and mirroring."""

from collections.abc import Sequence

import cv2
import numpy as np

from app.core.types import Image
from app.settings.polygons import Polygon
from app.settings.source import SourceSettings

_MIN_ASPECT, _MAX_ASPECT = 0.2, 5.0
"""Pixel shapes outside of these bounds are errors of the encoder."""
_SQUARE = 0.01
"""Pixels whose width and height differ by less than this share count as square."""
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
_FLIPS = {"horizontal": 1, "vertical": 0}


def corrected(image: Image, settings: SourceSettings, pixel_aspect: float = 1.0) -> Image:
    """``image`` (H, W, 3) uint8 BGR without what ``settings`` black out, with square pixels, rotated and mirrored.

    ``pixel_aspect`` is the width of a pixel divided by its height; ``settings.aspect_ratio`` replaces it.
    """
    # First, and here only: every source passes through here, so no later step can show what is hidden.
    image = blacked_out(image, settings.blackout)
    height, width = image.shape[:2]
    if settings.aspect_ratio is not None:
        pixel_aspect = settings.display_aspect * height / width
    image = squared(image, pixel_aspect)
    if settings.rotate:
        image = cv2.rotate(image, _TURNS[settings.rotate])  # type: ignore[assignment]
    if settings.flip != "none":
        image = cv2.flip(image, _FLIPS[settings.flip])  # type: ignore[assignment]
    return image


def squared(image: Image, pixel_aspect: float) -> Image:
    """``image`` with square pixels. Its shorter side grows, so that no detail is lost."""
    if not _MIN_ASPECT <= pixel_aspect <= _MAX_ASPECT or abs(pixel_aspect - 1) < _SQUARE:
        return image
    height, width = image.shape[:2]
    size = (round(width * pixel_aspect), height) if pixel_aspect > 1 else (width, round(height / pixel_aspect))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def blacked_out(image: Image, polygons: Sequence[Polygon]) -> Image:
    """``image`` with the ``polygons`` (fractions of width and height) in black; the same image if there are none."""
    if not polygons:
        return image
    image = image.copy()
    height, width = image.shape[:2]
    for polygon in polygons:  # one by one: where two overlap, a single call would leave a hole
        corners = np.round(np.array(polygon) * (width, height)).astype(np.int32)
        cv2.fillPoly(image, [corners], (0, 0, 0))
    return image
