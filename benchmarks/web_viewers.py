"""Measures what web viewers cost: capture and analysis rate without and with viewers of one camera, side by side.

    python benchmarks/web_viewers.py --viewers 20 --seconds 8 --rounds 4 [--json docs/results/web_viewers.json]

Two programs watch the demo clip in real time, at the same time; in each round one of them, alternating, has all the
viewers. Other load on the machine affects both; the result is the median of the rounds' ratios. With --stalled N, N
more viewers connect and never read.
"""

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from served_monitor import serve_counts

from app.bench.machine import describe, versions


@dataclass(frozen=True, slots=True)
class Phase:
    """Rates of one program in one round, per second. ``sent`` counts the frames sent to all viewers."""

    captured: float
    analysed: float
    sent: float


class Viewers:
    """Viewers in their own thread that read the stream and count the frames."""

    def __init__(self, port: int, viewers: int, stalled: int) -> None:
        self._port, self._viewers = port, viewers
        self._stop = threading.Event()
        self.frames = 0
        self._stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(stalled)]
        for each in self._stalled:
            each.sendall(b"GET /api/v1/cameras/1/stream.mjpeg HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._view()) for _ in range(self._viewers)]
        while not self._stop.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _view(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        try:
            writer.write(b"GET /api/v1/cameras/1/stream.mjpeg HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            while True:
                await reader.readuntil(b"Content-Length: ")
                length = int(await reader.readline())
                await reader.readexactly(length + 2)
                self.frames += 1
        finally:
            writer.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for each in self._stalled:
            each.close()


def serve(source: str) -> None:
    """Watches ``source`` in a loop with a web view. Prints its port, then one line of counts for each line on standard
    input; ends when standard input is closed."""
    web = {"enabled": True, "port": 0, "max_viewers": 1000, "stall_s": 600, "max_connections": 2000}
    serve_counts(
        {"camera": [{"uri": source, "loop": True}], "web": web},
        lambda monitor, analysed: (time.monotonic(), monitor.views()[0].status.frames, analysed),
    )


class Program:
    """One of the two programs."""

    def __init__(self, source: str) -> None:
        argv = [sys.executable, __file__, "--serve", "--source", source]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def wait(self) -> None:
        """Waits until frames are analysed; reads the port."""
        self.port = int(self._line())

    def counts(self) -> tuple[float, int, int]:
        """Time in seconds, captured frames and analysed frames so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        at_s, captured, analysed = json.loads(self._line())
        return at_s, captured, analysed

    def end(self) -> None:
        self._process.communicate()


def measure(alone: Program, watched: Program, seconds: float, viewers: int, stalled: int) -> tuple[Phase, Phase]:
    crowd = Viewers(watched.port, viewers, stalled)
    time.sleep(1)
    before = [each.counts() for each in (alone, watched)]
    received = crowd.frames
    time.sleep(seconds)
    received = crowd.frames - received
    after = [each.counts() for each in (alone, watched)]
    crowd.close()
    phases: list[Phase] = []
    for (start_s, frames, analysed), (end_s, frames_after, analysed_after) in zip(before, after, strict=True):
        took_s = end_s - start_s
        sent = received / took_s if phases else 0.0
        phases.append(Phase((frames_after - frames) / took_s, (analysed_after - analysed) / took_s, sent))
    return phases[0], phases[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.source)
        return
    machine = describe().model_dump()
    programs = [Program(args.source), Program(args.source)]
    for program in programs:
        program.wait()
    time.sleep(3)
    rounds = []
    for number in range(args.rounds):
        alone, watched = programs if number % 2 == 0 else programs[::-1]
        rounds.append(measure(alone, watched, args.seconds, args.viewers, args.stalled))
    for program in programs:
        program.end()
    print(f"{args.viewers} viewers, {args.stalled} stalled; {args.rounds} rounds of {args.seconds:g} s")
    ratios = {}
    for name in ("captured", "analysed"):
        rates = [tuple(getattr(phase, name) for phase in turn) for turn in rounds]
        each = [watched / alone for alone, watched in rates]
        ratios[name] = statistics.median(each)
        without, with_ = (statistics.median(column) for column in zip(*rates, strict=True))
        spread = ", ".join(f"{ratio:.2f}" for ratio in each)
        print(f"{name:9s} {without:6.2f}/s alone {with_:6.2f}/s watched  ratio {ratios[name]:.3f}  ({spread})")
    each_s = statistics.median(watched.sent for _, watched in rounds) / args.viewers
    print(f"frames    {each_s:.2f}/s to each viewer")
    if args.json:
        record = {"machine": machine, "versions": versions(), "viewers": args.viewers, "stalled": args.stalled}
        record |= {"median_ratios": ratios, "pictures_per_s_to_each": each_s}
        record |= {"rounds": [{"alone": asdict(alone), "watched": asdict(watched)} for alone, watched in rounds]}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
