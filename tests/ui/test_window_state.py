"""What the window does with keys and full disks, without a screen: its toolkit is asked for nothing here."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from fakes import plain_frame

from app.capture.capture import SourceState, SourceStatus
from app.pipeline.monitor import CameraView
from app.settings.monitor import Polygon
from app.settings.view import ViewSettings
from app.ui import message_box
from app.ui.canvas import Canvas
from app.ui.hud import KEYS
from app.ui.window import Window, is_there, window_size

Usage = namedtuple("Usage", "total used free")
TRIANGLE: Polygon = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.8))


class Cameras:
    """Live cameras whose picture is of another grey at each look."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.looks = 0

    def views(self) -> list[CameraView]:
        self.looks += 1
        frame = plain_frame(self.looks, colour=40 + 20 * self.looks % 200, size=240)
        names = [f"camera{i}" for i in range(self.count)]
        return [CameraView(name, SourceStatus(name, SourceState.LIVE, 0.0), True, frame) for name in names]

    def pause(self, paused: bool) -> None:
        pass


class Regions:
    def __init__(self) -> None:
        self.kept: dict[str, tuple[Polygon, ...]] = {}

    def regions_of(self, camera: str) -> tuple[Polygon, ...]:
        return self.kept.get(camera, ())

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        self.kept[camera] = regions
        return "kept"


@pytest.fixture
def regions() -> Regions:
    return Regions()


def window(folder: Path, regions: Any, cameras: int = 1) -> Window:
    made = Window(Cameras(cameras), ViewSettings(snapshots=folder), lambda: False, regions)  # type: ignore[arg-type]
    made._redraw()
    return made


def press(made: Window, *keys: str) -> None:
    for key in keys:
        assert made._handle(ord(key))


def test_a_snapshot_of_a_paused_camera_is_what_is_shown(tmp_path: Path, regions: Regions) -> None:
    made = window(tmp_path, regions)
    press(made, " ")
    shown = made._redraw()
    press(made, "s")
    (path,) = tmp_path.iterdir()
    assert shown is not None
    assert (cv2.imread(str(path))[120:200] == shown[120:200]).all()


def test_a_snapshot_that_cannot_be_written_is_told_and_leaves_nothing(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = window(tmp_path, regions)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    press(made, "s")
    assert "No space left" in made._screen.note
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_recording_and_not_the_watching(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = window(tmp_path, regions)
    press(made, "r")
    assert made._screen.recording
    picture = made._redraw()
    assert picture is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    for second in range(1, 5):
        made._record(picture, made._drawn_s + second)
    assert not made._screen.recording
    assert "disk is full" in made._screen.note
    assert made._redraw() is not None


@pytest.mark.parametrize(
    ("picture", "shown"),
    [((640, 480), (640, 480)), ((1280, 720), (1280, 720)), ((1280, 960), (960, 720)), ((1080, 1920), (405, 720))],
)
def test_the_window_fits_on_a_screen(picture: tuple[int, int], shown: tuple[int, int]) -> None:
    assert window_size(*picture, 1280) == shown


def test_each_new_frame_is_drawn(tmp_path: Path, regions: Regions) -> None:
    """Also where a frame has come to lie at the place in memory of the one before."""
    made = window(tmp_path, regions)
    for _ in range(50):
        assert made._redraw() is not None


def test_several_cameras_have_one_help_and_one_note(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = window(tmp_path, regions, cameras=4)
    press(made, "e")  # needs one camera, and says so
    written: list[str] = []
    monkeypatch.setattr(Canvas, "text", lambda _board, text, *_: written.append(text))
    press(made, "h")
    made._redraw()
    assert sum(KEYS[0][1] == words for words in written) == 1
    assert sum("enlarge a camera first" in words for words in written) == 1


def test_a_number_without_a_camera_changes_nothing(tmp_path: Path, regions: Regions) -> None:
    made = window(tmp_path, regions, cameras=2)
    press(made, "5")
    made._on_mouse(cv2.EVENT_LBUTTONUP, 1, 1, 0, None)
    assert made._enlarged == 0, "the first click enlarges"
    press(made, "7")
    assert made._enlarged == 0
    press(made, "2")
    assert made._enlarged == 1
    press(made, "0")
    assert made._enlarged is None


def test_regions_being_drawn_stay_with_their_camera(tmp_path: Path, regions: Regions) -> None:
    made = window(tmp_path, regions, cameras=2)
    press(made, "1", "e")
    assert made._screen.draft is not None
    draft = made._screen.draft
    for corner in TRIANGLE:
        draft = draft.click(*corner)
    made._screen = replace(made._screen, draft=draft)
    press(made, "2", "0", "e")
    assert regions.kept == {"camera0": (TRIANGLE,)}


@pytest.mark.parametrize(
    ("toolkit", "visible", "there"),
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
    monkeypatch: pytest.MonkeyPatch, toolkit: str, visible: float | None, there: bool
) -> None:
    def visibility(*_: object) -> float:
        if visible is None:
            raise cv2.error("NULL window")
        return visible

    monkeypatch.setattr(cv2, "currentUIFramework", lambda: toolkit)
    monkeypatch.setattr(cv2, "getWindowProperty", visibility)
    assert is_there() is there


def test_a_card_that_is_not_yet_shown_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [False, False, True, False]
    monkeypatch.setattr(message_box, "is_there", lambda: seen.pop(0))
    for name in ("namedWindow", "imshow", "resizeWindow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _ms: -1)
    assert message_box.show_message_box("heading", ["line"], "\n") == ""
    assert seen == []
