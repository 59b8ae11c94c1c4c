"""Serves a video as live cameras from its own process: packets that were encoded beforehand, each at its own time.

    python benchmarks/replay.py video.mkv --cameras 16

Prints the port of each camera, serves ``tcp://127.0.0.1:PORT`` until its standard input is closed, then prints its own
processor time in s. So the cost of the sources is known and does not count as that of the program.
"""

import argparse
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

FPS = 25
CODECS = {"h264": ("libx264", "yuv420p"), "h265": ("libx265", "yuv420p"), "mjpeg": ("mjpeg", "yuvj420p")}
_OPTIONS = {
    "libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "23"},
    "libx265": {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none:crf=26"},
    "mjpeg": {"qmin": "4", "qmax": "4"},
}


def encode(images: Iterator[Any], path: Path, codec: str, fps: int = FPS) -> None:
    """Encodes BGR ``images`` as a camera does: a key frame every 2 s, no frame that refers to a later one."""
    name, pixels = CODECS[codec]
    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream(name, rate=fps, options=_OPTIONS[name])
        stream.pix_fmt, stream.gop_size, stream.codec_context.time_base = pixels, 2 * fps, Fraction(1, fps)
        for index, image in enumerate(images):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@dataclass(slots=True)
class Replay:
    """The addresses of the cameras; the processor time of their server in s, once it has ended."""

    addresses: list[str]
    cpu_s: float = 0.0


@contextmanager
def replayed(video: Path, cameras: int = 1) -> Iterator[Replay]:
    """Serves ``video`` as so many cameras from another process."""
    argv = [sys.executable, __file__, str(video), "--cameras", str(cameras)]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    replay = Replay([f"tcp://127.0.0.1:{port}" for port in server.stdout.readline().split()])
    try:
        yield replay
    finally:
        replay.cpu_s = float(server.communicate(timeout=30)[0].split()[-1])


def _send(video: Path, connection: socket.socket, start: float) -> None:
    """Sends the packets of ``video`` in a loop, from its share ``start`` on."""
    with connection, connection.makefile("wb") as sink, av.open(str(video)) as source:
        stream = source.streams.video[0]
        assert stream.time_base is not None
        options = {"cluster_time_limit": "20", "flush_packets": "1"}
        with av.open(sink, "w", format="matroska", options=options) as container:
            sent = container.add_stream_from_template(stream)
            base = stream.time_base
            step = round(1 / (stream.average_rate or FPS) / base)
            packets = [(bytes(packet), packet.is_keyframe) for packet in source.demux(stream) if packet.size]
            keys = [index for index, (_, is_key) in enumerate(packets) if is_key]
            first = keys[int(start * len(keys))]
            began_s = time.monotonic()
            for index in range(10**9):
                body, is_key = packets[(first + index) % len(packets)]
                packet = av.Packet(body)
                packet.stream, packet.time_base = sent, base
                packet.pts = packet.dts = index * step
                packet.is_keyframe = is_key
                time.sleep(max(0.0, began_s + float(index * step * base) - time.monotonic()))
                container.mux(packet)
                sink.flush()


def _serve(video: Path, listener: socket.socket, start: float) -> None:
    def send(connection: socket.socket) -> None:
        try:
            _send(video, connection, start)
        except (OSError, av.FFmpegError):
            return  # the viewer has disconnected

    while True:
        threading.Thread(target=send, args=(listener.accept()[0],), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path)
    parser.add_argument("--cameras", type=int, default=1)
    args = parser.parse_args()
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(args.cameras)]
    for number, listener in enumerate(listeners):
        start = number / args.cameras  # no two cameras show the same frame at the same time
        threading.Thread(target=_serve, args=(args.video, listener, start), daemon=True).start()
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    sys.stdin.read()
    print(time.process_time(), flush=True)


if __name__ == "__main__":
    main()
