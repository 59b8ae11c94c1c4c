"""Writes the manual page maskwatch(1) from the commands of the program."""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_PAGE = """\
.TH MASKWATCH 1 "{day}" "maskwatch {version}" "User Commands"
.SH NAME
maskwatch \\- real\\-time face\\-mask monitor
.SH SYNOPSIS
.B maskwatch
[\\fIcommand\\fR] [\\fIoptions\\fR]
.br
.B maskwatch
\\fIvideo or address\\fR
.SH DESCRIPTION
{description}
Without a command it opens the start screen.
.SH COMMANDS
Options: \\fBmaskwatch \\fIcommand\\fB \\-\\-help\\fR.
{commands}
.SH ENVIRONMENT
.TP
.B MASKWATCH_TABLE__SETTING
A setting, such as MASKWATCH_POLICY__DWELL_S=3.
.SH FILES
.TP
.I ~/.config/maskwatch/maskwatch.toml
Settings of the start screen and the web view.
.TP
.I ~/.local/share/maskwatch/events.db
Events and alerts that wait.
.TP
.I /etc/maskwatch/maskwatch.toml
Settings of the service maskwatch.
.SH EXIT STATUS
0: done. 1: nothing can be watched any more, or a check failed.
2: wrong usage or settings.
"""


def render(time_s: int) -> str:
    """The page as roff, with the date of ``time_s``."""
    sys.path.insert(0, str(ROOT))
    from app import __version__
    from app.cli.main import build_parser

    parser = build_parser()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    listed = [f".TP\n.B {_escaped(each.dest)}\n{_escaped(each.help or '')}" for each in commands._choices_actions]
    return _PAGE.format(
        day=time.strftime("%Y-%m-%d", time.gmtime(time_s)),
        version=__version__,
        description=_escaped(parser.description or ""),
        commands="\n".join(listed),
    )


def _escaped(text: str) -> str:
    text = text.replace("%%", "%").replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
