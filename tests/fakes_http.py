"""An HTTP camera whose answers a test writes."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import pytest
from fakes_video import striped_image, write_clip

from app.capture.source import FrameSource, make_source
from app.core.types import Frame
from app.settings.source import SourceSettings

LIMITS: dict[str, Any] = {"open_timeout_s": 5.0, "read_timeout_s": 5.0, "snapshot_interval_s": 0.02}
BREAKS = b"HTTP/1.1 200 OK\r\nBad Header : x\r\n"
"""The start of an answer that a strict parser refuses."""

Respond = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request. ``send`` answers it; ``wfile`` takes what ``send`` cannot express."""

    protocol_version = "HTTP/1.1"
    server: "HttpCamera"

    def do_GET(self) -> None:
        self.server.requests.append(self)
        try:
            self.server.respond(self)
        except OSError:
            self.close_connection = True  # the client has left

    def send(self, body: bytes = b"", status: int = 200, **headers: object) -> None:
        """Underscores in the names of ``headers`` become hyphens; the length is added if it is not given as None."""
        self.send_response(status)
        values = {"Content-Length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
        for name, value in values.items():
            for each in value if isinstance(value, list) else [value]:
                if each is not None:
                    self.send_header(name, str(each))
        self.close_connection = self.close_connection or values["Content-Length"] is None
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class HttpCamera(ThreadingHTTPServer):
    """Serves on a free port of the loopback interface, and keeps all requests."""

    daemon_threads = True

    def __init__(self, respond: Respond) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.respond = respond
        self.requests: list[Request] = []

    def url(self, path: str = "/", credentials: str = "") -> str:
        at = f"{credentials}@" if credentials else ""
        return f"http://{at}127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def http_camera(respond: Respond) -> Iterator[HttpCamera]:
    with HttpCamera(respond) as camera:
        thread = threading.Thread(target=camera.serve_forever, kwargs={"poll_interval": 0.01}, name="http-camera")
        thread.start()
        try:
            yield camera
        finally:
            camera.shutdown()
            thread.join()


def paced(request: Request, body: bytes, bytes_per_s: float) -> None:
    """A live MPEG transport stream at a camera's pace."""
    request.send(Content_Length=None, Content_Type="video/mp2t")
    start_s = time.monotonic()
    for at in range(0, len(body), 188 * 4):
        request.wfile.write(body[at : at + 188 * 4])
        time.sleep(max(0.0, start_s + at / bytes_per_s - time.monotonic()))  # not for synchronisation


def jpeg(index: int = 0) -> bytes:
    return cv2.imencode(".jpg", striped_image(index))[1].tobytes()


def multipart(request: Request, images: int = 5, **headers: object) -> None:
    """An endless motion JPEG, as far as a test reads it."""
    request.send(Content_Type="multipart/x-mixed-replace; boundary=frame", Content_Length=None, **headers)
    for i in range(images):
        image = jpeg(i)
        request.wfile.write(b"--frame\r\nContent-Length: %d\r\n\r\n" % len(image) + image + b"\r\n")


def read(source: FrameSource, count: int) -> list[Frame]:
    stop, frames = threading.Event(), []
    for frame in source.frames(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    return frames


def watch(camera: HttpCamera, count: int = 3, path: str = "/", **values: Any) -> list[Frame]:
    settings = SourceSettings.model_validate({"uri": camera.url(path), **LIMITS, **values})
    return read(make_source(settings), count)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    images = [striped_image(i) for i in range(60)]
    return {
        "index last": write_clip(folder / "a.mp4", images).read_bytes(),
        "index first": write_clip(folder / "b.mp4", images, options={"movflags": "faststart"}).read_bytes(),
        "matroska": write_clip(folder / "c.mkv", images).read_bytes(),
        "transport stream": write_clip(folder / "d.ts", images).read_bytes(),
    }


def partial(request: Request, body: bytes) -> None:
    """``body``, or the part that is asked for."""
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers["Range"] or "")
    start = int(asked.group(1)) if asked else 0
    span = f"bytes {start}-{len(body) - 1}/{len(body)}"
    if asked:
        request.send(body[start:], 206, Content_Range=span)
    else:
        request.send(body, Accept_Ranges="bytes")
