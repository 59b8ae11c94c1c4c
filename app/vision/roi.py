"""Regions of interest (ROIs) around tracked faces and movement: small squares that are searched instead of the whole
image."""

import math
from collections.abc import Sequence

from app.core.types import Box

MIN_SIZE_RATIO = 0.7
"""A tracked face may have shrunk to this share of its size since the last detection."""

_MARGIN = 1.0
"""How much of the surroundings a square shows on each side, in sizes of the face: the face may have moved that far."""

_SIDES_PX = (192, 256, 384)
"""Sides of a square in network pixels. Few sizes, because each new size needs a new LiteRT plan; none is smaller,
because with little context the network reports more false positives."""

CELL_PX = 32
"""Squares start at multiples of the network's largest stride. At other offsets the network answers differently than
for the whole image, and a false positive may repeat in the square."""

MAX_AREA_SHARE = 0.6
"""If the squares cover more than this share of the image, searching the whole image is as fast."""


def min_tracked_px(tracked: Sequence[Box]) -> float:
    """The smallest size that one of the ``tracked`` faces may have now."""
    return MIN_SIZE_RATIO * min(box.size for box in tracked)


def roi_squares(
    tracked: Sequence[Box], moved: Sequence[Box], width: int, height: int
) -> list[tuple[int, int, int, int]]:
    """Returns x, y, width, height of the squares that show all ``tracked`` faces with their surroundings, and all
    ``moved`` parts.

    In pixels, clipped to an image of ``width`` x ``height``; the whole image if a face is too large for a square.
    """
    wanted = [*map(_with_surroundings, tracked), *moved]
    groups: list[Box] = []
    while wanted:
        group = wanted.pop()
        near = next((box for box in groups if _can_share(group, box)), None)
        if near is None:
            groups.append(group)
        else:
            groups.remove(near)
            wanted.append(_hull(group, near))
    return [_square(group, width, height) for group in groups]


def area_share(squares: Sequence[tuple[int, int, int, int]], width: int, height: int) -> float:
    """The area of the ``squares`` in shares of an image of ``width`` x ``height``."""
    return sum(roi_width * roi_height for _, _, roi_width, roi_height in squares) / (width * height)


def _square(group: Box, width: int, height: int) -> tuple[int, int, int, int]:
    side, (x, y) = math.ceil(_side(group)), group.center
    if side > _SIDES_PX[-1]:
        return 0, 0, width, height
    (left, roi_width), (top, roi_height) = _span(x, side, width), _span(y, side, height)
    return left, top, roi_width, roi_height


def _with_surroundings(box: Box) -> Box:
    longer = max(box.width, box.height)
    side = longer * (1 + 2 * _MARGIN)
    x, y = box.center
    return Box(x - side / 2, y - side / 2, side, side)


def _hull(one: Box, other: Box) -> Box:
    x, y = min(one.x, other.x), min(one.y, other.y)
    return Box(x, y, max(one.x2, other.x2) - x, max(one.y2, other.y2) - y)


def _can_share(one: Box, other: Box) -> bool:
    """Whether one square for both boxes has no more pixels than two squares."""
    return _side(_hull(one, other)) ** 2 <= _side(one) ** 2 + _side(other) ** 2


def _side(box: Box) -> float:
    """The side of the smallest square that shows ``box`` at any cell offset; its own side if every one is too small."""
    longer = max(box.width, box.height) + CELL_PX
    return next((float(side) for side in _SIDES_PX if side >= longer), longer)


def _span(middle: float, side: int, length: int) -> tuple[int, int]:
    """Start and length, in pixels, of a square's side around ``middle``, clipped to an image side of ``length``."""
    last = math.ceil(max(length - side, 0) / CELL_PX) * CELL_PX
    start = min(max(round((middle - side / 2) / CELL_PX) * CELL_PX, 0), last)
    return start, min(side, length - start)
