"""A message box in its own window, for users who started the program without a console."""

import textwrap
from collections.abc import Sequence

import numpy as np

from app.core.types import Image
from app.ui.faces import Canvas
from app.ui.image_window import Closed, Key
from app.ui.palette import GOOD, INK, PAPER
from app.ui.window_process import open_image_window

_WIDTH_PX, _UNIT_PX = 760, 26.0
_LINE_LENGTH = 62
"""Characters per line at the text size."""
_WAIT_S = 0.05
_CLOSED, _ENTER, _ESCAPE = "", 13, 27


def draw_message_box(heading: str, lines: Sequence[str]) -> Image:
    """A new image (H, W, 3) uint8 BGR as high as its text; an empty line is a gap."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, _LINE_LENGTH) or [""]]
    height_px = round(_UNIT_PX * (4.2 + 1.5 * len(wrapped)))
    board = Canvas(np.full((height_px, _WIDTH_PX, 3), INK, np.uint8), _UNIT_PX)
    board.text(heading, _UNIT_PX, _UNIT_PX * 1.8, GOOD, 1.25)
    for row, line in enumerate(wrapped):
        board.text(line, _UNIT_PX, _UNIT_PX * (3.8 + 1.5 * row), PAPER, 0.85)
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
                if isinstance(each, Closed) or each == Key(_ESCAPE):
                    return _CLOSED
                if isinstance(each, Key):
                    key = "\n" if each.code in (10, _ENTER) else chr(each.code).lower()
                    if key in keys:
                        return key
    finally:
        window.close()
