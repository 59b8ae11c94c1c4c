"""The lock of the one program that watches with an event file. The operating system releases it when the program ends,
also after a crash or a kill."""

import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.alerts.store_types import StoreError

log = logging.getLogger(__name__)

HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


def lock_path(store: Path) -> Path:
    """The lock file beside the event file ``store``. It exists once a program has written events."""
    return store.with_name(store.name + ".lock")


class StoreLock:
    """Held by the program that writes events to ``store`` and sends its alerts."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self._path = lock_path(store)
        self._file: BinaryIO | None = None

    def take(self) -> bool:
        """Acquires the lock without waiting; returns whether this program holds it. Raises StoreError if its file
        cannot be created. On a disk without locks every program gets it."""
        if self._is_current:
            return True
        self.release()  # its file was deleted
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
        except OSError as error:
            if error.errno in HELD:
                file.close()
                return False
            log.warning("%s cannot be locked: %s; let only one maskwatch use it", self._path, error.strerror or error)
        self._file = file
        return True

    @property
    def _is_current(self) -> bool:
        """Whether the lock is held and its file still has its name (it may have been deleted or replaced)."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
