"""Live pictures: one encoding for all viewers, none without; nobody waits for a slow one; old ones look old."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from fakes_web import LIMIT_S, FakeMonitor, Running, serving, wait_until

from app.capture.capture import SourceState
from app.core.types import Image
from app.settings.web import WebSettings
from app.web import mjpeg

STREAM = "/api/v1/cameras/1/stream.mjpeg"


def decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image  # type: ignore[return-value]


class Viewer:
    """Reads a stream picture by picture."""

    def __init__(self, running: Running) -> None:
        self.socket = socket.create_connection(("127.0.0.1", running.port), timeout=LIMIT_S)
        head = f"GET {STREAM} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        self.socket.sendall(head.encode())
        self._file = self.socket.makefile("rb")
        assert b" 200 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def next(self) -> bytes:
        """The next JPEG; its closing boundary has come too."""
        length = 0
        while (line := self._file.readline()) != b"\r\n" or not length:
            assert line, "the stream ended"
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        jpeg = self._file.read(length)
        assert len(jpeg) == length
        assert self._file.readline() == b"\r\n"
        assert self._file.readline() == b"--maskwatch-picture\r\n"
        return jpeg

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def viewers(running: Running, count: int) -> Iterator[list[Viewer]]:
    found = [Viewer(running) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the frames that were encoded."""
    done: list[int] = []
    draw = mjpeg.draw

    def counted(view: object, settings: object, blur: bool) -> bytes:
        done.append(view.frame.index)  # type: ignore[attr-defined]
        return draw(view, settings, blur)  # type: ignore[arg-type]

    monkeypatch.setattr(mjpeg, "draw", counted)
    return done


def test_each_frame_is_encoded_once_for_all_viewers(tmp_path: Path, encoded: list[int]) -> None:
    with serving(tmp_path, max_fps=50) as running, viewers(running, 5) as five:
        for viewer in five:
            viewer.next()
        for number in range(1, 6):
            running.monitor.step(number)
            shown = [viewer.next() for viewer in five]
            assert len(set(shown)) == 1
        assert encoded == [0, 1, 2, 3, 4, 5]


def test_without_viewers_nothing_is_encoded_nor_asked(tmp_path: Path, encoded: list[int]) -> None:
    with serving(tmp_path, max_fps=50) as running:
        running.monitor.step(1)
        assert encoded == []
        with viewers(running, 2) as two:
            two[0].next()
        wait_until(lambda: "maskwatch_web_viewers" not in _viewing(running))
        before = len(encoded)
        for number in range(2, 8):
            running.monitor.step(number)
            running.get("/healthz")
        assert len(encoded) == before


def _viewing(running: Running) -> str:
    """The metric of viewers, where it is not 0."""
    lines = running.get("/metrics").text.splitlines()
    return "".join(line for line in lines if line.startswith("maskwatch_web_viewers{") and not line.endswith(" 0.0"))


def test_the_rate_is_bounded(tmp_path: Path, encoded: list[int]) -> None:
    """Frames come far faster than pictures may go: some are left out, and never an old one comes after a new one."""
    stop, rate_hz, began_s = threading.Event(), 10, time.monotonic()
    with serving(tmp_path, max_fps=rate_hz) as running:

        def race() -> None:
            number = 0
            while not stop.wait(0.002):
                number += 1
                running.monitor.step(number)

        racing = threading.Thread(target=race)
        racing.start()
        try:
            with viewers(running, 1) as (one,):
                for _ in range(12):
                    one.next()
                most = (time.monotonic() - began_s) * rate_hz + 3
                assert len(encoded) <= most, "of a machine that stands still, time has passed too"
        finally:
            stop.set()
            racing.join()
    gaps = [after - before for before, after in pairwise(encoded)]
    assert min(gaps) >= 1
    assert max(gaps) > 1, "frames are left out"


def test_a_stalled_viewer_holds_nobody_up_and_is_cut_off(tmp_path: Path) -> None:
    big = (1080, 1920)  # noise: far more than the system's buffers hold
    monitor = FakeMonitor()
    monitor.step(0, size=big)
    limits = {"max_fps": 50, "max_width_px": 1920, "stall_s": 8.0}  # more than the machine itself may stand still
    with serving(tmp_path, monitor, **limits) as running, viewers(running, 2) as (stalled, lively):
        stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        number, end_s = 0, time.monotonic() + LIMIT_S
        while "} 2.0" in _viewing(running) or number < 5:
            number += 1
            monitor.step(number, size=big)
            lively.next()
            assert time.monotonic() < end_s, "the stalled viewer is still there"
        assert "} 1.0" in _viewing(running)
        monitor.step(number + 1, size=big)
        lively.next()


def test_viewers_are_bounded(tmp_path: Path) -> None:
    with serving(tmp_path, max_viewers=2) as running, viewers(running, 2) as two:
        for viewer in two:
            viewer.next()
        answer = running.get(STREAM)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]


def test_the_size_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path, max_width_px=320) as running:
        running.monitor.step(1, size=(1080, 1920))
        image = decoded(running.get("/api/v1/cameras/1/picture.jpg").content)
        assert image.shape == (180, 320, 3)
        answer = running.get("/api/v1/cameras/1/picture.jpg?download=1")
        assert answer.headers["content-disposition"] == 'attachment; filename="maskwatch-camera1.jpg"'


def test_boxes_are_drawn(running: Running) -> None:
    view = running.monitor.views()[0]
    plain = mjpeg.draw(view.__class__(view.camera, view.status, True, view.frame), WebSettings(), False)
    assert (decoded(mjpeg.draw(view, WebSettings(), False)) != decoded(plain)).any()


def test_a_stale_picture_is_dark_and_says_so(running: Running) -> None:
    def light() -> float:
        return float(decoded(running.get("/api/v1/cameras/1/picture.jpg").content).mean())

    before = light()
    running.monitor.state(SourceState.STALE, "no picture for 4 s")
    assert light() < before * 0.75
    page = running.get("/").text
    assert "is-stale" in page
    assert "no picture for 4 s" in page
    assert '<span class="chip" data-field="state">Stale' in page
    camera = running.get("/api/v1/cameras/1").json()
    assert camera["is_stale"]
    assert camera["now"] == {"mask": 0, "no_mask": 0, "incorrect": 0, "unsure": 0}, "nothing is known of the present"


def test_a_change_of_state_reaches_viewers_without_a_new_frame(tmp_path: Path) -> None:
    with serving(tmp_path, max_fps=50) as running, viewers(running, 1) as (one,):
        live = decoded(one.next())
        running.monitor.state(SourceState.RECONNECTING)
        assert decoded(one.next()).mean() < live.mean()


def test_an_old_picture_is_drawn_anew_as_it_ages(running: Running) -> None:
    def picture() -> bytes:
        return running.get("/api/v1/cameras/1/picture.jpg").content

    running.monitor.step(1, size=(480, 640))
    running.monitor.change(age_s=4.6)
    running.monitor.state(SourceState.STALE)
    first = picture()
    running.monitor.change(age_s=5.4)
    assert picture() == first
    running.monitor.change(age_s=7.0)
    assert picture() != first


def test_faces_stay_blurred_also_where_the_picture_is_old_or_nobody_looked_yet() -> None:
    monitor = FakeMonitor()
    monitor.step(3, size=(240, 320))
    view = monitor.views()[0]
    box = view.tracks[0].box

    def detail(jpeg: bytes) -> float:
        part = decoded(jpeg)[int(box.y) + 8 : int(box.y2) - 8, int(box.x) + 8 : int(box.x2) - 8]
        return float(cv2.Laplacian(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())  # type: ignore[arg-type]

    settings = WebSettings()
    sharp = detail(mjpeg.draw(view, settings, False))
    assert detail(mjpeg.draw(view, settings, True)) < sharp / 5
    monitor.state(SourceState.STALE)
    stale = monitor.views()[0]
    old = detail(mjpeg.draw(stale, settings, False))
    assert detail(mjpeg.draw(stale, settings, True)) < old / 5
    monitor.state(SourceState.LIVE)
    monitor.change(counts=None, tracks=())
    assert detail(mjpeg.draw(monitor.views()[0], settings, True)) < sharp / 5


def test_no_frame_yet_is_a_picture_too(running: Running) -> None:
    running.monitor.change(frame=None, counts=None, tracks=())
    running.monitor.state(SourceState.CONNECTING)
    assert decoded(running.get("/api/v1/cameras/1/picture.jpg").content).shape == (480, 640, 3)


def test_head_asks_for_no_picture(running: Running, encoded: list[int]) -> None:
    assert httpx.head(f"{running.base}{STREAM}", timeout=LIMIT_S).status_code == 200
    assert encoded == []


def test_an_end_of_the_program_ends_the_streams(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        viewer = Viewer(running)
        with (
            closing(viewer),
            running.client() as client,
            client.stream("GET", "/api/v1/stream") as feed,
        ):
            viewer.next()
            assert feed.status_code == 200
            assert running.server.stop(LIMIT_S) == []
