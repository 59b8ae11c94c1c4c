"""Standard output and error when the disk is full or the reading process has ended."""

import contextlib
import os
import sys
from typing import IO, Any, TextIO, cast


class _NonFailingStream:
    """A stream that ignores write errors; the text is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def fault_tolerant_stderr() -> IO[str] | None:
    """Standard error that ignores write errors; None if the process has no standard error."""
    return cast("IO[str]", _NonFailingStream(sys.stderr)) if sys.stderr is not None else None


def flush_or_drop() -> None:
    """Flush standard output and error, or drop their content if that fails. The error was reported before; without
    this, Python would fail again at its exit and change the exit code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            drop(stream)
        except ValueError:  # closed
            continue


def drop(stream: TextIO) -> None:
    """Redirect ``stream``, including its buffered content, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
