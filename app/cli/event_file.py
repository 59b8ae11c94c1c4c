"""Options and output shared by the commands that read an event file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.channel_flags import channels_of
from app.settings.flags import config_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from app.alerts.event_store import EventStore
    from app.settings.alerts import AlertSettings
    from app.settings.review import ClipSettings, CollectSettings
    from app.settings.root import Settings


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
    return _review_folder(args, lambda settings: settings.clips)


def collected_of(args: argparse.Namespace) -> Path:
    """The folder of the faces that were collected beside the event file."""
    return _review_folder(args, lambda settings: settings.collect)


def _review_folder(args: argparse.Namespace, table_of: "Callable[[Settings], ClipSettings | CollectSettings]") -> Path:
    """The folder that the settings give belongs to the event file that they give, never to another one."""
    from app.settings.load import load_settings

    settings, store = load_settings(config_path(args)), settings_of(args).store
    table = table_of(settings)
    if store.resolve() != settings.alerts.store.resolve():
        table = table.model_copy(update={"folder": None})
    return table.folder_of(store)


def open_store(args: argparse.Namespace) -> "EventStore":
    from app.alerts.event_store import EventStore

    return EventStore(settings_of(args).store, create=False, busy_s=10.0)


def make_console() -> "Console":
    from rich.console import Console

    console = Console(markup=False, highlight=False)  # brackets in names and errors must not become markup
    if not console.is_terminal:
        console.width = FILE_WIDTH
    return console
