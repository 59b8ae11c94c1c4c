"""Where a camera saw faces without a mask, as SVG over its picture or a plain grid, and as counts by third."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from app.core.translation import gettext
from app.core.types import Event

_COLUMNS, _CELL, _STEPS = 16, 20, 5


@dataclass(frozen=True, slots=True)
class HeatMap:
    """``thirds``: counts from top to bottom and from left to right. ``unplaced``: alerts without a known place, of an
    older version or before the camera was turned."""

    camera: str
    count: int
    unplaced: int
    thirds: tuple[tuple[int, ...], ...]
    svg: Markup


def heat_map(camera: str, alerts: Sequence[Event], picture: str) -> HeatMap | None:
    """``alerts``: oldest first. ``picture``: the address of an image of the camera, or ''. None without a place."""
    placed = [each for each in alerts if each.box is not None and each.frame_width_px and each.frame_height_px]
    if not placed:
        return None
    shape = placed[-1].frame_width_px / placed[-1].frame_height_px
    points = [
        (each.box.center[0] / each.frame_width_px, each.box.center[1] / each.frame_height_px)
        for each in placed
        if each.box is not None and math.isclose(each.frame_width_px / each.frame_height_px, shape, rel_tol=0.02)
    ]
    rows = max(1, round(_COLUMNS / shape))
    cells, thirds = _counts(points, _COLUMNS, rows), _counts(points, 3, 3)
    table = tuple(tuple(thirds[column, row] for column in range(3)) for row in range(3))
    svg = _svg(camera, cells, rows, picture)
    return HeatMap(camera, len(points), len(alerts) - len(points), table, svg)


def _counts(points: Sequence[tuple[float, float]], columns: int, rows: int) -> Counter[tuple[int, int]]:
    """Points by (column, row); a centre outside of the frame counts at its edge."""
    return Counter(
        (min(max(int(x * columns), 0), columns - 1), min(max(int(y * rows), 0), rows - 1)) for x, y in points
    )


def _svg(camera: str, cells: Counter[tuple[int, int]], rows: int, picture: str) -> Markup:
    width, height, most = _COLUMNS * _CELL, rows * _CELL, max(cells.values())
    name = gettext("Where %(camera)s saw faces without a mask; the table beside has the counts", camera=camera)
    parts = [f'<svg class="heat" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">']
    parts.append(f'<rect class="heat-frame" width="{width}" height="{height}"/>')
    if picture:
        size = f'width="{width}" height="{height}" preserveAspectRatio="none"'
        parts.append(f'<image href="{escape(picture)}" {size}/>')
    parts += [f'<path class="grid" d="M{x} 0V{height}"/>' for x in range(_CELL, width, _CELL)]
    parts += [f'<path class="grid" d="M0 {y}H{width}"/>' for y in range(_CELL, height, _CELL)]
    for (column, row), count in sorted(cells.items()):
        x, y = column * _CELL, row * _CELL
        step = math.ceil(_STEPS * count / most)
        parts.append(f'<rect class="heat-{step}" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}"/>')
        parts.append(f'<text class="heat-count" x="{x + _CELL / 2:g}" y="{y + 13}" text-anchor="middle">{count}</text>')
    return Markup("".join([*parts, "</svg>"]))
