"""Cameras are found by names that stay the same."""

import sys
from pathlib import Path

import pytest

from app.capture.cameras import CameraDevice, camera_with, find_cameras, listed_in
from app.settings.source import SourceSettings


def plug_in(root: Path, number: int, name: str, index: str = "0", link: str = "") -> None:
    folder = root / f"sys/class/video4linux/video{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}: {name}\n")
    (folder / "index").write_text(f"{index}\n")
    if link:
        links = root / "dev/v4l/by-id"
        links.mkdir(parents=True, exist_ok=True)
        (links / link).symlink_to(f"../../video{number}")


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_camera_keeps_its_key_when_its_number_changes(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    plug_in(before, 0, "Built-in")
    plug_in(before, 2, "C920", link="usb-046d_C920_A1-video-index0")
    plug_in(before, 3, "C920", index="1", link="usb-046d_C920_A1-video-index1")
    plug_in(after, 10, "Built-in")
    plug_in(after, 0, "C920", link="usb-046d_C920_A1-video-index0")
    found = find_cameras(before, "linux")
    assert [(each.uri, each.name) for each in found] == [("0", "Built-in"), ("2", "C920")]
    again = find_cameras(after, "linux")
    uris = [getattr(camera_with(each.key, again), "uri", None) for each in found]
    assert uris == ["10", "0"]
    assert camera_with("unplugged", again) is None


def test_two_cameras_of_one_model_have_different_keys(tmp_path: Path) -> None:
    for number in (0, 2, 100):
        plug_in(tmp_path, number, "HD Webcam")
    found = find_cameras(tmp_path, "linux")
    assert found[0] == CameraDevice("0", "HD Webcam", "HD Webcam")
    assert [each.name for each in found] == ["HD Webcam", "HD Webcam (2)", "HD Webcam (3)"]
    assert len({each.key for each in found}) == 3
    assert found[2].uri == "/dev/video100"


def test_the_name_of_any_camera_can_be_used(tmp_path: Path) -> None:
    plug_in(tmp_path, 0, "HD\x01Cam\t2")
    (camera,) = find_cameras(tmp_path, "linux")
    assert SourceSettings(uri=camera.uri, name=camera.name).name == "HD Cam 2"


def test_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert find_cameras(tmp_path, "linux") == []


def test_names_are_read_from_the_lists_of_ffmpeg() -> None:
    windows = [
        '"Integrated Camera" (video)\n',
        '  Alternative name "@device_pnp_\\\\?\\usb#vid"\n',
        '"OBS Virtual Camera" (none)\n',
        '"USB Capture" (audio, video)\n',
        '"Microphone" (audio)\n',
    ]
    assert listed_in(windows) == ["Integrated Camera", "OBS Virtual Camera", "USB Capture"], "OpenCV counts them too"
    mac = [
        "AVFoundation video devices:\n",
        "[0] FaceTime HD Camera\n",
        "[1] Capture screen 0\n",
        "AVFoundation audio devices:\n",
        "[0] MacBook Pro Microphone\n",
    ]
    assert listed_in(mac) == ["FaceTime HD Camera"]
    assert listed_in(["nothing"]) == []


def test_systems_without_names_list_numbers() -> None:
    assert [each.uri for each in find_cameras(platform="freebsd14")] == ["0", "1", "2", "3"]
