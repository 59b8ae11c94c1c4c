"""Keys, clicks and the end of the window, without a display."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_window import FakeImageWindow, FakeMonitor, Regions, make_window, press

from app.capture.capture import SourceState, SourceStatus
from app.core.errors import DisplayError
from app.core.types import Counts, Label
from app.pipeline.camera import CameraView
from app.settings.polygons import Polygon
from app.ui.image_window import BACKSPACE, Click, Closed, Key, Resized, WindowInput

TRIANGLE: Polygon = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.8))


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
    assert window.enlarged == "camera0", "the first click enlarges"
    press(window, "7")
    assert window.enlarged == "camera0"
    press(window, "2")
    assert window.enlarged == "camera1"
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


class ChangingMonitor(FakeMonitor):
    """Cameras of which some are ``removed``, as in the web view."""

    removed: tuple[str, ...] = ()

    def views(self) -> list[CameraView]:
        return [view for view in super().views() if view.camera not in self.removed]


def test_the_enlarged_camera_stays_when_others_are_removed(tmp_path: Path, regions: Regions) -> None:
    monitor = ChangingMonitor(3)
    window = make_window(tmp_path, regions, monitor=monitor)
    press(window, "2", "e")
    for x, y in TRIANGLE:
        window.handle(Click(x, y, is_left=True))
    monitor.removed = ("camera0",)
    window.redraw()
    press(window, "e")
    assert regions.saved.keys() == {"camera1"}, "not the one that has its place now"
    press(window, "t")
    assert regions.turned == ["camera1"]


def test_regions_of_a_camera_that_is_removed_meanwhile_are_not_saved_for_another(
    tmp_path: Path, regions: Regions
) -> None:
    monitor = ChangingMonitor(2)
    window = make_window(tmp_path, regions, monitor=monitor)
    press(window, "2", "e")
    for x, y in TRIANGLE:
        window.handle(Click(x, y, is_left=True))
    monitor.removed = ("camera1",)
    window.redraw()
    assert window.screen.draft is None
    assert window.screen.message == "regions not changed: camera1 is not watched any more"
    assert regions.saved == {}


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


@pytest.mark.parametrize("last", [Key(ord("q")), Key(27), Closed()])
def test_the_window_shows_frames_until_the_user_quits(tmp_path: Path, regions: Regions, last: WindowInput) -> None:
    image_window = FakeImageWindow([], [Key(ord("h"))], [last, Key(ord("s"))])
    make_window(tmp_path, regions, image_window=image_window).run(lambda _: None)
    assert len(image_window.shown) == 3
    assert image_window.sizes_px == [(480, 480), None, None], "the user may resize the window"
    assert image_window.is_closed
    assert list(tmp_path.iterdir()) == [], "what follows a quit is ignored"


def test_a_region_follows_the_frame_in_a_wide_window(tmp_path: Path, regions: Regions) -> None:
    window = make_window(tmp_path, regions)  # a square frame
    window.handle(Resized(800, 400))
    press(window, "e")
    window.handle(Click(0.25, 0.0, is_left=True))
    window.handle(Click(0.75, 1.0, is_left=True))
    assert window.screen.draft is not None
    assert window.screen.draft.corners == ((0.0, 0.0), (1.0, 1.0))


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


def test_a_camera_that_is_added_after_the_end_of_a_video_ends_its_summary(tmp_path: Path, regions: Regions) -> None:
    class Continued(FinishedMonitor):
        def take(self, timeout_s: float) -> list[Any]:
            self.finished = image_window.batches_left > 2
            return []

    image_window = FakeImageWindow([], [Key(ord("h"))], [Closed()])
    window = make_window(tmp_path, regions, image_window=image_window, monitor=Continued(SourceState.ENDED))
    window.run(lambda _: None)
    assert image_window.batches_left == 0, "the key does not end the window"
    assert (window.screen.summary, window.screen.help) == ((), True)


def test_a_camera_that_failed_closes_the_window(tmp_path: Path, regions: Regions) -> None:
    image_window = FakeImageWindow()
    monitor = FinishedMonitor(SourceState.FAILED)
    make_window(tmp_path, regions, image_window=image_window, monitor=monitor).run(lambda _: None)
    assert image_window.is_closed


def test_a_lost_window_resumes_a_paused_analysis(tmp_path: Path, regions: Regions) -> None:
    """Nobody could press the key any more."""
    monitor = FakeMonitor(1)
    image_window = FakeImageWindow([Key(ord(" "))], [], DisplayError("the window is lost"))
    with pytest.raises(DisplayError):
        make_window(tmp_path, regions, image_window=image_window, monitor=monitor).run(lambda _: None)
    assert not monitor.paused
    assert image_window.is_closed
