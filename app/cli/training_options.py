"""Helpers of the training commands."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from app.core.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from app.vision.yunet_detector import YuNetDetector


def landmark_detector(threads: int = 2) -> "YuNetDetector":
    """The bundled float32 detector. Its landmarks place rendered masks; speed does not matter for training."""
    from app.core import resources
    from app.vision.yunet_detector import BUNDLED, YuNetDetector

    return YuNetDetector(resources.model(BUNDLED["float32"]), score=0.5, threads=threads)


@contextmanager
def resumable(console: "Console") -> Iterator[None]:
    """After Ctrl-C, prints that the same command resumes the run. Only the current epoch is lost."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; run the same command to resume after the last complete epoch")
        raise


def deadline_s(minutes: float | None) -> float:
    return time.monotonic() + 60 * minutes if minutes else float("inf")


def need(package: str, use: str) -> None:
    """Raises SettingsError if an optional package is not installed."""
    if find_spec(package) is None:
        raise SettingsError(f"{use} needs {package}: pip install 'maskwatch[train]'")
