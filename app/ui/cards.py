"""Cards: rows of words and icons on a rounded background, with a picture if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.types import Box, Image
from app.ui.canvas import Canvas
from app.ui.palette import Colour

_PAD, _ROW, _GAP = 0.7, 1.6, 0.45
"""Inner margin, height of a row and distance between two parts of a row, in units."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text, or the name of an icon, which may have a filled square ``behind`` it.

    ``size`` is relative to normal text; ``width``: at least so wide, in units.
    """

    text: str
    colour: Colour
    size: float = 1.0
    bold: bool = False
    is_icon: bool = False
    width: float = 0.0
    behind: Colour | None = None

    def width_px(self, board: Canvas) -> float:
        unit = board.unit * self.size
        own = unit if self.is_icon else board.text_size(self.text, unit, self.bold)[0]
        return max(own, self.width * board.unit)

    def draw(self, board: Canvas, x: float, y: float) -> None:
        """Draws it from ``x`` on, around the line ``y``."""
        size = board.unit * self.size
        if not self.is_icon:
            board.text((x, y), self.text, size, self.colour, "lm", self.bold)
            return
        if self.behind is not None:
            board.card(Box(x, y - size / 2, size, size), size * 0.3, self.behind)
        side = size * (1.0 if self.behind is None else 0.72)
        board.icon(self.text, Box(x + (size - side) / 2, y - side / 2, side, side), self.colour)


Row = Sequence[Part]


@dataclass(frozen=True, slots=True)
class Card:
    """``rows`` on a background; ``picture`` is on the left, as high as the rows."""

    rows: tuple[Row, ...]
    fill: Colour
    opacity: float = 1.0
    picture: Image | None = None

    def size(self, board: Canvas) -> tuple[float, float]:
        unit = board.unit
        height = self._rows_px(unit)
        wide = max((_row_px(board, row) for row in self.rows), default=0.0)
        beside = height + unit * _PAD if self.picture is not None else 0.0
        return wide + beside + 2 * unit * _PAD, height + 2 * unit * _PAD * self._margin

    @property
    def _margin(self) -> float:
        return 0.45 if len(self.rows) == 1 else 0.8

    def _rows_px(self, unit: float) -> float:
        return sum(_ROW * unit * max(part.size for part in row) for row in self.rows)

    def fitted(self, board: Canvas, width_px: float) -> "Card":
        """This card at most ``width_px`` wide: its long texts are cut off."""
        over = self.size(board)[0] - width_px
        if over <= 0:
            return self
        rows = []
        widest = max(_row_px(board, row) for row in self.rows)
        for row in self.rows:
            excess = over - (widest - _row_px(board, row))
            if excess > 0:
                longest = max(row, key=lambda part: 0.0 if part.is_icon else part.width_px(board))
                room = longest.width_px(board) - excess
                text = board.shortened(longest.text, room, board.unit * longest.size, longest.bold)
                row = [replace(part, text=text, width=0.0) if part is longest else part for part in row]
            rows.append(tuple(part for part in row if part.text))
        return replace(self, rows=tuple(row for row in rows if row))

    def draw(self, board: Canvas, x: float, y: float) -> None:
        unit = board.unit
        width, height = self.size(board)
        board.card(Box(x, y, width, height), min(unit * 0.8, height / 2), self.fill, self.opacity)
        left, top = x + unit * _PAD, y + unit * _PAD * self._margin
        if self.picture is not None:
            side = self._rows_px(unit)
            board.paste(self.picture, Box(left, top, side, side), unit * 0.5)
            left += side + unit * _PAD
        for row in self.rows:
            high = _ROW * unit * max(part.size for part in row)
            at = left
            for part in row:
                part.draw(board, at, top + high / 2)
                at += part.width_px(board) + unit * _GAP
            top += high


def _row_px(board: Canvas, row: Row) -> float:
    return sum(part.width_px(board) for part in row) + board.unit * _GAP * (len(row) - 1)
