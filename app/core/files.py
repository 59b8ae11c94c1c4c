"""Checks of paths that the user gave. A path whose name is too long does not exist: ``Path.is_file`` would raise,
and the code that opens the file reports the error in one line."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - see above


def is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - see above


def inodes(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """(device, inode) of each existing path: ``A.JPG`` and ``a.jpg`` count once on a case-insensitive disk."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return found
