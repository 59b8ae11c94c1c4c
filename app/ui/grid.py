"""Several cameras in one image: how many columns show them largest, and where each one lies."""

import math
from dataclasses import dataclass

from app.core.types import Box

_SCREEN_RATIO = 16 / 9
"""Width / height of most screens: OpenCV does not report their size."""
_MAX_ENLARGED = 2.0
"""How much a new window enlarges a small image."""


@dataclass(frozen=True, slots=True)
class Grid:
    """``count`` equal tiles in ``columns``, filled row by row; sizes from 0 to 1 of the whole image."""

    count: int
    columns: int

    @property
    def rows(self) -> int:
        return math.ceil(self.count / self.columns)

    def tile(self, index: int, width_px: int, height_px: int, gap_px: int = 0) -> Box:
        """The place of tile ``index`` in whole pixels, with a gap between the tiles."""
        column, row = index % self.columns, index // self.columns
        left, right = (round(width_px * (column + side) / self.columns) for side in (0, 1))
        top, bottom = (round(height_px * (row + side) / self.rows) for side in (0, 1))
        right -= gap_px * (column < self.columns - 1)
        bottom -= gap_px * (row < self.rows - 1)
        return Box(left, top, max(1, right - left), max(1, bottom - top))

    def index_at(self, x: float, y: float) -> int | None:
        """The tile at (x, y); None outside all tiles."""
        if not (0 <= x < 1 and 0 <= y < 1):
            return None
        index = int(y * self.rows) * self.columns + int(x * self.columns)
        return index if index < self.count else None


def best_grid(count: int, width_px: float, height_px: float, ratio: float) -> Grid:
    """The grid that shows ``count`` images of that ``ratio`` (width / height) largest, with few empty tiles."""

    def rank(columns: int) -> tuple[float, int, int]:
        rows = math.ceil(count / columns)
        return round(min(width_px / columns / ratio, height_px / rows), 3), -columns * rows, columns

    return Grid(count, max(range(1, count + 1), key=rank))


def grid_size(count: int, width_px: int, ratio: float) -> tuple[int, int]:
    """Width and height in px of the grid, on a screen of that width, without bars beside images of that ``ratio``."""
    height_px = width_px / _SCREEN_RATIO
    grid = best_grid(count, width_px, height_px, ratio)
    tile_px = min(width_px / grid.columns / ratio, height_px / grid.rows)
    return round(tile_px * ratio * grid.columns), round(tile_px * grid.rows)


def window_size(width_px: int, height_px: int, max_width_px: int) -> tuple[int, int]:
    """Width and height in px of a new window for an image of that size, on a screen of ``max_width_px``, with the
    aspect ratio kept."""
    factor = min(_MAX_ENLARGED, max_width_px / width_px, max_width_px / _SCREEN_RATIO / height_px)
    return max(1, round(width_px * factor)), max(1, round(height_px * factor))
