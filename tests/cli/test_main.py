"""The command line as a user runs it: bad input gives one clear line and exit code 2, and no partial files."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli.channel_flags import split_command
from app.cli.main import build_parser, main, with_implied_watch
from app.cli.watch import default_config, settings_of
from app.core import resources
from app.core.errors import SettingsError
from app.settings.load import load_settings

DEMO = ("watch", "--headless", "--source", "demo", "--fast")


def fails(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """The one line that a failing command prints on standard error."""
    before = set(threading.enumerate())
    try:
        returned = main(argv)
    except SystemExit as stop:  # raised by argparse
        returned = stop.code
    assert returned == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert set(threading.enumerate()) <= before, "no thread survives"
    return lines[0]


def headless(source: object, *more: str) -> tuple[str, ...]:
    return ("watch", "--headless", "--source", str(source), "--fast", *more)


def test_missing_camera_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert "camera 73" in fails(capsys, *headless(73, "--open-timeout", "2"))


def test_missing_file_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "absent.mp4" in fails(capsys, *headless(tmp_path / "absent.mp4"))


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


def test_subprocess_prints_one_error_line(tmp_path: Path) -> None:
    """In a process without the logging of pytest."""
    for source in (str(tmp_path / "absent.mp4"), "73"):
        done = subprocess.run([sys.executable, "-m", "app", *headless(source)], capture_output=True, text=True)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr


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
    assert "--dwell: " in fails(capsys, *DEMO, "--dwell", "-1")
    for encoding in ("utf-8-sig", "utf-16"):  # as Notepad and PowerShell write it
        file.write_text("[policy]\ndwell_s = 3\n", encoding=encoding)
        assert "byte-order mark; save it as UTF-8" in fails(capsys, *DEMO, "--config", str(file))
    assert "none.toml" in fails(capsys, *DEMO, "--config", str(tmp_path / "none.toml"))
    assert "--min-neighbors: " in fails(capsys, *DEMO, "--min-neighbors", "many")


def test_single_path_is_watched_and_single_word_is_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video = tmp_path / "door.mp4"
    video.touch()
    (tmp_path / "doctor").mkdir()
    assert with_implied_watch(["door.mp4"]) == ["watch", "--source", "door.mp4"]
    assert with_implied_watch([str(video)]) == ["watch", "--source", str(video)]
    assert with_implied_watch([str(video), "--loop"]) == ["watch", "--source", str(video), "--loop"]
    assert with_implied_watch([str(video), "demo.mp4"]) == ["watch", "--source", str(video), "demo.mp4"]
    assert with_implied_watch(["a=rtsp://b", "rtsp://c"]) == ["watch", "--source", "a=rtsp://b", "--source", "rtsp://c"]
    assert with_implied_watch([str(tmp_path / "none.mp4")]) == [str(tmp_path / "none.mp4")]
    assert with_implied_watch(["doctor"]) == ["doctor"]
    assert with_implied_watch(["rtsp://camera/live"]) == ["watch", "--source", "rtsp://camera/live"]
    assert main([str(video)]) == 2  # the file is empty


def test_unknown_arguments_suggest_similar_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--sauce" in fails(capsys, "watch", "--sauce", "0")
    assert "; did you mean watch? See" in fails(capsys, "wach")
    assert "; did you mean haar? See" in fails(capsys, "watch", "--detector", "harr")
    assert "; did you mean watch --kiosk? See" in fails(capsys, "kiosk")
    assert "did you mean" not in fails(capsys, "xyzzy")
    assert "secret" not in fails(capsys, "-v", "rtsp://me:secret@a/b")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("watch --sorce demo", "--sorce demo; did you mean --source? See 'maskwatch watch --help'"),
        ("watch --sorce=demo", "--sorce=demo; did you mean --source? See 'maskwatch watch --help'"),
        ("watch demo", "demo; did you mean --source demo? See 'maskwatch watch --help'"),
        (
            "bench a.mp4 b.mp4 -x",
            "a.mp4 b.mp4 -x; did you mean --source a.mp4 --source b.mp4? See 'maskwatch bench --help'",
        ),
        (
            "watch rtsp://me:secret@a/b",
            "rtsp://***@a/b; did you mean --source rtsp://***@a/b? See 'maskwatch watch --help'",
        ),
        ("events list --sinse 2h", "--sinse 2h; did you mean --since? See 'maskwatch events list --help'"),
        ("events list today", "today; see 'maskwatch events list --help'"),
        ("bench --foo", "--foo; see 'maskwatch bench --help'"),
        ("bench --prt run", "--prt run; see 'maskwatch bench --help'"),
        ("--foo doctor", "--foo; see 'maskwatch --help'"),
    ],
)
def test_mistyped_argument_suggests_a_similar_one_and_the_help(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prog = expected.partition("'")[2].removesuffix(" --help'")
    assert fails(capsys, *arguments.split()) == f"{prog}: unrecognized arguments: {expected}"


def test_missing_display_suggests_headless(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only X11 can be absent")
    for display in ("", ":9876", "nonsense"):
        monkeypatch.setenv("DISPLAY", display)
        assert "--headless" in fails(capsys, "watch", "--source", "demo")


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


def test_interrupt_during_start_prints_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("app.cli.main.build_parser", interrupted)
    assert main(["watch"]) == 130


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize("buffering", ["", "1"])
def test_full_disk_under_the_output_is_one_error_line(buffering: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "app", "config", "check"],
            env=os.environ | {"PYTHONUNBUFFERED": buffering}, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        b"maskwatch: cannot write the output: No space left on device; free some disk space\n",
    )


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="only Linux has a disk that is always full")
def test_full_disk_under_the_log_keeps_the_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "app", *headless(resources.asset("demo.mp4").with_suffix(".none"))],
            stdout=subprocess.PIPE, stderr=full, check=False,
        )  # fmt: skip
    assert done.returncode == 2


def test_the_web_view_uses_the_settings_that_its_pages_write(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    default_config().parent.mkdir(parents=True, exist_ok=True)
    default_config().write_text("[policy]\ndwell_s = 'x'\n")
    missing = ["watch", "--headless", "--source", str(tmp_path / "missing.mp4")]
    assert main([*missing, "--web", "127.0.0.1:0"]) == 2
    assert (
        f"dwell_s (line 2): Input should be a valid number, unable to parse string as a number (settings file "
        f"{default_config()})" in capsys.readouterr().err.replace("\n", " ")
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


def test_annotate_rejects_files_that_are_not_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, empty = tmp_path / "text.jpg", tmp_path / "empty"
    text.write_text("not an image")
    empty.mkdir()
    assert "text.jpg" in fails(capsys, "annotate", str(text), "--output", str(tmp_path / "out"))
    assert "empty" in fails(capsys, "annotate", str(empty), "--output", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


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


def test_help_imports_no_large_package() -> None:
    code = "import sys; from app.cli.main import build_parser; build_parser(); print([m for m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    for package in ("tensorflow", "keras", "matplotlib", "cv2", "ai_edge_litert"):
        assert f"'{package}'" not in done.stdout


def test_each_command_has_its_parser_without_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(parser: argparse.ArgumentParser, *arguments: str) -> str:
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
        return "".join(capsys.readouterr())

    parser = build_parser()
    names = re.search(r"choose from (.*?)\)", printed(parser, "no-command"))
    assert names is not None
    for name in re.findall(r"[\w-]+", names[1]):
        alone = build_parser(name)
        assert printed(alone, name, "--help") == printed(parser, name, "--help"), f"which module has {name}?"
        assert printed(alone, "no-command").count("', '") < 5 or name == "autostart"


def test_the_parser_of_one_command_imports_no_other() -> None:
    code = "import sys; from app.cli.main import build_parser; build_parser('watch'); print([m for m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert "'app.cli.watch'" in done.stdout
    for module in ("app.cli.scan", "app.cli.fleet", "app.cli.models", "asyncio"):
        assert f"'{module}'" not in done.stdout


def test_watching_without_a_window_imports_only_what_it_needs() -> None:
    code = "import sys; import app.cli.watch_session; print([m for m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    for package in ("rich", "httpx", "uharfbuzz", "app.ui", "app.web", "tensorflow"):
        assert f"'{package}'" not in done.stdout


def test_doctor_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    for subject in ("opencv-python", "decoder", "haarcascade", "self-check", "events", "display"):
        assert subject in output


def test_doctor_reports_faults_with_advice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    assert main(["doctor"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "fault" in output
    assert "reinstall" in output


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


def test_a_photo_is_answered_with_the_command_that_labels_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("my photo.jpg", np.zeros((40, 40, 3), np.uint8))
    for argv in (headless("my photo.jpg"), ("watch", "my photo.jpg"), ("my photo.jpg", "--headless")):
        assert "maskwatch annotate 'my photo.jpg'" in fails(capsys, *argv)
    assert "no such image: none.jpg" in fails(capsys, *headless("none.jpg"))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (headless("demo", "--dwell", "-1"), "--dwell: "),
        (headless("demo", "--width", "-5"), "--width: "),
        (headless("10.0.0.7"), "--source: is no file; for a network camera write rtsp://10.0.0.7;"),
        (("doctor", "--source", "0", "--source", "10.0.0.7"), "--source number 2: is no file"),
        (headless("door=ftp://x"), "--source: has the unknown scheme ftp"),
        (headless("demo", "--rotate", "90.5"), "argument --rotate: invalid choice: '90.5'"),
        (headless("demo", "--web", "localhost:\u00b2"), "--web localhost:\u00b2: not an address"),
        (("train-detector", "--hours", "many"), "argument --hours: many is not a positive number"),
    ],
)
def test_an_error_names_the_flag(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], expected: str) -> None:
    assert expected in f"{fails(capsys, *argv)};"


def test_a_source_without_a_command_is_watched_with_its_flags(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "clip").mkdir()
    cv2.imwrite(str(tmp_path / "clip" / "1.png"), np.zeros((40, 40, 3), np.uint8))
    assert main([str(tmp_path / "clip"), "--headless", "--fast", "--blur"]) == 0
    assert "1 frame analysed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("watch", "--config", ""), "--config is empty"),
        (("events", "list", "--config", ""), "--config is empty"),
        (("update", "--check", "--config", ""), "--config is empty"),
        (("config", "check", ""), "the name of the settings file is empty"),
        (("config", "show", ""), "the name of the settings file is empty"),
        (("report", "--date", ""), "--date  is no date"),
        (("scan", "run", "no-run", "--budget", ""), "--budget: '' is not a duration"),
        (("annotate", "a.jpg", "--config", ""), "--config is empty"),
        (headless("demo", "--on-alert", ""), "--on-alert: is empty"),
        (headless("demo", "--webhook", ""), "url must start with http"),
        (headless("demo", "--webhook", "abc"), "--webhook: url must start with http"),
        (headless("demo", "--sound", "no.wav"), "--sound: no such file: no.wav"),
        (headless("demo", "--language", "-1"), "--language: "),
        (headless("demo", "--start", "2026"), "--start: is no date"),
        (headless("-1"), "cameras are counted from 0"),
        (["no.jpg"], "no such file or command: no.jpg"),
    ],
)
def test_empty_argument_is_reported(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], expected: str) -> None:
    """A script passes an empty argument if its variable is not set."""
    assert expected in fails(capsys, *argv)


def test_command_is_split_by_the_rules_of_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    windows = r'"C:\Program Files\light.exe" --on C:\tools\{camera} # 1'
    arguments = [r"C:\Program Files\light.exe", "--on", r"C:\tools\{camera}", "#", "1"]
    assert split_command(windows, is_windows=True) == arguments
    assert split_command(r"ring\ it 'so loud' # 1", is_windows=False) == ["ring it", "so loud", "#", "1"]
    assert "cannot read --on-alert" in fails(capsys, *headless("demo", "--on-alert", "say it's"))
