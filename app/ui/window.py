"""The window: draws the cameras when they change and handles keys and mouse. Runs in the main thread."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from app.capture.recorder import VideoWriter, save_image
from app.core.errors import DisplayError, MaskwatchError, OutputError
from app.core.types import FrameResult, Image
from app.pipeline.monitor import CameraView, Monitor
from app.settings.monitor import Polygon
from app.settings.view import ViewSettings
from app.ui.hud import Screen, draw_messages, render
from app.ui.image_window import Click, Closed, ImageWindow, Key, WindowInput
from app.ui.region_editor import RegionDraft

log = logging.getLogger(__name__)

_WAIT_S = 0.008
"""Time between two checks for new frames, if the user does nothing."""
_IDLE_WAIT_S = 0.05
"""The same while the image does not change."""
_IDLE_S = 1.0
"""The window counts as idle when the image has not changed for this long."""
_REDRAW_S = 0.25
"""Maximum interval between redraws, which update frame age and state without a new frame."""
_MESSAGE_S = 4.0
_RECORD_FPS = 10.0, 25.0
"""Limits of the frame rate of a recording, which follows the redraw rate of the window."""
_ESCAPE, _SPACE, _ENTER, _BACKSPACE = 27, 32, 13, 8
_EDITING = "click corners; Enter: close region; Backspace: undo; e: save; Esc: cancel"


class RegionStore(Protocol):
    """Reads and saves the alert regions and the rotation of each camera."""

    def regions_of(self, camera: str) -> tuple[Polygon, ...]: ...

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        """Applies and saves ``regions``; returns a message for the user."""

    def turn(self, camera: str) -> str:
        """Rotates the camera by another quarter clockwise, and saves it; returns a message for the user."""


class Window:
    """Shows all cameras until the monitor ends, the user closes the window, or ``stopped`` returns True."""

    def __init__(
        self,
        monitor: Monitor,
        settings: ViewSettings,
        stopped: Callable[[], bool],
        regions: RegionStore,
        image_window: ImageWindow,
    ) -> None:
        self._monitor = monitor
        self._regions = regions
        self._settings = settings
        self._stopped = stopped
        self._image_window = image_window
        message = "h: hide the keys" if settings.keys else "h: help"
        self.screen = Screen(settings.max_width_px, blur=settings.blur, help=settings.keys, message=message)
        self._message_until_s = time.monotonic() + _MESSAGE_S
        self._fullscreen = settings.fullscreen
        self.enlarged: int | None = None
        self._recording: VideoWriter | None = None
        self.drawn_s = self._changed_s = 0.0
        self._drawn: tuple[object, ...] = ()
        self._last: Image | None = None
        self._paused_views: list[CameraView] = []

    @property
    def turn_s(self) -> float:
        """How long to wait for a key: longer while the window is paused or idle."""
        is_idle = time.monotonic() - self._changed_s > _IDLE_S
        return _IDLE_WAIT_S if is_idle or self.screen.paused else _WAIT_S

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the analysis and the display."""
        self._paused_views = self._monitor.views() if paused else []
        self.screen = replace(self.screen, paused=paused)
        self._monitor.pause(paused)

    def run(self, on_result: Callable[[FrameResult], None]) -> None:
        """Runs the window; ``on_result`` is called with every result.

        Raises DisplayError if the window is lost. The analysis then continues, also if it was paused.
        """
        shape: tuple[int, ...] = ()
        try:
            if self._fullscreen:
                self._image_window.set_fullscreen(True)
            while not self._monitor.finished and not self._stopped():
                for result in self._monitor.take(0.0):
                    on_result(result)
                image = self.redraw() if self._image_window.is_ready else None
                if image is not None:
                    is_resized = image.shape != shape and not self._fullscreen  # the first, or the source has changed
                    max_px = self._settings.max_width_px
                    size_px = window_size(image.shape[1], image.shape[0], max_px) if is_resized else None
                    shape = image.shape if is_resized else shape
                    self._image_window.show(image, size_px)
                if not all(map(self.handle, self._image_window.inputs(self.turn_s))):
                    return
        except DisplayError:
            self.pause(False)
            raise
        finally:
            self._stop_recording()
            self._image_window.close()

    def redraw(self) -> Image | None:
        """The next image, or None if the display has not changed."""
        now_s = time.monotonic()
        if self.screen.message and now_s > self._message_until_s:
            self.screen = replace(self.screen, message="")
        views = self._paused_views or self._monitor.views()
        frames = ((view.frame.index, view.frame.captured_s) if view.frame else None for view in views)
        content = (*frames, *(view.tracks for view in views), self.screen, self.enlarged)
        if content != self._drawn:
            self._changed_s = now_s
        elif now_s - self.drawn_s < _REDRAW_S:
            return None
        if self.drawn_s and not self.screen.paused:
            rate = 1.0 / max(now_s - self.drawn_s, 1e-3)
            fps = self.screen.shown_fps
            self.screen = replace(self.screen, shown_fps=fps + 0.1 * (rate - fps) if fps else rate)
        self._drawn, self.drawn_s = (*content[:-2], self.screen, self.enlarged), now_s
        self._last = self._render_views(views)
        self.record(self._last, now_s)
        return self._last

    def record(self, image: Image, now_s: float) -> None:
        """Writes one frame of the recording; a full disk ends the recording, not the window."""
        if self._recording is None:
            return
        try:
            self._recording.write(image, now_s)
        except OutputError as error:
            self._stop_recording()
            self._show_message(str(error))
            log.error("%s", error)

    def _render_views(self, views: Sequence[CameraView]) -> Image:
        single = self._single_view(views)
        if single is not None:
            return render(single, replace(self.screen, regions=self._regions.regions_of(single.camera)))
        columns = columns_of(len(views))
        small = replace(self.screen, max_width_px=self.screen.max_width_px // columns, help=False, message="")
        tiles = (render(view, replace(small, regions=self._regions.regions_of(view.camera))) for view in views)
        combined = grid(list(tiles), columns)
        return draw_messages(combined, self.screen) if self.screen.help or self.screen.message else combined

    def _single_view(self, views: Sequence[CameraView]) -> CameraView | None:
        """The camera that fills the window, or None if several are shown."""
        if self.enlarged is not None and self.enlarged < len(views):
            return views[self.enlarged]
        return views[0] if len(views) == 1 else None

    def handle(self, user_input: WindowInput) -> bool:
        """Handles what the user did; False means quit."""
        if isinstance(user_input, Key):
            return self._handle_key(user_input.code)
        if isinstance(user_input, Click):
            self._handle_click(user_input)
        return not isinstance(user_input, Closed)

    def _handle_key(self, key: int) -> bool:
        if self.screen.draft is not None and self._edit(key):
            return True
        if key in (ord("q"), _ESCAPE):
            return False
        if key == _SPACE:
            self.pause(not self.screen.paused)
        elif key == ord("b"):
            self.screen = replace(self.screen, blur=not self.screen.blur)
        elif key == ord("h"):
            self.screen = replace(self.screen, help=not self.screen.help)
        elif key == ord("f"):
            self._fullscreen = not self._fullscreen
            self._image_window.set_fullscreen(self._fullscreen)
        elif key == ord("s"):
            self._snapshot()
        elif key == ord("r"):
            self._toggle_recording()
        elif key == ord("e"):
            self._start_edit()
        elif key == ord("t"):
            self._turn()
        elif ord("0") <= key <= ord("9"):
            self._enlarge(key - ord("1"))
        return True

    def _enlarge(self, index: int) -> None:
        """Shows only camera ``index``, or all if it is negative; ignores an index without a camera."""
        if self.screen.draft is not None:
            self._show_message(_EDITING, math.inf)  # the open regions belong to this camera
        elif index < len(self._monitor.views()):
            self.enlarged = None if index < 0 else index

    def _start_edit(self) -> None:
        single = self._single_view(self._monitor.views())
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press e")
            return
        draft = RegionDraft(self._regions.regions_of(single.camera))
        self.screen = replace(self.screen, draft=draft, help=False)
        self._show_message(_EDITING, math.inf)

    def _turn(self) -> None:
        single = self._single_view(self._monitor.views())
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press t")
        else:
            self._show_message(self._regions.turn(single.camera))

    def _edit(self, key: int) -> bool:
        """Handles a key of the region editor; False if the key has its normal meaning."""
        draft = self.screen.draft
        assert draft is not None
        if key == _ENTER:
            self.screen = replace(self.screen, draft=draft.close())
        elif key == _BACKSPACE:
            self.screen = replace(self.screen, draft=draft.undo())
        elif key == _ESCAPE:
            self.screen = replace(self.screen, draft=None)
            self._show_message("regions not changed")
        elif key == ord("e"):
            single = self._single_view(self._monitor.views())
            self.screen = replace(self.screen, draft=None)
            if single is not None:
                self._show_message(self._regions.keep_regions(single.camera, draft.close().closed))
        else:
            return False
        return True

    def _handle_click(self, click: Click) -> None:
        """A click enlarges a camera or shows all again; in the region editor it adds a corner.

        The right button closes a region.
        """
        draft = self.screen.draft
        if draft is not None:
            self.screen = replace(self.screen, draft=draft.click(click.x, click.y) if click.is_left else draft.close())
            return
        cameras = len(self._monitor.views())
        if click.is_left and cameras > 1:
            self.enlarged = None if self.enlarged is not None else tile_at(click.x, click.y, cameras)

    def _show_message(self, message: str, for_s: float = _MESSAGE_S) -> None:
        self.screen = replace(self.screen, message=message)
        self._message_until_s = time.monotonic() + for_s

    def _path(self, suffix: str) -> Path:
        self._settings.snapshots.mkdir(parents=True, exist_ok=True)
        stem = time.strftime("maskwatch-%Y%m%d-%H%M%S")
        path = self._settings.snapshots / f"{stem}{suffix}"
        serial = 1
        while path.exists():
            serial += 1
            path = path.with_name(f"{stem}-{serial}{suffix}")
        return path

    def _snapshot(self) -> None:
        if self._last is None:
            return
        without_text = replace(self.screen, help=False, message="")
        self.screen, previous = without_text, self.screen
        image = self._render_views(self._paused_views or self._monitor.views())
        self.screen = previous
        try:
            path = self._path(".png")
            save_image(image, path)
            self._show_message(f"saved {path.name}")
        except (OutputError, OSError) as error:
            self._show_message(f"cannot save snapshot: {error}")

    def _toggle_recording(self) -> None:
        if self._recording is not None:
            self._stop_recording()
            return
        if self._last is None:
            return
        try:
            path = self._path(".mp4")
            min_fps, max_fps = _RECORD_FPS
            fps = min(max(self.screen.shown_fps or max_fps, min_fps), max_fps)
            self._recording = VideoWriter(path, fps, (self._last.shape[1], self._last.shape[0]), is_live=True)
            self._show_message(f"recording {path.name}")
        except (OutputError, OSError) as error:
            self._show_message(str(error))
        self.screen = replace(self.screen, recording=self._recording is not None)

    def _stop_recording(self) -> None:
        if self._recording is None:
            return
        recording, self._recording = self._recording, None
        self.screen = replace(self.screen, recording=False)
        try:
            recording.close()
            self._show_message("recording saved")
        except MaskwatchError as error:
            self._show_message(str(error))
            log.error("%s", error)


def window_size(width_px: int, height_px: int, max_width_px: int) -> tuple[int, int]:
    """Window size (width, height) in pixels that fits a 16:9 screen of ``max_width_px``, with the aspect ratio kept.

    OpenCV does not report the screen size.
    """
    factor = min(1.0, max_width_px * 9 / 16 / height_px)
    return max(1, round(width_px * factor)), max(1, round(height_px * factor))


def columns_of(cameras: int) -> int:
    return math.ceil(math.sqrt(cameras))


def tile_at(x: float, y: float, cameras: int) -> int | None:
    """Index of the camera at (x, y), from 0 to 1 of the grid size; None outside all tiles."""
    columns = columns_of(cameras)
    rows = math.ceil(cameras / columns)
    if not (0 <= x < 1 and 0 <= y < 1):
        return None
    index = int(y * rows) * columns + int(x * columns)
    return index if index < cameras else None


def grid(images: Sequence[Image], columns: int) -> Image:
    """One image (H, W, 3) uint8 BGR with ``images`` centred in equal tiles."""
    tile_w, tile_h = max(i.shape[1] for i in images), max(i.shape[0] for i in images)
    rows = math.ceil(len(images) / columns)
    combined = np.full((rows * tile_h, columns * tile_w, 3), 24, np.uint8)
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        y = index // columns * tile_h + (tile_h - height) // 2
        x = index % columns * tile_w + (tile_w - width) // 2
        combined[y : y + height, x : x + width] = image
    return combined
