"""Options and output shared by the commands that read an event file."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.cli.channel_flags import channels_of
from app.core.errors import SettingsError
from app.settings.flags import config_path

if TYPE_CHECKING:
    from rich.console import Console

    from app.alerts.event_store import EventStore
    from app.settings.alerts import AlertSettings
    from app.settings.root import Settings


FILE_WIDTH = 1000
"""Width in columns of output to a pipe or file, so that each row stays on one line."""


def add_event_file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--store", metavar="FILE", help="event file; default: the one in the settings")


def settings_of(args: argparse.Namespace) -> "AlertSettings":
    return _load(args).alerts


def cameras_of(args: argparse.Namespace) -> list[str]:
    """The names of the cameras in the settings."""
    settings = _load(args)
    return [each.name for each in settings.camera] if "camera" in settings.model_fields_set else []


def folder_of(args: argparse.Namespace, table: Literal["clips", "collect"]) -> Path:
    """Where the clips, or the collected faces, of the event file are. The folder that the settings give belongs to the
    event file that they give, never to another one."""
    from app.settings.load import load_settings

    settings, own_store = _load(args), load_settings(config_path(args)).alerts.store
    wanted, store = getattr(settings, table), settings.alerts.store
    if os.path.realpath(store) != os.path.realpath(own_store):
        wanted = wanted.model_copy(update={"folder": None})
    return Path(wanted.folder_of(store))


def _load(args: argparse.Namespace) -> "Settings":
    from app.settings.load import load_settings

    flags = {} if args.store is None else {"alerts": {"store": args.store}}
    return load_settings(config_path(args), flags, more_channels=channels_of(args) if "sound" in args else ())


def before_of(args: argparse.Namespace, now_s: float) -> float | None:
    """The Unix time of ``--before``; None without it. An empty argument is an error: it would mean everything."""
    from app.alerts.export import parse_time

    return None if args.before is None else parse_time(args.before, now_s)


def is_confirmed(args: argparse.Namespace, what: str, place: Path) -> bool:
    """Whether ``--yes`` or the user says that ``what`` is to be deleted. Raises SettingsError without a terminal."""
    if args.yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():  # None if closed
        raise SettingsError("purge asks for confirmation, but there is no terminal; add --yes")
    when = f" from before {args.before}" if args.before else ""
    print(f"Delete all {what}{when} in {place}? [y/N] ", end="", flush=True)
    is_yes = sys.stdin.readline().strip().lower() in ("y", "yes")  # Ctrl-D is no answer
    if not is_yes:
        print("no data deleted")
    return is_yes


def open_store(args: argparse.Namespace) -> "EventStore":
    from app.alerts.event_store import EventStore

    return EventStore(settings_of(args).store, create=False, busy_s=10.0)


def make_console() -> "Console":
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # brackets in names and errors must not become markup
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console
