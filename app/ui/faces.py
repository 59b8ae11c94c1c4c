"""Drawing of text, boxes and blurred faces. Only ``blur_faces`` changes the image that it is given."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from app.core.types import Box, Image, Label, Track
from app.ui.palette import ALERT, INK, PAPER, STYLES, Colour

_FONT = cv2.FONT_HERSHEY_DUPLEX
_PIXELS_PER_SCALE = 22.0
"""Height of a capital letter of the font at scale 1, px."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """An image (H, W, 3) uint8 BGR to draw on; ``unit`` is the height of a text line in pixels."""

    image: Image
    unit: float

    @property
    def stroke(self) -> int:
        return max(1, round(self.unit / 9))

    def width(self, text: str, size: float = 1.0) -> int:
        return int(cv2.getTextSize(ascii_only(text), _FONT, self._scale(size), 1)[0][0])

    def _scale(self, size: float) -> float:
        return self.unit * 0.62 * size / _PIXELS_PER_SCALE

    def text(self, text: str, x: float, y: float, colour: Colour = PAPER, size: float = 1.0) -> None:
        """Draws ``text``; ``(x, y)`` is the left end of its baseline in pixels."""
        weight = 1 if self.unit * size < 34 else 2
        cv2.putText(
            self.image, ascii_only(text), (round(x), round(y)), _FONT, self._scale(size), colour, weight, cv2.LINE_AA
        )

    def fill(self, x: float, y: float, x2: float, y2: float, colour: Colour, opacity: float = 1.0) -> None:
        """Draws a filled rectangle, clipped to the image."""
        height, width = self.image.shape[:2]
        left, right = (int(min(max(v, 0), width)) for v in (x, x2))
        top, bottom = (int(min(max(v, 0), height)) for v in (y, y2))
        if left >= right or top >= bottom:
            return
        area = self.image[top:bottom, left:right]
        if opacity >= 1:
            area[:] = colour
        else:
            cv2.addWeighted(area, 1 - opacity, np.full_like(area, colour), opacity, 0, dst=area)


def ascii_only(text: str) -> str:
    """``text`` in ASCII, the only letters of OpenCV fonts; others lose their accents or become '?'."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode().replace("\n", " ")


def canvas(image: Image, max_width_px: int) -> tuple[Canvas, float]:
    """A copy of ``image`` at most ``max_width_px`` wide, and the factor from source to canvas pixels."""
    height, width = image.shape[:2]
    factor = min(1.0, max_width_px / width)
    if factor < 1.0:
        size = (round(width * factor), max(1, round(height * factor)))
        copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    else:
        copy = image.copy()
    return Canvas(copy, unit=float(np.clip(copy.shape[0] / 26, 12, 40))), factor  # type: ignore[arg-type]


def draw_faces(board: Canvas, tracks: Sequence[Track], factor: float, top_px: float = 0.0) -> None:
    """Draws boxes with label, confidence and track id; the most severe label is on top.

    No label text is drawn above ``top_px``, the height of the top bar in pixels.
    """
    severity = (Label.UNSURE, Label.MASK, Label.INCORRECT, Label.NO_MASK)
    height, width = board.image.shape[:2]
    for track in sorted(tracks, key=lambda track: severity.index(track.label.label)):
        box = track.box.scaled(factor)
        if box.x < width and box.y < height and box.x2 > 0 and box.y2 > 0:  # else it is outside the frame
            _draw_face(board, track, box, top_px)


def _draw_face(board: Canvas, track: Track, box: Box, top_px: float) -> None:
    style = STYLES[track.label.label]
    stroke = max(1, round(board.stroke * style.weight))
    corners = (round(box.x), round(box.y)), (round(box.x2), round(box.y2))
    if style.is_closed:
        cv2.rectangle(board.image, *corners, INK, stroke + 2, cv2.LINE_AA)
        cv2.rectangle(board.image, *corners, style.colour, stroke, cv2.LINE_AA)
    else:
        for colour, width in ((INK, stroke + 2), (style.colour, stroke)):
            _draw_corners(board.image, box, colour, width)
    is_decided = track.label.label is not Label.UNSURE
    size = 0.8 if box.width < 6 * board.unit else 1.0
    text = f"{style.word} {track.label.confidence:.0%}" if is_decided else style.word
    _draw_label(board, f"{text}  #{track.id}", (box.x, box.y), style.colour, size, top_px)


def _draw_corners(image: Image, box: Box, colour: Colour, width: int) -> None:
    """Draws only the four corners of a box."""
    length = max(4, round(box.size / 4))
    for x, dx in ((box.x, length), (box.x2, -length)):
        for y, dy in ((box.y, length), (box.y2, -length)):
            corner = round(x), round(y)
            cv2.line(image, corner, (corner[0] + dx, corner[1]), colour, width, cv2.LINE_AA)
            cv2.line(image, corner, (corner[0], corner[1] + dy), colour, width, cv2.LINE_AA)


def _draw_label(
    board: Canvas, text: str, corner: tuple[float, float], colour: Colour, size: float, top_px: float
) -> None:
    """Draws a label above the upper left ``corner`` of its box, or inside if there is no room; always in the image."""
    pad, line = board.unit * 0.3 * size, board.unit * 1.25 * size
    width_px = board.width(text, size) + 2 * pad
    x = float(np.clip(corner[0], 0, max(0.0, board.image.shape[1] - width_px)))
    y = corner[1] - line if corner[1] - line >= top_px else max(corner[1], top_px)
    board.fill(x, y, x + width_px, y + line, colour)
    board.text(text, x + pad, y + line - pad * 1.25, PAPER if colour == ALERT else INK, size)


def hide_faces(board: Canvas, boxes: Sequence[Box], factor: float) -> None:
    """Blurs the faces in ``boxes`` (source pixels) on ``board``."""
    blur_faces(board.image, [box.scaled(factor) for box in boxes])


def blur_faces(image: Image, boxes: Sequence[Box]) -> None:
    """Blurs faces in ``image`` (H, W, 3) uint8 in place: each becomes a mosaic of 6 x 6 blurred cells."""
    height, width = image.shape[:2]
    for box in boxes:
        enlarged = Box(box.x - box.width * 0.1, box.y - box.height * 0.15, box.width * 1.2, box.height * 1.25)
        part = enlarged.clipped(width, height)
        x, y, x2, y2 = int(part.x), int(part.y), int(np.ceil(part.x2)), int(np.ceil(part.y2))
        if x2 - x < 2 or y2 - y < 2:
            continue
        tiny = cv2.resize(image[y:y2, x:x2], (6, 6), interpolation=cv2.INTER_AREA)
        image[y:y2, x:x2] = cv2.resize(tiny, (x2 - x, y2 - y), interpolation=cv2.INTER_LINEAR)
