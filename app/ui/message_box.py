"""A message box in its own window, for users who started the program without a console."""

from collections.abc import Sequence

import numpy as np

from app.core.types import Image
from app.ui.canvas import Canvas
from app.ui.image_window import ENTER, ESCAPE, Closed, Key, Resized
from app.ui.palette import INK
from app.ui.window_process import open_image_window

_WIDTH_PX, _UNIT_PX = 760, 19.0
_WAIT_S = 0.05
_CLOSED = ""


def draw_message_box(heading: str, lines: Sequence[str], size_px: tuple[int, int] | None = None) -> Image:
    """A new image (H, W, 3) uint8 BGR of that size, or as high as its text; an empty line is a gap."""
    width_px = _WIDTH_PX if size_px is None else size_px[0]
    room_px = width_px - 3 * _UNIT_PX
    blank = Canvas(np.zeros((1, 1, 3), np.uint8), _UNIT_PX)
    wrapped = [part for line in lines for part in blank.wrapped(line, room_px, _UNIT_PX) or [""]]
    height_px = round(_UNIT_PX * (5 + 1.6 * len(wrapped))) if size_px is None else size_px[1]
    board = Canvas(np.full((height_px, width_px, 3), INK[0], np.uint8), _UNIT_PX)
    board.text((1.5 * _UNIT_PX, 2.4 * _UNIT_PX), heading, _UNIT_PX * 1.4, bold=True)
    for row, line in enumerate(wrapped):
        board.text((1.5 * _UNIT_PX, _UNIT_PX * (4.6 + 1.6 * row)), line, _UNIT_PX)
    return board.image


def show_message_box(heading: str, lines: Sequence[str], keys: str) -> str:
    """The pressed key among ``keys``; '' for Esc or a closed window. '\\n' in ``keys`` is Enter.

    Raises DisplayError if no window can be opened.
    """
    window = open_image_window()
    image = draw_message_box(heading, lines)
    try:
        window.show(image, (image.shape[1], image.shape[0]))
        while True:
            for each in window.inputs(_WAIT_S):
                if isinstance(each, Closed) or each == Key(ESCAPE):
                    return _CLOSED
                if isinstance(each, Resized):
                    window.show(draw_message_box(heading, lines, (each.width_px, each.height_px)))
                if isinstance(each, Key):
                    key = "\n" if each.code in (10, ENTER) else chr(each.code).lower()
                    if key in keys:
                        return key
    finally:
        window.close()
