"""A capture against a real RTSP server that dies, freezes, keeps silent or talks nonsense."""

import base64
import importlib.util
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
from fakes_video import (
    LIMIT_S,
    BadServer,
    RtspServer,
    deny,
    free_port,
    garbage,
    mjpeg_server,
    picture,
    video_threads,
    wait_until,
    write_clip,
)

from app.capture.capture import Capture, SourceState
from app.capture.slot import LatestSlot
from app.capture.source import make_source
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

STALL_S = 7.0
"""More than a machine stands still for: the limit of tests in which what comes before it must be seen."""
ODD_PASSWORD = "p@ss/w:r%41d?#&"
FAST: dict[str, Any] = {
    "reconnect_s": (0.1, 0.2, 0.4),
    "open_timeout_s": 3.0,
    "read_timeout_s": 1.0,
    "stale_after_s": 0.5,
    "username": "admin",
    "password": "s3cret",
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "a.mp4", [picture(i, 320, 240) for i in range(100)])
    return folder


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    yield
    wait_until(lambda: not video_threads(), "all threads of the captures end")


class Watched:
    """A capture of one address, as a pipeline holds it."""

    def __init__(self, uri: str, **values: Any) -> None:
        settings = SourceSettings.model_validate({"uri": uri, **FAST, **values})
        self.slot: LatestSlot[Frame] = LatestSlot()
        self.states: list[SourceState] = []
        self.capture = Capture(make_source(settings), settings, [self.slot], self._note)

    def _note(self, status: Any) -> None:
        self.states.append(status.state)
        assert "s3cret" not in status.last_error

    def __enter__(self) -> "Watched":
        self.capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()
        assert self.capture.join(LIMIT_S)

    def until(self, state: SourceState) -> None:
        wait_until(lambda: self.capture.status.state is state, f"state {state}; now {self.capture.status}")

    def until_told(self, words: str) -> None:
        """A try may fail for another reason where the machine stands still; one of them tells this."""
        wait_until(lambda: words in self.capture.status.last_error, f"{words}; now {self.capture.status}")

    def until_new_frames(self, count: int = 3) -> None:
        seen = self.capture.status.frames
        wait_until(lambda: self.capture.status.frames >= seen + count, f"{count} new frames")


def test_a_server_killed_and_started_again_is_found_again(clips: Path) -> None:
    with RtspServer(clips) as server, Watched(server.url("a.mp4")) as watched:
        watched.until_new_frames()
        for _ in range(3):
            server.kill()
            watched.until(SourceState.RECONNECTING)
            watched.until_told("refuses connections")
            server.start()
            watched.until(SourceState.LIVE)
            watched.until_new_frames()
        assert watched.capture.status.reconnects >= 3
        assert watched.capture.error is None
        frame = watched.slot.get(LIMIT_S)
        assert frame is not None
        assert frame.image.shape == (240, 320, 3)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to freeze a process here")
def test_a_server_frozen_with_its_sockets_open_is_stale_then_lost_then_back(clips: Path) -> None:
    with RtspServer(clips) as server, Watched(server.url("a.mp4"), read_timeout_s=STALL_S) as watched:
        watched.until_new_frames(40)
        server.pause()
        watched.until(SourceState.STALE)
        watched.until(SourceState.RECONNECTING)
        assert f"no picture for {STALL_S:g} s" in watched.capture.status.last_error
        server.resume()
        watched.until(SourceState.LIVE)
        watched.until_new_frames()
        states = watched.states
        assert states.index(SourceState.STALE) < states.index(SourceState.RECONNECTING)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to freeze a process here")
def test_a_stop_does_not_wait_for_a_server_that_is_frozen(clips: Path) -> None:
    with RtspServer(clips) as server:
        with Watched(server.url("a.mp4"), read_timeout_s=2 * LIMIT_S) as watched:
            watched.until_new_frames()
            server.pause()
        server.resume()


def test_a_camera_that_is_down_at_the_start_is_picked_up_when_it_comes(clips: Path) -> None:
    port = free_port()
    with Watched(f"rtsp://127.0.0.1:{port}/a.mp4/play_count_0") as watched:
        watched.until(SourceState.RECONNECTING)
        assert isinstance(watched.capture.error, SourceError)
        with RtspServer(clips, port):
            watched.until(SourceState.LIVE)
            assert watched.capture.error is None


def test_the_end_of_a_stream_is_a_loss(clips: Path) -> None:
    with RtspServer(clips) as server, Watched(server.url("a.mp4", plays=1)) as watched:
        wait_until(lambda: watched.capture.status.reconnects > 1, "it is opened again, and again")
        assert SourceState.LIVE in watched.states


def cut_in_mid_frame(target: int) -> Any:
    """Serves through a proxy that breaks each connection off in the middle of a packet."""

    def serve(connection: socket.socket, server: BadServer) -> None:
        with socket.create_connection(("127.0.0.1", target)) as upstream:
            upstream.settimeout(0.02)
            sent = 0
            while not server.stop.is_set():
                for source, sink, limit in ((connection, upstream, None), (upstream, connection, 30_000)):
                    source.settimeout(0.02)
                    try:
                        passing = source.recv(1500)
                    except TimeoutError:
                        continue
                    if not passing:
                        return
                    if limit is not None and (sent := sent + len(passing)) > limit:
                        sink.sendall(passing[: len(passing) // 2])
                        return
                    sink.sendall(passing)

    return serve


def test_a_connection_cut_in_mid_frame_is_opened_again(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer(clips) as server, BadServer(cut_in_mid_frame(server.port)) as proxy:
        with Watched(f"rtsp://127.0.0.1:{proxy.port}/a.mp4/play_count_0") as watched:
            wait_until(lambda: watched.capture.status.reconnects >= 2, "two cuts are survived")
            assert watched.capture.status.frames > 0
        assert proxy.connections >= 2
    assert "s3cret" not in capfd.readouterr().err


def spoil(target: int) -> Any:
    """Serves through a proxy that turns bits over in what the camera sends, once the stream runs."""

    def serve(connection: socket.socket, server: BadServer) -> None:
        chance, sent = random.Random(2), 0
        with socket.create_connection(("127.0.0.1", target)) as upstream:
            while not server.stop.is_set():
                for source, sink in ((connection, upstream), (upstream, connection)):
                    source.settimeout(0.02)
                    try:
                        passing = bytearray(source.recv(1500))
                    except TimeoutError:
                        continue
                    if not passing:
                        return
                    if source is upstream:
                        sent += len(passing)
                        if sent > 20_000 and chance.random() < 0.2:
                            passing[chance.randrange(len(passing))] ^= 0xFF
                    sink.sendall(passing)

    return serve


def test_packets_that_arrive_damaged_end_nothing(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer(clips) as server, BadServer(spoil(server.port)) as proxy:
        with Watched(f"rtsp://127.0.0.1:{proxy.port}/a.mp4/play_count_0") as watched:
            for _ in range(5):
                watched.until_new_frames(20)
        assert SourceState.FAILED not in watched.states
        assert watched.capture.error is None
    assert capfd.readouterr().err == ""


def test_a_camera_that_changes_its_resolution_is_watched_on() -> None:
    """In the size that it began with: OpenCV cuts or pads (its issue 27116), which docs/operations.md tells."""
    sizes = [(64, 48)] * 8 + [(160, 120)] * 8
    with (
        mjpeg_server([picture(i, *size) for i, size in enumerate(sizes)]) as server,
        Watched(f"http://127.0.0.1:{server.port}/cam.mjpg") as watched,
    ):
        watched.until_new_frames(2 * len(sizes))
        frame = watched.slot.get(LIMIT_S)
        assert frame is not None
        assert frame.image.shape == (48, 64, 3)
        assert watched.capture.error is None
        assert SourceState.FAILED not in watched.states


@pytest.mark.parametrize(
    ("serve", "scheme", "reason"),
    [
        (None, "rtsp", "stays silent"),
        (None, "http", "stays silent"),
        (garbage, "rtsp", "does not speak RTSP"),
        (garbage, "http", "does not speak HTTP"),
        (deny, "rtsp", "does not accept the user name and password"),
    ],
)
def test_a_useless_server_is_told_apart_within_the_limit(
    serve: Any, scheme: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with BadServer(serve) as server:
        settings = SourceSettings.model_validate(
            {"uri": f"{scheme}://127.0.0.1:{server.port}/x", **FAST, "open_timeout_s": 1.0}
        )
        began_s = time.monotonic()
        with pytest.raises(SourceError, match=reason) as caught:
            next(make_source(settings).frames(threading.Event()))
        assert time.monotonic() - began_s < LIMIT_S / 2, "open limit, diagnosis limit, and a busy machine"
    assert "s3cret" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_capture_of_a_silent_server_stops_in_time() -> None:
    with BadServer() as server, Watched(f"rtsp://127.0.0.1:{server.port}/x") as watched:
        wait_until(lambda: server.connections > 0, "it has connected")
    assert watched.capture.status.state is SourceState.ENDED


def camera_with_a_lock(connection: socket.socket, server: BadServer) -> None:
    """An HTTP camera that shows its pictures to admin alone, whose password holds every letter that means something."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    if b"Authorization: Basic " + base64.b64encode(b"admin:" + ODD_PASSWORD.encode()) not in request:
        head = b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\nContent-Length: 0\r\n\r\n'
        connection.sendall(head)
        return
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
    jpegs = [cv2.imencode(".jpg", picture(i))[1].tobytes() for i in range(16)]
    while not server.stop.wait(0.04):
        jpegs.append(jpegs.pop(0))
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpegs[0])}\r\n\r\n"
        connection.sendall(head.encode() + jpegs[0] + b"\r\n")


def test_a_password_of_odd_letters_reaches_the_camera_and_a_wrong_one_is_told() -> None:
    with BadServer(camera_with_a_lock) as server:
        address = f"http://127.0.0.1:{server.port}/cam.mjpg"
        with Watched(address, password=ODD_PASSWORD) as watched:
            watched.until_new_frames()
        with Watched(address) as watched:
            watched.until_told("does not accept the user name and password")


def test_wrong_path_wants_and_refuses(clips: Path) -> None:
    with RtspServer(clips) as server, Watched(server.url("missing.mp4")) as watched:
        watched.until_told("has no such path")


def test_udp_is_really_asked_for(clips: Path) -> None:
    """The test server serves TCP alone, so a UDP camera must fail on it while a TCP one plays beside it."""
    with RtspServer(clips) as server, Watched(server.url("a.mp4")) as tcp:
        tcp.until(SourceState.LIVE)
        with Watched(server.url("a.mp4"), rtsp_transport="udp") as udp:
            udp.until_told("try rtsp_transport tcp")
            tcp.until_new_frames()


def test_an_http_camera_that_stops_sending_is_lost() -> None:
    with (
        mjpeg_server([picture(i) for i in range(16)]) as server,
        Watched(f"http://127.0.0.1:{server.port}/cam.mjpg") as watched,
    ):
        watched.until_new_frames(30)
        server.stop.set()
        watched.until(SourceState.RECONNECTING)


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "faults.py"
    spec = importlib.util.spec_from_file_location("faults_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to freeze a process here")
def test_no_thread_handle_or_memory_is_left_by_random_faults(faults: ModuleType) -> None:
    """The short version of benchmarks/faults.py."""
    costs = faults.run(kills=3, seed=3, freeze_every=3, verbose=False)
    assert [cost.kind for cost in costs] == ["kill", "kill", "freeze"]
    assert faults.problems_of(costs, longest_s=LIMIT_S, growth=0.3) == []  # a loaded machine is slow; a short run is noisy


def test_the_verdict_finds_what_is_left_behind(faults: ModuleType) -> None:
    good = [faults.Fault("kill", 0.1, 1.0, 100.0, 3, 7)] * 8
    assert faults.problems_of(good) == []
    assert len(faults.problems_of([*good, faults.Fault("kill", 0.1, 60.0, 120.0, 4, 8)])) == 4
