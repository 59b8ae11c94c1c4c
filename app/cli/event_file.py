"""Options and output shared by the commands that read an event file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.channel_flags import channels_of
from app.settings.flags import config_path

if TYPE_CHECKING:
    from rich.console import Console

    from app.alerts.event_store import EventStore
    from app.settings.alerts import AlertSettings


FILE_WIDTH = 1000
"""Width in columns of output to a pipe or file, so that each row stays on one line."""


def add_event_file_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--store", metavar="FILE", help="event file; default: the one in the settings")


def settings_of(args: argparse.Namespace) -> "AlertSettings":
    from app.settings.load import load_settings

    more = channels_of(args) if "sound" in args else []
    settings = load_settings(config_path(args), more_channels=more).alerts
    return settings.model_copy(update={"store": Path(args.store)}) if args.store else settings


def clips_of(args: argparse.Namespace) -> Path:
    """The folder of the clips that belong to the event file."""
    from app.settings.load import load_settings

    return load_settings(config_path(args)).clips.folder_of(settings_of(args).store)


def collected_of(args: argparse.Namespace) -> Path:
    """The folder of the faces that were collected beside the event file."""
    from app.settings.load import load_settings

    return load_settings(config_path(args)).collect.folder_of(settings_of(args).store)


def open_store(args: argparse.Namespace) -> "EventStore":
    from app.alerts.event_store import EventStore

    return EventStore(settings_of(args).store, create=False, busy_s=10.0)


def make_console() -> "Console":
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # brackets in names and errors must not become markup
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console
