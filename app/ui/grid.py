"""Several cameras in one image: how many columns show them largest, and where each one lies."""

import math
from dataclasses import dataclass

from app.core.types import Box


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
