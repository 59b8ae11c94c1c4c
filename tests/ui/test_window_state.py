"""Keys, recording and full disks of the window, without a display."""

import shutil
import time
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
from fakes import plain_frame
from fakes_review import track

from app.capture.capture import SourceState, SourceStatus
from app.core.errors import DisplayError
from app.core.types import Box, Counts, Frame, FrameResult, Image, Label, StageTimes
from app.pipeline.camera import CameraView
from app.settings.polygons import Polygon
from app.settings.view import ViewSettings
from app.ui import image_window as image_window_module
from app.ui import message_box
from app.ui import window as window_module
from app.ui.grid import window_size
from app.ui.hud import Screen
from app.ui.image_window import (
    BACKSPACE,
    DOWN,
    LEFT,
    UP,
    Click,
    Closed,
    Key,
    OpenCvWindow,
    Resized,
    WindowInput,
    is_window_open,
)
from app.ui.window import Window

Usage = namedtuple("Usage", "total used free")
TRIANGLE: Polygon = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.8))


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


def test_a_snapshot_of_a_paused_camera_is_the_shown_frame(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)
    press(window, " ")
    shown = window.redraw()
    press(window, "s")
    (path,) = tmp_path.iterdir()
    assert shown is not None
    assert (cv2.imread(str(path))[120:200] == shown[120:200]).all()


def test_a_failed_snapshot_is_reported_and_leaves_no_file(
    tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(tmp_path, regions)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    press(window, "s")
    assert "No space left" in window.screen.message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_only_the_recording(tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    window = make_window(tmp_path, regions)
    press(window, "r")
    assert window.is_recording
    image = window.redraw()
    assert image is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
    for second in range(1, 5):
        window.record(image, window.drawn_s + second)
    assert not window.is_recording
    assert "disk is full" in window.screen.message
    assert window.redraw() is not None


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        ((320, 240), (640, 480)),  # small images are enlarged
        ((640, 480), (960, 720)),
        ((1280, 720), (1280, 720)),
        ((1280, 960), (960, 720)),
        ((1080, 1920), (405, 720)),
        ((4000, 500), (1280, 160)),
    ],
)
def test_the_window_fits_on_the_screen(image_size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert window_size(*image_size, 1280) == expected


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


def test_the_key_t_turns_the_camera_that_is_shown(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions, cameras=3)
    press(window, "t")
    assert regions.turned == []
    assert "enlarge a camera first" in window.screen.message
    press(window, "2")
    press(window, "t")
    assert regions.turned == ["camera1"]
    assert window.screen.message == "camera1 turned"


def test_the_number_of_a_missing_camera_is_ignored(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions, cameras=2)
    press(window, "5")
    window.handle(Click(0.01, 0.01, is_left=True))
    assert window.enlarged == 0, "the first click enlarges"
    press(window, "7")
    assert window.enlarged == 0
    press(window, "2")
    assert window.enlarged == 1
    press(window, "0")
    assert window.enlarged is None


def test_an_open_region_stays_with_its_camera(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions, cameras=2)
    press(window, "1", "e")
    assert window.screen.draft is not None
    draft = window.screen.draft
    for corner in TRIANGLE:
        draft = draft.click(*corner)
    window.screen = replace(window.screen, draft=draft)
    press(window, "2", "0", "e")
    assert regions.saved == {"camera0": (TRIANGLE,)}


def test_a_region_that_crosses_itself_is_not_saved(tmp_path: Path, regions: Regions) -> None:
    """The settings file would be rejected at the next start."""
    window = make_window(tmp_path, regions)
    press(window, "e")
    for x, y in ((0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)):
        window.handle(Click(x, y, is_left=True))
    press(window, "e")
    window.handle(Click(0.5, 0.5, is_left=False))
    assert window.screen.draft is not None
    assert "crosses itself" in window.screen.message
    window.handle(Key(BACKSPACE))
    press(window, "e")
    ((saved,),) = regions.saved.values()
    assert len(saved) == 3


@pytest.mark.parametrize(
    ("toolkit", "visible", "is_open"),
    [
        ("COCOA", 1.0, True),
        ("COCOA", 0.0, True),  # minimised
        ("COCOA", -1.0, False),
        ("COCOA", None, False),
        ("QT", 1.0, True),
        ("QT", 0.0, False),
        ("WIN32", 0.0, False),
    ],
)
def test_a_minimised_window_is_not_closed(
    monkeypatch: pytest.MonkeyPatch, toolkit: str, visible: float | None, is_open: bool
) -> None:
    def visibility(*_: object) -> float:
        if visible is None:
            raise cv2.error("NULL window")
        return visible

    monkeypatch.setattr(cv2, "currentUIFramework", lambda: toolkit)
    monkeypatch.setattr(cv2, "getWindowProperty", visibility)
    assert is_window_open() is is_open


@pytest.mark.parametrize("last", [Key(ord("q")), Key(27), Closed()])
def test_the_window_shows_frames_until_the_user_quits(tmp_path: Path, regions: Regions, last: WindowInput) -> None:
    image_window = FakeImageWindow([], [Key(ord("h"))], [last, Key(ord("s"))])
    make_window(tmp_path, regions, image_window=image_window).run(lambda _: None)
    assert len(image_window.shown) == 3
    assert image_window.sizes_px == [(480, 480), None, None], "the user may resize the window"
    assert image_window.is_closed
    assert list(tmp_path.iterdir()) == [], "what follows a quit is ignored"


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


def test_a_region_follows_the_frame_in_a_wide_window(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)  # a square frame
    window.handle(Resized(800, 400))
    press(window, "e")
    window.handle(Click(0.25, 0.0, is_left=True))
    window.handle(Click(0.75, 1.0, is_left=True))
    assert window.screen.draft is not None
    assert window.screen.draft.corners == ((0.0, 0.0), (1.0, 1.0))


def test_a_snapshot_has_the_resolution_of_the_camera(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)
    window.handle(Resized(100, 60))
    press(window, "s")
    (path,) = tmp_path.iterdir()
    assert cv2.imread(str(path)).shape == (240, 240, 3)


def test_the_length_of_a_recording_is_shown(tmp_path: Path, regions: Regions, monkeypatch: pytest.MonkeyPatch) -> None:
    window = make_window(tmp_path, regions)
    press(window, "r")
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 72)
    window.redraw()
    assert window.screen.recorded_s == 72
    press(window, "r")
    window.redraw()
    assert window.screen.recorded_s is None


def test_the_key_v_shows_details(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)
    press(window, "v")
    assert window.screen.verbose
    press(window, "v")
    assert not window.screen.verbose


class FinishedMonitor(FakeMonitor):
    """A video that has ended, or a camera that has failed."""

    finished = True

    def __init__(self, state: SourceState) -> None:
        super().__init__(1)
        self.state = state

    def views(self) -> list[CameraView]:
        counts = Counts({}, {Label.MASK: 5, Label.NO_MASK: 2})
        return [
            replace(view, status=SourceStatus("video", self.state, 0.0), is_live=False, counts=counts)
            for view in super().views()
        ]


@pytest.mark.parametrize("last", [Key(ord("x")), Key(27), Closed()])
def test_a_video_that_ended_shows_its_summary_until_a_key_is_pressed(
    tmp_path: Path, regions: Regions, last: WindowInput
) -> None:
    image_window = FakeImageWindow([], [], [Resized(800, 600)], [Click(0.5, 0.5, is_left=True)], [last], [])
    window = make_window(tmp_path, regions, image_window=image_window, monitor=FinishedMonitor(SourceState.ENDED))
    window.run(lambda _: None)
    assert image_window.inputs(0.0) == [], "only the last batch is left"
    assert dict(window.screen.summary)["People"] == "7"
    assert dict(window.screen.summary)["No mask"] == "2"
    assert image_window.is_closed


def test_a_camera_that_failed_closes_the_window(tmp_path: Path, regions: Regions) -> None:
    image_window = FakeImageWindow()
    monitor = FinishedMonitor(SourceState.FAILED)
    make_window(tmp_path, regions, image_window=image_window, monitor=monitor).run(lambda _: None)
    assert image_window.is_closed


def test_a_window_that_is_not_ready_is_not_drawn(tmp_path: Path, regions: Regions) -> None:
    image_window = FakeImageWindow([], [], [Closed()])
    image_window.is_ready = False
    make_window(tmp_path, regions, image_window=image_window).run(lambda _: None)
    assert image_window.shown == []


def test_a_lost_window_resumes_a_paused_analysis(tmp_path: Path, regions: Regions) -> None:
    """Nobody could press the key any more."""
    monitor = FakeMonitor(1)
    image_window = FakeImageWindow([Key(ord(" "))], [], DisplayError("the window is lost"))
    with pytest.raises(DisplayError):
        make_window(tmp_path, regions, image_window=image_window, monitor=monitor).run(lambda _: None)
    assert not monitor.paused
    assert image_window.is_closed


def test_a_window_that_is_not_yet_visible_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    visibility = [False, False, True, False]
    for name in ("namedWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda _ms: -1)
    monkeypatch.setattr(image_window_module, "is_window_open", lambda: visibility.pop(0))
    window = OpenCvWindow()
    assert [window.inputs(0.0) for _ in range(4)] == [[], [], [], [Closed()]]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (ord("q"), Key(ord("q"))),
        (0xFF51, Key(LEFT)),
        (0x28_0000, Key(DOWN)),
        (0xF700, Key(UP)),
        (0x10_0000 | ord("q"), Key(ord("q"))),
        (0xFFB7, Key(ord("7"))),
        (0xFF8D, Key(13)),
        (0xFFE1, None),
        (0xFFBE, None),
        (-1, None),
    ],
)
def test_keys_of_each_toolkit(monkeypatch: pytest.MonkeyPatch, raw: int, key: Key | None) -> None:
    """Shift and F1 are no letters, as the low bytes of their codes would be."""
    for name in ("namedWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda _ms: raw)
    monkeypatch.setattr(image_window_module, "is_window_open", lambda: False)
    assert OpenCvWindow().inputs(0.0) == ([] if key is None else [key])


@pytest.mark.parametrize(
    ("pressed", "answer"), [([Key(13)], "\n"), ([Key(ord("x")), Key(ord("D"))], "d"), ([Key(27)], ""), ([Closed()], "")]
)
def test_the_answer_to_a_message_box(monkeypatch: pytest.MonkeyPatch, pressed: list[WindowInput], answer: str) -> None:
    image_window = FakeImageWindow([], pressed)
    monkeypatch.setattr(message_box, "open_image_window", lambda: image_window)
    assert message_box.show_message_box("heading", ["line"], "d\n") == answer
    assert image_window.is_closed


def test_an_opencv_without_windows_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The headless wheels raise this error."""

    def not_built(*_: object) -> None:
        raise cv2.error("The function is not implemented. Rebuild the library with Windows, GTK+ 2.x or Cocoa support")

    monkeypatch.setattr(cv2, "namedWindow", not_built)
    with pytest.raises(DisplayError, match="built without windows"):
        OpenCvWindow()
