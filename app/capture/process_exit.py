"""The exit of a process while a decoder hangs in one of its threads."""

import logging
import os
import sys
import threading
from typing import NoReturn

from app.core.standard_streams import flush_or_drop

READER_PREFIX = "reader:"


def stuck_readers() -> list[str]:
    """Names of the reader threads that still run: after all captures are joined, the abandoned ones."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(READER_PREFIX)]


def end_process(exit_code: int) -> NoReturn:
    """``sys.exit``, or ``os._exit`` if a reader hangs.

    When the call of such a thread returns after the interpreter's shutdown, Python 3.11 ends the thread in a way
    that makes C++ call abort() (exit code 134; seen with OpenCV).
    """
    flush_or_drop()
    if not stuck_readers():
        sys.exit(exit_code)
    logging.shutdown()
    os._exit(exit_code)
