"""A drawing surface with real type and smooth, rounded shapes. What is drawn often is drawn once and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Image
from app.ui.icons import icon_mask
from app.ui.palette import INK, PAPER, Colour
from app.ui.typeface import Mask, text_mask, text_width

_ASCENT, _DESCENT, _CAPITAL = 0.97, 0.24, 0.73
"""Heights above and below the baseline, and height of a capital letter, in em."""
_MOSAIC = 7
"""Cells of a hidden face, in each direction."""


class Sprite(NamedTuple):
    """A picture with transparency: pixel = pixel * ``keep`` / 255 + ``add``; both (H, W, 3) uint8."""

    keep: Image
    add: Image


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image (H, W, 3) uint8 BGR to draw on, in its own pixels; ``unit`` is the size of normal text in pixels.

    What lies outside the image is not drawn.
    """

    image: Image
    unit: float = 18.0

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def stroke(self) -> int:
        return max(1, round(self.unit / 8))

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        size_px: float,
        colour: Colour = PAPER,
        anchor: str = "ls",
        bold: bool = False,
    ) -> Box:
        """Draws one line and returns its extents.

        ``anchor``: which point of the text is at ``xy``: l, m or r (left, middle, right) and t, m, s or b (top, middle
        of the capital letters, baseline, bottom).
        """
        size_px = _rounded(size_px)
        width = text_width(text, size_px, bold)
        x = xy[0] - width * "lmr".index(anchor[0]) / 2
        y = xy[1] + size_px * {"t": _ASCENT, "m": _CAPITAL / 2, "s": 0.0, "b": -_DESCENT}[anchor[1]]
        sprite, left, top = _text_sprite(text, size_px, bold, colour)
        self.blend(sprite, round(x) + left, round(y) + top)
        return Box(x, y - size_px * _ASCENT, width, size_px * (_ASCENT + _DESCENT))

    @staticmethod
    def text_size(text: str, size_px: float, bold: bool = False) -> tuple[float, float]:
        """Width and height in pixels."""
        return text_width(text, _rounded(size_px), bold), size_px * (_ASCENT + _DESCENT)

    @staticmethod
    def shortened(text: str, width_px: float, size_px: float, bold: bool = False) -> str:
        """``text``, cut off with an ellipsis if it is wider than ``width_px``; empty if nothing fits."""
        size_px = _rounded(size_px)
        if text_width(text, size_px, bold) <= width_px:
            return text
        low, high = 0, len(text)
        while low < high:  # the longest beginning that fits
            middle = (low + high + 1) // 2
            fits = text_width(text[:middle].rstrip() + "…", size_px, bold) <= width_px
            low, high = (middle, high) if fits else (low, middle - 1)
        return text[:low].rstrip() + "…" if low else ""

    def wrapped(self, text: str, width_px: float, size_px: float, bold: bool = False) -> list[str]:
        """``text`` in lines of at most ``width_px``; a longer word is cut off."""
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and self.text_size(longer, size_px, bold)[0] <= width_px:
                lines[-1] = longer
            else:
                lines.append(word)
        return [self.shortened(line, width_px, size_px, bold) for line in lines]

    def card(self, box: Box, radius: float, fill: Colour, opacity: float = 1.0) -> None:
        """Draws a filled rounded rectangle."""
        x, y, x2, y2 = _pixels(box)
        if x < x2 and y < y2:
            radius_px = int(max(0, min(radius, (x2 - x) / 2, (y2 - y) / 2)))
            self.blend(_card_sprite(x2 - x, y2 - y, radius_px, fill, opacity), x, y)

    def outline(
        self, box: Box, radius: float, colour: Colour, thickness: float, arms: float = 0.0, halo: int = 0
    ) -> None:
        """Draws a rounded rectangle; with ``arms`` only its corners, each side reaching so far from the corner, px.

        ``halo``: width of a dark edge on both sides of the line, px.
        """
        x, y, x2, y2 = _pixels(box)
        width = max(1, round(thickness))
        radius_px = int(max(width, min(radius, (x2 - x) / 2, (y2 - y) / 2)))
        if x2 - x < 2 * width or y2 - y < 2 * width:
            return
        outer = _corners(x - halo, y - halo, x2 + halo, y2 + halo, radius_px + halo)
        for index, (left, top) in enumerate(outer):
            self.blend(_arc_sprite(radius_px, width, halo, index, colour), left, top)
        reaches = [max(0, side - 2 * radius_px) for side in (x2 - x, y2 - y)]
        if arms:
            reaches = [min(max(0, round(arms) - radius_px), reach // 2) for reach in reaches]
        (right, down), near = reaches, radius_px
        thick = width + 2 * halo
        for left in {x + near, x2 - near - right}:
            for top in (y, y2 - width):
                self._put(_bar(right, width, halo, colour), left, top - halo, right, thick)
        for top in {y + near, y2 - near - down}:
            for left in (x, x2 - width):
                self._put(_bar(down, width, halo, colour).swapaxes(0, 1), left - halo, top, thick, down)

    def ring(self, centre: tuple[float, float], radius: float, share: float, colour: Colour, thickness: float) -> None:
        """Draws a part of a circle, clockwise from the top; ``share`` is 1 for all of it."""
        size = max(4, round(2 * (radius + thickness)))
        sprite = _ring_sprite(size, _rounded(thickness), round(max(0.0, min(share, 1.0)) * 60), colour)
        self.blend(sprite, round(centre[0] - size / 2), round(centre[1] - size / 2))

    def icon(self, name: str, box: Box, colour: Colour) -> None:
        """Draws an icon of ``app/ui/icons.py`` in the middle of ``box``."""
        size = max(1, round(box.size))
        x, y = box.center
        self.blend(_icon_sprite(name, size, colour), round(x - size / 2), round(y - size / 2))

    def paste(self, image: Image, box: Box, radius: float = 0.0) -> None:
        """Scales ``image`` (H, W, 3) uint8 BGR to ``box``, with rounded corners."""
        x, y, x2, y2 = _pixels(box)
        width, height = x2 - x, y2 - y
        if width < 1 or height < 1 or image.size == 0:
            return
        is_smaller = 3 * width < image.shape[1]  # slow, and not needed for small changes
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)
        if radius < 1:
            self._put(scaled, x, y, width, height)  # type: ignore[arg-type]
        else:
            mask = _card_mask(width, height, int(min(radius, width / 2, height / 2)))
            self.blend(Sprite(255 - mask, cv2.multiply(scaled, mask, scale=1 / 255)), x, y)  # type: ignore[arg-type]

    def lines(
        self, points: Sequence[tuple[float, float]], colour: Colour, thickness: float, closed: bool = False
    ) -> None:
        """Draws connected lines."""
        fine = np.round(np.array(points) * 16).astype(np.int32)
        cv2.polylines(self.image, [fine], closed, colour, max(1, round(thickness)), cv2.LINE_AA, shift=4)

    def dot(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        fine = round(centre[0] * 16), round(centre[1] * 16)
        cv2.circle(self.image, fine, round(radius * 16), colour, -1, cv2.LINE_AA, shift=4)

    def _put(self, image: Image, x: int, y: int, width: int, height: int) -> None:
        """Copies that much of ``image`` to (x, y): faster than to fill with OpenCV."""
        part = self.part(x, y, width, height)
        part[:] = image[max(0, -y) :, max(0, -x) :][: part.shape[0], : part.shape[1]]

    def part(self, x: int, y: int, width: int, height: int) -> Image:
        """The part of the image inside that rectangle, not copied."""
        return self.image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]

    def blend(self, sprite: Sprite, x: int, y: int) -> None:
        """Draws ``sprite`` with its upper left corner at (x, y)."""
        height, width = sprite.keep.shape[:2]
        part = self.part(x, y, width, height)
        if part.size == 0:
            return
        keep, add = sprite
        if part.shape != keep.shape:
            inside = slice(max(0, -y), max(0, -y) + part.shape[0]), slice(max(0, -x), max(0, -x) + part.shape[1])
            keep, add = keep[inside], add[inside]
        cv2.multiply(part, keep, dst=part, scale=1 / 255)
        cv2.add(part, add, dst=part)


def _rounded(size_px: float) -> float:
    """Sizes in steps of half a pixel, so that few different ones are drawn."""
    return max(1.0, round(size_px * 2) / 2)


def _pixels(box: Box) -> tuple[int, int, int, int]:
    return round(box.x), round(box.y), round(box.x2), round(box.y2)


def _corners(x: int, y: int, x2: int, y2: int, radius: int) -> list[tuple[int, int]]:
    """Where the squares of the rounded corners begin: upper left, upper right, lower left, lower right."""
    return [(x, y), (x2 - radius, y), (x, y2 - radius), (x2 - radius, y2 - radius)]


def composed(width: int, height: int, unit: float, draw: Callable[[Canvas], None]) -> Sprite:
    """A picture with transparency of all that ``draw`` draws: what it leaves of black and of white."""
    black, white = (np.full((max(1, height), max(1, width), 3), grey, np.uint8) for grey in (0, 255))
    draw(Canvas(black, unit))
    draw(Canvas(white, unit))
    return Sprite(cv2.subtract(white, black), black)  # type: ignore[arg-type]


def _sprite(mask: Mask, colour: Colour) -> Sprite:
    cover = mask[:, :, None].astype(np.uint16)
    add = (cover * np.array(colour, np.uint16) + 127) // 255
    return Sprite(np.repeat(255 - mask[:, :, None], 3, axis=2), add.astype(np.uint8))


@lru_cache(maxsize=512)
def _text_sprite(text: str, size_px: float, bold: bool, colour: Colour) -> tuple[Sprite, int, int]:
    drawn = text_mask(text, size_px, bold)
    return _sprite(drawn.mask, colour), drawn.left, drawn.top


@lru_cache(maxsize=128)
def _icon_sprite(name: str, size: int, colour: Colour) -> Sprite:
    return _sprite(icon_mask(name, size), colour)


@lru_cache(maxsize=256)
def _ring_sprite(size: int, thickness: float, sixtieths: int, colour: Colour) -> Sprite:
    fine = np.zeros((size * 4, size * 4), np.uint8)
    radius = round(size * 2 - thickness * 4)
    centre = size * 2, size * 2
    cv2.ellipse(fine, centre, (radius, radius), -90, 0, sixtieths * 6, 255, max(1, round(thickness * 4)))
    return _sprite(cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA), colour)  # type: ignore[arg-type]


def _distance(radius: int) -> NDArray[np.float64]:
    """The distance of each pixel of an upper left corner from the centre of its circle."""
    steps = radius - 0.5 - np.arange(radius)
    return np.sqrt(steps[:, None] ** 2 + steps[None, :] ** 2)


def _turned(corner: Mask, index: int) -> Mask:
    """The upper left ``corner`` as the corner number ``index``, in the order of ``_corners``."""
    turned = corner[:, ::-1] if index % 2 else corner
    return np.ascontiguousarray(turned[::-1] if index >= 2 else turned)


@lru_cache(maxsize=48)
def _card_mask(width: int, height: int, radius: int) -> Image:
    """The coverage of a filled rounded rectangle, (H, W, 3) uint8."""
    mask = np.full((height, width), 255, np.uint8)
    if radius:
        corner = (np.clip(radius - _distance(radius) + 0.5, 0, 1) * 255).astype(np.uint8)
        for index, (x, y) in enumerate(_corners(0, 0, width, height, radius)):
            mask[y : y + radius, x : x + radius] = _turned(corner, index)
    return np.repeat(mask[:, :, None], 3, axis=2)


@lru_cache(maxsize=48)
def _card_sprite(width: int, height: int, radius: int, fill: Colour, opacity: float) -> Sprite:
    return _sprite((_card_mask(width, height, radius)[:, :, 0] * opacity).astype(np.uint8), fill)


def _bar(length: int, width: int, halo: int, colour: Colour) -> Image:
    """A line with its halo from left to right, at least ``length`` px long."""
    return _long_bar(1 << length.bit_length(), width, halo, colour)


@lru_cache(maxsize=64)
def _long_bar(length: int, width: int, halo: int, colour: Colour) -> Image:
    bar = np.full((width + 2 * halo, length, 3), INK, np.uint8)
    bar[halo : halo + width] = colour
    return bar


@lru_cache(maxsize=256)
def _arc_sprite(radius: int, width: int, halo: int, index: int, colour: Colour) -> Sprite:
    """The corner ``index`` of an outline, with its halo around it."""
    off = np.abs(_distance(radius + halo) - (radius - width / 2)) - width / 2
    line = np.clip(0.5 - off, 0, 1)
    edge = np.clip(0.5 + halo - off, 0, 1) if halo else line
    keep, add = _turned((255 - 255 * edge).astype(np.uint8), index), _turned((255 * line).astype(np.uint8), index)
    rest = 255 - keep - add
    mixed = (add[:, :, None] * np.array(colour, np.uint16) + rest[:, :, None] * np.array(INK, np.uint16)) // 255
    return Sprite(np.repeat(keep[:, :, None], 3, axis=2), mixed.astype(np.uint8))


def blur_faces(image: Image, boxes: Sequence[Box]) -> None:
    """Hides faces in ``image`` (H, W, 3) uint8 in place: each becomes an oval of few large cells."""
    height, width = image.shape[:2]
    for box in boxes:
        enlarged = Box(box.x - box.width * 0.12, box.y - box.height * 0.17, box.width * 1.24, box.height * 1.3)
        part = enlarged.clipped(width, height)
        x, y, x2, y2 = int(part.x), int(part.y), int(np.ceil(part.x2)), int(np.ceil(part.y2))
        if x2 - x < 2 or y2 - y < 2:
            continue
        cells = cv2.resize(image[y:y2, x:x2], (_MOSAIC, _MOSAIC), interpolation=cv2.INTER_AREA)
        mosaic = cv2.resize(cells, (x2 - x, y2 - y), interpolation=cv2.INTER_NEAREST)
        Canvas(image).paste(
            mosaic,  # type: ignore[arg-type]
            Box(x, y, x2 - x, y2 - y),
            min(x2 - x, y2 - y) * 0.3,
        )
