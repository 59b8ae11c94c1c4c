"""Keeping a library's chatter off the console where it offers no switch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code writes to standard error nowhere, for a moment: LiteRT announces its delegate there.

    Affects the whole process: use it around loading, not around work.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a windowed program has no standard error
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        with suppress(OSError):
            os.dup2(saved, 2)
        os.close(saved)
