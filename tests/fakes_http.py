"""An HTTP camera whose answers a test writes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
