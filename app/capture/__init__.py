"""Reads frames from cameras, streams, files and image folders, and records video."""

import contextlib
import ctypes
import importlib.util
import sys
from pathlib import Path


def _load_x11_of_opencv() -> None:
    """Load the X11 libraries of OpenCV's window before PyAV brings its own: the loader keeps the first of a name, and
    with those of PyAV the window hangs."""
    found = importlib.util.find_spec("cv2") if sys.platform.startswith("linux") else None
    if found is None or found.origin is None:
        return
    libraries = Path(found.origin).parent.parent / "opencv_python.libs"
    for name in ("shape", "shm", "xfixes"):
        for path in libraries.glob(f"libxcb-{name}-*"):
            with contextlib.suppress(OSError):  # a system without X11 has no window
                ctypes.CDLL(str(path))


_load_x11_of_opencv()
