"""What the training commands have in common."""

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
    """The bundled detector: it finds faces, and its points place rendered masks. At float32, as a trainer needs no
    speed."""
    from app.core import resources
    from app.vision.yunet_detector import BUNDLED, YuNetDetector

    return YuNetDetector(resources.model(BUNDLED["float32"]), score=0.5, threads=threads)


@contextmanager
def resumable(console: "Console") -> Iterator[None]:
    """Whoever breaks a training off is told that nothing but the running epoch is lost."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on after the last whole epoch")
        raise


def deadline_s(minutes: float | None) -> float:
    return time.monotonic() + 60 * minutes if minutes else float("inf")


def need(package: str, use: str) -> None:
    """Raises SettingsError where an optional package is absent: before the work, and without a traceback."""
    if find_spec(package) is None:
        raise SettingsError(f"{use} needs {package}: pip install 'maskwatch[train]'")
