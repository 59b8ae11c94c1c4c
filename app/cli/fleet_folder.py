"""Opens the folder of a hub for the commands of ``maskwatch fleet``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.errors import SettingsError
from app.core.files import exists

if TYPE_CHECKING:
    from app.fleet.hub_folder import HubFolder
    from app.fleet.hub_store import HubStore


def new_folder(path: Path) -> "HubFolder":
    try:
        from app.fleet.hub_folder import HubFolder
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        raise SettingsError(f"a fleet needs the package {package}: pip install 'maskwatch[fleet]'") from error
    return HubFolder(path)


def hub_folder(args: argparse.Namespace) -> "HubFolder":
    folder = new_folder(args.hub)
    folder.check()
    return folder


def open_store(folder: "HubFolder") -> "HubStore":
    from app.fleet.hub_store import HubStore

    if not exists(folder.store):
        raise SettingsError(f"the hub in {folder.path} has not run yet; start it: maskwatch fleet hub {folder.path}")
    return HubStore(folder.store, create=False)
