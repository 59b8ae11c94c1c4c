"""The location of assets and models: in a source tree, an installed wheel or a frozen executable."""

import sys
from functools import cache
from pathlib import Path


@cache
def root() -> Path:
    """The folder that holds ``assets/`` and ``models/``."""
    frozen = getattr(sys, "_MEIPASS", None)  # set by PyInstaller's boot loader
    if frozen:
        return Path(frozen)
    package = Path(__file__).resolve().parents[1]
    return package if (package / "assets").is_dir() else package.parent


def asset(name: str) -> Path:
    return root() / "assets" / name


def model(name: str) -> Path:
    return root() / "models" / name
