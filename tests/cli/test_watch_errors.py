"""Bad input of ``watch`` gives one clear line, exit code 2, and no partial files."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_cli import DEMO, fails, headless

from app.core import resources


@pytest.mark.parametrize(("source", "named"), [("absent.mp4", "absent.mp4"), ("73", "camera 73")])
def test_missing_sources_are_reported(tmp_path: Path, source: str, named: str) -> None:
    """In a process without the logging of pytest."""
    argv = [sys.executable, "-m", "app", *headless(source, "--open-timeout", "2")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert named in line


def test_too_long_file_name_is_reported_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "b" * 300
    image_path = tmp_path / "face.png"
    cv2.imwrite(str(image_path), np.zeros((40, 40, 3), np.uint8))
    for argv in (
        ("annotate", f"{long}.jpg"),
        ("annotate", str(image_path), "--table", f"{long}.csv"),
        ("annotate", str(image_path), "--table", f"{long}/faces.csv"),
        headless(f"{long}.jpg"),
        headless(f"{long}.mp4"),
        headless("demo", "--model", f"{long}.tflite"),
        headless("demo", "--detector", "cnn", "--detector-model", f"{long}.tflite"),
        headless("demo", "--detector", "haar", "--detector-model", f"{long}.xml"),
        (f"{long}.mp4",),
    ):
        line = fails(capsys, *argv)
        assert line.count(long) == 1, argv
    assert not (tmp_path / "annotated").exists(), "reported before the work starts"


def test_invalid_empty_and_truncated_videos_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, empty, cut = tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "cut.mp4"
    text.write_text("this is no video\n" * 100)
    empty.touch()
    whole = resources.asset("demo.mp4").read_bytes()
    cut.write_bytes(whole[: len(whole) // 10])
    for path in (text, empty, cut):
        assert path.name in fails(capsys, *headless(path))


def test_unreachable_and_silent_streams_are_reported_without_password(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        started_s = time.monotonic()
        line = fails(capsys, *headless(f"rtsp://user:secret@127.0.0.1:{port}/live", "--open-timeout", "2"))
        assert time.monotonic() - started_s < 60
    assert "127.0.0.1" in line
    assert "secret" not in line
    line = fails(capsys, *headless(f"rtsp://127.0.0.1:{port}/live", "--open-timeout", "2"))
    assert str(port) in line


def test_missing_and_corrupt_models_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(b"no model at all" * 50)
    cascade = tmp_path / "junk.xml"
    cascade.write_text("<opencv_storage><empty/></opencv_storage>")
    for flags in (
        ("--model", str(junk)),
        ("--model", str(tmp_path / "none.tflite")),
        ("--detector", "haar", "--detector-model", str(cascade)),
        ("--detector", "haar", "--detector-model", str(tmp_path / "none.xml")),
        ("--detector", "cnn", "--detector-model", str(junk)),
        ("--detector", "cnn", "--detector-model", str(tmp_path / "none.tflite")),
    ):
        assert flags[-1] in fails(capsys, *DEMO, *flags)


def test_truncated_classifier_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from app.vision.classifier import bundled_model

    cut = tmp_path / "cut.tflite"
    whole = bundled_model(".tflite").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert "cut.tflite" in fails(capsys, *DEMO, "--model", str(cut))


def test_unwritable_outputs_leave_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for flags in (
        ("--output", str(tmp_path / "none" / "out.mp4")),
        ("--output", str(tmp_path / "out.xyz")),
        ("--events", str(tmp_path / "none" / "out.jsonl")),
        ("--events", str(tmp_path / "out.txt")),
    ):
        assert flags[-1] in fails(capsys, *DEMO, *flags)
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_not_overwritten(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    video, image_path = tmp_path / "video.mp4", tmp_path / "face.png"
    video.write_bytes(resources.asset("demo.mp4").read_bytes())
    cv2.imwrite(str(image_path), np.zeros((40, 40, 3), np.uint8))
    before = video.read_bytes(), image_path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path)
    assert "video.mp4" in fails(capsys, *headless(video, "--output", str(tmp_path / "link" / "video.mp4")))
    assert "face.png" in fails(capsys, "annotate", str(image_path), "--output", str(tmp_path))
    assert (video.read_bytes(), image_path.read_bytes()) == before


def test_unopened_source_keeps_existing_outputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    events = tmp_path / "out.csv"
    events.write_text("of yesterday")
    flags = ("--events", str(events), "--output", str(tmp_path / "out.mp4"))
    fails(capsys, *headless(tmp_path / "absent.mp4", *flags))
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert events.read_text() == "of yesterday"


def test_bad_settings_are_reported_with_their_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for text, key in (
        ("[detector]\nmin_neighbours = 4\n", "detector.min_neighbours"),
        ("[policy]\ndwell_s = 'long'\n", "policy.dwell_s"),
        ("colour = 1\n", "colour"),
        ("[detector\n", "not valid TOML"),
    ):
        file.write_text(text)
        assert key in fails(capsys, *DEMO, "--config", str(file))
    file.write_text("[[camera]]\nuri = '0'\nwidth_px = -1\n")
    assert "camera[0].width_px" in fails(capsys, "watch", "--headless", "--config", str(file))
    for encoding in ("utf-8-sig", "utf-16"):  # as Notepad and PowerShell write it
        file.write_text("[policy]\ndwell_s = 3\n", encoding=encoding)
        assert "byte-order mark; save it as UTF-8" in fails(capsys, *DEMO, "--config", str(file))
    assert "none.toml" in fails(capsys, *DEMO, "--config", str(tmp_path / "none.toml"))
    assert "--min-neighbors: " in fails(capsys, *DEMO, "--min-neighbors", "many")


def test_missing_display_suggests_headless(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only X11 can be absent")
    for display in ("", ":9876", "nonsense"):
        monkeypatch.setenv("DISPLAY", display)
        assert "--headless" in fails(capsys, "watch", "--source", "demo")


def test_a_photo_is_answered_with_the_command_that_labels_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("my photo.jpg", np.zeros((40, 40, 3), np.uint8))
    for argv in (headless("my photo.jpg"), ("watch", "my photo.jpg"), ("my photo.jpg", "--headless")):
        assert "maskwatch annotate 'my photo.jpg'" in fails(capsys, *argv)
    assert "no such image: none.jpg" in fails(capsys, *headless("none.jpg"))
