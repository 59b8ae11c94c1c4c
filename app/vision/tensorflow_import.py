"""Suppresses console output of TensorFlow and LiteRT that no option turns off."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discards what native code writes to standard error: LiteRT logs its delegate there.

    Affects the whole process: use it only while a library loads.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a GUI program on Windows has no standard error
        yield
        return
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        os.close(devnull)
        yield
    finally:
        with suppress(OSError):
            os.dup2(saved, 2)
        os.close(saved)


def silence_tensorflow() -> None:
    """Raises TensorFlow's log level; call it before the import. Without a GPU, TensorFlow logs about 20 lines.

    Real failures still raise. A log level that is set in the environment is kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without console output: TensorFlow 2.21 ignores the log level while it loads."""
    silence_tensorflow()
    with silence_stderr() if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3" else nullcontext():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
