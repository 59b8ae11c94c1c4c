"""The window: draws the cameras when they change and handles keys and mouse. Runs in the main thread."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from app.capture.capture import SourceState
from app.core.errors import DisplayError
from app.core.types import Box, EventKind, FrameResult, Image, Label
from app.pipeline.camera import CameraView
from app.pipeline.monitor import Monitor
from app.settings.polygons import Polygon
from app.settings.view import ViewSettings
from app.ui.grid import Grid, best_grid, grid_size, window_size
from app.ui.hud import Screen, draw_camera, draw_window, render, video_box
from app.ui.image_window import BACKSPACE, ENTER, ESCAPE, Click, Closed, ImageWindow, Key, Resized, WindowInput
from app.ui.motion import Motion
from app.ui.palette import STYLES
from app.ui.region_editor import RegionDraft
from app.ui.window_saver import WindowSaver

_WAIT_S, _IDLE_WAIT_S, _PAUSED_WAIT_S = 0.008, 0.1, 0.2
"""Time between two checks for new frames, if the user does nothing: a quarter of a frame, within the first two; the
second while the image does not change, the third while the window is paused."""
_TAKEN_AT_ONCE = 4
"""Results of all cameras that may come during one wait: the queue of the monitor holds twice as many."""
_RESULT_SHARE, _DRAWN_SHARE, _LONGEST_WAIT_S = 0.6, 0.75, 0.05
"""The window draws once per frame: it waits this share of a frame for the result of a new frame, and after drawing,
before it draws a late result, or the next frame of several cameras; at most so long."""
_RESULT_WAIT_S = 0.3
"""Longest time without a check while the next result ends the wait."""
_IDLE_S = 1.0
"""The window counts as idle when the image has not changed for this long."""
_REDRAW_S = 0.9
"""Maximum interval between redraws without a new frame, so that the clock shows every second."""
_MESSAGE_S = 4.0
_SNAPSHOT_PX = 7680
"""A snapshot of one camera has the size of the frame, up to this width."""
_SPACE = 32
_OPTIONS = {ord("b"): "blur", ord("v"): "verbose", ord("h"): "help"}
"""What a key turns on and off."""
_CROSSES = "the outline crosses itself; Backspace: remove the last corner; Esc: cancel"
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
        self.screen = Screen(
            settings.max_width_px,
            blur=settings.blur,
            help=settings.keys,
            message=message,
            verbose=settings.verbose,
            large=settings.large_text,
            theme=settings.theme,
        )
        self._message_until_s = time.monotonic() + _MESSAGE_S
        self._fullscreen = settings.fullscreen
        self.enlarged: str | None = None  # a camera
        self._edited = ""  # the camera of the draft
        self._saver = WindowSaver(settings.snapshots)
        self.drawn_s = self._changed_s = self._results_per_s = self._step_s = 0.0
        self._is_due_soon = self._keeps_up = False
        self._drawn: tuple[object, ...] = ()
        self._last: Image | None = None
        self._paused_views: list[CameraView] = []
        self._motions: dict[str, Motion] = {}
        self._natural_px: tuple[int, int] | None = None
        self._alerts = 0

    @property
    def turn_s(self) -> float:
        """How long to wait for a key: longer while the window is paused or idle, or has few frames to show, and after
        a frame was drawn; until the next result is late, if it ends the wait."""
        if self.screen.paused:
            return _PAUSED_WAIT_S
        if self.waits_for_result:
            return min((1 + _RESULT_SHARE) / max(self.screen.shown_fps, 1.0), _RESULT_WAIT_S)
        now_s, wait_s = time.monotonic(), _IDLE_WAIT_S
        if self._is_due_soon:
            wait_s = 0.25 * self._step_s
        elif now_s - self._changed_s <= _IDLE_S:
            drawn_share_s = min(_DRAWN_SHARE * self._step_s, _LONGEST_WAIT_S)
            wait_s = max(0.25 / max(self.screen.shown_fps, 1.0), self.drawn_s + drawn_share_s - now_s)
        return min(max(min(wait_s, _TAKEN_AT_ONCE / max(self._results_per_s, 1.0)), _WAIT_S), _IDLE_WAIT_S)

    @property
    def waits_for_result(self) -> bool:
        """Whether nothing is to be drawn before the next result: the only camera is analysed without delay."""
        return self._keeps_up and not self._is_due_soon and self._image_window.wake is not None

    @property
    def is_recording(self) -> bool:
        return self._saver.is_recording

    @property
    def _views(self) -> Sequence[CameraView]:
        """Of the cameras that are shown: while the window is paused, as they were then."""
        return self._paused_views or self._monitor.views()

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the analysis and the display."""
        self._paused_views = self._monitor.views() if paused else []
        self.screen = replace(self.screen, paused=paused)
        self._monitor.pause(paused)

    def run(self, on_result: Callable[[FrameResult], None]) -> None:
        """Runs the window; ``on_result`` is called with every result.

        Raises DisplayError if the window is lost. The analysis then continues, also if it was paused.
        """
        try:
            if self._image_window.wake is not None:
                self._monitor.wake_with(self._image_window.wake)
            if self._fullscreen:
                self._image_window.set_fullscreen(True)
            while not self._stopped():
                for result in self._monitor.take(0.0):
                    self._alerts += sum(
                        event.kind in (EventKind.NO_MASK, EventKind.INCORRECT) for event in result.events
                    )
                    on_result(result)
                is_over = self._monitor.finished
                if is_over and not self._has_ended_normally():
                    return
                if is_over is not bool(self.screen.summary):  # new settings may add a camera after the end
                    self.screen = replace(self.screen, summary=self._summary() if is_over else ())
                self._show_next()
                inputs = self._image_window.inputs(self.turn_s, self.waits_for_result)
                is_dismissed = self.screen.summary and any(isinstance(each, Key) for each in inputs)
                if not all(map(self.handle, inputs)) or is_dismissed:
                    return
        except DisplayError:
            self.pause(False)
            raise
        finally:
            self._saver.stop()
            self._image_window.close()

    def _show_next(self) -> None:
        """Shows the next image, if any. A new window, or one with another source, gets the size of the image."""
        if not self._image_window.is_ready:
            self._keeps_up = False  # the next image is drawn late
            return
        views = self._views
        natural_px = self._natural_size(views)
        is_new = natural_px != self._natural_px and not self._fullscreen
        if is_new:
            self._natural_px = natural_px
            size_px = window_size(*natural_px, self._settings.max_width_px)
            self.screen = replace(self.screen, size_px=size_px)
        image = self.redraw(views)
        if image is not None:
            self._image_window.show(image, self.screen.size_px if is_new else None)

    def _natural_size(self, views: Sequence[CameraView]) -> tuple[int, int]:
        """Width and height in px that show the cameras without scaling, as far as they fit."""
        width_px = self._settings.max_width_px
        single = self._single_view(views)
        if single is not None:
            return video_box(single, Screen(width_px))[0]
        return grid_size(len(views), width_px, _ratio(views))

    def _has_ended_normally(self) -> bool:
        """Whether the cameras were files that were played to their ends."""
        views = self._monitor.views()
        return all(view.status.state is SourceState.ENDED and not view.is_live for view in views)

    def _summary(self) -> tuple[tuple[str, str], ...]:
        """What was seen in the videos, for the time after their end."""
        seen = [view.counts.seen for view in self._monitor.views() if view.counts is not None]
        people = sum(sum(counts.values()) for counts in seen)
        labels = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
        by_label = [(STYLES[label].word, sum(counts.get(label, 0) for counts in seen)) for label in labels]
        rows = [("People", people), *by_label, ("Alerts", self._alerts)]
        ended = "The video has ended" if len(seen) < 2 else "The videos have ended"
        return (ended, ""), *((word, str(number)) for word, number in rows), ("any key", "close")

    def redraw(self, views: Sequence[CameraView] = ()) -> Image | None:
        """The next image, or None if the display has not changed. ``views``: the current ones, if they are known."""
        now_s = time.monotonic()
        if self.screen.message and now_s > self._message_until_s:
            self.screen = replace(self.screen, message="")
        views = views or self._views
        if self.screen.draft is not None and all(view.camera != self._edited for view in views):
            self.screen = replace(self.screen, draft=None)
            self._show_message(f"regions not changed: {self._edited} is not watched any more")
        self._results_per_s = 0.0 if self.screen.paused else sum(view.analysis_fps for view in views)
        single = self._single_view(views)
        shown = views if single is None else [single]
        fps = max((view.status.fps for view in shown), default=0.0)
        self._step_s = 1.0 / fps if fps else 0.0
        frames = tuple((view.frame.index, view.frame.captured_s) if view.frame else None for view in shown)
        content = (frames, tuple(view.tracks for view in shown), self.screen, self.enlarged)
        self._is_due_soon = False
        self._keeps_up = len(views) == 1 and self._is_analysed_soon(views[0])
        if content == self._drawn:
            if now_s - self.drawn_s < _REDRAW_S:
                return None
        elif content[2:] == self._drawn[2:] and self._is_too_soon(shown, now_s, frames != self._drawn[0]):
            self._is_due_soon = True
            return None
        else:
            self._changed_s = now_s
        clock = time.strftime("%H:%M:%S") if any(view.is_live for view in views) else ""
        fps = self.screen.shown_fps
        if self.drawn_s and not self.screen.paused:
            rate = 1.0 / max(now_s - self.drawn_s, 1e-3)
            fps += 0.1 * (rate - fps) if fps else rate
        recorded_s = self._saver.recorded_s(now_s)
        self.screen = replace(self.screen, clock=clock, recorded_s=recorded_s, shown_fps=fps)
        self._drawn, self.drawn_s = (*content[:2], self.screen, self.enlarged), now_s
        self._last = self._render_views(views)
        self.record(self._last, now_s)
        return self._last

    def _is_too_soon(self, shown: Sequence[CameraView], now_s: float, is_new: bool) -> bool:
        """Whether the next frame, or the result of this one, follows so soon that drawing now would draw twice."""
        if not is_new or len(shown) != 1:
            return now_s - self.drawn_s < min(_DRAWN_SHARE * self._step_s, _LONGEST_WAIT_S)
        view = shown[0]
        if view.frame is None or view.analysed is None or not self._is_analysed_soon(view):
            return False
        is_next = view.frame.index == view.analysed.frame.index + 1
        return is_next and now_s - view.frame.captured_s < self._result_wait_s

    @property
    def _result_wait_s(self) -> float:
        """How long a new frame waits for its result."""
        return min(_RESULT_SHARE * self._step_s, _LONGEST_WAIT_S)

    def _is_analysed_soon(self, view: CameraView) -> bool:
        """Whether the analysis keeps up: it has this frame or the one before, and was fast."""
        if view.frame is None or view.analysed is None:
            return False
        is_near = view.frame.index <= view.analysed.frame.index + 1
        return is_near and view.analysed.times.total_s < self._result_wait_s

    def record(self, image: Image, now_s: float) -> None:
        """Writes one frame of the recording; a full disk ends the recording, not the window."""
        if fault := self._saver.write(image, now_s):
            self._show_message(fault)

    def _render_views(self, views: Sequence[CameraView], screen: Screen | None = None) -> Image:
        screen = screen or self.screen
        single = self._single_view(views)
        if single is not None:
            return render(single, self._screen_of(single, screen), self._motion(single))
        size_px = screen.size_px or self._natural_size(views)
        grid, alerting = self._grid(views, size_px), list[Box]()
        combined = np.full((size_px[1], size_px[0], 3), screen.chrome.backdrop, np.uint8)
        for index, view in enumerate(views):
            tile = grid.tile(index, *size_px, gap_px=max(2, size_px[1] // 240))
            own = replace(self._screen_of(view, screen), size_px=(int(tile.width), int(tile.height)))
            image, places = draw_camera(
                view,
                replace(own, clock=screen.clock if tile.y == 0 and tile.x2 >= size_px[0] else ""),
                self._motion(view),
            )
            combined[int(tile.y) : int(tile.y2), int(tile.x) : int(tile.x2)] = image
            alerting += [place.moved(tile.x, tile.y) for place in places]
        draw_window(combined, screen, alerting, grid.rows)
        return combined

    def _screen_of(self, view: CameraView, screen: Screen) -> Screen:
        regions = self._regions.regions_of(view.camera)
        return screen if regions == screen.regions else replace(screen, regions=regions)

    def _motion(self, view: CameraView) -> Motion:
        return self._motions.setdefault(view.camera, Motion())

    def _grid(self, views: Sequence[CameraView], size_px: tuple[int, int] | None = None) -> Grid:
        width_px, height_px = size_px or self.screen.size_px or self._natural_size(views)
        return best_grid(len(views), width_px, height_px, _ratio(views))

    def _single_view(self, views: Sequence[CameraView]) -> CameraView | None:
        """The camera that fills the window, or None if several are shown."""
        first = views[0] if len(views) == 1 else None
        return next((view for view in views if view.camera == self.enlarged), first)

    def handle(self, user_input: WindowInput) -> bool:
        """Handles what the user did; False means quit."""
        if isinstance(user_input, Key):
            return self._handle_key(user_input.code)
        if isinstance(user_input, Click):
            self._handle_click(user_input)
        if isinstance(user_input, Resized):
            self.screen = replace(self.screen, size_px=(user_input.width_px, user_input.height_px))
        return not isinstance(user_input, Closed)

    def _handle_key(self, key: int) -> bool:
        if self.screen.draft is not None and self._edit(key):
            return True
        if key in (ord("q"), ESCAPE):
            return False
        if key == _SPACE:
            self.pause(not self.screen.paused)
        elif option := _OPTIONS.get(key):
            changed: dict[str, Any] = {option: not getattr(self.screen, option)}
            self.screen = replace(self.screen, **changed)
        elif key == ord("f"):
            self._fullscreen = not self._fullscreen
            self._image_window.set_fullscreen(self._fullscreen)
        elif key == ord("s"):
            self._snapshot()
        elif key == ord("r") and self._last is not None:
            self._show_message(self._saver.toggle(self._last, self.screen.shown_fps))
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
        elif index < len(views := self._views):
            self.enlarged = None if index < 0 else views[index].camera

    def _start_edit(self) -> None:
        single = self._single_view(self._views)
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press e")
            return
        self._edited, draft = single.camera, RegionDraft(self._regions.regions_of(single.camera))
        self.screen = replace(self.screen, draft=draft, help=False)
        self._show_message(_EDITING, math.inf)

    def _turn(self) -> None:
        single = self._single_view(self._views)
        if single is None:
            self._show_message("enlarge a camera first (1 to 9, or click), then press t")
        else:
            self._show_message(self._regions.turn(single.camera))

    def _edit(self, key: int) -> bool:
        """Handles a key of the region editor; False if the key has its normal meaning."""
        draft = self.screen.draft
        assert draft is not None
        if key in (ENTER, ord("e")) and not draft.can_close:
            self._show_message(_CROSSES, math.inf)
        elif key == ENTER:
            self.screen = replace(self.screen, draft=draft.close())
        elif key == BACKSPACE:
            self.screen = replace(self.screen, draft=draft.undo())
        elif key == ESCAPE:
            self.screen = replace(self.screen, draft=None)
            self._show_message("regions not changed")
        elif key == ord("e"):
            self.screen = replace(self.screen, draft=None)
            self._show_message(self._regions.keep_regions(self._edited, draft.close().closed))
        else:
            return False
        return True

    def _handle_click(self, click: Click) -> None:
        """A click enlarges a camera or shows all again; in the region editor it adds a corner.

        The right button closes a region.
        """
        draft, views = self.screen.draft, self._views
        single = self._single_view(views)
        if draft is not None and single is not None:
            (width_px, height_px), area = video_box(single, self.screen)
            x, y = (click.x * width_px - area.x) / area.width, (click.y * height_px - area.y) / area.height
            if not click.is_left and not draft.can_close:
                self._show_message(_CROSSES, math.inf)
                return
            self.screen = replace(self.screen, draft=draft.click(x, y) if click.is_left else draft.close())
        elif click.is_left and len(views) > 1:
            index = None if self.enlarged is not None else self._grid(views).index_at(click.x, click.y)
            self.enlarged = None if index is None else views[index].camera

    def _show_message(self, message: str, for_s: float = _MESSAGE_S) -> None:
        self.screen = replace(self.screen, message=message)
        self._message_until_s = time.monotonic() + for_s

    def _snapshot(self) -> None:
        if self._last is None:
            return
        views = self._views
        plain = replace(self.screen, help=False, message="", max_width_px=_SNAPSHOT_PX)
        single = self._single_view(views)
        image = self._render_views(views, plain if single is None else replace(plain, size_px=None))
        self._show_message(self._saver.snapshot(image))


def _ratio(views: Sequence[CameraView]) -> float:
    """Width / height that suits most of the frames."""
    ratios = sorted(view.frame.image.shape[1] / view.frame.image.shape[0] for view in views if view.frame is not None)
    return ratios[len(ratios) // 2] if ratios else 16 / 9
