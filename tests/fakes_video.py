"""Sources, readers and servers for video tests, with faults on demand."""

import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from fakes_net import free_port
from numpy.typing import NDArray

from app.core.errors import SourceError
from app.core.types import Frame, Image

LIMIT_S = 60.0
"""Time limit for conditions that should be true soon; long, because the test machine may be very slow."""
HANG_S = 150.0
"""How long a hanging call lasts if the test does not release it; longer than all time limits of tests."""


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until ``condition()`` is true. Raises AssertionError with ``what`` after ``limit_s``."""
    end_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError(f"not true after {limit_s:g} s: {what}")
        time.sleep(0.01)


def video_threads() -> list[str]:
    """Names of the capture and reader threads that still run."""
    prefixes = ("capture:", "reader:")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(prefixes)]


def striped_image(index: int, width_px: int = 64, height_px: int = 48) -> Image:
    """An image that shows its index: the position of a bright bar on a dark, striped background."""
    image = np.full((height_px, width_px, 3), 30, np.uint8)
    image[::8] = 60
    x = (index * 4) % width_px
    image[:, x : x + 4] = 220
    return image


def frame(index: int, time_s: float | None = None, camera: str = "fake", image: Image | None = None) -> Frame:
    now_s = time.monotonic()
    when_s = index / 25 if time_s is None else time_s
    return Frame(striped_image(index) if image is None else image, index, when_s, now_s, time.time(), camera)


def write_clip(
    path: Path,
    images: Iterable[Image],
    fps: int = 25,
    codec: str = "libx264",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    key_frame_distance: int = 10,
) -> Path:
    """Write a clip with FFmpeg; ``times_ms`` are the time stamps of the frames."""
    from fractions import Fraction

    with av.open(str(path), "w", options=options or {}) as container:
        stream: Any = None
        for i, image in enumerate(images):
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.width, stream.height = image.shape[1], image.shape[0]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                if codec == "libx264":
                    stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(key_frame_distance)}
                stream.codec_context.time_base = Fraction(1, 1000) if times_ms else Fraction(1, fps)
            video_frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            video_frame.pts = times_ms[i] if times_ms else i
            video_frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(video_frame))
        container.mux(stream.encode())
    return path


def transport_stream(frames: int, key_frame_distance: int) -> bytes:
    """An MPEG transport stream (H.264, 25 frames per second) with the given distance of its key frames."""
    from fractions import Fraction

    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "scenecut=0:repeat-headers=1"}
        stream.gop_size = key_frame_distance
        stream.codec_context.time_base = Fraction(1, 25)
        for i in range(frames):
            image = av.VideoFrame.from_ndarray(striped_image(i, 320, 240), format="bgr24")
            image.pts, image.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return file.getvalue()


class FakeReader:
    """Replaces ``cv2.VideoCapture``. Each step is an image, None (a failed read), an exception to raise, or a
    function (which may hang) that returns the image."""

    def __init__(self, steps: Iterable[Any], properties: dict[int, float] | None = None) -> None:
        self._steps = iter(steps)
        self._properties = properties or {}
        self.released = threading.Event()
        self.reads = 0

    def read(self) -> tuple[bool, NDArray[Any] | None]:
        assert not self.released.is_set(), "read after release"
        self.reads += 1
        step = next(self._steps, None)
        if callable(step):
            step = step()
        if isinstance(step, Exception):
            raise step
        return step is not None, step

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's name
        return self._properties.get(propId, 0.0)

    def release(self) -> None:
        self.released.set()


class FakeSource:
    """A source with a script for each connection: frames, exceptions to raise and functions to call."""

    def __init__(self, *connections: Iterable[Any], is_live: bool = True, name: str = "fake") -> None:
        self.name = name
        self.is_live = is_live
        self.fps: float | None = 25.0
        self.frame_count: int | None = None
        self.opened = 0
        self.closed = 0
        self._connections = iter(connections)

    def apply(self, settings: Any) -> None:
        """It has no image to rotate."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        self.opened += 1
        try:
            for step in next(self._connections, [SourceError(f"cannot open {self.name}: the script is over")]):
                if stop.is_set():
                    return
                if callable(step):
                    step()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield step
            if self.is_live and not stop.is_set():
                raise SourceError(f"lost {self.name}: the script's connection is over")
        finally:
            self.closed += 1


class RtspServer:
    """A real RTSP server (H.264 over TCP) in its own process, so that it can be killed or suspended."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, clip: str, plays: int = 0, credentials: str = "") -> str:
        """The address of a clip in the folder; it repeats without end if ``plays`` is 0."""
        at = f"{credentials}@" if credentials else ""
        return f"rtsp://{at}127.0.0.1:{self.port}/{clip}/play_count_{plays}"

    def start(self) -> Self:
        code = (
            "import asyncio, logging, sys; import aio_rtsp_toolkit.server as s; "
            "s.logger = logging.getLogger('rtsp'); asyncio.run(s.serve(sys.argv[1], '127.0.0.1', int(sys.argv[2])))"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(self._folder), str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, "the RTSP server answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the RTSP server ended"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None

    def pause(self) -> None:
        """Suspend the server with its sockets open, as real cameras hang."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        if hasattr(signal, "SIGCONT"):
            os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class FaultyServer:
    """A server that accepts connections and calls ``serve`` for each, which must return when ``self.stop`` is set.
    Without ``serve`` it never answers."""

    def __init__(self, serve: "Callable[[socket.socket, FaultyServer], None] | None" = None) -> None:
        self.stop = threading.Event()
        self.connections = 0
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="faulty-server")]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self.stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            connection.settimeout(0.2)
            self._sockets.append(connection)
            thread = threading.Thread(target=self._handle, args=(connection,), name="faulty-server-connection")
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            if self._serve is not None:
                self._serve(connection, self)
                connection.close()
        except OSError:
            connection.close()  # the client closed the connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop.set()
        for thread in list(self._threads):
            thread.join(LIMIT_S)
            assert not thread.is_alive()
        for connection in [self._listener, *self._sockets]:
            connection.close()


def send_garbage(connection: socket.socket, server: FaultyServer) -> None:
    """Send random bytes until the client disconnects."""
    noise = random.Random(1)
    while not server.stop.is_set():
        connection.sendall(noise.randbytes(4096))
        server.stop.wait(0.01)


def reject_all(connection: socket.socket, server: FaultyServer) -> None:
    """Answer every RTSP request with 401 Unauthorized."""
    while not server.stop.is_set():
        try:
            request = connection.recv(4096)
        except TimeoutError:
            continue
        if not request:
            return
        sequence = next((line for line in request.split(b"\r\n") if line.lower().startswith(b"cseq")), b"CSeq: 1")
        head = b"RTSP/1.0 401 Unauthorized\r\n" + sequence + b"\r\n"
        connection.sendall(head + b'WWW-Authenticate: Basic realm="camera"\r\n\r\n')


def mjpeg_server(images: Sequence[Image], fps: float = 25) -> FaultyServer:
    """An HTTP camera that sends JPEG images without end; this server has no fault."""
    import cv2

    jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]

    def serve(connection: socket.socket, server: FaultyServer) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        connection.settimeout(5)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        for i in range(10**6):
            jpeg = jpegs[i % len(jpegs)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            connection.sendall(head.encode() + jpeg + b"\r\n")
            if server.stop.wait(1 / fps):
                return

    return FaultyServer(serve)
