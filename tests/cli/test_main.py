"""The command line itself: arguments, help, imports, interrupts and a full disk."""

import argparse
import errno
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes_cli import fails, headless
from fakes_video import striped_image, write_clip

from app.cli.channel_flags import split_command
from app.cli.main import build_parser, main, with_implied_watch
from app.core import resources
from app.core.errors import SettingsError


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
    assert "; did you mean watch? See" in fails(capsys, "wach")
    assert "; did you mean haar? See" in fails(capsys, "watch", "--detector", "harr")
    assert "; did you mean watch --kiosk? See" in fails(capsys, "kiosk")
    assert "did you mean" not in fails(capsys, "xyzzy")
    assert "secret" not in fails(capsys, "-v", "rtsp://me:secret@a/b")


@pytest.mark.parametrize(
    "arguments",
    [
        ("annotate", ""),
        ("annotate", "a.jpg", "--output", ""),
        ("watch", "--events", ""),
        ("events", "export", "--output", ""),
        ("scan", "plan", "archive", "--out", ""),
        ("train", "faces", "--run", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A script passes one if its variable is not set."""
    assert "is empty; give a path; see" in fails(capsys, *arguments)


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


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "from app.cli.main import build_parser; build_parser()",
            ("tensorflow", "keras", "matplotlib", "cv2", "ai_edge_litert"),
        ),
        (
            "from app.cli.main import build_parser; build_parser('watch')",
            ("app.cli.scan", "app.cli.fleet", "app.cli.models", "asyncio"),
        ),
        ("import app.cli.watch_session", ("rich", "httpx", "uharfbuzz", "app.ui", "app.web", "tensorflow")),
    ],
    ids=["the help", "the parser of one command", "watching without a window"],
)
def test_only_what_is_needed_is_imported(code: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "app.cli.watch" in done.stdout
    assert not set(absent) & set(done.stdout.split())


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
        (("train-detector", "--hours", "many"), "argument --hours: 'many' is not a positive number"),
        (("events", "list", "--newest", "-5"), "argument --newest: '-5' is not a whole number of 1 or more"),
        (("alerts", "list", "--newest", "0"), "argument --newest: '0' is not a whole number of 1 or more"),
        (("fleet", "events", "--newest", "1e3"), "argument --newest: '1e3' is not a whole number of 1 or more"),
        (("fleet", "push", "--canary", "-1"), "argument --canary: '-1' is not a whole number of 1 or more"),
        (("scan", "run", "no-run", "--workers", "0"), "argument --workers: '0' is not a whole number of 1 or more"),
        (("bench", "--starts", "-1"), "argument --starts: '-1' is not a whole number from 0 to 1000"),
        (("bench", "--as-live", "nan"), "argument --as-live: 'nan' is not a number from 0.1 to 1000"),
        (("improve", "--false-alerts-per-day", "-1"), "per-day: '-1' is not a positive number"),
        (("improve", "--false-alerts-per-day", "nan"), "per-day: 'nan' is not a positive number"),
        (("models", "convert", "a.h5", "--input-px", "-3"), "--input-px: '-3' is not a whole number of 1 or more"),
        (("models", "convert", "a.h5", "--scaling", "0", "inf"), "argument --scaling: 'inf' is not a number"),
        (("evaluate", "a", "--min-face-px", "-1"), "argument --min-face-px: '-1' is not a number of 0 or more"),
        (("paper", "a", "--run", "b", "--minutes", "0"), "argument --minutes: '0' is not a positive number"),
        (("self-test", "--only", "alarm"), "no test 'alarm'; choose from: alert, classifier, clip, detector"),
        (("fleet", "init", "no-hub", "--listen", "host:99999"), "--listen host:99999 is no address"),
        (("fleet", "init", "no-hub", "--listen", "host:0"), "--listen host:0 is no address"),
        (headless("demo", "--web", "localhost:99999"), "web.port: "),
        # a script passes an empty argument if its variable is not set
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
def test_an_error_names_the_flag(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], expected: str) -> None:
    assert expected in f"{fails(capsys, *argv)};"


def test_command_is_split_by_the_rules_of_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    windows = r'"C:\Program Files\light.exe" --on C:\tools\{camera} # 1'
    arguments = [r"C:\Program Files\light.exe", "--on", r"C:\tools\{camera}", "#", "1"]
    assert split_command(windows, is_windows=True) == arguments
    assert split_command(r"ring\ it 'so loud' # 1", is_windows=False) == ["ring it", "so loud", "#", "1"]
    assert "cannot read --on-alert" in fails(capsys, *headless("demo", "--on-alert", "say it's"))


def test_a_traceback_shows_no_login(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With -vv. The errors of FFmpeg contain the whole address."""

    def fail(*_: object) -> None:
        try:
            raise ValueError("[Errno 5] failed: 'rtsp://me:s3cret@host/user=me&password=s3cret'")
        except ValueError as error:
            raise SettingsError("cannot open it") from error

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr("app.settings.load.load_settings", fail)
    level = root.level
    try:
        assert main(["-vv", "config", "check"]) == 2
    finally:
        root.setLevel(level)
    errors = capsys.readouterr().err
    assert "failed: 'rtsp://***@host/" in errors
    assert "s3cret" not in errors


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may not be searched, also for root, who runs tests in containers."""
    folder = tmp_path / "locked"
    folder.mkdir()

    def checked(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, str | os.PathLike) and folder in Path(os.path.abspath(path)).parents:  # noqa: PTH100
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return called

    for name in ("stat", "open", "mkdir", "scandir", "listdir"):
        monkeypatch.setattr(os, name, checked(getattr(os, name)))
    monkeypatch.setattr("io.open", checked(open))
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["fleet", "init", "{}/hub", "--site", "a"],
        ["dataset", "status", "--store", "{}/events.db"],
        ["events", "list", "--store", "{}/events.db"],
        ["annotate", "{}/a.jpg"],
        ["watch", "--headless", "--source", "{}/a.mp4"],
        ["watch", "--headless", "--source", "demo", "--output", "{}/sub/a.mp4"],
        ["watch", "--headless", "--source", "demo", "--config", "{}/a.toml"],
        ["models", "list", "--store", "{}/events.db"],
        ["scan", "run", "{}/run"],
    ],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_searched_is_one_line(
    arguments: list[str], locked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([each.format(locked) for each in arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "Permission denied" in errors


def test_watching_goes_on_with_an_event_file_in_such_a_folder(
    locked: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "a.mp4", [striped_image(0)] * 3)
    store = str(locked / "events.db")
    assert main(["watch", "--headless", "--fast", "--source", str(clip), "--store", store]) == 0
    assert "events are kept in memory" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
def test_a_link_to_itself_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "loop.jpg"
    link.symlink_to(link)
    assert main(["annotate", str(link)]) == 2
    assert "loop.jpg" in capsys.readouterr().err
