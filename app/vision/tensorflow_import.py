"""Keeping a library's chatter off the console where it offers no switch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress


@contextmanager
def silence_stderr() -> Iterator[None]:
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


def silence_tensorflow() -> None:
    """Call before TensorFlow is imported: without a GPU its C++ part logs some twenty lines, some of them as errors.
    What really fails is raised; who wants the log sets the level in the environment."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras, quietly: while they load, 2.21 logs whatever the level is."""
    silence_tensorflow()
    with silence_stderr() if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3" else nullcontext():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
