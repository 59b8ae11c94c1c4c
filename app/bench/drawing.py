"""Draws as ``watch`` does: the real overlay, with or without the real window."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Protocol

from app.bench.instrumentation import StageTimers
from app.core.types import FrameResult, Image
from app.pipeline.camera import CameraView
from app.pipeline.monitor import Monitor
from app.settings.polygons import Polygon
from app.settings.view import ViewSettings
from app.ui.hud import Screen, render
from app.ui.image_window import ImageWindow, WindowInput
from app.ui.window import Window
from app.ui.window_process import Waker, open_image_window

_TAKE_S = 0.1
_TURN_S = 0.001


@dataclass(slots=True)
class DrawingStats:
    """What the screen showed: drawn images, images with a new frame, the age of each shown frame, and the time from
    capture to the first image with the result."""

    drawn: int = 0
    with_new_frame: int = 0
    ages_s: list[float] = field(default_factory=list)
    glass_s: list[float] = field(default_factory=list)


class FrameDrawer(Protocol):
    stats: DrawingStats
    image_window: ImageWindow

    def pause(self, paused: bool) -> None: ...

    def run(self, until: Callable[[], bool]) -> None:
        """Draws until ``until()`` is true or the monitor has finished."""


def make_drawer(monitor: Monitor, settings: ViewSettings, timers: StageTimers, window: bool) -> FrameDrawer:
    """Files: draws each analysed frame, as ``--output`` does. Live: draws the newest frame, as the window does."""
    if all(view.is_live for view in monitor.views()):
        return _LiveDrawer(monitor, settings, timers, window)
    return _FileDrawer(monitor, settings, timers, window)


class NoRegionStore:
    """For a window in which nobody edits regions."""

    def regions_of(self, camera: str) -> tuple[Polygon, ...]:  # noqa: ARG002 - the store's protocol
        return ()

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:  # noqa: ARG002 - the store's protocol
        return ""

    def turn(self, camera: str) -> str:  # noqa: ARG002 - the store's protocol
        return ""


class _NoImageWindow:
    """Waits as the window of this system does."""

    is_ready, cpu_s = True, 0.0

    def __init__(self) -> None:
        self._waker = Waker() if sys.platform == "linux" else None

    @property
    def wake(self) -> Callable[[], None] | None:
        return None if self._waker is None else self._waker.set

    def wait_until_open(self) -> None: ...

    def show(self, image: Image, size_px: tuple[int, int] | None = None) -> None: ...

    def set_fullscreen(self, fullscreen: bool) -> None: ...

    def hide_pointer(self) -> None: ...

    def inputs(self, timeout_s: float, until_woken: bool = False) -> list[WindowInput]:
        if self._waker is None or not until_woken:
            time.sleep(timeout_s)
        elif wait([self._waker.fd], timeout_s):
            self._waker.clear()
        return []

    def close(self) -> None: ...


class _LiveDrawer(Window):
    """The real window, measured; without ``window`` it draws at the same rate and shows no image."""

    def __init__(self, monitor: Monitor, settings: ViewSettings, timers: StageTimers, window: bool) -> None:
        self.stats = DrawingStats()
        self._until: Callable[[], bool] = lambda: False
        self.image_window = open_image_window() if window else _NoImageWindow()
        super().__init__(monitor, settings, lambda: self._until(), NoRegionStore(), self.image_window)
        self._timers = timers
        self._frames: tuple[int, ...] = ()
        self._results: dict[str, int] = {}

    def run(self, until: Callable[[], bool]) -> None:  # type: ignore[override]
        self._until = until
        super().run(lambda _: None)

    def _render_views(self, views: Sequence[CameraView], screen: Screen | None = None) -> Image:
        with self._timers.timed("draw"):
            image = super()._render_views(views, screen)
        now_s = time.monotonic()
        self.stats.drawn += 1
        frames = tuple(view.frame.index if view.frame else -1 for view in views)
        self.stats.with_new_frame += frames != self._frames
        self._frames = frames
        for view in views:
            if view.frame is not None:
                self.stats.ages_s.append(now_s - view.frame.captured_s)
            if view.analysed is not None and self._results.get(view.camera) != view.analysed.frame.index:
                self._results[view.camera] = view.analysed.frame.index
                self.stats.glass_s.append(now_s - view.analysed.frame.captured_s)
        return image


class _FileDrawer:
    """Draws every result; if drawing is slower, the analysis waits."""

    def __init__(self, monitor: Monitor, settings: ViewSettings, timers: StageTimers, window: bool) -> None:
        self.stats = DrawingStats()
        self._monitor = monitor
        self._screen = Screen(settings.max_width_px, blur=settings.blur)
        self._timers = timers
        self._window = window
        self.image_window: ImageWindow = open_image_window() if window else _NoImageWindow()
        self.pause = monitor.pause

    def run(self, until: Callable[[], bool]) -> None:
        try:
            while not self._monitor.finished and not until():
                for result in self._monitor.take(_TAKE_S):
                    self._draw(result)
        finally:
            self.image_window.close()

    def _draw(self, result: FrameResult) -> None:
        view = next(view for view in self._monitor.views() if view.camera == result.frame.camera)
        shown = replace(
            view,
            frame=result.frame,
            tracks=result.tracks,
            counts=result.counts,
            alerts=result.alerts,
            times=result.times,
            analysed=result,
        )
        with self._timers.timed("draw"):
            image = render(shown, self._screen)
        if self._window:
            with self._timers.timed("show"):
                self.image_window.show(image)
                self.image_window.inputs(_TURN_S)
                while not self.image_window.is_ready:
                    self.image_window.inputs(_TURN_S)
        age_s = time.monotonic() - result.frame.captured_s
        self.stats.drawn += 1
        self.stats.with_new_frame += 1
        self.stats.ages_s.append(age_s)
        self.stats.glass_s.append(age_s)
