"""What OpenCV does not offer of its window toolkit: the Shift key, the mouse pointer, and an X11 library that fits.
Everything here may fail."""

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_SHIFT, _BLANK_CURSOR = 0x0200_0000, 10
"""Qt::ShiftModifier and Qt::BlankCursor."""
_NAMESPACES = "14QtOpenCVPython", ""
"""The namespace of Qt in OpenCV's wheels, mangled, and none: Qt of the system."""


@cache
def _qt() -> ctypes.CDLL | None:
    """The library of Qt that OpenCV has loaded."""
    with suppress(OSError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        path = next((line.split(maxsplit=5)[5] for line in lines if "libQt5Gui" in line), "")
        return ctypes.CDLL(path) if path else None
    return None


def plugin_fault() -> str:
    """Why Qt's plugin for X11 cannot be loaded, such as 'libSM.so.6: cannot open shared object file…', because Qt does
    not say it; '' if it can, or if OpenCV has none of its own."""
    path = Path(os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH", ""), "platforms", "libqxcb.so")  # set by cv2
    if path.is_file():
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            return str(error)
    return ""


@cache
def _function(in_namespace: str, without: str) -> Any:
    """The function of Qt with one of these mangled names, in which {} is the namespace; None if there is none."""
    names = in_namespace.format(_NAMESPACES[0]), without
    return next((getattr(_qt(), name) for name in names if hasattr(_qt(), name)), None)


def load_x11() -> None:
    """Loads the system's libX11-xcb, for all of the process, before the first window is opened.

    That of OpenCV's wheels is older than libX11 of today and writes to the wrong field of it when Qt takes over the
    events. Then Xlib keeps some of them, and a window whose first events are lost is never drawn.
    """
    with suppress(OSError):
        ctypes.CDLL("libX11-xcb.so.1", ctypes.RTLD_GLOBAL)


def is_shift_down() -> bool:
    """Whether Shift was down at the last event: OpenCV leaves the modifiers out and gives small letters only."""
    modifiers = _function("_ZN{}15QGuiApplication17keyboardModifiersEv", "_ZN15QGuiApplication17keyboardModifiersEv")
    return modifiers is not None and bool(modifiers() & _SHIFT)


def hide_pointer() -> bool:
    """Hides the mouse pointer over the windows of this process; False if this toolkit cannot."""
    if sys.platform == "win32":
        return int(ctypes.windll.user32.ShowCursor(False)) < 0
    cursor_of = _function("_ZN{}7QCursorC1ENS_2Qt11CursorShapeE", "_ZN7QCursorC1EN2Qt11CursorShapeE")
    override = _function(
        "_ZN{}15QGuiApplication17setOverrideCursorERKNS_7QCursorE", "_ZN15QGuiApplication17setOverrideCursorERK7QCursor"
    )
    if cursor_of is None or override is None:
        return False
    cursor = ctypes.c_void_p()  # a QCursor is one pointer
    cursor_of(ctypes.byref(cursor), _BLANK_CURSOR)
    override(ctypes.byref(cursor))
    return True
