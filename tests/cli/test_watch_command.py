"""The command ``watch``: its settings, its output and its end."""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_cli import DEMO

from app.cli import watch
from app.cli.main import build_parser, main
from app.cli.watch import default_config, settings_of
from app.core import resources
from app.core.errors import SettingsError
from app.settings.load import load_settings
from app.settings.root import Settings


def test_flags_override_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[policy]\ndwell_s = 1.0\ncooldown_s = 11.0\nmin_face_px = 21\n")
    monkeypatch.setenv("MASKWATCH_POLICY__DWELL_S", "2.0")
    monkeypatch.setenv("MASKWATCH_POLICY__COOLDOWN_S", "22.0")
    policy = load_settings(file, {"policy": {"dwell_s": "3.0"}}).policy
    assert (policy.dwell_s, policy.cooldown_s, policy.min_face_px) == (3.0, 22.0, 21)
    monkeypatch.setenv("MASKWATCH_POLICY__DWELL_S", "soon")
    with pytest.raises(SettingsError, match=r"policy\.dwell_s"):
        load_settings(file)


def test_the_web_view_uses_the_settings_that_its_pages_write(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    default_config().parent.mkdir(parents=True, exist_ok=True)
    default_config().write_text("[policy]\ndwell_s = 'x'\n")
    missing = ["watch", "--headless", "--source", str(tmp_path / "missing.mp4")]
    assert main([*missing, "--web", "127.0.0.1:0"]) == 2
    assert (
        f"dwell_s (line 2): must be a number from 0 to 3600 (settings file {default_config()})"
        in capsys.readouterr().err.replace("\n", " ")
    )
    assert main(missing) == 2
    assert "missing.mp4" in capsys.readouterr().err


def test_source_flags_apply_to_cameras_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[[camera]]\nuri = "rtsp://viewer:s3cret@10.0.0.7/a"\nname = "door"\nfps = 5\n'
        '[camera.policy]\ndwell_s = 9.0\n[[camera]]\nuri = "demo"\n'
    )
    argv = ["watch", "--config", str(file), "--loop", "--fps", "12", "--rtsp-transport", "udp"]
    door, demo = settings_of(build_parser().parse_args(argv)).camera
    assert (door.name, demo.name) == ("door", "demo")
    assert (door.fps, demo.fps, door.loop, demo.loop, door.rtsp_transport) == (12, 12, True, True, "udp")
    assert door.connect_uri() == "rtsp://viewer:s3cret@10.0.0.7/a"
    assert door.policy.dwell_s == 9.0


def test_demo_gives_an_annotated_video_and_events(tmp_path: Path) -> None:
    video, events = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    assert main([*DEMO, "--output", str(video), "--events", str(events)]) == 0
    source, written = cv2.VideoCapture(str(resources.asset("demo.mp4"))), cv2.VideoCapture(str(video))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == source.get(cv2.CAP_PROP_FRAME_COUNT)
    assert written.get(cv2.CAP_PROP_FPS) == pytest.approx(source.get(cv2.CAP_PROP_FPS), rel=0.02)
    source.release()
    written.release()
    kinds = [json.loads(line)["kind"] for line in events.read_text().splitlines()]
    assert kinds.count("no_mask") >= 1
    assert kinds.count("resolved") >= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_run_with_complete_files(tmp_path: Path, number: signal.Signals) -> None:
    video, events = tmp_path / "out.mp4", tmp_path / "out.csv"
    flags = ("--headless", "--source", "demo", "--loop", "--output", str(video), "--events", str(events))
    running = subprocess.Popen([sys.executable, "-m", "app", "watch", *flags], stderr=subprocess.PIPE, text=True)
    try:
        deadline_s = time.monotonic() + 90
        while not (events.exists() and len(events.read_text().splitlines()) > 1):
            assert running.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        running.send_signal(number)
        assert running.wait(60) == 0
    finally:
        running.kill()
        _, errors = running.communicate()
    assert "frames analysed" in errors
    written = cv2.VideoCapture(str(video))
    assert written.read()[0]
    written.release()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_while_the_program_starts_ends_it_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unhandled: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: unhandled.append(number))

    def stop_at_once(args: argparse.Namespace) -> Settings:
        signal.raise_signal(signal.SIGTERM)
        return settings_of(args)

    monkeypatch.setattr(watch, "settings_of", stop_at_once)
    try:
        assert main(["watch", "--headless", "--source", "demo", "--loop"]) == 0
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "0 frames analysed" in capsys.readouterr().err
    assert unhandled == [signal.SIGTERM]  # only the one after the run


def test_hook_flag_is_added_to_the_channels_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "maskwatch.toml"
    file.write_text(
        '[[alerts.channels]]\nkind = "webhook"\nname = "desk"\nurl = "https://desk.example/hook"\n'
        'headers = {Authorization = "Bearer secret"}\ntimeout_s = 7\n'
        '[[alerts.channels]]\nkind = "command"\nname = "on-alert"\nargv = ["old"]\n'
    )
    argv = ["watch", "--config", str(file), "--on-alert", "ring loud"]
    from_file = load_settings(file).alerts.channels
    channels = settings_of(build_parser().parse_args(argv)).alerts.channels
    assert [channel.name for channel in channels] == ["desk", "on-alert"]
    assert channels[0] == from_file[0]
    assert channels[1].argv == ("ring", "loud")


def test_a_source_without_a_command_is_watched_with_its_flags(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "clip").mkdir()
    cv2.imwrite(str(tmp_path / "clip" / "1.png"), np.zeros((40, 40, 3), np.uint8))
    assert main([str(tmp_path / "clip"), "--headless", "--fast", "--blur"]) == 0
    assert "1 frame analysed" in capsys.readouterr().err
