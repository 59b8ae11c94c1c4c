"""Live sources that need patience: key frames far apart, rejected logins, and addresses that turn out to be videos."""

import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_http import http_camera, paced
from fakes_video import LIMIT_S, FakeSource, frame, transport_stream, wait_until
from fixtures_threads import no_video_thread_survives  # noqa: F401

from app.capture.capture import Capture, SourceState
from app.capture.paced_reader import PacedReader
from app.capture.slot import Slot
from app.capture.source import make_source
from app.core.errors import LoginError, RetryLaterError
from app.core.types import Frame
from app.settings.source import SourceSettings


def test_packets_without_a_key_frame_are_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    body = transport_stream(150, 75)
    start = len(body) // 10 // 188 * 188  # the viewer comes in between two key frames
    rate = len(body) / 3  # the next one comes after about 1.2 s
    settings = SourceSettings(uri="http://127.0.0.1/x", read_timeout_s=0.4, open_timeout_s=1, reconnect_s=(30,))
    with http_camera(lambda request: paced(request, body[start:], rate)) as camera:
        settings = settings.model_copy(update={"uri": camera.url("/cam.ts")})
        slot: Slot[Frame] = Slot()
        capture = Capture(make_source(settings), settings, [slot])
        capture.start()
        try:
            wait_until(lambda: "waiting for a key frame" in capture.status.last_error, "it waits")
            assert capture.status.state is SourceState.CONNECTING
            assert capture.status.wait_s > 60
            wait_until(lambda: capture.status.state is SourceState.LIVE, "the key frame has come")
            assert capture.status.wait_s == 0
            assert capture.error is None
            assert capture.status.reconnects == 0
        finally:
            capture.stop()
            assert capture.join(LIMIT_S)
    assert [record.message for record in caplog.records if "key frame" in record.message] == [
        "127.0.0.1: waiting for a key frame; set a shorter key frame (I-frame) interval in the camera"
    ]


def test_a_stream_without_any_key_frame_is_lost_after_its_time_limit() -> None:
    body = transport_stream(150, 1000)
    start = len(body) // 10 // 188 * 188
    values: dict[str, Any] = {"read_timeout_s": 0.3, "key_frame_timeout_s": 0.6, "open_timeout_s": 1}
    with http_camera(lambda request: paced(request, body[start:], len(body) / 4)) as camera:
        source = make_source(SourceSettings(uri=camera.url("/cam.ts"), **values))
        with pytest.raises(Exception, match=r"packets arrive, but no key frame within 0\.6 s"):
            next(source.frames(threading.Event()))


@pytest.mark.parametrize("error", [LoginError("login", 600.0), RetryLaterError("busy", 120.0)])
def test_a_source_that_must_wait_is_not_asked_before(error: RetryLaterError) -> None:
    source = FakeSource([error], [frame(0)])
    settings = SourceSettings(uri="rtsp://camera/x", reconnect_s=(0.01,))
    capture = Capture(source, settings, [Slot()])
    capture.start()
    wait_until(lambda: capture.status.state is SourceState.RECONNECTING, "the first attempt has failed")
    assert capture.status.wait_s == error.wait_s
    assert not capture.join(0.3)
    assert source.opened == 1
    capture.stop()
    assert capture.join(LIMIT_S)


def test_an_address_that_is_a_video_ends_and_loses_no_frame() -> None:
    body = transport_stream(50, 10)
    with http_camera(lambda request: request.send(body)) as camera:
        settings = SourceSettings(uri=camera.url("/clip.ts"), stale_after_s=0.01, pace="fast")
        source = make_source(settings)
        slot: Slot[Frame] = Slot(lambda: not source.is_live)
        states: list[SourceState] = []
        capture = Capture(source, settings, [slot], lambda status: states.append(status.state))
        capture.start()
        frames = 0
        while not slot.closed or frames < 50:
            if slot.get(LIMIT_S) is not None:
                frames += 1
                time.sleep(0.001)  # slower than the decoder
            if frames == 50:
                break
        assert capture.join(LIMIT_S)
    assert frames == 50
    assert capture.error is None
    assert capture.status.state is SourceState.ENDED
    assert states == [SourceState.CONNECTING, SourceState.LIVE, SourceState.ENDED]


class Stamped:
    """A reader whose images have the given time stamps and arrive at once."""

    def __init__(self, stamps_s: list[float], brightness: int = 0) -> None:
        self._stamps = iter(stamps_s)
        self._now_s = float("nan")
        self._brightness = brightness

    def read(self) -> tuple[bool, Any]:
        self._now_s = next(self._stamps, float("nan"))
        return (False, None) if np.isnan(self._now_s) else (True, np.full((4, 4, 3), self._brightness, np.uint8))

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        return self._now_s * 1000 if propId == cv2.CAP_PROP_POS_MSEC else 0.0

    def release(self) -> None:
        pass


def test_what_arrives_faster_than_real_time_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("app.capture.paced_reader.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("app.capture.paced_reader.time.sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    video = PacedReader(Stamped([i / 10 for i in range(300)]))
    while video.read()[0]:
        pass
    assert clock[0] - 100 == pytest.approx(29.9 - 2.0, abs=0.2)
    assert video.is_like_video
    burst = PacedReader(Stamped([i / 10 for i in range(20)]))
    before_s = clock[0]
    while burst.read()[0]:
        pass
    assert clock[0] == before_s, "what a camera has buffered is not held back"
    assert not burst.is_like_video
    jump = PacedReader(Stamped([0.0, 3600.0, 3600.1]))
    while jump.read()[0]:
        pass
    assert clock[0] == before_s
    assert not jump.is_like_video


def test_a_video_of_unknown_length_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends as a video because the second connection shows the same first image; a camera never does."""
    monkeypatch.setattr("app.capture.paced_reader._LEAD_S", 0.1)
    body = transport_stream(40, 10)
    with http_camera(lambda request: request.send(body, Content_Length=None)) as camera:
        settings = SourceSettings(uri=camera.url("/clip.ts"), reconnect_s=(0.01,))
        source = make_source(settings)
        capture = Capture(source, settings, [Slot()])
        capture.start()
        assert capture.join(LIMIT_S)
        assert len(camera.requests) >= 2
    assert capture.error is None
    assert capture.status.state is SourceState.ENDED
    assert not source.is_live
