"""The start of the standalone executable, by double click above all.

With arguments it is the ``maskwatch`` command. Without, it does the main job: it watches the camera if there is one,
and offers the demo if there is none. Whoever starts it so may have no console: what goes wrong is told in a window too.
"""

import logging
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import platformdirs

from app import __version__
from app.core.errors import INTERRUPTED, DisplayError, MaskwatchError, SourceError

if TYPE_CHECKING:
    from app.settings.root import Settings

_APP = "maskwatch"
_FAULT = 1
_CAMERAS_TRIED = 4
_PROBE_TIMEOUT_S = 3.0
_LOG_BYTES = 1_000_000
_REMEMBERED_LINES = 6

NO_LOG = Path(os.devnull)


class TailRecorder:
    """A text stream that passes everything on and remembers its last lines, to show them in a window."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._open = ""

    def write(self, text: str) -> int:
        *whole, self._open = (self._open + text).split("\n")
        self._lines.extend(line for line in whole if line.strip())
        return self._stream.write(text)

    def last_lines(self) -> list[str]:
        return [*self._lines, *([self._open] if self._open.strip() else [])]

    def __getattr__(self, name: str) -> Any:  # flush, isatty, fileno, encoding …
        return getattr(self._stream, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; never raises."""
    words = list(sys.argv[1:] if argv is None else argv)
    restore_library_path()
    use_utf8()
    log_path = open_missing_streams()
    from app.cli.main import escape_unencodable
    from app.cli.main import main as command

    escape_unencodable()
    if words and log_path is None:
        return command(words)
    kept, sys.stderr = sys.stderr, TailRecorder(sys.stderr)
    try:
        code = _guarded(words)
        if code not in (0, INTERRUPTED):
            show_failure(sys.stderr.last_lines(), log_path)
        return code
    finally:
        sys.stderr = kept


def _guarded(words: Sequence[str]) -> int:
    from app.cli.main import main as command

    try:
        return command(words) if words else start()
    except SystemExit as stop:  # argparse's own way out
        return stop.code if isinstance(stop.code, int) else _FAULT
    except MaskwatchError as error:
        print(f"{_APP}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:  # the outermost guard: nobody may be left with a program that just vanishes
        traceback.print_exc()
        return _FAULT


def restore_library_path() -> None:
    """PyInstaller's boot loader points ``LD_LIBRARY_PATH`` at our own libraries. Programs that we start (alert
    commands, sound players) need their system's, so the user's value comes back; ours were found already."""
    if sys.platform in ("win32", "darwin") or not getattr(sys, "frozen", False):
        return
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is not None:
        os.environ["LD_LIBRARY_PATH"] = original
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)


def use_utf8() -> None:
    """Qt reads paths in the letters of the locale. In the C locale, ASCII alone, it does not find its own plugin below
    a folder called 'Zoë', and no window ever comes. Python itself does this (PEP 538), the boot loader does not."""
    if not sys.platform.startswith("linux") or os.environ.get("LC_ALL"):
        return
    if (os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C") in ("C", "POSIX"):
        os.environ["LC_CTYPE"] = "C.UTF-8"


def log_file() -> Path:
    return platformdirs.user_log_path(_APP, appauthor=False) / f"{_APP}.log"


def open_missing_streams() -> Path | None:
    """Without a console ``sys.stdout`` and ``sys.stderr`` are None: a log file takes their place. Returns its path;
    None where standard error was there."""
    if sys.stdout is not None and sys.stderr is not None:
        return None
    path, stream = _open_log()
    is_windowless = sys.stderr is None
    sys.stdout = sys.stdout or stream
    sys.stderr = sys.stderr or stream
    return path if is_windowless else None


def _open_log() -> tuple[Path, TextIO]:
    """The log, written line by line so that a crash loses nothing; it stays open as long as the program runs."""
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        # Not the words of the command: they may hold a stream's password.
        stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {_APP} {__version__}\n")
        return path, stream
    except OSError:  # a disk that cannot be written must not stop the watching
        return NO_LOG, NO_LOG.open("w", encoding="utf-8")


def start() -> int:
    """The main job, as a double click wants it. Raises MaskwatchError."""
    from app.cli.main import main as command
    from app.settings.root import load_settings
    from app.ui.display import check_display

    logging.captureWarnings(True)
    try:
        check_display()
    except DisplayError as error:
        raise DisplayError(f"{error}; or see '{_APP} --help'") from error
    config = platformdirs.user_config_path(_APP, appauthor=False) / f"{_APP}.toml"
    flags = ["--config", str(config)] if config.is_file() else []
    settings = load_settings(config if flags else None)
    if settings.view.snapshots == Path():  # a double click may start us in a folder that nobody looks into
        flags += ["--snapshots", str(platformdirs.user_pictures_path() / _APP)]
    if is_default_camera(settings):
        camera, reasons = find_camera()
        if camera is None and not offer_demo(reasons):
            return 0
        flags += ["--source", camera] if camera is not None else ["--source", "demo", "--loop"]
    if is_first_run():  # asked last: whoever declined the demo has seen no keys yet
        flags.append("--keys")
    return command(["watch", *flags])


def is_default_camera(settings: "Settings") -> bool:
    """Nobody chose a source: any camera will do."""
    return "camera" not in settings.model_fields_set


def find_camera() -> tuple[str | None, list[str]]:
    """The first camera that gives a picture, and why those before it do not."""
    import threading

    from app.capture.source import make_source
    from app.settings.source import SourceSettings

    reasons: list[str] = []
    for index in range(_CAMERAS_TRIED):
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            continue
        limits = {"open_timeout_s": _PROBE_TIMEOUT_S, "read_timeout_s": _PROBE_TIMEOUT_S}
        source = make_source(SourceSettings(uri=str(index), **limits))
        try:
            with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
                next(frames)
            return str(index), reasons
        except (SourceError, StopIteration) as error:
            if sys.platform == "linux":  # elsewhere every number that is not there fails so
                reasons.append(str(error))
    return None, reasons


def offer_demo(reasons: Sequence[str]) -> bool:
    """Whether the user wants to see the demo, there being no camera."""
    from app.ui.message_box import show_message_box

    lines = ["No camera gives a picture:", *reasons] if reasons else ["No camera was found."]
    lines += ["", "Enter: watch the demo instead      Esc: quit", ""]
    lines += [f"Streams and files: {_APP} watch --source rtsp://..."]
    return show_message_box("maskwatch", lines, "d\n") != ""


def is_first_run() -> bool:
    """True once per user; where that cannot be kept, every time."""
    marker = platformdirs.user_data_path(_APP, appauthor=False) / "keys-shown"
    if marker.exists():
        return False
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:
        return True
    return True


def show_failure(lines: Sequence[str], log_path: Path | None) -> None:
    """The last words of a run that failed, in a window where one can be opened; they are in the log already."""
    from app.ui.display import check_display

    prefix = f"{_APP}: "
    ours = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]  # the rest is log and summary
    shown = ours or [*lines] or ["It ended without saying why."]
    if log_path not in (None, NO_LOG):
        shown += ["", f"Log: {log_path}"]
    try:
        check_display()
        from app.ui.message_box import show_message_box

        show_message_box("maskwatch has stopped", [*shown, "", "Esc: close"], "q\n")
    except (DisplayError, ImportError):
        if sys.platform == "win32":  # OpenCV itself may be what is broken
            import ctypes

            ctypes.windll.user32.MessageBoxW(None, "\n".join(shown), _APP, 0x10)


if __name__ == "__main__":
    sys.exit(main())
