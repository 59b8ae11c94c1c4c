"""What is at a path that somebody gave. One that no disk can hold, its name being too long, is as one that is not
there: ``Path.is_file`` would raise, and whoever opens it next tells of it in one line."""

import os
from pathlib import Path


def exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - see above


def is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - see above


def is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - see above
