"""PyAV and OpenCV bring X11 libraries of the same names, and OpenCV's window needs its own."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

LIBRARIES = Path(cv2.__file__).parent.parent / "opencv_python.libs"


@pytest.mark.skipif(not list(LIBRARIES.glob("libxcb-shape-*")), reason="this OpenCV brings no X11 libraries")
@pytest.mark.parametrize("module", ["pyav_backend", "recorder", "image_folder"])
def test_the_libraries_of_the_window_are_loaded_before_those_of_pyav(module: str) -> None:
    code = f"import app.capture.{module}; print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("shape", "shm", "xfixes"):
        loaded = {line.split()[-1] for line in maps.splitlines() if f"libxcb-{name}-" in line}
        own = {str(path) for path in LIBRARIES.glob(f"libxcb-{name}-*")}
        assert loaded & own == own
