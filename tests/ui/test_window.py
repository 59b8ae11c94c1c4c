"""End-to-end: the window on a virtual display, driven by keys and mouse."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.settings.load import load_settings

TOOLS = ("Xvfb", "xdotool", "import", "openbox")

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS),
    reason=f"needs {', '.join(TOOLS)}: apt install xvfb xdotool imagemagick openbox",
)


def wait_until(condition: Callable[[], object], limit_s: float = 120) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not become true in time"
        time.sleep(0.05)


class Screen:
    """A virtual display with a window manager and a running maskwatch."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        number = folder / "display"
        with number.open("w") as file:
            self.server = subprocess.Popen(
                ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        wait_until(lambda: number.read_text().endswith("\n"))
        monkeypatch.setenv("DISPLAY", f":{number.read_text().strip()}")
        self._manager: subprocess.Popen[bytes] | None = None
        try:
            wait_until(self._is_managed)
        except AssertionError:
            self.server.kill()
            raise
        self.program: subprocess.Popen[str] | None = None

    def _is_managed(self) -> bool:
        """Whether the window manager has started; before, keys of xdotool would be lost. It is started again if it
        ended at its start."""
        if self._manager is None or self._manager.poll() is not None:
            self._manager = subprocess.Popen(["openbox"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.run(["xdotool", "get_num_desktops"], capture_output=True).returncode == 0

    def start(self, *flags: str) -> None:
        argv = [sys.executable, "-m", "app", "watch", "--snapshots", str(self.folder / "snapshots"), *flags]
        self.program = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: self.program.poll() is not None or self.search())
        assert self.program.poll() is None, self.program.stderr.read()
        wait_until(self._has_colours)  # the window shows a frame: everything else is grey

    def _has_colours(self) -> bool:
        shot = self.shot().astype(int)
        return bool((shot.max(axis=2) - shot.min(axis=2) > 20).mean() > 0.03)

    def search(self) -> str:
        return subprocess.run(["xdotool", "search", "--name", "^maskwatch$"], capture_output=True, text=True).stdout

    def key(self, name: str) -> None:
        window = self.search().split()[0]
        subprocess.run(["xdotool", "windowfocus", "--sync", window, "key", name], check=True)

    def geometry(self) -> str:
        return subprocess.run(
            ["xdotool", "getwindowgeometry", self.search().split()[0]], capture_output=True, text=True
        ).stdout

    def click(self, x: int, y: int) -> None:
        window = self.search().split()[0]
        subprocess.run(["xdotool", "mousemove", "--sync", "--window", window, str(x), str(y), "click", "1"], check=True)
        time.sleep(0.3)  # faster clicks would be a double click

    def shot(self) -> np.ndarray:  # type: ignore[type-arg]
        path = self.folder / "shot.png"
        subprocess.run(["import", "-window", "root", str(path)], check=True)
        return cv2.imread(str(path))  # type: ignore[return-value]

    def wait_for_exit(self, within_s: float = 60) -> int:
        assert self.program is not None
        return self.program.wait(within_s)

    def close(self) -> None:
        for process in (self.program, self._manager, self.server):
            if process is None:
                continue
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    screen = Screen(tmp_path, monkeypatch)
    yield screen
    screen.close()


def saved(screen: Screen, pattern: str) -> list[Path]:
    return list((screen.folder / "snapshots").glob(pattern))


def _is_readable(path: Path) -> bool:
    video = cv2.VideoCapture(str(path))
    is_readable = video.read()[0]
    video.release()
    return bool(is_readable)


def test_the_window_handles_its_keys(screen: Screen) -> None:
    screen.start("--source", "demo", "--loop")
    screen.key("s")
    wait_until(lambda: saved(screen, "*.png"))
    wait_until(lambda: cv2.imread(str(saved(screen, "*.png")[0])) is not None)
    assert cv2.imread(str(saved(screen, "*.png")[0])).shape == (480, 640, 3)

    screen.key("space")
    wait_until(lambda: not (screen.shot() != screen.shot()).any())  # paused: the image does not change
    still = screen.shot()
    screen.key("h")
    wait_until(lambda: (screen.shot() != still).any())  # the key help is shown
    screen.key("h")
    screen.key("b")
    screen.key("space")
    wait_until(lambda: (screen.shot() != screen.shot()).any())  # resumed: the image changes

    screen.key("r")
    for _ in range(5):  # record some frames
        before = screen.shot()
        wait_until(lambda before=before: (screen.shot() != before).any())
    screen.key("r")
    wait_until(lambda: any(_is_readable(video) for video in saved(screen, "*.mp4")))

    small = (screen.shot().reshape(-1, 3).any(axis=1)).sum()
    screen.key("f")
    wait_until(lambda: (screen.shot().reshape(-1, 3).any(axis=1)).sum() > 1.3 * small)  # full screen

    screen.key("q")
    assert screen.wait_for_exit() == 0


def test_closing_the_window_quits(screen: Screen) -> None:
    screen.start("--source", "demo", "--loop")
    screen.key("alt+F4")  # same as the close button of the title bar
    assert screen.wait_for_exit() == 0


def test_escape_quits_while_paused(screen: Screen) -> None:
    screen.start("--source", "demo", "--loop")
    screen.key("space")
    screen.key("Escape")
    assert screen.wait_for_exit() == 0


def test_regions_are_drawn_with_the_mouse_and_saved(screen: Screen) -> None:
    settings = screen.folder / "settings.toml"
    settings.write_text('[[camera]]\nuri = "demo"\nloop = true\n')
    screen.start("--config", str(settings))
    wait_until(lambda: "960x720" in screen.geometry())
    screen.key("space")  # while paused, only the drawn regions change the image, so each step is visible

    def run_step(step: Callable[[], None]) -> None:
        """Waits until ``step`` changes the image: the toolkit may reorder keys and clicks."""
        wait_until(lambda: not (screen.shot() != screen.shot()).any())
        before = screen.shot()
        step()
        wait_until(lambda: (screen.shot() != before).any())

    time.sleep(5)  # until the first message has disappeared
    run_step(lambda: screen.key("e"))
    for x, y in ((96, 72), (864, 72), (480, 648)):
        run_step(lambda x=x, y=y: screen.click(x, y))
    run_step(lambda: screen.key("Return"))
    screen.key("e")
    wait_until(lambda: len(load_settings(settings).camera[0].policy.regions) == 1)
    (region,) = load_settings(settings).camera[0].policy.regions
    expected = [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]
    assert np.abs(np.array(region) - np.array(expected)).max() < 0.02
    screen.key("q")
    assert screen.wait_for_exit() == 0
