"""A fake monitor and a fake window, for tests without a display."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import plain_frame

from app.capture.capture import SourceState, SourceStatus
from app.core.errors import DisplayError
from app.core.types import Image
from app.pipeline.camera import CameraView
from app.settings.polygons import Polygon
from app.settings.view import ViewSettings
from app.ui.image_window import Key, WindowInput
from app.ui.window import Window


class FakeMonitor:
    """Live cameras that return a new frame in another grey at each call."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.calls = 0

    def views(self) -> list[CameraView]:
        self.calls += 1
        frame = plain_frame(self.calls, colour=40 + 20 * self.calls % 200, size=240)
        names = [f"camera{i}" for i in range(self.count)]
        return [CameraView(name, SourceStatus(name, SourceState.LIVE, 0.0), True, frame) for name in names]

    finished = False
    paused = False

    def take(self, timeout_s: float) -> list[Any]:
        return []

    def pause(self, paused: bool) -> None:
        self.paused = paused


class FakeImageWindow:
    """Keeps what is shown; each call of ``inputs`` returns the next batch, or raises it if it is an error."""

    cpu_s = 0.0
    is_ready = True
    wake: Callable[[], None] | None = None

    def __init__(self, *batches: list[WindowInput] | DisplayError) -> None:
        self._batches = list(batches)
        self.shown: list[Image] = []
        self.sizes_px: list[tuple[int, int] | None] = []
        self.is_closed = False

    def wait_until_open(self) -> None: ...

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None:
        self.shown.append(image)
        self.sizes_px.append(size_px)

    def set_fullscreen(self, fullscreen: bool) -> None: ...

    def hide_pointer(self) -> None:
        self.has_pointer = False

    def inputs(self, timeout_s: float, until_woken: bool = False) -> list[WindowInput]:
        batch = self._batches.pop(0)
        if isinstance(batch, DisplayError):
            raise batch
        return batch

    @property
    def batches_left(self) -> int:
        return len(self._batches)

    def close(self) -> None:
        self.is_closed = True


class Regions:
    def __init__(self) -> None:
        self.saved: dict[str, tuple[Polygon, ...]] = {}
        self.turned: list[str] = []

    def regions_of(self, camera: str) -> tuple[Polygon, ...]:
        return self.saved.get(camera, ())

    def turn(self, camera: str) -> str:
        self.turned.append(camera)
        return f"{camera} turned"

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        self.saved[camera] = regions
        return "saved"


@pytest.fixture
def regions() -> Regions:
    return Regions()


def make_window(
    folder: Path, regions: Any, cameras: int = 1, image_window: FakeImageWindow | None = None, monitor: Any = None
) -> Window:
    window = Window(
        monitor or FakeMonitor(cameras),
        ViewSettings(snapshots=folder),
        lambda: False,
        regions,
        image_window or FakeImageWindow(),
    )
    window.redraw()
    return window


def press(window: Window, *keys: str) -> None:
    for key in keys:
        assert window.handle(Key(ord(key)))
