"""The window: what is seen, drawn as often as it changes, and the keys. Runs in the main thread."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from app.capture.recorder import VideoWriter, save_picture
from app.core.errors import MaskwatchError, OutputError
from app.core.types import FrameResult, Image
from app.pipeline.monitor import CameraView, Monitor
from app.settings.monitor import Polygon
from app.settings.view import ViewSettings
from app.ui.hud import Screen, draw_words, render
from app.ui.region_editor import RegionDraft

log = logging.getLogger(__name__)

TITLE = "maskwatch"
_WAIT_MS = 8
"""The toolkit's turn between two looks for something new."""
_STILL_WAIT_MS = 50
"""The same while the picture stands still: only keys may come, or a camera that was away."""
_STILL_S = 1.0
"""A picture that has not changed for so long stands still."""
_REDRAW_S = 0.25
"""Ages and states are drawn anew at least so often, also when no frame comes."""
_NOTE_S = 4.0
_RECORD_FPS = 10.0, 25.0
"""Rates of a recording, which is otherwise that of the window: more would be the same pictures again."""
_ESCAPE, _SPACE, _ENTER, _BACKSPACE = 27, 32, 13, 8
_EDITING = "click corners, Enter closes a region, Backspace takes back, e keeps them, Esc leaves"


def is_there() -> bool:
    """Whether the window is open. Cocoa's has no button that closes it, and is invisible only while it is minimised."""
    least = 0 if cv2.currentUIFramework() == "COCOA" else 1
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= least
    except cv2.error:  # some toolkits raise for a window that is gone
        return False


class RegionStore(Protocol):
    """Who knows the regions of each camera, and keeps new ones."""

    def regions_of(self, camera: str) -> tuple[Polygon, ...]: ...

    def keep_regions(self, camera: str, regions: tuple[Polygon, ...]) -> str:
        """Take them over at once; returns what to tell the watcher."""


class Window:
    """Shows all cameras of a monitor until it ends, a key or the mouse closes it, or ``stopped`` says so."""

    def __init__(
        self, monitor: Monitor, settings: ViewSettings, stopped: Callable[[], bool], regions: RegionStore
    ) -> None:
        self._monitor = monitor
        self._regions = regions
        self._settings = settings
        self._stopped = stopped
        note = "h: hides the keys" if settings.keys else "h: help"
        self._screen = Screen(settings.max_width_px, blur=settings.blur, help=settings.keys, note=note)
        self._note_until_s = time.monotonic() + _NOTE_S
        self._fullscreen = settings.fullscreen
        self._enlarged: int | None = None
        self._recording: VideoWriter | None = None
        self._was_visible = False
        self._drawn_s = self._moved_s = 0.0
        self._drawn: tuple[object, ...] = ()
        self._last: Image | None = None
        self._held: list[CameraView] = []
        """What is shown while paused."""

    @property
    def turn_ms(self) -> int:
        """How long to wait for a key: longer where nothing moves, be it paused or without any camera's picture."""
        still = time.monotonic() - self._moved_s > _STILL_S
        return _STILL_WAIT_MS if still or self._screen.paused else _WAIT_MS

    def pause(self, paused: bool) -> None:
        """Paused: nothing is analysed, and the picture stands still."""
        self._held = self._monitor.views() if paused else []
        self._screen = replace(self._screen, paused=paused)
        self._monitor.pause(paused)

    def run(self, take: Callable[[FrameResult], None]) -> None:
        """``take`` gets every result that passes, for counting and recording to files."""
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.setMouseCallback(TITLE, self._on_mouse)
        size: tuple[int, ...] = ()
        try:
            if self._fullscreen:
                self._apply_fullscreen()
            while not self._monitor.finished and not self._stopped():
                for result in self._monitor.take(0.0):
                    take(result)
                image = self._redraw()
                if image is not None:
                    cv2.imshow(TITLE, image)
                if not self._handle(cv2.waitKey(self.turn_ms)) or self._closed():
                    return
                if image is not None and image.shape != size and not self._fullscreen:
                    size = image.shape  # of the first picture, and after a change of the source's
                    cv2.resizeWindow(TITLE, *window_size(image.shape[1], image.shape[0], self._settings.max_width_px))
        finally:
            self._stop_recording()
            cv2.destroyAllWindows()

    def _closed(self) -> bool:
        """The mouse closed the window: it was on screen and is no longer. A busy machine takes its time to show it."""
        visible = is_there()
        self._was_visible = self._was_visible or visible
        return self._was_visible and not visible

    def _redraw(self) -> Image | None:
        """The next picture, or None while nothing new is to be seen."""
        now_s = time.monotonic()
        if self._screen.note and now_s > self._note_until_s:
            self._screen = replace(self._screen, note="")
        views = self._held or self._monitor.views()
        frames = ((view.frame.index, view.frame.captured_s) if view.frame else None for view in views)
        seen = (*frames, *(view.tracks for view in views), self._screen, self._enlarged)
        if seen != self._drawn:
            self._moved_s = now_s
        elif now_s - self._drawn_s < _REDRAW_S:
            return None
        if self._drawn_s and not self._screen.paused:
            rate = 1.0 / max(now_s - self._drawn_s, 1e-3)
            fps = self._screen.shown_fps
            self._screen = replace(self._screen, shown_fps=fps + 0.1 * (rate - fps) if fps else rate)
        self._drawn, self._drawn_s = (*seen[:-2], self._screen, self._enlarged), now_s
        self._last = self._picture(views)
        self._record(self._last, now_s)
        return self._last

    def _record(self, image: Image, now_s: float) -> None:
        """A recording that cannot go on, the disk being full, ends; the watching does not."""
        if self._recording is None:
            return
        try:
            self._recording.write(image, now_s)
        except OutputError as error:
            self._stop_recording()
            self._say(str(error))
            log.error("%s", error)

    def _picture(self, views: Sequence[CameraView]) -> Image:
        whole = self._whole(views)
        if whole is not None:
            return render(whole, replace(self._screen, regions=self._regions.regions_of(whole.camera)))
        columns = columns_of(len(views))
        small = replace(self._screen, max_width_px=self._screen.max_width_px // columns, help=False, note="")
        tiles = (render(view, replace(small, regions=self._regions.regions_of(view.camera))) for view in views)
        sheet = grid(list(tiles), columns)
        return draw_words(sheet, self._screen) if self._screen.help or self._screen.note else sheet

    def _whole(self, views: Sequence[CameraView]) -> CameraView | None:
        """The camera that has the window to itself, if one has."""
        if self._enlarged is not None and self._enlarged < len(views):
            return views[self._enlarged]
        return views[0] if len(views) == 1 else None

    def _handle(self, code: int) -> bool:
        """Obey a key; False where it means to quit."""
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
            self._begin_edit()
        elif ord("0") <= key <= ord("9"):
            self._enlarge(key - ord("1"))
        return True

    def _enlarge(self, index: int) -> None:
        """Camera ``index`` alone; all below 0. A camera that is not there changes nothing."""
        if self._screen.draft is not None:
            self._say(_EDITING, math.inf)  # the regions are this camera's
        elif index < len(self._monitor.views()):
            self._enlarged = None if index < 0 else index

    def _begin_edit(self) -> None:
        whole = self._whole(self._monitor.views())
        if whole is None:
            self._say("enlarge a camera first (1 to 9, or click), then e")
            return
        draft = RegionDraft(self._regions.regions_of(whole.camera))
        self._screen = replace(self._screen, draft=draft, help=False)
        self._say(_EDITING, math.inf)

    def _edit(self, key: int) -> bool:
        """Obey a key while regions are drawn; False where it has its usual meaning."""
        draft = self._screen.draft
        assert draft is not None
        if key == _ENTER:
            self._screen = replace(self._screen, draft=draft.close())
        elif key == _BACKSPACE:
            self._screen = replace(self._screen, draft=draft.undo())
        elif key == _ESCAPE:
            self._screen = replace(self._screen, draft=None)
            self._say("regions left as they were")
        elif key == ord("e"):
            whole = self._whole(self._monitor.views())
            self._screen = replace(self._screen, draft=None)
            if whole is not None:
                self._say(self._regions.keep_regions(whole.camera, draft.close().closed))
        else:
            return False
        return True

    def _on_mouse(self, event: int, x: int, y: int, flags: int, parameter: object) -> None:  # noqa: ARG002 - OpenCV's
        """A click enlarges the camera under it, another one shows all again; while regions are drawn, it sets a
        corner, and the right button closes the region. Called within ``waitKey``."""
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

    def _say(self, note: str, for_s: float = _NOTE_S) -> None:
        self._screen = replace(self._screen, note=note)
        self._note_until_s = time.monotonic() + for_s

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
        clean = replace(self._screen, help=False, note="")
        self._screen, kept = clean, self._screen
        picture = self._picture(self._held or self._monitor.views())
        self._screen = kept
        try:
            path = self._path(".png")
            save_picture(picture, path)
            self._say(f"saved {path.name}")
        except (OutputError, OSError) as error:
            self._say(f"no snapshot: {error}")

    def _toggle_recording(self) -> None:
        if self._recording is not None:
            self._stop_recording()
            return
        if self._last is None:
            return
        try:
            path = self._path(".mp4")
            least_fps, most_fps = _RECORD_FPS
            fps = min(max(self._screen.shown_fps or most_fps, least_fps), most_fps)
            self._recording = VideoWriter(path, fps, (self._last.shape[1], self._last.shape[0]), is_live=True)
            self._say(f"recording {path.name}")
        except (OutputError, OSError) as error:
            self._say(str(error))
        self._screen = replace(self._screen, recording=self._recording is not None)

    def _stop_recording(self) -> None:
        if self._recording is None:
            return
        recording, self._recording = self._recording, None
        self._screen = replace(self._screen, recording=False)
        try:
            recording.close()
            self._say("recording saved")
        except MaskwatchError as error:
            self._say(str(error))
            log.error("%s", error)


def window_size(width_px: int, height_px: int, max_width_px: int) -> tuple[int, int]:
    """Width and height of the window for a picture, in proportion and no higher than a screen of 16:9 that is
    ``max_width_px`` wide: the toolkit tells no screen's size, and a grid or an upright camera is high."""
    factor = min(1.0, max_width_px * 9 / 16 / height_px)
    return max(1, round(width_px * factor)), max(1, round(height_px * factor))


def columns_of(cameras: int) -> int:
    return math.ceil(math.sqrt(cameras))


def tile_at(x: float, y: float, cameras: int) -> int | None:
    """The camera whose tile is at (x, y), each 0 to 1 of the grid's width and height; None beside all tiles."""
    columns = columns_of(cameras)
    rows = math.ceil(cameras / columns)
    if not (0 <= x < 1 and 0 <= y < 1):
        return None
    index = int(y * rows) * columns + int(x * columns)
    return index if index < cameras else None


def grid(images: Sequence[Image], columns: int) -> Image:
    """Pictures of any sizes side by side in equal tiles, each kept in proportion."""
    tile_w, tile_h = max(i.shape[1] for i in images), max(i.shape[0] for i in images)
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * tile_h, columns * tile_w, 3), 24, np.uint8)
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        y = index // columns * tile_h + (tile_h - height) // 2
        x = index % columns * tile_w + (tile_w - width) // 2
        sheet[y : y + height, x : x + width] = image
    return sheet


def open_plain_window() -> None:
    """A window without keys and mouse, for whoever draws by itself."""
    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)


def show_image(image: Image) -> None:
    """``image`` ((H, W, 3) uint8 BGR) in the window, at once."""
    cv2.imshow(TITLE, image)
    cv2.waitKey(1)
