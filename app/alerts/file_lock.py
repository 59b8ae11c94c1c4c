"""Files that tell the programs on one event file apart: each is locked by one program, and the system lets it go when
the program dies, however it dies."""

import glob
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.alerts.event_store import lock_path
from app.alerts.store_types import StoreError


class FileLock:
    """Held by one program at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def take(self) -> bool:
        """Whether this program holds it now. Raises StoreError where its file cannot be made."""
        if self._file is not None:
            return True
        try:
            file = self._path.open("ab")
        except OSError as error:
            raise StoreError(f"cannot make {self._path}: {error.strerror or error}; check its folder") from error
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    @property
    def in_place(self) -> bool:
        """Whether it is held, and by the file that others see under its name."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Releases it, and its file is gone. Not for a file that another program may hold."""
        if sys.platform == "win32":
            self.release()  # an open file cannot be deleted there, nor one that somebody else has opened meanwhile
        with suppress(OSError):  # deleted already, or by the next who looks
            self._path.unlink()
        self.release()


def lock_of(store: Path) -> FileLock:
    """Of the program that also sends what others left."""
    return FileLock(lock_path(store))


def owner_lock(store: Path, owner: str) -> FileLock:
    """Of the program ``owner``, as long as it runs."""
    return FileLock(store.with_name(f"{store.name}.owner-{owner}"))


def running_owners(store: Path, own: str) -> set[str]:
    """The programs beside ``own`` that hold their locks; files of those that are gone are removed. Raises StoreError
    where the folder cannot be read."""
    prefix = f"{store.name}.owner-"
    try:
        paths = list(store.parent.glob(glob.escape(prefix) + "*"))
    except OSError as error:
        raise StoreError(f"cannot look into {store.parent}: {error.strerror or error}; check its rights") from error
    running: set[str] = set()
    for path in paths:
        owner, lock = path.name.removeprefix(prefix), FileLock(path)
        with suppress(StoreError):  # a file that cannot be opened tells nothing: as if it were not there
            if owner != own and lock.take():
                lock.remove()
            elif owner != own:
                running.add(owner)
    return running
