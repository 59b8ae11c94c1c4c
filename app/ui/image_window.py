"""Shows images in a window and reads its keys and clicks: all calls of OpenCV's GUI toolkit are here."""

from dataclasses import dataclass
from typing import Protocol

import cv2

from app.capture.opencv_packages import packages_text, repair_advice
from app.core.errors import DisplayError
from app.core.types import Image

TITLE = "maskwatch"


@dataclass(frozen=True, slots=True)
class Key:
    """A pressed key, as the low byte of ``cv2.waitKey``."""

    code: int


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

    def inputs(self, timeout_s: float) -> list[WindowInput]:
        """What the user did since the last call; waits at most ``timeout_s`` for it."""

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

    def __init__(self) -> None:
        """Raises DisplayError if this build of OpenCV has no windows."""
        self._inputs: list[WindowInput] = []
        self._size_px = (1, 1)
        self._was_visible = False
        self._area_px = (0, 0)
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

    def inputs(self, timeout_s: float) -> list[WindowInput]:
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
        code = cv2.waitKey(timeout_ms)
        if code >= 0:
            self._inputs.append(Key(code & 0xFF))

    def _on_mouse(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:  # noqa: ARG002 - signature of OpenCV
        if event in (cv2.EVENT_LBUTTONUP, cv2.EVENT_RBUTTONUP):
            width_px, height_px = self._size_px
            self._inputs.append(Click(x / width_px, y / height_px, event == cv2.EVENT_LBUTTONUP))

    def close(self) -> None:
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # the toolkit closes windows in its event loop
