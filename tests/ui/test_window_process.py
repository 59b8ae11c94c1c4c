"""The window in its own process: displays that refuse, end or hang do not end the watching."""

import ctypes
import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_window import Screen, pytestmark, wait_until

from app.core.errors import DisplayError
from app.ui import window_process
from app.ui.image_window import Closed, Key
from app.ui.window_process import WindowProcess, open_image_window

__all__ = ["pytestmark"]
IMAGE = np.full((90, 160, 3), (0, 200, 0), np.uint8)


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    screen = Screen(tmp_path, monkeypatch)
    yield screen
    screen.close()


@pytest.fixture
def window(screen: Screen) -> Iterator[WindowProcess]:
    window = open_image_window()
    assert isinstance(window, WindowProcess)
    yield window
    window.close()


def show(window: WindowProcess, image: np.ndarray) -> None:  # type: ignore[type-arg]
    wait_until(lambda: window.is_ready or window.inputs(0.01))
    window.show(image)


def test_images_of_any_size_reach_the_screen_and_keys_come_back(screen: Screen, window: WindowProcess) -> None:
    for size in (40, 400, 100):  # the shared memory grows, and is used again for a smaller image
        image = np.full((size, 2 * size, 3), (0, 255 - size // 4, 0), np.uint8)
        show(window, image)
        wait_until(lambda image=image: (screen.shot() == image[0, 0]).all(axis=2).mean() > 0.005)
    screen.key("k")
    found: list[object] = []
    wait_until(lambda: found.extend(window.inputs(0.05)) or Key(ord("k")) in found)
    assert window.cpu_s > 0
    screen.key("alt+F4")
    wait_until(lambda: found.extend(window.inputs(0.05)) or Closed() in found)


def test_events_belong_to_qt_and_not_to_xlib(screen: Screen) -> None:
    """Qt calls the first XSetEventQueueOwner of the process: not the old one of OpenCV's wheels."""
    program = (
        "import ctypes; from pathlib import Path; from app.ui.image_window import OpenCvWindow; OpenCvWindow();"
        "place = ctypes.cast(ctypes.CDLL(None).XSetEventQueueOwner, ctypes.c_void_p).value;"
        "parts = [line.split() for line in Path('/proc/self/maps').read_text().splitlines()];"
        "ends = [(*(int(end, 16) for end in part[0].split('-')), part[-1]) for part in parts];"
        "print(*(path for start, end, path in ends if start <= place < end))"
    )
    environment = {**os.environ, "QT_QPA_PLATFORM": "xcb"}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "libX11-xcb" in found.stdout, found.stderr
    assert "opencv" not in found.stdout


def pointer_pixels() -> int:
    """How many pixels of the mouse pointer are visible."""
    x11, fixes = (ctypes.CDLL(name) for name in ("libX11.so.6", "libXfixes.so.3"))
    x11.XOpenDisplay.restype, fixes.XFixesGetCursorImage.restype = ctypes.c_void_p, ctypes.POINTER(PointerImage)
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    event, error = ctypes.c_int(), ctypes.c_int()
    assert fixes.XFixesQueryExtension(display, ctypes.byref(event), ctypes.byref(error))
    image = fixes.XFixesGetCursorImage(display).contents
    visible = sum(image.pixels[i] >> 24 & 255 > 0 for i in range(image.width * image.height))
    x11.XCloseDisplay(display)
    return visible


class PointerImage(ctypes.Structure):
    """XFixesCursorImage."""

    _fields_ = (
        *((name, ctypes.c_short) for name in ("x", "y")),
        *((name, ctypes.c_ushort) for name in ("width", "height", "x_hot", "y_hot")),
        ("serial", ctypes.c_ulong),
        ("pixels", ctypes.POINTER(ctypes.c_ulong)),
    )


def test_another_thread_ends_the_wait_for_the_user(screen: Screen, window: WindowProcess) -> None:
    show(window, IMAGE)
    wait_until(lambda: not window.inputs(1.0))  # the sizes of the new window
    thread = threading.Thread(target=window.wake)
    start_s = time.monotonic()
    thread.start()
    assert window.inputs(60.0, until_woken=True) == []
    thread.join()
    window.wake()
    assert window.inputs(0.2) == [], "not woken, if nobody waits for it"
    assert window.inputs(60.0, until_woken=True) == [], "but it is not lost"
    assert 0.2 <= time.monotonic() - start_s < 30


def test_the_mouse_pointer_can_be_hidden(screen: Screen, window: WindowProcess) -> None:
    if ctypes.util.find_library("Xfixes") is None:
        pytest.skip("needs libXfixes: apt install libxfixes3")
    show(window, np.full((600, 1000, 3), (0, 200, 0), np.uint8))
    window.set_fullscreen(True)
    wait_until(lambda: window.inputs(0.01) is not None and (screen.shot() == (0, 200, 0)).all(axis=2).mean() > 0.9)
    assert pointer_pixels() > 20
    window.hide_pointer()
    wait_until(lambda: pointer_pixels() == 0)


def test_a_display_that_ends_loses_the_window_but_not_the_video(screen: Screen) -> None:
    video = screen.folder / "out.mp4"
    screen.start("--source", "demo", "--loop", "--output", str(video))
    screen.server.terminate()
    assert screen.program is not None
    assert screen.program.stderr is not None
    line = screen.program.stderr.readline()
    assert "the window is lost: The X11 connection broke" in line
    assert "watching continues without a window" in line
    time.sleep(0.5)  # some more frames
    screen.program.send_signal(signal.SIGINT)
    _, written = screen.program.communicate(timeout=60)
    assert screen.program.returncode == 0, written
    assert f"written: {video}" in written
    reader = cv2.VideoCapture(str(video))
    frames = reader.get(cv2.CAP_PROP_FRAME_COUNT)
    reader.release()
    assert f"{frames:.0f} frames analysed" in written


def test_a_display_that_hangs_does_not_block(screen: Screen, window: WindowProcess) -> None:
    show(window, IMAGE)
    wait_until(lambda: window.is_ready or window.inputs(0.01))
    screen.server.send_signal(signal.SIGSTOP)
    try:
        window.show(IMAGE)
        wait_until(lambda: window.inputs(0.05) == [])  # what the process had sent before may come first
        window.close()  # kills the process
    finally:
        screen.server.send_signal(signal.SIGCONT)


def test_a_killed_process_is_a_lost_window(window: WindowProcess) -> None:
    show(window, IMAGE)
    os.kill(window.process.pid, signal.SIGKILL)
    with pytest.raises(DisplayError, match="lost: its process ended with code -9"):
        wait_until(lambda: window.inputs(0.05) is None)  # its size may come first


@pytest.mark.parametrize("platform", ["offscreen", "wayland", "nonsense"])
def test_the_platform_of_qt_does_not_matter(screen: Screen, monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    window = open_image_window()
    window.wait_until_open()
    window.close()


def test_a_library_that_qt_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: on a minimal Linux Qt says only which plugins are available."""
    plugins = tmp_path / "platforms"
    plugins.mkdir()
    plugin = Path(os.environ["QT_QPA_PLATFORM_PLUGIN_PATH"], "platforms", "libqxcb.so")
    shutil.copy(plugin, plugins)  # does not find the libraries that lie beside the original
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(tmp_path))
    failing = [sys.executable, "-c", "raise SystemExit('Available platform plugins are: xcb.')"]
    monkeypatch.setattr(window_process, "own_command", lambda: failing)
    window = WindowProcess()
    try:
        with pytest.raises(
            DisplayError, match=r"opens no window: lib.*: cannot open shared object file.*; on Debian .*"
        ):
            window.wait_until_open()
    finally:
        window.close()


@pytest.mark.skipif(shutil.which("xauth") is None, reason="needs xauth: apt install xauth")
def test_a_display_that_refuses_the_user_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As under sudo, cron or in a container with another user."""
    authority, number = tmp_path / "authority", tmp_path / "number"
    authority.touch()
    subprocess.run(["xauth", "-f", str(authority), "add", ":0", ".", "00" * 16], check=True)
    with number.open("w") as file:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-auth", str(authority), "-nolisten", "tcp"],
            stdout=file,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: number.read_text().endswith("\n"))
        monkeypatch.setenv("DISPLAY", f":{number.read_text().strip()}")
        command = [sys.executable, "-m", "app", "watch", "--source", "demo"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        server.kill()
        server.wait()
    assert run.returncode == 2, run.stderr
    assert run.stderr.count("\n") == 1
    assert "Authorization required" in run.stderr
    assert "XAUTHORITY" in run.stderr
