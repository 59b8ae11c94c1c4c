"""When the window draws, and at which size."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import plain_frame
from fakes_review import track
from fakes_window import FakeImageWindow, FakeMonitor, Regions, make_window, press

from app.capture.capture import SourceState, SourceStatus
from app.core.types import Box, Counts, Frame, FrameResult, Image, StageTimes
from app.pipeline.camera import CameraView
from app.ui import window as window_module
from app.ui.hud import Screen
from app.ui.image_window import Closed, Resized


class Clock:
    """``time`` for the window; a test sets ``now_s``."""

    strftime = staticmethod(time.strftime)

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(window_module, "time", clock)
    return clock


def test_each_new_frame_is_drawn(tmp_path: Path, regions: Regions, clock: Clock) -> None:
    """Also if a frame has the same memory address as the previous one."""
    window = make_window(tmp_path, regions)
    for _ in range(50):
        clock.now_s += 0.1
        assert window.redraw() is not None


class PlayedMonitor(FakeMonitor):
    """Cameras of ``fps`` frames per second, each with a face; the result of a frame comes ``result_s`` after it."""

    def __init__(self, clock: Clock, fps: float, result_s: float, count: int = 1) -> None:
        super().__init__(count)
        self._clock, self._start_s, self._fps, self._result_s = clock, clock.now_s, fps, result_s

    def _frame(self, after_s: float) -> Frame:
        index = max(int((self._clock.now_s - self._start_s - after_s) * self._fps + 1e-6), 0)
        return replace(plain_frame(index), captured_s=self._start_s + index / self._fps)

    def views(self) -> list[CameraView]:
        frame, analysed = self._frame(0.0), self._frame(self._result_s)
        face = track(box=Box(analysed.index, 20, 40, 40))
        result = FrameResult(analysed, (face,), (), Counts({}, {}), (), (), StageTimes(total_s=self._result_s))
        status = SourceStatus("door", SourceState.LIVE, 0.0, fps=self._fps)
        view = CameraView("door", status, True, frame, tracks=(face,), analysed=result)
        return [replace(view, camera=f"camera{i}") for i in range(self.count)]


@pytest.mark.parametrize(
    ("fps", "result_s", "cameras", "draws", "longest_s"),
    [
        (25.0, 0.020, 1, 15, 0.025),  # the image waits for its result
        (25.0, 0.200, 1, 15, 0.005),  # a slow analysis does not delay the image
        (5.0, 0.020, 1, 3, 0.025),
        (25.0, 0.020, 9, 17, 0.035),  # several cameras, whose frames do not come together
    ],
)
def test_the_window_draws_once_per_frame(
    tmp_path: Path,
    regions: Regions,
    clock: Clock,
    fps: float,
    result_s: float,
    cameras: int,
    draws: int,
    longest_s: float,
) -> None:
    monitor = PlayedMonitor(clock, fps, result_s, cameras)
    window = make_window(tmp_path, regions, monitor=monitor)
    ages_s: list[float] = []
    for _ in range(120):  # 0.6 s
        clock.now_s += 0.005
        if window.redraw() is not None:
            frame = monitor.views()[0].frame
            assert frame is not None
            ages_s.append(clock.now_s - frame.captured_s)
    assert len(ages_s) == pytest.approx(draws, abs=1)
    assert max(ages_s[1:]) <= longest_s + 1e-3


@pytest.mark.parametrize("fps", [25.0, 10.0])
def test_the_window_follows_the_frames_with_few_turns(
    tmp_path: Path, regions: Regions, clock: Clock, fps: float
) -> None:
    """Also if an idle window asks as often as frames come, each time before the result of the newest one."""
    window = make_window(tmp_path, regions, monitor=PlayedMonitor(clock, fps, 0.020))
    turns = draws = 0
    while clock.now_s < 104.0:
        turns += 1
        draws += window.redraw() is not None
        clock.now_s += window.turn_s
    assert draws == pytest.approx(4 * fps, rel=0.05)
    assert turns <= 3.2 * draws


@pytest.mark.parametrize(
    ("fps", "result_s", "turns_per_draw"),
    [
        (25.0, 0.020, 1.2),  # only results wake the window
        (6.0, 0.020, 1.2),
        (25.0, 0.200, 3.2),  # a slow analysis does not: the window asks for frames
    ],
)
def test_a_result_wakes_the_window(
    tmp_path: Path, regions: Regions, clock: Clock, fps: float, result_s: float, turns_per_draw: float
) -> None:
    image_window = FakeImageWindow()
    image_window.wake = lambda: None
    monitor = PlayedMonitor(clock, fps, result_s)
    window = make_window(tmp_path, regions, image_window=image_window, monitor=monitor)
    turns = draws = 0
    while clock.now_s < 104.0:
        turns += 1
        draws += window.redraw() is not None
        until_s = clock.now_s + window.turn_s
        since_s = clock.now_s - 100.0 - result_s
        result_at_s = 100.0 + result_s + (int(since_s * fps + 1e-6) + 1) / fps
        clock.now_s = min(until_s, result_at_s) if window.waits_for_result else until_s
    assert draws == pytest.approx(4 * fps, rel=0.06)
    assert turns <= turns_per_draw * draws


def test_frames_of_hidden_cameras_are_not_drawn(tmp_path: Path, regions: Regions, clock: Clock) -> None:
    """One of nine cameras fills the window; the frames of the others come at other times."""
    parts = []
    for _ in range(9):
        parts.append(PlayedMonitor(clock, 25.0, 0.020))
        clock.now_s += 0.004
    monitor = FakeMonitor(9)
    monitor.views = lambda: [part.views()[0] for part in parts]  # type: ignore[method-assign]
    window = make_window(tmp_path, regions, monitor=monitor)
    press(window, "1")
    draws = 0
    for _ in range(120):  # 0.6 s
        clock.now_s += 0.005
        draws += window.redraw() is not None
    assert draws == pytest.approx(15, abs=2)


def test_results_are_taken_before_their_queue_is_full_whatever_is_shown(
    tmp_path: Path, regions: Regions, clock: Clock
) -> None:
    """The enlarged camera is offline; the others give more results in an idle wait than the queue of the monitor holds:
    files would wait for room, and live cameras lose results."""
    monitor = FakeMonitor(9)
    still = [replace(view, analysis_fps=25.0) for view in monitor.views()]
    monitor.views = lambda: still  # type: ignore[method-assign]
    window = make_window(tmp_path, regions, monitor=monitor)
    press(window, "1")
    for _ in range(4):
        clock.now_s += 1.0
        window.redraw()
    assert window.turn_s * 9 * 25 < 8
    press(window, " ")
    window.redraw()
    assert window.turn_s == pytest.approx(0.2), "a paused monitor gives no results"
    press(window, " ")
    still[:] = [replace(view, analysis_fps=0.0) for view in still]
    clock.now_s += 1.0
    window.redraw()
    assert window.turn_s == pytest.approx(0.1)


def test_what_the_user_does_is_drawn_at_once(tmp_path: Path, regions: Regions, clock: Clock) -> None:
    window = make_window(tmp_path, regions, monitor=PlayedMonitor(clock, 25.0, 0.020))
    assert window.redraw() is None
    press(window, "h")
    assert window.redraw() is not None


def test_several_cameras_share_one_help_and_one_message(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(tmp_path, regions, cameras=4)
    press(window, "e")  # shows a message: only one camera can be edited
    drawn: list[Screen] = []
    original = window_module.draw_window

    def draw_window(image: Image, screen: Screen, alerting: Sequence[Box], rows: int) -> None:
        drawn.append(screen)
        original(image, screen, alerting, rows)

    monkeypatch.setattr(window_module, "draw_window", draw_window)
    press(window, "h")
    shown = window.redraw()
    assert [(screen.help, screen.message.startswith("enlarge a camera first")) for screen in drawn] == [(True, True)]
    press(window, "h")
    plain = window.redraw()
    assert shown is not None
    assert plain is not None
    middle = slice(shown.shape[0] // 3, -shown.shape[0] // 3), slice(shown.shape[1] // 3, -shown.shape[1] // 3)
    assert (shown[middle] != plain[middle]).any()


@pytest.mark.parametrize("cameras", [1, 2, 6, 16])
@pytest.mark.parametrize("size_px", [(1920, 1080), (900, 700), (500, 900)])
def test_images_have_the_size_of_the_window(
    tmp_path: Path, regions: Regions, cameras: int, size_px: tuple[int, int]
) -> None:
    """So the toolkit never scales the text."""
    image_window = FakeImageWindow([Resized(*size_px)], [], [Closed()])
    make_window(tmp_path, regions, cameras=cameras, image_window=image_window).run(lambda _: None)
    assert image_window.shown[-1].shape == (size_px[1], size_px[0], 3)
    assert image_window.sizes_px[1:] == [None, None]


def test_a_window_that_is_not_ready_is_not_drawn(tmp_path: Path, regions: Regions) -> None:
    image_window = FakeImageWindow([], [], [Closed()])
    image_window.is_ready = False
    make_window(tmp_path, regions, image_window=image_window).run(lambda _: None)
    assert image_window.shown == []
