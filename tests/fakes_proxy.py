"""A small reverse proxy, and pages that show another page in a frame."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=lambda: server.serve_forever(0.02))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def reverse_proxy(port: int, prefix: str, strip: bool, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Serves ``prefix`` with what ``port`` serves; yields its host and port. ``strip`` removes the prefix from the
    path, ``headers`` are added or replaced; every other path is 404."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 0.5  # browsers open connections that they never use

        def _forward(self) -> None:
            self.close_connection = True
            if self.path != prefix and not self.path.startswith(f"{prefix}/"):
                self.send_error(404, "outside the prefix")
                return
            path = self.path.removeprefix(prefix) or "/" if strip else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            sent = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, path, body, {**sent, **(headers or {})})
            with suppress(ConnectionError, TimeoutError):
                answer = upstream.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "date"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                while part := answer.read1(65536):
                    self.wfile.write(part)
            upstream.close()

        do_GET = do_POST = do_HEAD = _forward  # noqa: N815 - names of http.server

        def log_message(self, *args: Any) -> None: ...

    with _served(Proxy) as address:
        yield address


@contextmanager
def framing_page(url: str) -> Iterator[str]:
    """A page of another origin that shows ``url`` in a frame; yields its host and port."""

    class Page(BaseHTTPRequestHandler):
        timeout = 0.5

        def do_GET(self) -> None:
            page = f'<!doctype html><title>frame</title><iframe src="{url}" width="900" height="700"></iframe>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args: Any) -> None: ...

    with _served(Page) as address:
        yield address
