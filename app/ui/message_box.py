"""A message box in its own window, for users who started the program without a console."""

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np

from app.core.types import Image
from app.ui.canvas import Canvas
from app.ui.palette import GOOD, INK, PAPER
from app.ui.window import TITLE, is_window_open

_WIDTH_PX, _UNIT_PX = 760, 26.0
_LINE_LENGTH = 62
"""Characters per line at the text size."""
_WAIT_MS = 50
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

    The caller must check the display first.
    """
    image = draw_message_box(heading, lines)
    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    try:
        cv2.imshow(TITLE, image)
        cv2.waitKey(1)  # the toolkit can resize a window only after it is shown
        cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
        was_open = False  # the window may appear with a delay
        while True:
            code = cv2.waitKey(_WAIT_MS)
            if code >= 0:
                key = "\n" if code & 0xFF in (10, _ENTER) else chr(code & 0xFF).lower()
                if key in keys:
                    return key
                if code & 0xFF == _ESCAPE:
                    return _CLOSED
            is_open = is_window_open()
            if was_open and not is_open:
                return _CLOSED
            was_open = is_open
    finally:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # the toolkit closes windows in its event loop
