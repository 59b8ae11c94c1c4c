"""The window: draws the cameras when they change and handles keys and mouse. Runs in the main thread."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from app.capture.recorder import VideoWriter, save_image
from app.core.errors import MaskwatchError, OutputError
from app.core.types import FrameResult, Image
from app.pipeline.monitor import CameraView, Monitor
from app.settings.monitor import Polygon
from app.settings.view import ViewSettings
from app.ui.hud import Screen, draw_messages, render
from app.ui.region_editor import RegionDraft

log = logging.getLogger(__name__)

TITLE = "maskwatch"
_WAIT_MS = 8
"""Time for the toolkit between two checks for new frames, in milliseconds."""
_IDLE_WAIT_MS = 50
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


def is_window_open() -> bool:
    """Whether the window is open. On Cocoa it has no close button, and is invisible only while minimised."""
    minimum = 0 if cv2.currentUIFramework() == "COCOA" else 1
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= minimum
    except cv2.error:  # some toolkits raise an error for a closed window
        return False


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
        self, monitor: Monitor, settings: ViewSettings, stopped: Callable[[], bool], regions: RegionStore
    ) -> None:
        self._monitor = monitor
        self._regions = regions
        self._settings = settings
        self._stopped = stopped
        message = "h: hide the keys" if settings.keys else "h: help"
        self._screen = Screen(settings.max_width_px, blur=settings.blur, help=settings.keys, message=message)
        self._message_until_s = time.monotonic() + _MESSAGE_S
        self._fullscreen = settings.fullscreen
        self._enlarged: int | None = None
        self._recording: VideoWriter | None = None
        self._was_visible = False
        self._drawn_s = self._changed_s = 0.0
        self._drawn: tuple[object, ...] = ()
        self._last: Image | None = None
        self._paused_views: list[CameraView] = []

    @property
    def turn_ms(self) -> int:
        """How long to wait for a key, in milliseconds: longer while the window is paused or idle."""
        is_idle = time.monotonic() - self._changed_s > _IDLE_S
        return _IDLE_WAIT_MS if is_idle or self._screen.paused else _WAIT_MS

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the analysis and the display."""
        self._paused_views = self._monitor.views() if paused else []
        self._screen = replace(self._screen, paused=paused)
        self._monitor.pause(paused)

    def run(self, on_result: Callable[[FrameResult], None]) -> None:
        """Runs the window; ``on_result`` is called with every result."""
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.setMouseCallback(TITLE, self._on_mouse)
        size: tuple[int, ...] = ()
        try:
            if self._fullscreen:
                self._apply_fullscreen()
            while not self._monitor.finished and not self._stopped():
                for result in self._monitor.take(0.0):
                    on_result(result)
                image = self._redraw()
                if image is not None:
                    cv2.imshow(TITLE, image)
                if not self._handle(cv2.waitKey(self.turn_ms)) or self._closed():
                    return
                if image is not None and image.shape != size and not self._fullscreen:
                    size = image.shape  # first image, or the source has changed its size
                    cv2.resizeWindow(TITLE, *window_size(image.shape[1], image.shape[0], self._settings.max_width_px))
        finally:
            self._stop_recording()
            cv2.destroyAllWindows()

    def _closed(self) -> bool:
        """Whether the user closed the window: it was visible and is no longer. It may appear with a delay."""
        visible = is_window_open()
        self._was_visible = self._was_visible or visible
        return self._was_visible and not visible

    def _redraw(self) -> Image | None:
        """The next image, or None if the display has not changed."""
        now_s = time.monotonic()
        if self._screen.message and now_s > self._message_until_s:
            self._screen = replace(self._screen, message="")
        views = self._paused_views or self._monitor.views()
        frames = ((view.frame.index, view.frame.captured_s) if view.frame else None for view in views)
        content = (*frames, *(view.tracks for view in views), self._screen, self._enlarged)
        if content != self._drawn:
            self._changed_s = now_s
        elif now_s - self._drawn_s < _REDRAW_S:
            return None
        if self._drawn_s and not self._screen.paused:
            rate = 1.0 / max(now_s - self._drawn_s, 1e-3)
            fps = self._screen.shown_fps
            self._screen = replace(self._screen, shown_fps=fps + 0.1 * (rate - fps) if fps else rate)
        self._drawn, self._drawn_s = (*content[:-2], self._screen, self._enlarged), now_s
        self._last = self._render_views(views)
        self._record(self._last, now_s)
        return self._last

    def _record(self, image: Image, now_s: float) -> None:
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
            return render(single, replace(self._screen, regions=self._regions.regions_of(single.camera)))
        columns = columns_of(len(views))
        small = replace(self._screen, max_width_px=self._screen.max_width_px // columns, help=False, message="")
        tiles = (render(view, replace(small, regions=self._regions.regions_of(view.camera))) for view in views)
        combined = grid(list(tiles), columns)
        return draw_messages(combined, self._screen) if self._screen.help or self._screen.message else combined

    def _single_view(self, views: Sequence[CameraView]) -> CameraView | None:
        """The camera that fills the window, or None if several are shown."""
        if self._enlarged is not None and self._enlarged < len(views):
            return views[self._enlarged]
        return views[0] if len(views) == 1 else None

    def _handle(self, code: int) -> bool:
        """Handles a key code of ``waitKey``; False means quit."""
        if code < 0:
            return True
        key = code & 0xFF
        if self._screen.draft is not None and self._edit(key):
            return True
        if key in (ord("q"), _ESCAPE):
            return False
        if key == _SPACE:
            self.pause(not self._screen.paused)
        elif key == ord("b"):
            self._screen = replace(self._screen, blur=not self._screen.blur)
        elif key == ord("h"):
            self._screen = replace(self._screen, help=not self._screen.help)
        elif key == ord("f"):
            self._fullscreen = not self._fullscreen
            self._apply_fullscreen()
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
        if self._screen.draft is not None:
            self._show_message(_EDITING, math.inf)  # the open regions belong to this camera
        elif index < len(self._monitor.views()):
            self._enlarged = None if index < 0 else index

    def _start_edit(self) -> None:
        single = self._single_view(self._monitor.views())
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press e")
            return
        draft = RegionDraft(self._regions.regions_of(single.camera))
        self._screen = replace(self._screen, draft=draft, help=False)
        self._show_message(_EDITING, math.inf)

    def _turn(self) -> None:
        single = self._single_view(self._monitor.views())
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press t")
        else:
            self._show_message(self._regions.turn(single.camera))

    def _edit(self, key: int) -> bool:
        """Handles a key of the region editor; False if the key has its normal meaning."""
        draft = self._screen.draft
        assert draft is not None
        if key == _ENTER:
            self._screen = replace(self._screen, draft=draft.close())
        elif key == _BACKSPACE:
            self._screen = replace(self._screen, draft=draft.undo())
        elif key == _ESCAPE:
            self._screen = replace(self._screen, draft=None)
            self._show_message("regions not changed")
        elif key == ord("e"):
            single = self._single_view(self._monitor.views())
            self._screen = replace(self._screen, draft=None)
            if single is not None:
                self._show_message(self._regions.keep_regions(single.camera, draft.close().closed))
        else:
            return False
        return True

    def _on_mouse(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:  # noqa: ARG002 - signature of OpenCV
        """A click enlarges a camera or shows all again; in the region editor it adds a corner.

        The right button closes a region. Called within ``waitKey``.
        """
        if self._last is None or event not in (cv2.EVENT_LBUTTONUP, cv2.EVENT_RBUTTONUP):
            return
        height_px, width_px = self._last.shape[:2]
        draft = self._screen.draft
        if draft is not None:
            clicked = draft.click(x / width_px, y / height_px) if event == cv2.EVENT_LBUTTONUP else draft.close()
            self._screen = replace(self._screen, draft=clicked)
            return
        cameras = len(self._monitor.views())
        if event == cv2.EVENT_LBUTTONUP and cameras > 1:
            self._enlarged = None if self._enlarged is not None else tile_at(x / width_px, y / height_px, cameras)

    def _apply_fullscreen(self) -> None:
        mode = cv2.WINDOW_FULLSCREEN if self._fullscreen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(TITLE, cv2.WND_PROP_FULLSCREEN, mode)

    def _show_message(self, message: str, for_s: float = _MESSAGE_S) -> None:
        self._screen = replace(self._screen, message=message)
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
        without_text = replace(self._screen, help=False, message="")
        self._screen, previous = without_text, self._screen
        image = self._render_views(self._paused_views or self._monitor.views())
        self._screen = previous
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
            fps = min(max(self._screen.shown_fps or max_fps, min_fps), max_fps)
            self._recording = VideoWriter(path, fps, (self._last.shape[1], self._last.shape[0]), is_live=True)
            self._show_message(f"recording {path.name}")
        except (OutputError, OSError) as error:
            self._show_message(str(error))
        self._screen = replace(self._screen, recording=self._recording is not None)

    def _stop_recording(self) -> None:
        if self._recording is None:
            return
        recording, self._recording = self._recording, None
        self._screen = replace(self._screen, recording=False)
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


def open_plain_window() -> None:
    """Opens a window without key and mouse handling, for callers that draw by themselves."""
    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)


def show_image(image: Image) -> None:
    """Shows ``image`` (H, W, 3) uint8 BGR in the window immediately."""
    cv2.imshow(TITLE, image)
    cv2.waitKey(1)
