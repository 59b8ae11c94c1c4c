"""The folders of this user. Without a home folder, as in a container with an unknown user id, all are one temporary
folder; the first use logs it."""

import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import platformdirs

log = logging.getLogger(__name__)

_APP = "maskwatch"


def data_folder() -> Path:
    return _folder(lambda: platformdirs.user_data_path(_APP, appauthor=False))


def log_folder() -> Path:
    return _folder(lambda: platformdirs.user_log_path(_APP, appauthor=False))


def config_folder() -> Path:
    return _folder(lambda: platformdirs.user_config_path(_APP, appauthor=False))


def pictures_folder() -> Path:
    return _folder(lambda: platformdirs.user_pictures_path() / _APP)


def _folder(find: Callable[[], Path]) -> Path:
    try:
        folder = find()
    except RuntimeError:  # platformdirs from 4.4 on
        return temporary_folder()
    return folder if folder.is_absolute() else temporary_folder()  # earlier ones return '~/.local/share'


@cache
def temporary_folder() -> Path:
    """A folder that keeps its name for this user; a new one if another user has taken that name."""
    folder = Path(_temporary_root()) / f"{_APP}-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
            folder = Path(tempfile.mkdtemp(prefix=f"{_APP}-"))
    except OSError:  # its first use reports that it cannot be written
        log.debug("cannot create %s", folder, exc_info=True)
    log.warning("this user has no home folder: files are kept in %s; set HOME to a folder to keep them", folder)
    return folder


def _temporary_root() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # nothing can be written anywhere
        return "/tmp"
