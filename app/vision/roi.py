"""Where to look for faces that are known already, and how closely: small squares instead of the whole picture."""

import math
from collections.abc import Sequence

from app.core.types import Box

KEPT_PART = 0.7
"""A known face may have shrunk to this part of its size since it was seen."""

_AROUND = 1.0
"""How far a known face may have moved, in its own sizes, and what is shown around it."""

_SIDES_PX = (192, 256, 384)
"""Squares to look at, in the pixels that the network sees: few, for each new size costs the run time a new plan, and
none smaller, for with little around it the network takes more for a face."""

CELL_PX = 32
"""Squares begin at multiples of the network's largest stride: there it answers as it does for the whole picture, where
elsewhere a false face may be seen in the square alone, again and again."""

WORTH = 0.6
"""Squares that together have more than this part of the picture's area are no saving."""


def min_kept_px(known: Sequence[Box]) -> float:
    """The smallest size that one of ``known`` may have now."""
    return KEPT_PART * min(box.size for box in known)


def roi_squares(known: Sequence[Box], width: int, height: int) -> list[tuple[int, int, int, int]]:
    """x, y, width and height of squares, as far as they lie inside a picture of that size, px, that show all of
    ``known`` with their surroundings; all of the picture where they are too large for any."""
    wanted = [_with_surroundings(box) for box in known]
    groups: list[Box] = []
    while wanted:
        group = wanted.pop()
        near = next((box for box in groups if _fits_one(group, box)), None)
        if near is None:
            groups.append(group)
        else:
            groups.remove(near)
            wanted.append(_hull(group, near))
    return [_square(group, width, height) for group in groups]


def _square(group: Box, width: int, height: int) -> tuple[int, int, int, int]:
    side, (x, y) = math.ceil(_side(group)), group.center
    if side > _SIDES_PX[-1]:
        return 0, 0, width, height
    (left, across), (top, down) = _stretch(x, side, width), _stretch(y, side, height)
    return left, top, across, down


def _with_surroundings(box: Box) -> Box:
    longer = max(box.width, box.height)
    side = longer * (1 + 2 * _AROUND)
    x, y = box.center
    return Box(x - side / 2, y - side / 2, side, side)


def _hull(one: Box, other: Box) -> Box:
    x, y = min(one.x, other.x), min(one.y, other.y)
    return Box(x, y, max(one.x2, other.x2) - x, max(one.y2, other.y2) - y)


def _fits_one(one: Box, other: Box) -> bool:
    """Whether one square shows both with less work than two."""
    return _side(_hull(one, other)) ** 2 <= _side(one) ** 2 + _side(other) ** 2


def _side(box: Box) -> float:
    """The side of the square that shows ``box`` wherever its cells begin; what it wants where none is large enough."""
    longer = max(box.width, box.height) + CELL_PX
    return next((float(side) for side in _SIDES_PX if side >= longer), longer)


def _stretch(middle: float, side: int, length: int) -> tuple[int, int]:
    """Where a square of ``side`` around ``middle`` begins in a picture of ``length``, and how much of it is inside."""
    last = math.ceil(max(length - side, 0) / CELL_PX) * CELL_PX
    start = min(max(round((middle - side / 2) / CELL_PX) * CELL_PX, 0), last)
    return start, min(side, length - start)
