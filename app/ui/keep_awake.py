"""Keeps the screen from blanking and the machine from sleeping, by what the system offers (package wakepy)."""

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

log = logging.getLogger(__name__)


@contextmanager
def keep_awake(wanted: bool, level: int = logging.WARNING) -> Iterator[None]:
    """While the block runs. A failure is one line in the log, of this ``level``."""
    with ExitStack() as stack:
        if wanted:
            reason = _start(stack)
            if reason:
                advice = "; on a plain X server: xset s off -dpms" if sys.platform.startswith("linux") else ""
                log.log(level, "the screen may blank and the machine may sleep: %s%s", reason, advice)
        yield


def _start(stack: ExitStack) -> str:
    """Starts it until ``stack`` is closed; returns why that is not possible, else ''."""
    try:
        from wakepy import keep

        mode = stack.enter_context(keep.presenting(on_fail="pass"))
    except Exception as error:  # it calls services of many desktops, and watching must not fail because of one
        return f"{type(error).__name__}: {error}"
    return "" if mode.active else "no service of this desktop answers"
