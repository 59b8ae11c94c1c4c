"""The only code that cuts, resizes and recolours faces: shared by training and running, so that they cannot differ."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Image

_CELLS = (64, 48)
_SAMPLED_PX = 320
"""About so many columns are looked at: a twentieth of a millisecond for any picture."""


def square(box: Box, margin: float) -> Box:
    """The square around the centre of ``box`` whose side is the longer side of ``box``, times ``1 + margin``."""
    side = max(box.width, box.height) * (1.0 + margin)
    cx, cy = box.center
    return Box(cx - side / 2, cy - side / 2, side, side)


def resize(image: Image, width_px: int, height_px: int) -> Image:
    """``image`` at a new size: area averaging down (no aliasing), linear interpolation up."""
    shrinks = width_px * height_px < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width_px, height_px), interpolation=how)  # type: ignore[return-value]


def cut(image: Image, box: Box) -> Image:
    """The pixels of ``box`` rounded to whole pixels; what lies outside the picture repeats its edge.

    Raises ValueError where ``box`` does not touch the picture.
    """
    height, width = image.shape[:2]
    x, y = round(box.x), round(box.y)
    x2, y2 = max(round(box.x2), x + 1), max(round(box.y2), y + 1)
    if x >= width or y >= height or x2 <= 0 or y2 <= 0:
        raise ValueError(f"box {box} lies outside the picture of {width}x{height}")
    inside = image[max(y, 0) : min(y2, height), max(x, 0) : min(x2, width)]
    left, top, right, bottom = max(-x, 0), max(-y, 0), max(x2 - width, 0), max(y2 - height, 0)
    if not (left or top or right or bottom):
        return inside
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def to_crop(image: Image, size_px: int) -> Image:
    """A whole picture as a crop: BGR in, (size_px, size_px, 3) uint8 RGB out."""
    return cv2.cvtColor(resize(image, size_px, size_px), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def face_crop(image: Image, box: Box, size_px: int, margin: float) -> Image:
    """The face in ``box`` of a BGR picture as the network sees it: (size_px, size_px, 3) uint8 RGB."""
    return to_crop(cut(image, square(box, margin)), size_px)


def face_crops(image: Image, boxes: Sequence[Box], size_px: int, margin: float) -> NDArray[np.uint8]:
    """(N, size_px, size_px, 3) uint8 RGB: one crop per box."""
    crops = np.empty((len(boxes), size_px, size_px, 3), np.uint8)
    for i, box in enumerate(boxes):
        crops[i] = face_crop(image, box, size_px, margin)
    return crops


def sharpness(crop: Image) -> float:
    """Variance of the Laplacian of the grey crop (Pech-Pacheco et al. 2000); low values mean blur."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def thumbnail(image: Image) -> NDArray[np.int16]:
    """``image``: (H, W, 3) uint8 BGR. Returns the means of its cells in the green channel, (48, 64) int16."""
    step = max(1, image.shape[1] // _SAMPLED_PX)
    sampled = np.ascontiguousarray(image[::step, ::step, 1])
    return cv2.resize(sampled, _CELLS, interpolation=cv2.INTER_AREA).astype(np.int16)


def limit_opencv_threads(threads: int) -> None:
    """OpenCV takes this many threads for each of its functions from now on, in the whole process."""
    cv2.setNumThreads(threads)
