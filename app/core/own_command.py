"""The command line that starts this program again."""

import sys
from pathlib import Path

SHOW_WINDOW = "show-window"
"""The hidden command of the process that shows the window."""


def own_command() -> tuple[str, ...]:
    """The arguments that start this program, independent of modules in the current folder."""
    if getattr(sys, "frozen", False):
        return (sys.executable,)
    source = f"import sys; sys.path = [{str(Path(__file__).resolve().parents[2])!r}, *filter(None, sys.path)]; "
    return sys.executable, "-c", source + "from app.cli.main import entry; entry()"
