"""How a process ends while a decoder still hangs in one of its threads."""

import logging
import os
import sys
import threading
from typing import NoReturn

from app.core.standard_streams import flush_or_drop

READER_PREFIX = "reader:"


def stuck_readers() -> list[str]:
    """Names of the threads that still wait in a driver or decoder. After captures were joined, those they gave up."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(READER_PREFIX)]


def end_process(exit_code: int) -> NoReturn:
    """``sys.exit``, but at once where a reader hangs.

    The interpreter's own end would take the ground from under such a thread: when its call comes back, it finds no
    interpreter, and Python 3.11 ends it in a way that C++ answers with abort() (exit code 134; seen with OpenCV).
    """
    flush_or_drop()
    if not stuck_readers():
        sys.exit(exit_code)
    logging.shutdown()
    os._exit(exit_code)
