"""The window of OpenCV, without a display: its keys, and whether it is open."""

import cv2
import pytest

from app.core.errors import DisplayError
from app.ui import image_window as image_window_module
from app.ui.image_window import DOWN, LEFT, UP, Closed, Key, OpenCvWindow, is_window_open


@pytest.mark.parametrize(
    ("toolkit", "visible", "is_open"),
    [
        ("COCOA", 1.0, True),
        ("COCOA", 0.0, True),  # minimised
        ("COCOA", -1.0, False),
        ("COCOA", None, False),
        ("QT", 1.0, True),
        ("QT", 0.0, False),
        ("WIN32", 0.0, False),
    ],
)
def test_a_minimised_window_is_not_closed(
    monkeypatch: pytest.MonkeyPatch, toolkit: str, visible: float | None, is_open: bool
) -> None:
    def visibility(*_: object) -> float:
        if visible is None:
            raise cv2.error("NULL window")
        return visible

    monkeypatch.setattr(cv2, "currentUIFramework", lambda: toolkit)
    monkeypatch.setattr(cv2, "getWindowProperty", visibility)
    assert is_window_open() is is_open


def test_a_window_that_is_not_yet_visible_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    visibility = [False, False, True, False]
    for name in ("namedWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda _ms: -1)
    monkeypatch.setattr(image_window_module, "is_window_open", lambda: visibility.pop(0))
    window = OpenCvWindow()
    assert [window.inputs(0.0) for _ in range(4)] == [[], [], [], [Closed()]]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (ord("q"), Key(ord("q"))),
        (0xFF51, Key(LEFT)),
        (0x28_0000, Key(DOWN)),
        (0xF700, Key(UP)),
        (0x10_0000 | ord("q"), Key(ord("q"))),
        (0xFFB7, Key(ord("7"))),
        (0xFF8D, Key(13)),
        (0xFFE1, None),
        (0xFFBE, None),
        (-1, None),
    ],
)
def test_keys_of_each_toolkit(monkeypatch: pytest.MonkeyPatch, raw: int, key: Key | None) -> None:
    """Shift and F1 are no letters, as the low bytes of their codes would be."""
    for name in ("namedWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda _ms: raw)
    monkeypatch.setattr(image_window_module, "is_window_open", lambda: False)
    assert OpenCvWindow().inputs(0.0) == ([] if key is None else [key])


def test_an_opencv_without_windows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The headless wheels raise this error."""

    def not_built(*_: object) -> None:
        raise cv2.error("The function is not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa support")

    monkeypatch.setattr(cv2, "namedWindow", not_built)
    with pytest.raises(DisplayError, match="built without windows"):
        OpenCvWindow()
