"""Several cameras in one window: a click or a number key enlarges one, a click or 0 shows all again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_window import Screen, pytestmark, wait_until

__all__ = ["pytestmark"]


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    screen = Screen(tmp_path, monkeypatch)
    yield screen
    screen.close()


def write_noise(folder: Path, channel: int) -> str:
    """Writes noise images in one colour (BGR ``channel``); returns the directory."""
    folder.mkdir()
    for i in range(4):
        image = np.zeros((240, 320, 3), np.uint8)
        image[..., channel] = np.random.default_rng(i).integers(100, 255, (240, 320), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return str(folder)


def visible_colours(screen: Screen) -> set[int]:
    """The channels among blue (0) and red (2) that are visible on the display."""
    pixels = screen.shot().reshape(-1, 3).astype(int)
    return {channel for channel in (0, 2) if (pixels[:, channel] > 60 + pixels[:, 2 - channel]).mean() > 0.02}


def click(screen: Screen, x: float, y: float) -> None:
    """Clicks at (x, y), from 0 to 1 of the window size."""
    window = screen.search().split()[0]
    shape = subprocess.run(
        ["xdotool", "getwindowgeometry", "--shell", window], capture_output=True, text=True, check=True
    )
    geometry = dict(line.split("=") for line in shape.stdout.split())
    at = [str(round(x * int(geometry["WIDTH"]))), str(round(y * int(geometry["HEIGHT"])))]
    subprocess.run(["xdotool", "mousemove", "--window", window, *at, "click", "1"], check=True)


def test_a_click_and_a_key_enlarge_a_camera(screen: Screen, tmp_path: Path) -> None:
    folders = [write_noise(tmp_path / "blue", 0), write_noise(tmp_path / "red", 2)]
    screen.start("--source", folders[0], "--source", folders[1], "--loop", "--fps", "5")
    wait_until(lambda: visible_colours(screen) == {0, 2})
    click(screen, 0.75, 0.5)
    wait_until(lambda: visible_colours(screen) == {2})
    click(screen, 0.5, 0.5)
    wait_until(lambda: visible_colours(screen) == {0, 2})
    screen.key("1")
    wait_until(lambda: visible_colours(screen) == {0})
    screen.key("0")
    wait_until(lambda: visible_colours(screen) == {0, 2})
    screen.key("q")
    assert screen.wait_for_exit() == 0
