"""Shows images in a window and reads its keys and clicks: all calls of OpenCV's GUI toolkit are here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2

from app.capture.opencv_packages import packages_text, repair_advice
from app.core.errors import DisplayError
from app.core.types import Image
from app.ui import toolkit

TITLE = "maskwatch"


BACKSPACE, TAB, ENTER, ESCAPE, DELETE = 8, 9, 13, 27, 127
LEFT, UP, RIGHT, DOWN, INSERT = range(0x100, 0x105)
_KEYS = {
    **{0xFF51 + i: key for i, key in enumerate((LEFT, UP, RIGHT, DOWN))},  # X11
    **{0xFFB0 + i: ord("0") + i for i in range(10)},  # of the number block
    **{0xFF63: INSERT, 0xFF8D: ENTER, 0xFF0D: ENTER, 0xFF08: BACKSPACE, 0xFF09: TAB, 0xFFFF: DELETE, 0xFFAE: ord(".")},
    **{(0x25 + i) << 16: key for i, key in enumerate((LEFT, UP, RIGHT, DOWN))},  # Windows
    **{0x2D0000: INSERT, 0x2E0000: DELETE},
    **{0xF700 + i: key for i, key in enumerate((UP, DOWN, LEFT, RIGHT))},  # macOS
}
"""Codes of ``cv2.waitKeyEx`` for keys without a character, by toolkit."""


@dataclass(frozen=True, slots=True)
class Key:
    """A pressed key: a Latin-1 character, or one of the constants above. ``is_capital``: a letter with Shift, where
    the toolkit reports the small one."""

    code: int
    is_capital: bool = False


@dataclass(frozen=True, slots=True)
class Click:
    """A released mouse button at (x, y), from 0 to 1 of the image; the left or the right one."""

    x: float
    y: float
    is_left: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The user closed the window."""


@dataclass(frozen=True, slots=True)
class Resized:
    """The window has a new size for its image, in pixels of the screen."""

    width_px: int
    height_px: int


WindowInput = Key | Click | Closed | Resized


class ImageWindow(Protocol):
    """Every method but ``close`` raises DisplayError if the window was lost, for example with its X server."""

    def wait_until_open(self) -> None:
        """Raises DisplayError if the window cannot be opened. The first use of the window does the same."""

    cpu_s: float
    """Processor time of the window's own process; 0 without one."""

    @property
    def is_ready(self) -> bool:
        """Whether ``show`` may be called: the previous image is on its way to the screen."""

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None:
        """Shows ``image`` (H, W, 3) uint8 BGR and gives the window a new ``size_px`` (width, height)."""

    def set_fullscreen(self, fullscreen: bool) -> None: ...

    def hide_pointer(self) -> None:
        """Hides the mouse pointer over the window, where the toolkit can."""

    def inputs(self, timeout_s: float, until_woken: bool = False) -> list[WindowInput]:
        """What the user did since the last call; waits at most ``timeout_s`` for it, or ``until_woken``."""

    @property
    def wake(self) -> Callable[[], None] | None:
        """Ends such a wait, from any thread; None if the toolkit cannot do that."""

    def close(self) -> None: ...


def is_window_open() -> bool:
    """Whether the window is open. On Cocoa it has no close button, and is invisible only while minimised."""
    minimum = 0 if cv2.currentUIFramework() == "COCOA" else 1
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= minimum
    except cv2.error:  # some toolkits raise an error for a closed window
        return False


def image_area() -> tuple[int, int]:
    """Width and height of the area for the image in px; (0, 0) if the toolkit does not report it."""
    try:
        return cv2.getWindowImageRect(TITLE)[2:]  # type: ignore[return-value]
    except cv2.error:
        return 0, 0


class OpenCvWindow:
    """A window of this process. Qt on Linux aborts the process that opens it if the display refuses or ends."""

    cpu_s = 0.0
    is_ready = True
    wake = None

    def __init__(self) -> None:
        """Raises DisplayError if this build of OpenCV has no windows."""
        self._inputs: list[WindowInput] = []
        self._size_px = (1, 1)
        self._was_visible = False
        self._area_px = (0, 0)
        toolkit.load_x11()
        try:
            # The images have the size of the window. With a kept ratio, Qt would report the size of the old image.
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.setMouseCallback(TITLE, self._on_mouse)
        except cv2.error as error:
            raise DisplayError(
                f"no window: OpenCV {cv2.__version__} ({packages_text()}) was built without windows; "
                f"{repair_advice()}; or use --headless"
            ) from error

    def wait_until_open(self) -> None:
        """The constructor has opened it."""

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None:
        self._size_px = image.shape[1], image.shape[0]
        cv2.imshow(TITLE, image)
        if size_px is not None:
            self._run_toolkit(1)  # it can resize a window only after it is shown
            cv2.resizeWindow(TITLE, *size_px)

    def set_fullscreen(self, fullscreen: bool) -> None:
        mode = cv2.WINDOW_FULLSCREEN if fullscreen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, mode)

    def hide_pointer(self) -> None:
        toolkit.hide_pointer()

    def inputs(self, timeout_s: float, until_woken: bool = False) -> list[WindowInput]:  # noqa: ARG002 - see ``wake``
        self._run_toolkit(max(1, round(timeout_s * 1000)))
        is_visible = is_window_open()
        if self._was_visible and not is_visible:
            self._inputs.append(Closed())
        self._was_visible = is_visible  # it may appear with a delay
        area_px = image_area() if is_visible else (0, 0)
        if min(area_px) > 1 and area_px != self._area_px:
            self._area_px = area_px
            self._inputs.append(Resized(*area_px))
        found, self._inputs = self._inputs, []
        return found

    def _run_toolkit(self, timeout_ms: int) -> None:
        raw = cv2.waitKeyEx(timeout_ms)
        code = _KEYS.get(raw, raw & 0xFFFF)  # GTK adds the modifiers above 16 bits
        if raw >= 0 and 0 < code <= INSERT:  # else a key without a meaning here, such as Shift
            self._inputs.append(Key(_KEYS.get(code, code), ord("a") <= code <= ord("z") and toolkit.is_shift_down()))

    def _on_mouse(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:  # noqa: ARG002 - signature of OpenCV
        if event in (cv2.EVENT_LBUTTONUP, cv2.EVENT_RBUTTONUP):
            width_px, height_px = self._size_px
            self._inputs.append(Click(x / width_px, y / height_px, event == cv2.EVENT_LBUTTONUP))

    def close(self) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # the toolkit closes windows in its event loop
