"""What is at a path that somebody gave. One that no disk can hold, its name being too long, is as one that is not
there: ``Path.is_file`` would raise, and whoever opens it next tells of it in one line."""

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
    """(device, inode) of each that is there: one file is one, also where the disk takes ``A.JPG`` for ``a.jpg``."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return found
