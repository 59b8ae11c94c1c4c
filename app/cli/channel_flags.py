"""The flags that add alert channels without a settings file."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from app.core.errors import SettingsError
from app.core.files import is_file

_CHIME = ""


def add_channel_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-alert", metavar="COMMAND", help="also run this for each event, with the event as JSON on its input"
    )
    parser.add_argument("--webhook", metavar="URL", help="also POST each event to URL as JSON")
    parser.add_argument(
        "--sound", nargs="?", const=_CHIME, metavar="WAV", help="also play a sound for each alert (default: a chime)"
    )


def channels_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The channels that the flags add, as tables of settings."""
    channels: list[dict[str, Any]] = []
    if args.on_alert is not None:
        channels.append({"kind": "command", "name": "on-alert", "argv": split_command(args.on_alert)})
    if args.webhook is not None:
        channels.append({"kind": "webhook", "name": "webhook", "url": args.webhook})
    if args.sound is not None:
        file = {} if args.sound == _CHIME else {"file": Path(args.sound)}
        if file and not is_file(file["file"]):
            raise SettingsError(f"--sound: no such file: {args.sound}; give a WAV file, or --sound alone for a chime")
        channels.append({"kind": "sound", "name": "sound", **file})
    return channels


def split_command(text: str, is_windows: bool = os.name == "nt") -> list[str]:
    """Splits a command line as a shell does; on Windows a backslash is a literal character.

    Raises SettingsError if a quotation mark is not closed.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if is_windows:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise SettingsError(
            f"cannot read --on-alert: {str(error).lower()}; put an argument with spaces or apostrophes in double quotes"
        ) from None
