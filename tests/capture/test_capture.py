"""Captures forward frames, report states, reconnect and end, and never wait for a call that hangs."""

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fakes_video import HANG_S, LIMIT_S, FakeSource, frame, striped_image, wait_until
from fixtures_threads import no_video_thread_survives  # noqa: F401

from app.capture.capture import Capture, SourceState, SourceStatus
from app.capture.live_source import Throttle
from app.capture.process_exit import stuck_readers
from app.capture.slot import Slot, SlotClosed
from app.capture.status import image_fingerprint
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

FAST: dict[str, Any] = {
    "reconnect_s": (0.02, 0.05),
    "open_timeout_s": 120,
    "read_timeout_s": 120,
    "stale_after_s": 120,
    "pace": "fast",
}
"""Time limits that a slow machine never exceeds; tests of a time limit set their own."""


def settings(**values: Any) -> SourceSettings:
    return SourceSettings.model_validate({"uri": "rtsp://me:s3cret@camera/x", **FAST, **values})


def drain(slot: Slot[Frame]) -> list[Frame]:
    frames: list[Frame] = []
    while True:
        try:
            item = slot.get(LIMIT_S)
        except SlotClosed:
            return frames
        assert item is not None, "neither a frame nor the end of the source"
        frames.append(item)


class StatusLog:
    """Records the statuses that a capture reports."""

    def __init__(self) -> None:
        self.statuses: list[SourceStatus] = []

    def __call__(self, status: SourceStatus) -> None:
        self.statuses.append(status)

    @property
    def states(self) -> list[SourceState]:
        return [status.state for status in self.statuses]


def stop_and_join(capture: Capture) -> None:
    capture.stop()
    assert capture.join(LIMIT_S)


def test_all_frames_of_a_file_go_to_all_sinks() -> None:
    first: Slot[Frame] = Slot(waits=True)
    second: Slot[Frame] = Slot()
    log = StatusLog()
    source = FakeSource([frame(i) for i in range(50)], is_live=False)
    capture = Capture(source, settings(), [first, second], log)
    assert capture.status.state is SourceState.CONNECTING
    capture.start()
    assert [f.index for f in drain(first)] == list(range(50))
    assert capture.join(LIMIT_S)
    assert second.closed
    assert log.states == [SourceState.CONNECTING, SourceState.LIVE, SourceState.ENDED]
    assert capture.error is None
    assert capture.status.frames == 50
    assert capture.status.dropped == second.dropped
    assert source.closed == 1


def test_a_damaged_file_yields_its_frames_and_then_the_error() -> None:
    slot: Slot[Frame] = Slot(waits=True)
    error = SourceError("a.mp4 is incomplete")
    capture = Capture(FakeSource([frame(0), frame(1), error], is_live=False), settings(), [slot])
    capture.start()
    assert len(drain(slot)) == 2
    assert capture.join(LIMIT_S)
    assert capture.error is error
    assert capture.status.state is SourceState.FAILED
    assert capture.status.last_error == "a.mp4 is incomplete"


def test_a_stop_ends_a_file_whose_frames_are_not_taken() -> None:
    slot: Slot[Frame] = Slot(waits=True)
    capture = Capture(FakeSource([frame(i) for i in range(50)], is_live=False), settings(), [slot])
    capture.start()
    wait_until(lambda: slot.peek() is not None, "the first frame arrives")
    stop_and_join(capture)
    assert capture.status.state is SourceState.ENDED
    assert capture.error is None


def test_the_capture_ends_when_all_sinks_are_closed() -> None:
    slot: Slot[Frame] = Slot()
    slot.close()
    capture = Capture(FakeSource(endless()), settings(), [slot])
    capture.start()
    assert capture.join(LIMIT_S)


def endless(wait_s: float = 0.001) -> Iterator[Any]:
    i = 0
    while True:
        yield frame(i)
        yield lambda: time.sleep(wait_s)
        i += 1


def test_frames_of_a_file_come_at_their_time_and_not_faster_after_a_delay() -> None:
    slot: Slot[Frame] = Slot(waits=True)
    source = FakeSource([frame(i, i * 0.05) for i in range(10)], is_live=False)
    capture = Capture(source, settings(pace="realtime"), [slot])
    start_s = time.monotonic()
    capture.start()
    first = slot.get(LIMIT_S)
    time.sleep(0.3)  # not for synchronisation: the test needs a slow consumer
    rest = drain(slot)
    assert first is not None
    assert capture.join(LIMIT_S)
    assert [f.index for f in rest] == list(range(1, 10))
    gaps_s = [b.captured_s - a.captured_s for a, b in pairwise(rest[3:])]
    assert min(gaps_s) > 0.03
    assert rest[-1].captured_s - start_s > 0.45


@pytest.mark.parametrize("times_s", [[0.0, 0.05, 3600.0, 3600.05, 9000.0], [7200.0, 7200.05, 10_800.0, 10_800.05]])
def test_a_long_gap_in_a_file_is_not_waited_for(times_s: list[float], caplog: pytest.LogCaptureFixture) -> None:
    slot: Slot[Frame] = Slot(waits=True)
    frames = [frame(i, time_s) for i, time_s in enumerate(times_s)]
    capture = Capture(FakeSource(frames, is_live=False), settings(pace="realtime"), [slot])
    start_s = time.monotonic()
    capture.start()
    played = drain(slot)
    assert capture.join(LIMIT_S)
    assert [f.time_s for f in played] == times_s
    assert time.monotonic() - start_s < 10
    (record,) = caplog.records
    assert "no frames for 36" in record.message


def test_rare_images_are_not_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    """A folder whose images are shown for 10 s each."""
    slot: Slot[Frame] = Slot(waits=True)
    source = FakeSource([frame(i, i * 10.0) for i in range(3)], is_live=False)
    source.fps = 0.1
    capture = Capture(source, settings(pace="realtime"), [slot])
    capture.start()
    assert slot.get(LIMIT_S) is not None
    assert slot.get(0.5) is None
    stop_and_join(capture)
    assert not caplog.records


def test_a_lost_stream_is_opened_again_and_its_password_is_not_reported() -> None:
    slot: Slot[Frame] = Slot()
    log = StatusLog()
    lost = SourceError("lost rtsp://me:s3cret@camera/x")
    source = FakeSource([frame(0), lost], [SourceError("cannot open with s3cret")], endless())
    capture = Capture(source, settings(), [slot], log)
    capture.start()
    wait_until(lambda: capture.status.reconnects == 2 and capture.status.state is SourceState.LIVE, "it is live again")
    stop_and_join(capture)
    assert log.states[:2] == [SourceState.CONNECTING, SourceState.LIVE]
    assert log.states[2:5] == [SourceState.RECONNECTING, SourceState.RECONNECTING, SourceState.LIVE] or log.states[
        2:4
    ] == [SourceState.RECONNECTING, SourceState.LIVE]
    assert all("s3cret" not in status.last_error for status in log.statuses)
    assert capture.status.last_error == "cannot open with ***"
    assert source.opened == source.closed == 3
    assert capture.error is None


def test_the_error_of_a_source_is_kept_until_it_opens() -> None:
    slot: Slot[Frame] = Slot()
    opened = threading.Event()

    def wait() -> None:
        opened.wait(LIMIT_S)

    source = FakeSource([SourceError("no such camera")], [wait, *[frame(i) for i in range(3)], wait_for_stop])
    capture = Capture(source, settings(), [slot])
    capture.start()
    wait_until(lambda: capture.error is not None, "the error is available")
    assert str(capture.error) == "no such camera"
    assert capture.status.frames == 0
    opened.set()
    wait_until(lambda: capture.error is None and capture.status.frames == 3, "it has opened")
    stop_and_join(capture)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_lost_connection_keeps_no_image() -> None:
    """The garbage collector may come minutes later, and an image has megabytes."""
    images: list[weakref.ref[Any]] = []

    def connection() -> Iterator[Any]:
        yield watched(frame(0), images)
        yield SourceError("lost")

    slot: Slot[Frame] = Slot()
    capture = Capture(FakeSource(connection(), [frame(1), frame(2), wait_for_stop]), settings(), [slot])
    capture.start()
    wait_until(lambda: capture.status.frames == 3, "it is connected again")
    wait_until(lambda: images[0]() is None, "the image of the lost connection is released")
    stop_and_join(capture)


def watched(given: Frame, images: list["weakref.ref[Any]"]) -> Frame:
    images.append(weakref.ref(given.image))
    return given


def wait_for_stop() -> None:
    """A step in which a live source waits for a short time."""
    time.sleep(0.3)


def test_a_stop_ends_the_pause_before_the_next_attempt() -> None:
    capture = Capture(FakeSource(), settings(reconnect_s=(3600,)), [Slot()])
    capture.start()
    wait_until(lambda: capture.status.state is SourceState.RECONNECTING, "it waits")
    capture.stop()
    assert capture.join(LIMIT_S)


def test_pauses_grow_and_are_reset_after_a_good_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s: list[float] = []
    monkeypatch.setattr("app.capture.capture.random.uniform", lambda _low, high: high)
    bad = [SourceError("no")]
    good: list[Any] = [frame(0), lambda: time.sleep(0.03), SourceError("lost")]
    source = FakeSource(bad, bad, bad, good, bad)
    capture = Capture(source, settings(reconnect_s=(0.01, 0.02, 0.03)), [Slot()])
    wait = capture.stopping.wait

    def recorded_wait(timeout: float | None = None) -> bool:
        waits_s.append(timeout or 0)
        return wait(timeout)

    monkeypatch.setattr(capture.stopping, "wait", recorded_wait)
    capture.start()
    wait_until(lambda: len(waits_s) >= 6, "six attempts")
    stop_and_join(capture)
    assert waits_s[:6] == [0.01, 0.02, 0.03, 0.01, 0.02, 0.03]


def test_a_source_becomes_stale_even_if_its_thread_is_stuck() -> None:
    hang = threading.Event()
    log = StatusLog()
    source = FakeSource([frame(0), lambda: hang.wait(HANG_S), frame(1), lambda: hang.wait(HANG_S)], [])
    capture = Capture(source, settings(stale_after_s=0.5), [Slot()], log)
    capture.start()
    wait_until(lambda: capture.status.state is SourceState.STALE, "it is stale")
    status = capture.status
    assert status.last_frame_s is not None
    assert status.since_s == pytest.approx(status.last_frame_s + 0.5)
    wait_until(lambda: SourceState.STALE in log.states, "the listener gets the state")
    hang.set()
    wait_until(lambda: capture.status.frames == 2, "the next frame arrives")
    stop_and_join(capture)
    assert log.states[:4] == [SourceState.CONNECTING, SourceState.LIVE, SourceState.STALE, SourceState.LIVE]


def test_a_frozen_source_is_stale_and_its_frames_are_not_forwarded() -> None:
    slot: Slot[Frame] = Slot()
    thaw = threading.Event()

    def steps() -> Iterator[Any]:
        i = 0
        while True:
            now = frame(i, image=striped_image(0 if not thaw.is_set() else i))
            yield now
            yield lambda: time.sleep(0.005)
            i += 1

    capture = Capture(FakeSource(steps()), settings(frozen_after_s=0.2, reconnect_s=(60.0,)), [slot])
    capture.start()
    wait_until(lambda: capture.status.state is SourceState.STALE, "the frozen source is detected")
    frames_before = capture.status.frames
    wait_until(lambda: capture.status.frames > frames_before + 1, "the frame in progress is done")
    last, seen = slot.peek(), capture.status.frames
    wait_until(lambda: capture.status.frames > seen + 5, "frames still arrive")
    assert slot.peek() is last
    thaw.set()
    wait_until(lambda: capture.status.state is SourceState.LIVE, "a new image makes it live again")
    wait_until(lambda: slot.peek() is not last, "the frame is forwarded")
    stop_and_join(capture)


def test_a_frozen_stream_reconnects_and_is_live_only_with_a_new_image(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def steps(*numbers: int) -> Iterator[Any]:
        for i, number in enumerate(numbers):
            yield frame(i, image=striped_image(number))
            yield lambda: time.sleep(0.005)

    log, again = StatusLog(), threading.Event()
    source = FakeSource(
        *(endless_frozen() for _ in range(3)), [lambda: again.wait(LIMIT_S), *steps(*[1, 2, 3] * 100), wait_for_stop]
    )
    capture = Capture(source, settings(frozen_after_s=0.2, reconnect_s=(0.05, 0.1)), [Slot()], log)
    with caplog.at_level("WARNING", "app.capture.capture"):
        capture.start()
        wait_until(lambda: capture.status.reconnects == 3, "it reconnects three times")
        lives = log.states.count(SourceState.LIVE)
        again.set()
        wait_until(lambda: capture.status.state is SourceState.LIVE, "a new image makes it live")
        stop_and_join(capture)
    assert lives == 1
    assert sum("same image" in record.getMessage() for record in caplog.records) == 1


def test_a_frozen_stream_reconnects_after_growing_pauses() -> None:
    source = FakeSource(endless_frozen(), endless_frozen())
    capture = Capture(source, settings(frozen_after_s=0.05, reconnect_s=(0.05, 60.0)), [Slot()])
    capture.start()
    wait_until(
        lambda: capture.status.reconnects == 1 and capture.status.state is SourceState.STALE, "it has reconnected"
    )
    seen = capture.status.frames
    wait_until(lambda: capture.status.frames > seen + 200, "it is still read")
    assert capture.status.reconnects == 1
    stop_and_join(capture)


def endless_frozen() -> Iterator[Any]:
    while True:
        yield frame(0)
        yield lambda: time.sleep(0.002)


def test_a_file_is_never_frozen() -> None:
    slot: Slot[Frame] = Slot(waits=True)
    still = striped_image(0)
    source = FakeSource([frame(i, image=still) for i in range(30)], is_live=False)
    capture = Capture(source, settings(frozen_after_s=0.01), [slot])  # applies to live sources only
    capture.start()
    assert len(drain(slot)) == 30
    assert capture.join(LIMIT_S)


def test_a_hanging_device_is_abandoned_with_at_most_two_threads(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(HANG_S)

    source = FakeSource([frame(0), hang], [hang], [hang], [hang])
    capture = Capture(source, settings(open_timeout_s=0.1, read_timeout_s=0.1), [Slot()])
    capture.start()
    wait_until(lambda: "hangs in its driver" in capture.status.last_error, "it is abandoned")
    assert len(stuck_readers()) == 2
    assert source.opened == 2
    stop_and_join(capture)
    assert "no answer for" in caplog.text
    release.set()
    wait_until(lambda: not stuck_readers(), "the threads end when the driver returns")
    assert source.closed == 2


def test_a_stop_does_not_wait_for_a_hanging_call() -> None:
    release = threading.Event()
    source = FakeSource([frame(0), lambda: release.wait(HANG_S)])
    capture = Capture(source, settings(), [Slot()])
    capture.start()
    wait_until(lambda: capture.status.frames == 1, "it runs")
    capture.stop()
    assert capture.join(LIMIT_S)
    assert len(stuck_readers()) == 1, "it did not wait for the call"
    release.set()


@pytest.mark.parametrize("is_live", [True, False])
def test_an_unexpected_error_in_a_source_is_kept(is_live: bool) -> None:
    fault = ZeroDivisionError("a bug")
    slot: Slot[Frame] = Slot()
    capture = Capture(FakeSource([frame(0), fault], is_live=is_live), settings(), [slot])
    capture.start()
    assert capture.join(LIMIT_S)
    assert capture.error is fault
    assert capture.status.state is SourceState.FAILED
    assert slot.closed


def test_an_unexpected_error_in_the_listener_is_kept() -> None:
    def listener(_: SourceStatus) -> None:
        raise ZeroDivisionError

    capture = Capture(FakeSource(endless()), settings(), [Slot()], listener)
    capture.start()
    assert capture.join(LIMIT_S)
    assert isinstance(capture.error, ZeroDivisionError)


def test_the_frame_rate_is_measured() -> None:
    capture = Capture(FakeSource(endless(0.02)), settings(), [Slot()])
    capture.start()
    wait_until(lambda: capture.status.fps > 0, "there is a rate")
    assert capture.status.fps < 60
    stop_and_join(capture)
    assert capture.status.fps == 0


def test_each_reason_is_logged_once_but_not_at_the_very_first_attempt(caplog: pytest.LogCaptureFixture) -> None:
    down = [SourceError("it is down")]
    good: list[Any] = [frame(0), lambda: time.sleep(0.03), SourceError("lost it")]
    source = FakeSource(down, down, down, good, down, down, [SourceError("it burns")])
    capture = Capture(source, settings(), [Slot()])
    capture.start()
    wait_until(lambda: source.opened >= 9, "the script is over")
    stop_and_join(capture)
    logged = [record.message.partition(";")[0].removeprefix("fake: ") for record in caplog.records]
    assert logged[:4] == ["it is down", "lost it", "it is down", "it burns"]
    assert len(logged) == 5
    assert "the script is over" in logged[4]


def test_join_before_start_does_not_fail() -> None:
    assert Capture(FakeSource(), settings(), []).join(0)


@pytest.mark.parametrize("change", [lambda i: i.__setitem__((5, 17), 9), lambda i: i.__setitem__((-1, -1), 9)])
def test_small_changes_change_the_fingerprint(change: Callable[[np.ndarray], None]) -> None:
    image = striped_image(3)
    before = image_fingerprint(image)
    assert image_fingerprint(image.copy()) == before
    change(image)
    assert image_fingerprint(image) != before


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (1080, 1920)])
def test_any_size_has_a_fingerprint(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    assert image_fingerprint(image) == image_fingerprint(image.copy())


def test_skipped_images_are_neither_silence_nor_a_standstill() -> None:
    class SkippingSource(FakeSource):
        throttle = Throttle()

    def skipped() -> None:
        SkippingSource.throttle.skipped += 1
        time.sleep(0.03)

    end = threading.Event()

    def steps() -> Iterator[Any]:
        yield frame(0)
        while not end.is_set():
            yield skipped

    capture = Capture(SkippingSource(steps()), settings(stale_after_s=0.5, frozen_after_s=0.3), [Slot()])
    capture.start()
    wait_until(lambda: capture.status.frames > 1, "skipped images count")
    start_s = time.monotonic()
    while time.monotonic() - start_s < 0.7:
        assert capture.status.state is SourceState.LIVE
        time.sleep(0.02)
    assert capture.status.fps > 5
    end.set()
    stop_and_join(capture)
