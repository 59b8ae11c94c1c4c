"""Live streams: one encoding for all viewers, none without viewers; slow viewers; stale frames."""

import gc
import re
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from fakes_web import LIMIT_S, FakeMonitor, Running, serving, wait_until

from app.capture.capture import SourceState
from app.core.types import Image
from app.web import mjpeg

STREAM = "/api/v1/cameras/1/stream.mjpeg"
SIZE = (960, 75)
"""Width and JPEG quality."""


def decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image  # type: ignore[return-value]


class Viewer:
    """Reads a stream frame by frame."""

    def __init__(self, running: Running) -> None:
        self.socket = socket.create_connection(("127.0.0.1", running.port), timeout=LIMIT_S)
        head = f"GET {STREAM} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
        self.socket.sendall(head.encode())
        self._file = self.socket.makefile("rb")
        assert b" 200 " in self._file.readline()
        while self._file.readline() != b"\r\n":
            pass

    def next(self) -> bytes:
        """The next JPEG, including its closing boundary."""
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

    def rest(self) -> bytes:
        """All until the stream ends."""
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def viewers(running: Running, count: int) -> Iterator[list[Viewer]]:
    opened = [Viewer(running) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the encoded frames."""
    indices: list[int] = []
    draw = mjpeg.draw

    def counting_draw(view: object, width_px: int, quality: int, blur: bool) -> bytes:
        indices.append(view.frame.index)  # type: ignore[attr-defined]
        return draw(view, width_px, quality, blur)  # type: ignore[arg-type]

    monkeypatch.setattr(mjpeg, "draw", counting_draw)
    return indices


def test_each_frame_is_encoded_once_for_all_viewers(tmp_path: Path, encoded: list[int]) -> None:
    with serving(tmp_path, FakeMonitor("door", "hall"), max_fps=50) as running, viewers(running, 5) as five:
        for viewer in five:
            viewer.next()
        for number in range(1, 6):
            running.monitor.step(number)
            shown = [viewer.next() for viewer in five]
            assert len(set(shown)) == 1
        assert encoded == [0, 1, 2, 3, 4, 5]
        assert running.monitor.shown == {0}, "only this camera must not skip images"


def test_without_viewers_no_frame_is_encoded(tmp_path: Path, encoded: list[int]) -> None:
    with serving(tmp_path, max_fps=50) as running:
        running.monitor.step(1)
        assert encoded == []
        with viewers(running, 2) as two:
            two[0].next()
        wait_until(lambda: "maskwatch_web_viewers" not in _viewer_metric(running))
        before = len(encoded)
        for number in range(2, 8):
            running.monitor.step(number)
            running.get("/healthz")
        assert len(encoded) == before


def _viewer_metric(running: Running) -> str:
    """The viewer metric if it is not 0, else an empty text."""
    lines = running.get("/metrics").text.splitlines()
    return "".join(line for line in lines if line.startswith("maskwatch_web_viewers{") and not line.endswith(" 0.0"))


def test_the_frame_rate_is_bounded(tmp_path: Path, encoded: list[int]) -> None:
    """Frames arrive faster than ``max_fps``: some are skipped, and the order is kept."""
    stop, rate_hz, started_s = threading.Event(), 10, time.monotonic()
    with serving(tmp_path, max_fps=rate_hz) as running:

        def produce() -> None:
            number = 0
            while not stop.wait(0.002):
                number += 1
                running.monitor.step(number)

        producer = threading.Thread(target=produce)
        producer.start()
        try:
            with viewers(running, 1) as (one,):
                for _ in range(12):
                    one.next()
                limit = (time.monotonic() - started_s) * rate_hz + 3
                assert len(encoded) <= limit
        finally:
            stop.set()
            producer.join()
    gaps = [after - before for before, after in pairwise(encoded)]
    assert min(gaps) >= 1
    assert max(gaps) > 1, "some frames are skipped"


def test_a_stalled_viewer_is_disconnected_and_delays_nobody(tmp_path: Path) -> None:
    big = (1080, 1920)  # noise: larger than the socket buffers
    monitor = FakeMonitor()
    monitor.step(0, size=big)
    limits = {"max_fps": 50, "max_width_px": 1920, "stall_s": 8.0}  # longer than a pause of the test machine
    with serving(tmp_path, monitor, **limits) as running, viewers(running, 2) as (stalled, active):
        stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        number, end_s = 0, time.monotonic() + LIMIT_S
        while "} 2.0" in _viewer_metric(running) or number < 5:
            number += 1
            monitor.step(number, size=big)
            active.next()
            assert time.monotonic() < end_s, "the stalled viewer is still connected"
        assert "} 1.0" in _viewer_metric(running)
        monitor.step(number + 1, size=big)
        active.next()


def test_a_stalled_viewer_does_not_outlive_the_server(tmp_path: Path) -> None:
    monitor = FakeMonitor()
    with ExitStack() as held:
        with serving(tmp_path, monitor, max_fps=50, max_width_px=1920, stall_s=600) as running:
            (stalled,) = held.enter_context(viewers(running, 1))
            for number in range(10):  # 30 MB: more than the socket buffers
                monitor.step(number, size=(1080, 1920))
                time.sleep(0.1)
        stalled.socket.settimeout(5)
        with suppress(ConnectionError):
            while stalled.socket.recv(1 << 20):
                pass


def test_the_number_of_viewers_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path, max_viewers=2) as running, viewers(running, 2) as two:
        for viewer in two:
            viewer.next()
        response = running.get(STREAM)
        assert response.status_code == 503
        assert response.headers["retry-after"]


def read_live(running: Running, query: str, count: int) -> list[tuple[int, Image]]:
    """The first images of the stream of many cameras."""
    shown: list[tuple[int, Image]] = []
    with httpx.stream("GET", f"{running.base}/api/v1/live{query}", timeout=LIMIT_S) as response:
        assert response.status_code == 200, response.read()
        left = b""
        for part in response.iter_raw():
            left += part
            while len(left) >= 8 and len(left) >= 8 + struct.unpack(">I", left[4:8])[0]:
                number, length = struct.unpack(">II", left[:8])
                shown.append((number, decoded(left[8 : 8 + length])))
                left = left[8 + length :]
                running.monitor.step(len(shown), 1, (1080, 1920))  # only the second camera goes on
                if len(shown) == count:
                    return shown
    raise AssertionError("the stream ended")


def test_many_cameras_are_sent_over_one_connection(tmp_path: Path, encoded: list[int]) -> None:
    monitor = FakeMonitor("door", "hall", "yard")
    with serving(tmp_path, monitor, max_fps=50, max_viewers=1) as running:
        shown = read_live(running, "", 6)
        assert [number for number, _ in shown[:3]] == [1, 2, 3]
        assert {number for number, _ in shown[3:]} == {2}, "unchanged images are not sent again"
        assert shown[-1][1].shape == (270, 480, 3)
        wait_until(lambda: "} 1.0" not in _viewer_metric(running))
        assert {number for number, _ in read_live(running, "?camera=2", 2)} == {2}
        for query, error in (("?camera=4", "no camera 4"), ("?camera=x", "no camera 0"), ("?camera=1&camera=0", "0")):
            response = running.get(f"/api/v1/live{query}")
            assert response.status_code == 404
            assert error in response.json()["error"]


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="needs a limit of unsent bytes")
def test_a_slow_viewer_gets_new_images_not_queued_ones(tmp_path: Path) -> None:
    """Images of 100 kB come twenty times faster than the viewer reads them. What waits for it is bounded."""
    size, shown = (480, 640), FakeMonitor()
    with serving(tmp_path, shown, max_fps=60) as running, ExitStack() as held:
        viewer = held.enter_context(closing(socket.socket()))
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.settimeout(LIMIT_S)
        viewer.connect(("127.0.0.1", running.port))
        viewer.sendall(b"GET /api/v1/live?width=640 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        file = held.enter_context(closing(viewer.makefile("rb", buffering=0)))

        def encoded_images() -> int:
            return sum(count for _, count in running.server.site.streams.stats().values())

        number = 0
        while encoded_images() < 40:  # nothing is read meanwhile
            number += 1
            shown.step(number, size=size)
            time.sleep(0.01)
        before = encoded_images()
        while file.readline().strip():
            pass
        images, left = 0, b""
        viewer.settimeout(1.0)
        with suppress(TimeoutError):
            while part := viewer.recv(1 << 16):
                left += part
        while len(left) >= 8:
            images, left = images + 1, left[8 + struct.unpack(">I", left[4:8])[0] :]
        assert 1 <= images <= before / 4, f"{images} of {before} images were queued"


def test_the_image_width_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path, max_width_px=320) as running:
        running.monitor.step(1, size=(1080, 1920))
        image = decoded(running.get("/api/v1/cameras/1/picture.jpg").content)
        assert image.shape == (180, 320, 3)
        response = running.get("/api/v1/cameras/1/picture.jpg?download=1")
        assert response.headers["content-disposition"] == 'attachment; filename="maskwatch-camera1.jpg"'


def test_bounding_boxes_are_drawn(running: Running) -> None:
    view = running.monitor.views()[0]
    plain = mjpeg.draw(view.__class__(view.camera, view.status, True, view.frame), *SIZE, False)
    assert (decoded(mjpeg.draw(view, *SIZE, False)) != decoded(plain)).any()


def test_a_stale_image_is_dark_and_marked(running: Running) -> None:
    def brightness() -> float:
        return float(decoded(running.get("/api/v1/cameras/1/picture.jpg").content).mean())

    before = brightness()
    running.monitor.state(SourceState.STALE, "no frame for 4 s")
    assert brightness() < before * 0.75
    page = running.get("/").text
    assert "is-stale" in page
    assert "no frame for 4 s" in page
    assert '<span class="chip" data-field="state">Stale' in page
    camera = running.get("/api/v1/cameras/1").json()
    assert camera["is_stale"]
    assert camera["now"] == {"mask": 0, "no_mask": 0, "incorrect": 0, "unsure": 0}, (
        "a stale camera reports no current faces"
    )


def test_a_state_change_is_sent_without_a_new_frame(tmp_path: Path) -> None:
    with serving(tmp_path, max_fps=50) as running, viewers(running, 1) as (one,):
        live = decoded(one.next())
        running.monitor.state(SourceState.RECONNECTING)
        assert decoded(one.next()).mean() < live.mean()


def test_a_stale_image_is_redrawn_when_its_age_changes(running: Running) -> None:
    def image() -> bytes:
        return running.get("/api/v1/cameras/1/picture.jpg").content

    running.monitor.step(1, size=(480, 640))
    running.monitor.change(age_s=4.6)
    running.monitor.state(SourceState.STALE)
    first = image()
    running.monitor.change(age_s=5.4)
    assert image() == first
    running.monitor.change(age_s=7.0)
    assert image() != first


def test_faces_are_blurred_in_stale_and_unanalysed_frames_too() -> None:
    monitor = FakeMonitor()
    monitor.step(3, size=(240, 320))
    view = monitor.views()[0]
    box = view.tracks[0].box

    def detail(jpeg: bytes) -> float:
        part = decoded(jpeg)[int(box.y) + 8 : int(box.y2) - 8, int(box.x) + 8 : int(box.x2) - 8]
        return float(cv2.Laplacian(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())  # type: ignore[arg-type]

    sharp = detail(mjpeg.draw(view, *SIZE, False))
    assert detail(mjpeg.draw(view, *SIZE, True)) < sharp / 5
    monitor.state(SourceState.STALE)
    stale = monitor.views()[0]
    old = detail(mjpeg.draw(stale, *SIZE, False))
    assert detail(mjpeg.draw(stale, *SIZE, True)) < old / 5
    monitor.state(SourceState.LIVE)
    monitor.change(counts=None, tracks=())
    assert detail(mjpeg.draw(monitor.views()[0], *SIZE, True)) < sharp / 5


def test_an_image_is_served_before_the_first_frame(running: Running) -> None:
    running.monitor.change(frame=None, counts=None, tracks=())
    running.monitor.state(SourceState.CONNECTING)
    assert decoded(running.get("/api/v1/cameras/1/picture.jpg").content).shape == (480, 640, 3)


def test_images_that_nobody_watches_are_not_kept(running: Running) -> None:
    """An image needs some megabytes, and each width of each camera would keep one."""
    for width_px in mjpeg.WIDTHS_PX[:3]:
        with running.client() as client, client.stream("GET", f"/api/v1/live?width={width_px}") as response:
            next(response.iter_bytes())
    frame = running.monitor.views()[0].frame
    assert frame is not None
    old = weakref.ref(frame.image)
    del frame
    running.monitor.step(1)
    wait_until(lambda: gc.collect() is not None and old() is None)


def test_a_head_request_encodes_no_frame(running: Running, encoded: list[int]) -> None:
    assert httpx.head(f"{running.base}{STREAM}", timeout=LIMIT_S).status_code == 200
    assert encoded == []


def test_stopping_the_server_ends_the_streams(tmp_path: Path) -> None:
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


def test_no_stream_shows_another_camera_when_one_is_removed(tmp_path: Path) -> None:
    """The others get its number, and a viewer may not be allowed to see them."""
    monitor = FakeMonitor("door", "yard", "gate")
    with serving(tmp_path, monitor, max_fps=50.0) as running, viewers(running, 1) as (viewer,):
        door = viewer.next()
        with closing(socket.create_connection(("127.0.0.1", running.port), LIMIT_S)) as other:
            other.sendall(b"GET /api/v1/live?camera=3 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            assert other.recv(1)
            monitor.remove(0)
            monitor.step(1, index=0)
            assert set(re.findall(rb"\r\n\r\n(.*?)\r\n--", viewer.rest(), re.DOTALL)) <= {door}
            began_s = time.monotonic()
            while other.recv(65_536):
                pass
            assert time.monotonic() - began_s < mjpeg.RESEND_S / 2, "nobody waits for a camera that is gone"
        assert running.get("/metrics").status_code == 200
        assert running.get("/api/v1/cameras/3/picture.jpg").status_code == 404
