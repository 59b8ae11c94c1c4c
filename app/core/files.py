"""Checks of paths that the user gave, and files that are written completely or not at all.

A path whose name is too long does not exist: ``Path.is_file`` would raise, and the code that opens the file reports the
error in one line.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.core.errors import OutputError


def exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - see above


def is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - see above


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The paths in ``folder`` that end with ``suffix``; none if it does not exist. Raises OSError for one that may not
    be read, which ``Path.glob`` mistakes for an empty one."""
    try:
        return [folder / name for name in os.listdir(folder) if name.endswith(suffix)]  # noqa: PTH208 - names only
    except FileNotFoundError:
        return []


def existing_parent(path: Path) -> Path:
    """The nearest folder above ``path`` that exists; the top one if none does, as on a drive that is missing."""
    parents = path.absolute().parents
    return next(filter(exists, parents), parents[-1])


def inodes(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """(device, inode) of each existing path: ``A.JPG`` and ``a.jpg`` count once on a case-insensitive disk."""
    found = set()
    for path in paths:
        with suppress(OSError, ValueError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return found


def temporary_path(path: Path) -> Path:
    """Where ``path`` is written before it is complete: a hidden file beside it with the same suffix. It is another one
    at each call: two threads may write the same file."""
    return path.with_name(f".{path.stem}.{os.getpid()}{secrets.randbelow(10**9):09}.part{path.suffix}")


@contextmanager
def output_errors(what: object, advice: str) -> Iterator[None]:
    """Raises an OSError of the block as an OutputError, which says that ``what`` cannot be written, why, and
    ``advice``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {what}: {error.strerror or error}; {advice}") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path and renames it to ``path`` when the block completes; after an exception, also Ctrl-C,
    ``path`` is unchanged.

    A symbolic link stays a link, and an existing file keeps its permissions. A pipe or a device is written directly.
    Raises OSError.
    """
    if exists(path) and not is_file(path) and not is_folder(path):
        yield path
        return
    target = Path(os.path.realpath(path))
    partial = temporary_path(target)
    try:
        if is_file(target):  # it may contain passwords: others must not read the temporary file either
            partial.touch(0o600)
        yield partial
        if is_file(target):
            shutil.copymode(target, partial)
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file with ``atomic_write``; names that are not valid Unicode are escaped. Raises OSError."""
    with atomic_write(path) as partial:
        partial.write_text(text, "utf-8", "backslashreplace")


def write_json(path: Path, tree: Any) -> None:
    """Writes a JSON file with ``atomic_write``. Raises OSError."""
    write_text(path, json.dumps(tree, indent=1) + "\n")
