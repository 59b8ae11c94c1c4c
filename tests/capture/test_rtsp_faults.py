"""A capture with a real RTSP server that is killed, suspended, silent or sends invalid data."""

import base64
import importlib.util
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
from fakes_video import (
    LIMIT_S,
    FaultyServer,
    RtspServer,
    free_port,
    mjpeg_server,
    reject_all,
    send_garbage,
    striped_image,
    wait_until,
    write_clip,
)
from fixtures_threads import no_video_thread_survives  # noqa: F401

from app.capture.capture import Capture, SourceState
from app.capture.slot import Slot
from app.capture.source import make_source
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings

STALL_S = 7.0
"""Longer than any pause of a busy test machine, so that a test sees the state before this limit."""
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
    write_clip(folder / "a.mp4", [striped_image(i, 320, 240) for i in range(100)])
    return folder


class RunningCapture:
    """A running capture of one address that records its states."""

    def __init__(self, uri: str, **values: Any) -> None:
        settings = SourceSettings.model_validate({"uri": uri, **FAST, **values})
        self.slot: Slot[Frame] = Slot()
        self.states: list[SourceState] = []
        self.capture = Capture(make_source(settings), settings, [self.slot], self._record)

    def _record(self, status: Any) -> None:
        self.states.append(status.state)
        assert "s3cret" not in status.last_error

    def __enter__(self) -> "RunningCapture":
        self.capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.stop()
        assert self.capture.join(LIMIT_S)

    def until(self, state: SourceState) -> None:
        wait_until(lambda: self.capture.status.state is state, f"state {state}; now {self.capture.status}")

    def until_error(self, text: str) -> None:
        """Wait for an error that contains ``text``; on a slow machine, attempts may fail with other errors first."""
        wait_until(lambda: text in self.capture.status.last_error, f"{text}; now {self.capture.status}")

    def until_new_frames(self, count: int = 3) -> None:
        seen = self.capture.status.frames
        wait_until(lambda: self.capture.status.frames >= seen + count, f"{count} new frames")


def test_the_capture_reconnects_after_a_server_restart(clips: Path) -> None:
    with RtspServer(clips) as server, RunningCapture(server.url("a.mp4")) as running:
        running.until_new_frames()
        for _ in range(3):
            server.kill()
            running.until(SourceState.RECONNECTING)
            running.until_error("refuses connections")
            server.start()
            running.until(SourceState.LIVE)
            running.until_new_frames()
        assert running.capture.status.reconnects >= 3
        assert running.capture.error is None
        frame = running.slot.get(LIMIT_S)
        assert frame is not None
        assert frame.image.shape == (240, 320, 3)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_a_suspended_server_is_stale_then_reconnecting_then_live(clips: Path) -> None:
    with RtspServer(clips) as server, RunningCapture(server.url("a.mp4"), read_timeout_s=STALL_S) as running:
        running.until_new_frames(40)
        server.pause()
        running.until(SourceState.STALE)
        running.until(SourceState.RECONNECTING)
        assert f"no frame for {STALL_S:g} s" in running.capture.status.last_error
        server.resume()
        running.until(SourceState.LIVE)
        running.until_new_frames()
        states = running.states
        assert states.index(SourceState.STALE) < states.index(SourceState.RECONNECTING)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_a_stop_does_not_wait_for_a_suspended_server(clips: Path) -> None:
    with RtspServer(clips) as server:
        with RunningCapture(server.url("a.mp4"), read_timeout_s=2 * LIMIT_S) as running:
            running.until_new_frames()
            server.pause()
        server.resume()


def test_a_camera_that_is_offline_at_the_start_is_connected_later(clips: Path) -> None:
    port = free_port()
    with RunningCapture(f"rtsp://127.0.0.1:{port}/a.mp4/play_count_0") as running:
        running.until(SourceState.RECONNECTING)
        assert isinstance(running.capture.error, SourceError)
        with RtspServer(clips, port):
            running.until(SourceState.LIVE)
            assert running.capture.error is None


def test_a_stream_that_ends_is_opened_again(clips: Path) -> None:
    with RtspServer(clips) as server, RunningCapture(server.url("a.mp4", plays=1)) as running:
        wait_until(lambda: running.capture.status.reconnects > 1, "it is opened again, and again")
        assert SourceState.LIVE in running.states


def cut_connections(target: int) -> Any:
    """A proxy that ends each connection in the middle of a packet."""

    def serve(connection: socket.socket, server: FaultyServer) -> None:
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


def test_a_connection_that_ends_in_a_frame_is_opened_again(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer(clips) as server, FaultyServer(cut_connections(server.port)) as proxy:
        with RunningCapture(f"rtsp://127.0.0.1:{proxy.port}/a.mp4/play_count_0") as running:
            wait_until(lambda: running.capture.status.reconnects >= 2, "it has reconnected after two cuts")
            assert running.capture.status.frames > 0
        assert proxy.connections >= 2
    assert "s3cret" not in capfd.readouterr().err


def corrupt_packets(target: int) -> Any:
    """A proxy that inverts bytes in the camera's packets after the start of the stream."""

    def serve(connection: socket.socket, server: FaultyServer) -> None:
        generator, sent = random.Random(2), 0
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
                        if sent > 20_000 and generator.random() < 0.2:
                            passing[generator.randrange(len(passing))] ^= 0xFF
                    sink.sendall(passing)

    return serve


def test_damaged_packets_do_not_end_the_capture(clips: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with RtspServer(clips) as server, FaultyServer(corrupt_packets(server.port)) as proxy:
        with RunningCapture(f"rtsp://127.0.0.1:{proxy.port}/a.mp4/play_count_0") as running:
            for _ in range(5):
                running.until_new_frames(20)
        assert SourceState.FAILED not in running.states
        assert running.capture.error is None
    assert capfd.readouterr().err == ""


def test_a_camera_that_changes_its_resolution_stays_live() -> None:
    sizes = [(64, 48)] * 8 + [(160, 120)] * 8
    with (
        mjpeg_server([striped_image(i, *size) for i, size in enumerate(sizes)]) as server,
        RunningCapture(f"http://127.0.0.1:{server.port}/cam.mjpg") as running,
    ):
        running.until_new_frames(2 * len(sizes))
        frame = running.slot.get(LIMIT_S)
        assert frame is not None
        assert frame.image.shape in {(48, 64, 3), (120, 160, 3)}
        assert running.capture.error is None
        assert SourceState.FAILED not in running.states


@pytest.mark.parametrize(
    ("serve", "scheme", "reason"),
    [
        (None, "rtsp", "sends no answer"),
        (None, "http", "sends no answer"),
        (send_garbage, "rtsp", "does not speak RTSP"),
        (send_garbage, "http", "does not speak HTTP"),
        (reject_all, "rtsp", "rejects the user name and password"),
    ],
)
def test_a_faulty_server_is_diagnosed_within_the_time_limit(
    serve: Any, scheme: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with FaultyServer(serve) as server:
        settings = SourceSettings.model_validate(
            {"uri": f"{scheme}://127.0.0.1:{server.port}/x", **FAST, "open_timeout_s": 1.0}
        )
        start_s = time.monotonic()
        with pytest.raises(SourceError, match=reason) as caught:
            next(make_source(settings).frames(threading.Event()))
        assert time.monotonic() - start_s < LIMIT_S / 2, "time limits of opening and diagnosis, on a busy machine"
    assert "s3cret" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_capture_of_a_silent_server_stops_in_time() -> None:
    with FaultyServer() as server, RunningCapture(f"rtsp://127.0.0.1:{server.port}/x") as running:
        wait_until(lambda: server.connections > 0, "it has connected")
    assert running.capture.status.state is SourceState.ENDED


def password_camera(connection: socket.socket, server: FaultyServer) -> None:
    """An HTTP camera that requires the user admin and a password with all special characters of a URI."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    if b"Authorization: Basic " + base64.b64encode(b"admin:" + ODD_PASSWORD.encode()) not in request:
        head = b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\nContent-Length: 0\r\n\r\n'
        connection.sendall(head)
        return
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
    jpegs = [cv2.imencode(".jpg", striped_image(i))[1].tobytes() for i in range(16)]
    while not server.stop.wait(0.04):
        jpegs.append(jpegs.pop(0))
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpegs[0])}\r\n\r\n"
        connection.sendall(head.encode() + jpegs[0] + b"\r\n")


def test_a_password_with_special_characters_works_and_a_wrong_one_is_reported() -> None:
    with FaultyServer(password_camera) as server:
        address = f"http://127.0.0.1:{server.port}/cam.mjpg"
        with RunningCapture(address, password=ODD_PASSWORD) as running:
            running.until_new_frames()
        with RunningCapture(address) as running:
            running.until_error("rejects the user name and password")


def test_a_wrong_path_is_reported(clips: Path) -> None:
    with RtspServer(clips) as server, RunningCapture(server.url("missing.mp4")) as running:
        running.until_error("has no such path")


def test_udp_is_requested_from_the_server(clips: Path) -> None:
    """The test server supports only TCP, so a UDP camera must fail while a TCP camera plays."""
    with RtspServer(clips) as server, RunningCapture(server.url("a.mp4")) as tcp:
        tcp.until(SourceState.LIVE)
        with RunningCapture(server.url("a.mp4"), rtsp_transport="udp") as udp:
            udp.until_error("set --rtsp-transport tcp")
            tcp.until_new_frames()


def test_an_http_camera_that_stops_sending_is_lost() -> None:
    with (
        mjpeg_server([striped_image(i) for i in range(16)]) as server,
        RunningCapture(f"http://127.0.0.1:{server.port}/cam.mjpg") as running,
    ):
        running.until_new_frames(30)
        server.stop.set()
        running.until(SourceState.RECONNECTING)


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "faults.py"
    spec = importlib.util.spec_from_file_location("faults_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses need their module there
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_random_faults_leak_no_thread_handle_or_memory(faults: ModuleType) -> None:
    """The short version of benchmarks/faults.py."""
    costs = faults.run(kills=3, seed=3, freeze_every=3, verbose=False)
    assert [cost.kind for cost in costs] == ["kill", "kill", "freeze"]
    assert faults.problems_of(costs, longest_s=LIMIT_S, growth=0.3) == []  # limits for a slow machine and a short run


def test_leaks_are_detected(faults: ModuleType) -> None:
    good = [faults.Fault("kill", 0.1, 1.0, 100.0, 3, 7)] * 8
    assert faults.problems_of(good) == []
    assert len(faults.problems_of([*good, faults.Fault("kill", 0.1, 60.0, 120.0, 4, 8)])) == 4
