"""Standard output and error whose disk is full, or whose reader has left."""

import contextlib
import os
import sys
from typing import IO, Any, TextIO, cast


class _Lasting:
    """A stream that never fails: what cannot be written is lost."""

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
    """Standard error for what must go on though nobody can be told; None where there is none."""
    return cast("IO[str]", _Lasting(sys.stderr)) if sys.stderr is not None else None


def flush_or_drop() -> None:
    """Write what standard output and error hold, or forget it, which is told by now: Python would fail over it once
    more at its end, and change the exit code to 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            drop(stream)
        except ValueError:  # closed
            continue


def drop(stream: TextIO) -> None:
    """What ``stream`` holds, and all that is written to it from now on, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
