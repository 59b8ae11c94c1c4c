"""Suppresses console output of TensorFlow and LiteRT that no option turns off."""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

_LOADING = threading.Lock()
_NATIVE_LOG = re.compile(
    rb"INFO: Created TensorFlow Lite|WARNING: All log messages before absl::|[IW]\d{4} \d\d:|To enable the following"
)


@contextmanager
def silence_native_logs() -> Iterator[None]:
    """Drops what TensorFlow and LiteRT log to standard error in native code, which is the same for the whole process.

    Lines of other threads are printed when the block ends, so use it only while a library loads.
    """
    with _LOADING, tempfile.TemporaryFile() as held:
        try:
            saved = os.dup(2)
        except OSError:  # a GUI program on Windows has no standard error
            yield
            return
        try:
            os.dup2(held.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            with suppress(OSError):  # standard error is closed or its disk is full
                for line in held:
                    if not _NATIVE_LOG.match(line):
                        os.write(2, line)


def silence_tensorflow() -> None:
    """Raises TensorFlow's log level; call it before the import. Without a GPU, TensorFlow logs about 20 lines.

    Real failures still raise. A log level that is set in the environment is kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without console output: TensorFlow 2.21 ignores the log level while it loads."""
    silence_tensorflow()
    with silence_native_logs() if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3" else nullcontext():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401
