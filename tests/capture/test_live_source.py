"""Live sources with a scripted reader: short faults are ignored, and a loss is always an error."""

import math
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_video import FakeReader, striped_image

from app.capture.live_source import LiveSource
from app.capture.opencv_backend import open_camera
from app.capture.source import make_source
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

EMPTY = np.zeros((0, 0, 3), np.uint8)


def read_all(steps: list[Any], count: int, **settings: Any) -> tuple[list[Frame], FakeReader]:
    """The first ``count`` frames of a live source whose reader returns ``steps``."""
    reader = FakeReader(steps)
    source = LiveSource(SourceSettings(uri="rtsp://camera/x", **settings), lambda _: reader)
    stop = threading.Event()
    frames: list[Frame] = []
    for frame in source.frames(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    assert reader.released.is_set()
    return frames, reader


def test_frames_have_an_index_and_the_time_of_the_clock() -> None:
    before_s = time.monotonic()
    frames, _ = read_all([striped_image(i) for i in range(3)], 3)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert 0 <= frames[0].time_s <= frames[1].time_s <= frames[2].time_s < 60
    assert before_s <= frames[0].captured_s <= time.monotonic()
    assert frames[0].camera == "camera"


def test_time_and_index_continue_after_a_reconnect() -> None:
    readers = iter([FakeReader([striped_image(0)]), FakeReader([striped_image(1)])])
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: next(readers))
    stop = threading.Event()
    first = next(source.frames(stop))
    second = next(source.frames(stop))
    assert (first.index, second.index) == (0, 1)
    assert second.time_s > first.time_s


@pytest.mark.parametrize(
    ("odd", "shape"),
    [
        (np.full((48, 64), 90, np.uint8), (48, 64, 3)),
        (np.full((48, 64, 1), 90, np.uint8), (48, 64, 3)),
        (np.full((48, 64), 90 * 256, np.uint16), (48, 64, 3)),
        (np.full((48, 64, 4), 90, np.uint8), (48, 64, 3)),
        (np.full((96, 128, 3), 90, np.uint8), (96, 128, 3)),
        (np.full((1, 1, 3), 90, np.uint8), (1, 1, 3)),
    ],
)
def test_unusual_images_become_bgr(odd: np.ndarray, shape: tuple[int, ...]) -> None:
    frames, _ = read_all([striped_image(0), odd, striped_image(2)], 3)
    assert frames[1].image.shape == shape
    assert frames[1].image.dtype == np.uint8
    assert frames[1].image[0, 0].tolist() == [90, 90, 90]


def test_short_faults_are_ignored() -> None:
    frames, reader = read_all([EMPTY, striped_image(0), None, None, EMPTY, EMPTY, striped_image(1)], 2)
    assert len(frames) == 2
    assert reader.reads == 7


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([striped_image(0)], "it ended or was interrupted"),
        ([striped_image(0), *[None] * 10, striped_image(1)], "it ended or was interrupted"),
        ([striped_image(0), *[EMPTY] * 10_000], "no frame for 0.2 s"),
        ([striped_image(0), cv2.error("bad\nworse")], "cannot decode"),
        ([striped_image(0), np.zeros((4, 4, 2), np.uint8)], "2 channels"),
    ],
)
def test_a_loss_is_a_one_line_error(steps: list[Any], reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read_all(steps, 2, read_timeout_s=0.2)
    assert "\n" not in str(caught.value)


def test_a_frame_after_the_time_limit_is_dropped() -> None:
    def late() -> np.ndarray:
        time.sleep(0.3)  # not for synchronisation: the test needs the delay
        return striped_image(1)

    with pytest.raises(SourceError, match=r"no frame for 0\.2 s"):
        read_all([striped_image(0), late, striped_image(2)], 3, read_timeout_s=0.2)


@pytest.mark.parametrize("missing", ["0", "/dev/video77"])
def test_a_missing_camera_is_a_one_line_error(missing: str, capfd: pytest.CaptureFixture[str]) -> None:
    source = make_source(SourceSettings(uri=missing if missing != "0" else "76"))
    with pytest.raises(SourceError, match="cannot open camera") as caught:
        next(source.frames(threading.Event()))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_requested_properties_are_set_on_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[tuple[int, float]] = []

    class Camera(FakeReader):
        def __init__(self, target: object, backend: int, parameters: list[int]) -> None:
            super().__init__([])
            assert (target, backend, parameters) == (3, cv2.CAP_ANY, [])

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def set(self, property_id: int, value: float) -> bool:
            requested.append((property_id, value))
            return False

    monkeypatch.setattr("app.capture.opencv_backend.cv2.VideoCapture", Camera)
    monkeypatch.setattr("app.capture.opencv_backend.sys.platform", "plan9")
    open_camera(SourceSettings(uri="3", width_px=1280, height_px=720, fps=30))
    assert (cv2.CAP_PROP_FRAME_WIDTH, 1280) in requested
    assert (cv2.CAP_PROP_FRAME_HEIGHT, 720) in requested
    assert (cv2.CAP_PROP_FPS, 30) in requested


def test_a_stop_during_a_fault_ends_at_once() -> None:
    stop = threading.Event()
    steps: list[np.ndarray | Callable[[], Any]] = [striped_image(0), lambda: stop.set() or EMPTY]
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: FakeReader(steps))
    assert len(list(source.frames(stop))) == 1


class StampedReader(FakeReader):
    """Returns an image for each stamp (ms); each read takes as long as given."""

    def __init__(self, stamps_ms: list[float], codec: str = "h264") -> None:
        super().__init__([striped_image(i) for i in range(len(stamps_ms))])
        self._stamps_ms, self._codec = stamps_ms, codec

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        if propId == cv2.CAP_PROP_FOURCC:
            return cv2.VideoWriter.fourcc(*self._codec)
        return self._stamps_ms[self.reads - 1] if propId == cv2.CAP_PROP_POS_MSEC else 0.0


def stamped(uri: str, stamps_ms: list[float], codec: str = "h264") -> list[Frame]:
    reader, stop = StampedReader(stamps_ms, codec), threading.Event()
    source = LiveSource(SourceSettings(uri=uri), lambda _: reader)
    frames = []
    for frame in source.frames(stop):
        frames.append(frame)
        if len(frames) == len(stamps_ms):
            stop.set()
    return frames


def test_frames_that_arrive_at_once_have_the_times_of_their_stamps() -> None:
    frames = stamped("rtsp://camera/x", [0, 40, 80, 120, 300])
    assert [frame.time_s - frames[0].time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.3])
    assert frames[-1].captured_s - frames[0].captured_s < 0.2, "without a silence, frames are not held"


def test_segments_of_hls_are_played_at_their_own_speed() -> None:
    frames = stamped("http://camera/live/index.m3u8?token=1", [0, 40, 80, 120, 160, 200])
    assert 0.1 < frames[-1].captured_s - frames[0].captured_s < 1


def test_the_invented_stamps_of_motion_jpeg_are_not_used() -> None:
    frames = stamped("http://camera/video.mjpg", [0, 4000, 8000], codec="MJPG")
    assert frames[-1].time_s < 2


def test_hls_may_be_silent_for_longer_than_other_streams() -> None:
    segments = SourceSettings(uri="https://camera/a.M3U8", read_timeout_s=5)
    assert segments.is_segmented
    assert segments.silence_s == 20
    assert SourceSettings(uri="https://camera/a.m3u8", read_timeout_s=60).silence_s == 60
    assert SourceSettings(uri="rtsp://camera/a", read_timeout_s=5).silence_s == 5


def test_wrong_stamps_are_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    stamps_ms = [i * 40.0 + 3.6e6 * (i % 2) for i in range(30)]
    frames = stamped("rtsp://camera/x", stamps_ms)
    assert frames[-1].time_s < 10
    (record,) = caplog.records
    assert record.message == "camera: its time stamps jump; the times of arrival are used instead"


class SkippingReader(StampedReader):
    """Frames, 25 per second, of which every tenth is a key frame; ``decoded`` lists those that were read."""

    def __init__(self, step_ms: float = 40.0) -> None:
        super().__init__([step_ms * i for i in range(200)])
        self.decoded: list[int] = []
        self.backlog = 0

    def read(self) -> tuple[bool, Any]:
        self.backlog = 0
        self.decoded.append(self.reads)
        return super().read()

    def grab(self) -> bool:
        self.backlog = 1 if self.reads % 10 == 0 else self.backlog + 1
        return super().read()[0]


def test_few_images_are_decoded_while_nothing_moves_or_the_analysis_is_paused() -> None:
    reader = SkippingReader()
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: reader)
    frames = source.frames(threading.Event())
    for _ in range(3):
        next(frames)
    assert reader.decoded == [0, 1, 2]
    source.throttle.is_still = True
    images = [next(frames) for _ in range(3)]
    assert reader.decoded[3:] == [7, 12, 17], "five images a second"
    assert images[2].time_s - images[0].time_s == pytest.approx(0.4), "the stream time counts skipped images"
    assert images[2].index - images[0].index == 2
    assert source.throttle.skipped == 12
    source.throttle.is_paused = True
    next(frames)
    assert reader.decoded[-1] == 51, "only after a key frame, at most one a second"
    source.throttle.is_paused = source.throttle.is_still = False
    next(frames)
    assert reader.decoded[-1] == 52
    frames.close()


@pytest.mark.parametrize("fps", [10, 12.5, 15, 20, 25, 30, 60])
def test_somebody_who_looks_gets_ten_images_a_second_of_a_still_scene(fps: float) -> None:
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: SkippingReader(1000 / fps))
    frames = source.frames(threading.Event())
    source.throttle.is_still = True
    source.throttle.shown_until_s = math.inf
    times_s = [next(frames).time_s for _ in range(21)]
    assert 10 - 1e-6 <= 20 / (times_s[-1] - times_s[0]) <= 20 + 1e-6
    frames.close()


def test_a_loss_is_noticed_while_images_are_skipped() -> None:
    reader = SkippingReader()
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: reader)
    frames = source.frames(threading.Event())
    next(frames)
    source.throttle.is_paused = True
    reader.read = lambda: (False, None)  # type: ignore[method-assign]
    reader.grab = lambda: False  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="ended or was interrupted"):
        next(frames)


@pytest.mark.parametrize("fps", [5.5, 6, 7, 9, 10, 12, 15, 24, 25, 29.97, 50])
def test_a_newcomer_in_a_still_scene_is_seen_within_a_fifth_of_a_second(fps: float) -> None:
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: SkippingReader(1000 / fps))
    frames = source.frames(threading.Event())
    next(frames)
    source.throttle.is_still = True
    times_s = [next(frames).time_s for _ in range(15)]
    steps_s = [after_s - before_s for before_s, after_s in pairwise(times_s)]
    assert max(steps_s) <= 0.202
    assert min(steps_s) > 0.1, "and no more images are read than that needs"
    frames.close()


def test_no_image_of_a_slow_camera_is_skipped_while_nothing_moves() -> None:
    """Otherwise a newcomer is seen an image later, which is a second at one image per second."""
    reader = SkippingReader(250.0)
    source = LiveSource(SourceSettings(uri="rtsp://camera/x"), lambda _: reader)
    frames = source.frames(threading.Event())
    source.throttle.is_still = True
    for _ in range(5):
        next(frames)
    assert reader.decoded == [0, 1, 2, 3, 4]
    frames.close()
