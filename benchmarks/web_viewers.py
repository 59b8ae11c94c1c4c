"""What viewers cost the watching: capture and analysis rate without and with viewers of one camera, in one run.

    python benchmarks/web_viewers.py --viewers 20 --seconds 8 --rounds 3 [--json docs/results/web_viewers.json]

Phases alternate (none, all, none, all, ...), so that whatever else the machine does falls on both; the ratio of the
medians is the result. The demo clip plays at its own rate for as long as the analysis keeps up. With --stalled, as many
viewers more connect and never read.
"""

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.alerts.delivery import AlertCenter
from app.bench.machine import describe, versions
from app.config import load_settings
from app.monitor.pipeline import Monitor
from app.web.quiet import Mutes
from app.web.server import WebServer


@dataclass(frozen=True, slots=True)
class Phase:
    """Rates of one phase, per second."""

    captured: float
    analysed: float
    sent: float


class Crowd:
    """Viewers in a thread of their own that read what comes and count the pictures."""

    def __init__(self, port: int, viewers: int, stalled: int) -> None:
        self._port, self._viewers = port, viewers
        self._stop = threading.Event()
        self.pictures = 0
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
                self.pictures += 1
        finally:
            writer.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for each in self._stalled:
            each.close()


def measure(monitor: Monitor, counted: list[int], seconds: float, crowd: Crowd | None) -> Phase:
    before_s, frames = time.monotonic(), monitor.views()[0].status.frames
    analysed, sent = counted[0], crowd.pictures if crowd else 0
    time.sleep(seconds)
    took_s = time.monotonic() - before_s
    pictures = (crowd.pictures if crowd else 0) - sent
    now = monitor.views()[0].status.frames
    return Phase((now - frames) / took_s, (counted[0] - analysed) / took_s, pictures / took_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default="demo")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    machine = describe().model_dump()
    with tempfile.TemporaryDirectory() as folder:
        alerts = {"store": Path(folder) / "events.db"}
        web = {"enabled": True, "port": 0, "max_viewers": 1000, "stall_s": 600, "max_connections": 2000}
        camera = [{"uri": args.source, "loop": True}]
        settings = load_settings(None, {"camera": camera, "web": web, "alerts": alerts})
        counted = [0]

        def count(_: object) -> None:
            counted[0] += 1

        monitor, mutes = Monitor(settings, [count]), Mutes()
        center = AlertCenter(settings.alerts, hold_back=mutes.hold_back)
        server = WebServer(settings, monitor, center, mutes)
        with monitor:
            center.start()
            server.start()
            drain = threading.Thread(target=lambda: [None for _ in monitor])
            drain.start()
            while monitor.views()[0].counts is None:
                time.sleep(0.1)
            time.sleep(3)
            alone, watched = [], []
            for _ in range(args.rounds):
                alone.append(measure(monitor, counted, args.seconds, None))
                crowd = Crowd(server.port, args.viewers, args.stalled)
                time.sleep(1)
                watched.append(measure(monitor, counted, args.seconds, crowd))
                crowd.close()
                time.sleep(0.5)
            server.stop()
            monitor.stop()
            drain.join()
        center.close()
    print(f"{args.viewers} viewers, {args.stalled} stalled; {args.rounds} rounds of {args.seconds:g} s")
    for name in ("captured", "analysed"):
        rates = [[getattr(phase, name) for phase in phases] for phases in (alone, watched)]
        without, with_ = (statistics.median(each) for each in rates)
        spread = ", ".join("/".join(f"{rate:.1f}" for rate in each) for each in rates)
        print(f"{name:9s} {without:6.2f}/s alone {with_:6.2f}/s watched  ratio {with_ / without:.3f}  ({spread})")
    each_s = statistics.median(phase.sent for phase in watched) / args.viewers
    print(f"pictures  {each_s:.2f}/s to each viewer")
    if args.json:
        ratios = {
            name: statistics.median(getattr(phase, name) for phase in watched)
            / statistics.median(getattr(phase, name) for phase in alone)
            for name in ("captured", "analysed")
        }
        facts = {"machine": machine, "versions": versions(), "viewers": args.viewers, "stalled": args.stalled}
        facts |= {"ratios": ratios, "pictures_per_s_to_each": each_s}
        facts |= {"alone": [asdict(each) for each in alone], "watched": [asdict(each) for each in watched]}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
