"""Cards: rows of words and icons on a rounded background, with a picture if there is one."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from app.core.types import Box, Image
from app.ui.canvas import Canvas, Sprite, composed
from app.ui.palette import Colour
from app.ui.typeface import text_width

_PAD, _ROW, _GAP = 0.7, 1.6, 0.45
"""Inner margin, height of a row and distance between two parts of a row, in units."""


class Part(NamedTuple):
    """A text, or the name of an icon, which may have a filled square ``behind`` it.

    ``size`` is relative to normal text; ``width``: at least so wide, in units. A tuple, because it is a key of caches.
    """

    text: str
    colour: Colour
    size: float = 1.0
    bold: bool = False
    is_icon: bool = False
    width: float = 0.0
    behind: Colour | None = None

    def width_px(self, unit: float) -> float:
        own = unit * self.size if self.is_icon else text_width(self.text, unit * self.size, self.bold)
        return max(own, self.width * unit)

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


Row = tuple[Part, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image (H, W, 3) uint8 BGR that equals only itself, so that it can be a key of caches."""

    image: Image


@dataclass(frozen=True, slots=True)
class Card:
    """``rows`` on a background; ``picture`` is on the left, as high as the rows."""

    rows: tuple[Row, ...]
    fill: Colour
    opacity: float = 1.0
    picture: Picture | None = None

    def size(self, unit: float) -> tuple[float, float]:
        """Width and height in pixels."""
        return _size(self.rows, self.picture is not None, unit)

    def fitted(self, unit: float, width_px: float) -> "Card":
        """This card at most ``width_px`` wide: its long texts are cut off."""
        over = self.size(unit)[0] - width_px
        if over <= 0:
            return self
        widest = max(_row_px(row, unit) for row in self.rows)
        rows = [_cut(row, over - (widest - _row_px(row, unit)), unit) for row in self.rows]
        return replace(self, rows=tuple(row for row in rows if row))

    def draw(self, board: Canvas, x: float, y: float) -> None:
        board.blend(card_sprite(self, board.unit), round(x), round(y))


def _edge(rows: tuple[Row, ...], unit: float) -> float:
    """The margin above and below the rows, px."""
    return unit * _PAD * (0.45 if len(rows) == 1 else 0.8)


def _row_px(row: Row, unit: float) -> float:
    return sum(part.width_px(unit) for part in row) + unit * _GAP * (len(row) - 1)


def _rows_px(rows: tuple[Row, ...], unit: float) -> float:
    return sum(_ROW * unit * max(part.size for part in row) for row in rows)


def _cut(row: Row, excess_px: float, unit: float) -> Row:
    """``row`` with its longest text shortened by ``excess_px``."""
    if excess_px <= 0:
        return row
    longest = max(row, key=lambda part: 0.0 if part.is_icon else part.width_px(unit))
    room_px = longest.width_px(unit) - excess_px
    text = Canvas.shortened(longest.text, room_px, unit * longest.size, longest.bold)
    cut = [part._replace(text=text, width=0.0) if part is longest else part for part in row]
    return tuple(part for part in cut if part.text)


@lru_cache(maxsize=256)
def _size(rows: tuple[Row, ...], has_picture: bool, unit: float) -> tuple[float, float]:
    height = _rows_px(rows, unit)
    wide = max((_row_px(row, unit) for row in rows), default=0.0)
    return wide + has_picture * (height + unit * _PAD) + 2 * unit * _PAD, height + 2 * _edge(rows, unit)


@lru_cache(maxsize=48)
def card_sprite(card: Card, unit: float) -> Sprite:
    """The card, drawn once and kept: few cards change in each frame."""
    width, height = card.size(unit)

    def draw(board: Canvas) -> None:
        board.card(Box(0, 0, width, height), min(unit * 0.8, height / 2), card.fill, card.opacity)
        top, side, start = _edge(card.rows, unit), _rows_px(card.rows, unit), unit * _PAD
        if card.picture is not None:
            board.paste(card.picture.image, Box(start, top, side, side), start)
            start += side + unit * _PAD
        for row in card.rows:
            high, left = _ROW * unit * max(part.size for part in row), start
            for part in row:
                part.draw(board, left, top + high / 2)
                left += part.width_px(unit) + unit * _GAP
            top += high

    return composed(round(width), round(height), unit, draw)
