"""Entry point of the standalone executable.

With arguments it is the ``maskwatch`` command. Without arguments, as after a double click, it is ``maskwatch start``.
There may be no console, so errors are also shown in a window.
"""

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from app import __version__
from app.core.errors import INTERRUPTED, DisplayError, MaskwatchError
from app.core.files import is_file
from app.core.secrets import redact
from app.core.user_folders import log_folder

_APP = "maskwatch"
_FAILURE = 1
_LOG_BYTES = 1_000_000
_KEPT_LINES = 6

NO_LOG = Path(os.devnull)


class TailRecorder:
    """A text stream that forwards all text and keeps the last lines, to show them in a window."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._partial = ""

    def write(self, text: str) -> int:
        *complete, self._partial = (self._partial + text).split("\n")
        self._lines.extend(line for line in complete if line.strip())
        return self._stream.write(text)

    def last_lines(self) -> list[str]:
        return [*self._lines, *([self._partial] if self._partial.strip() else [])]

    def __getattr__(self, name: str) -> Any:  # flush, isatty, fileno, encoding …
        return getattr(self._stream, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    restore_library_path()
    use_utf8()
    log_path = open_missing_streams()
    from app.cli.main import escape_unencodable
    from app.cli.main import main as command

    escape_unencodable()
    if arguments and log_path is None:
        return command(arguments)
    original, sys.stderr = sys.stderr, TailRecorder(sys.stderr)
    try:
        code = _run_guarded(arguments)
        if code not in (0, INTERRUPTED):
            show_failure(sys.stderr.last_lines(), log_path)
        return code
    finally:
        sys.stderr = original


def _run_guarded(arguments: Sequence[str]) -> int:
    from app.cli.main import main as command

    try:
        return command(arguments or ["start"])
    except SystemExit as stop:  # raised by argparse
        return stop.code if isinstance(stop.code, int) else _FAILURE
    except MaskwatchError as error:
        print(f"{_APP}: {error}", file=sys.stderr)
        return error.exit_code
    except Exception:  # outermost guard: the program must not end without an error message
        print(redact(traceback.format_exc()), file=sys.stderr, end="")
        return _FAILURE


def restore_library_path() -> None:
    """Restores the user's ``LD_LIBRARY_PATH``, which PyInstaller points at the bundled libraries.

    Child processes such as alert commands and sound players need the libraries of the system.
    """
    if sys.platform in ("win32", "darwin") or not getattr(sys, "frozen", False):
        return
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is not None:
        os.environ["LD_LIBRARY_PATH"] = original
    else:
        os.environ.pop("LD_LIBRARY_PATH", None)


def use_utf8() -> None:
    """Replaces the C locale by C.UTF-8, as Python does (PEP 538) and PyInstaller's boot loader does not.

    In the C locale Qt cannot read a path such as 'Zoë', does not find its plugin and opens no window.
    """
    if not sys.platform.startswith("linux") or os.environ.get("LC_ALL"):
        return
    if (os.environ.get("LC_CTYPE") or os.environ.get("LANG") or "C") in ("C", "POSIX"):
        os.environ["LC_CTYPE"] = "C.UTF-8"


def log_file() -> Path:
    return log_folder() / f"{_APP}.log"


def open_missing_streams() -> Path | None:
    """Replaces missing standard streams by a log file: without a console they are None.

    Returns the path of the log; None if standard error exists.
    """
    if sys.stdout is not None and sys.stderr is not None:
        return None
    path, stream = _open_log()
    is_windowless = sys.stderr is None
    sys.stdout = sys.stdout or stream
    sys.stderr = sys.stderr or stream
    return path if is_windowless else None


def _open_log() -> tuple[Path, TextIO]:
    """Opens the log, line-buffered so that a crash loses no line. It stays open until the program ends."""
    path = log_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_file(path) and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".old.log"))
        stream = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        # The command line is not logged: it may contain the password of a stream.
        stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {_APP} {__version__}\n")
        return path, stream
    except OSError:  # a full or read-only disk must not stop the program
        return NO_LOG, NO_LOG.open("w", encoding="utf-8")


def show_failure(lines: Sequence[str], log_path: Path | None) -> None:
    """Shows the last lines of a failed run in a window, if one can be opened."""
    prefix = f"{_APP}: "
    errors = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]  # the rest is log and summary
    shown = errors or [*lines] or ["maskwatch ended without an error message."]
    if log_path not in (None, NO_LOG):
        shown += ["", f"Log: {log_path}"]
    try:
        from app.ui.message_box import show_message_box

        show_message_box("maskwatch has stopped", [*shown, "", "Esc: close"], "q\n")
    except (DisplayError, ImportError):
        if sys.platform == "win32":  # OpenCV itself may be broken
            import ctypes

            ctypes.windll.user32.MessageBoxW(None, "\n".join(shown), _APP, 0x10)


if __name__ == "__main__":
    sys.exit(main())
