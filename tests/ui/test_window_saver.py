"""Snapshots and recordings of the window."""

import shutil
import time
from collections import namedtuple
from pathlib import Path

import cv2
import pytest
from fakes_window import Regions, make_window, press

from app.ui.image_window import Resized

Usage = namedtuple("Usage", "total used free")


def test_a_snapshot_of_a_paused_camera_is_the_shown_frame(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)
    press(window, " ")
    shown = window.redraw()
    press(window, "s")
    (path,) = tmp_path.iterdir()
    assert shown is not None
    assert (cv2.imread(str(path))[120:200] == shown[120:200]).all()


def test_a_failed_snapshot_is_reported_and_leaves_no_file(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(tmp_path, regions)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    press(window, "s")
    assert "No space left" in window.screen.message
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path, regions: Regions) -> None:
    (tmp_path / "taken").touch()
    window = make_window(tmp_path / "taken", regions)
    for key, what in (("s", "cannot save snapshot"), ("r", "cannot record")):
        press(window, key)
        reason = "File exists; choose another --snapshots"
        assert window.screen.message == f"{what}: {tmp_path / 'taken'}: {reason}"


def test_a_full_disk_ends_only_the_recording(tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    window = make_window(tmp_path, regions)
    press(window, "r")
    assert window.is_recording
    image = window.redraw()
    assert image is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    for second in range(1, 5):
        window.record(image, window.drawn_s + second)
    assert not window.is_recording
    assert "disk is full" in window.screen.message
    assert window.redraw() is not None


def test_a_snapshot_has_the_resolution_of_the_camera(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)
    window.handle(Resized(100, 60))
    press(window, "s")
    (path,) = tmp_path.iterdir()
    assert cv2.imread(str(path)).shape == (240, 240, 3)


def test_the_length_of_a_recording_is_shown(tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    window = make_window(tmp_path, regions)
    press(window, "r")
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 72)
    window.redraw()
    assert window.screen.recorded_s == 72
    press(window, "r")
    window.redraw()
    assert window.screen.recorded_s is None
