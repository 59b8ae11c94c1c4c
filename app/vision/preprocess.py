"""Crops and converts images. Training and inference share this code, so that they cannot differ."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.images import cut, resize, square
from app.core.types import Box, Image

_CELLS = (64, 48)
_SAMPLED_PX = 320
"""Number of columns sampled for a thumbnail, approximately: 0.05 ms for an image of any size."""


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
