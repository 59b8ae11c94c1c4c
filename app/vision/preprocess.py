"""Crops, resizes and converts images. Training and inference share this code, so that they cannot differ."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Image

_CELLS = (64, 48)
_SAMPLED_PX = 320
"""Number of columns sampled for a thumbnail, approximately: 0.05 ms for an image of any size."""


def square(box: Box, margin: float) -> Box:
    """The square around the centre of ``box``. Its side is the longer side of ``box`` times ``1 + margin``."""
    side = max(box.width, box.height) * (1.0 + margin)
    cx, cy = box.center
    return Box(cx - side / 2, cy - side / 2, side, side)


def resize(image: Image, width_px: int, height_px: int) -> Image:
    """Returns a resized image: area averaging to shrink (no aliasing), linear interpolation to enlarge."""
    shrinks = width_px * height_px < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width_px, height_px), interpolation=interpolation)  # type: ignore[return-value]


def fast_resized(image: Image, width_px: int, height_px: int) -> Image:
    """``image`` in that size; the same one if it has it. It is halved while that is not too small, then interpolated:
    as good as ``resize`` for a whole frame, and for most sizes four times as fast, as OpenCV averages areas fast only
    if their sides are whole pixels."""
    while image.shape[1] >= 2 * width_px and image.shape[0] >= 2 * height_px:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if image.shape[:2] == (height_px, width_px):
        return image
    return cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def cut(image: Image, box: Box) -> Image:
    """The image inside ``box``, rounded to whole pixels; parts outside the image repeat its edge pixels.

    Raises ValueError if ``box`` lies completely outside the image.
    """
    height, width = image.shape[:2]
    x, y = round(box.x), round(box.y)
    x2, y2 = max(round(box.x2), x + 1), max(round(box.y2), y + 1)
    if x >= width or y >= height or x2 <= 0 or y2 <= 0:
        raise ValueError(f"bounding box {box} lies outside the image of {width}x{height} px")
    inside = image[max(y, 0) : min(y2, height), max(x, 0) : min(x2, width)]
    left, top, right, bottom = max(-x, 0), max(-y, 0), max(x2 - width, 0), max(y2 - height, 0)
    if not (left or top or right or bottom):
        return inside
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def to_crop(image: Image, size_px: int) -> Image:
    """Converts a whole BGR image to a crop: (size_px, size_px, 3) uint8 RGB."""
    return cv2.cvtColor(resize(image, size_px, size_px), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def face_crop(image: Image, box: Box, size_px: int, margin: float) -> Image:
    """The classifier's input for the face in ``box`` of a BGR image: (size_px, size_px, 3) uint8 RGB."""
    return to_crop(cut(image, square(box, margin)), size_px)


def face_crops(image: Image, boxes: Sequence[Box], size_px: int, margin: float) -> NDArray[np.uint8]:
    """Returns one crop per box: (N, size_px, size_px, 3) uint8 RGB."""
    crops = np.empty((len(boxes), size_px, size_px, 3), np.uint8)
    for i, box in enumerate(boxes):
        crops[i] = face_crop(image, box, size_px, margin)
    return crops


def sharpness(crop: Image) -> float:
    """Variance of the Laplacian of the grey crop (Pech-Pacheco et al. 2000); low values mean blur."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def thumbnail(image: Image) -> NDArray[np.int16]:
    """``image``: (H, W, 3) uint8 BGR. Returns its green channel, averaged over a grid of cells: (48, 64) int16."""
    step = max(1, image.shape[1] // _SAMPLED_PX)
    sampled = np.ascontiguousarray(image[::step, ::step, 1])
    return cv2.resize(sampled, _CELLS, interpolation=cv2.INTER_AREA).astype(np.int16)


def parts(cells: NDArray[np.bool_], width_px: int, height_px: int) -> tuple[Box, ...]:
    """Boxes around the groups of true ``cells`` of a thumbnail (48, 64), with the cells around them, in pixels of an
    image of this size."""
    grown = cv2.dilate(cells.astype(np.uint8), np.ones((3, 3), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(grown)
    x, y = width_px / _CELLS[0], height_px / _CELLS[1]
    return tuple(
        Box(left * x, top * y, columns * x, rows * y) for left, top, columns, rows, _ in stats[1:count].tolist()
    )


def limit_opencv_threads(threads: int) -> None:
    """Sets the number of threads that each OpenCV function uses, for the whole process."""
    cv2.setNumThreads(threads)
