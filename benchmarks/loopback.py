"""Serves cameras on loopback from its own process: the demo clip as motion JPEG over HTTP, as cheap cameras send it.

    python benchmarks/loopback.py --cameras 8 --fps 10 [--ports 40001 ...]

Prints the port of each camera and serves until its standard input is closed.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]


@contextmanager
def cameras_on_loopback(cameras: int, fps: float, ports: Sequence[int] = ()) -> Iterator[list[str]]:
    """Starts the server; yields the addresses of ``cameras`` cameras, at ``ports`` if given."""
    argv = [sys.executable, __file__, "--cameras", str(cameras), "--fps", str(fps)]
    server = subprocess.Popen(
        [*argv, *(["--ports", *map(str, ports)] if ports else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        used_ports = [int(port) for port in server.stdout.readline().split()]
        yield [f"http://127.0.0.1:{port}/camera{number}.mjpg" for number, port in enumerate(used_ports, 1)]
    finally:
        server.kill()  # like a camera that loses power
        server.wait(10)
        server.stdin.close()
        server.stdout.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


class Camera(BaseHTTPRequestHandler):
    """Sends its images in a loop, each at its time."""

    def __init__(self, jpegs: Sequence[bytes], fps: float, *args: Any) -> None:
        self._jpegs, self._fps = jpegs, fps
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        began_s = time.monotonic()
        try:
            for i in range(10**9):
                jpeg = self._jpegs[i % len(self._jpegs)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(max(0.0, began_s + (i + 1) / self._fps - time.monotonic()))
        except OSError:
            return  # the client has disconnected

    def log_message(self, *_: object) -> None:
        pass


def demo_jpegs(fps: float) -> list[bytes]:
    """The frames of the demo clip as JPEG, about ``fps`` per second."""
    import cv2

    from app.core import resources

    clip = cv2.VideoCapture(str(resources.asset("demo.mp4")))
    every = max(1, round((clip.get(cv2.CAP_PROP_FPS) or fps) / fps))
    jpegs = []
    while (read := clip.read())[0]:
        jpegs.append(cv2.imencode(".jpg", read[1])[1].tobytes())
    clip.release()
    return jpegs[::every]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--ports", type=int, nargs="*", default=[])
    args = parser.parse_args()
    jpegs = demo_jpegs(args.fps)
    ports = []
    for number in range(args.cameras):
        start = number * len(jpegs) // args.cameras  # no two cameras show the same frame at the same time
        port = args.ports[number] if args.ports else 0
        server = Server(("127.0.0.1", port), partial(Camera, [*jpegs[start:], *jpegs[:start]], args.fps))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports.append(server.server_port)
    print(*ports, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
