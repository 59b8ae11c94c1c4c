"""File locks of the programs that use one event file. The operating system releases a lock when its program ends, also
after a crash or a kill."""

import glob
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.alerts.event_store import lock_path
from app.alerts.store_types import StoreError


class FileLock:
    """A lock file that one program holds at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def take(self) -> bool:
        """Acquires the lock without waiting; returns whether this program holds it. Raises StoreError if its file
        cannot be created."""
        if self._file is not None:
            return True
        try:
            file = self._path.open("ab")
        except OSError as error:
            raise StoreError(f"cannot create {self._path}: {error.strerror or error}; check its folder") from error
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
    def is_current(self) -> bool:
        """Whether the lock is held and its file still has its name (it may have been deleted or replaced)."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Releases the lock and deletes its file. Not for a lock that another program may hold."""
        if sys.platform == "win32":
            self.release()  # Windows cannot delete an open file
        with suppress(OSError):  # already deleted, or the next program deletes it
            self._path.unlink()
        self.release()


def store_lock(store: Path) -> FileLock:
    """The lock of the program that also sends the pending alerts of ended programs."""
    return FileLock(lock_path(store))


def owner_lock(store: Path, owner: str) -> FileLock:
    """The lock that shows that the program ``owner`` runs."""
    return FileLock(store.with_name(f"{store.name}.owner-{owner}"))


def running_owners(store: Path, own: str) -> set[str]:
    """The other programs that hold their owner locks. Deletes the lock files of ended programs. Raises StoreError if
    the folder cannot be read."""
    prefix = f"{store.name}.owner-"
    try:
        paths = list(store.parent.glob(glob.escape(prefix) + "*"))
    except OSError as error:
        raise StoreError(f"cannot list {store.parent}: {error.strerror or error}; check its permissions") from error
    running: set[str] = set()
    for path in paths:
        owner, lock = path.name.removeprefix(prefix), FileLock(path)
        with suppress(StoreError):  # ignore a file that cannot be opened
            if owner != own and lock.take():
                lock.remove()
            elif owner != own:
                running.add(owner)
    return running
