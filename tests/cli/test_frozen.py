"""The standalone executable: visible errors, its log, its environment."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from app.cli import frozen, main
from app.core import resources
from app.core.errors import DisplayError
from app.ui import display, message_box


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts every user folder into ``tmp_path``."""
    for name in ("user_log_path", "user_data_path", "user_config_path", "user_pictures_path"):
        monkeypatch.setattr(platformdirs, name, lambda *_, name=name, **__: tmp_path / name)
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Records commands instead of running them, on a machine with a display."""
    run: list[list[str]] = []
    monkeypatch.setattr(main, "main", lambda argv: run.append(list(argv)) or 0)
    monkeypatch.setattr(display, "check_display", lambda: None)
    return run


@pytest.fixture
def message_boxes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Records message boxes instead of showing them, and answers each with Enter."""
    shown: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        message_box, "show_message_box", lambda heading, lines, keys: shown.append((heading, list(lines))) or "\n"
    )
    return shown


def test_arguments_run_a_command(commands: list[list[str]]) -> None:
    assert frozen.main(["doctor", "-v"]) == 0
    assert commands == [["doctor", "-v"]]


def test_a_double_click_starts_the_screen(commands: list[list[str]]) -> None:
    assert frozen.main([]) == 0
    assert commands == [["start"]]


def test_settings_error_is_shown_in_a_window(
    message_boxes: list[tuple[str, list[str]]],
    user_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(display, "check_display", lambda: None)
    folder = user_folders / "user_config_path"
    folder.mkdir()
    (folder / "maskwatch.toml").write_text("colour = 1\n")
    assert frozen.main([]) == 2
    assert message_boxes[0][0] == "maskwatch has stopped"
    assert "colour" in message_boxes[0][1][0]
    assert "colour" in capsys.readouterr().err


def test_missing_display_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_display() -> None:
        raise DisplayError("no display: DISPLAY is not set; use --headless to watch without a window")

    monkeypatch.setattr(display, "check_display", no_display)
    assert frozen.main([]) == 2
    assert "--headless" in capsys.readouterr().err


def test_unexpected_error_is_shown(
    message_boxes: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(main, "main", fail)
    assert frozen.main([]) == 1
    assert "RuntimeError: unexpected" in message_boxes[0][1]
    assert "Traceback" in capsys.readouterr().err


@contextmanager
def no_console() -> Iterator[None]:
    """Python without standard streams, as in a windowed program. No fixture, as pytest restores its streams."""
    original = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    try:
        yield
    finally:
        opened = {sys.stdout, sys.stderr} - {None}
        sys.stdout, sys.stderr = original
        for stream in opened:
            stream.close()


def test_error_without_a_console_is_logged_and_shown(
    message_boxes: list[tuple[str, list[str]]], user_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "check_display", lambda: None)
    log = user_folders / "user_log_path" / "maskwatch.log"
    with no_console():
        assert frozen.main(["annotate", "nowhere.jpg"]) == 2
    assert "nowhere.jpg" in log.read_text(encoding="utf-8")
    heading, lines = message_boxes[0]
    assert heading == "maskwatch has stopped"
    assert "nowhere.jpg" in lines[0]
    assert not lines[0].startswith("maskwatch:")
    assert f"Log: {log}" in lines


def test_unwritable_log_does_not_stop_the_program(user_folders: Path) -> None:
    (user_folders / "user_log_path").write_text("a file where the folder should be")
    with no_console():
        assert frozen.open_missing_streams() == frozen.NO_LOG
        print("discarded")


def test_long_log_is_rotated(user_folders: Path) -> None:
    folder = user_folders / "user_log_path"
    folder.mkdir()
    (folder / "maskwatch.log").write_text("x" * 1_000_001)
    with no_console():
        assert frozen.open_missing_streams() == folder / "maskwatch.log"
    assert (folder / "maskwatch.log").read_text().startswith("--- 2")
    assert len((folder / "maskwatch.log").read_text()) < 100
    assert (folder / "maskwatch.old.log").stat().st_size == 1_000_001


def test_tail_recorder_keeps_the_last_lines_and_forwards_all() -> None:
    target = io.StringIO()
    stream = frozen.TailRecorder(target)
    for number in range(20):
        stream.write(f"line {number}\n\n")
    stream.write("an open ")
    stream.write("end")
    assert stream.last_lines() == [*(f"line {number}" for number in range(14, 20)), "an open end"]
    assert target.getvalue().endswith("line 19\n\nan open end")
    assert not stream.isatty()


@pytest.mark.parametrize("module", ["app", "app.cli.frozen"])
def test_characters_outside_the_output_encoding_are_escaped(module: str, tmp_path: Path) -> None:
    image_path = tmp_path / "家.jpg"
    image_path.write_bytes((resources.asset("self_test.jpg")).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", module, "annotate", str(image_path), "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},  # a pipe on Windows
        cwd=Path(frozen.__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "\\u5bb6.jpg" in done.stdout


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="only Linux's boot loader sets it")
def test_child_processes_use_system_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/ours")
    frozen.restore_library_path()
    assert os.environ["LD_LIBRARY_PATH"] == "/ours", "not frozen: the value belongs to the user"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/theirs")
    frozen.restore_library_path()
    assert os.environ["LD_LIBRARY_PATH"] == "/theirs"
    frozen.restore_library_path()
    assert "LD_LIBRARY_PATH" not in os.environ


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the C locale")
def test_c_locale_is_replaced_by_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C")
    frozen.use_utf8()
    assert "LC_CTYPE" not in os.environ, "LC_ALL overrides LC_CTYPE"
    monkeypatch.delenv("LC_ALL")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    frozen.use_utf8()
    assert "LC_CTYPE" not in os.environ
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("LC_CTYPE", "")  # so that monkeypatch restores it
    frozen.use_utf8()
    assert os.environ["LC_CTYPE"] == "C.UTF-8"


def test_message_box_height_depends_on_its_text() -> None:
    short = message_box.draw_message_box("heading", ["one line"])
    long = message_box.draw_message_box("heading", ["a long text " * 40, "", "é and 家"])
    assert short.shape[1] == long.shape[1]
    assert short.shape[0] < long.shape[0]
    assert len(np.unique(long)) > 10, "text is drawn"
