"""Kills a real RTSP server repeatedly during a capture and reports recovery times and leaks.

    python benchmarks/faults.py [--kills 20] [--seed 1] [--freeze-every 5] [--json docs/results/faults.json]
    python benchmarks/faults.py --key-frames 1 12 30 --json docs/results/key_frames.json

Prints one line for each fault: the time until it was noticed, the time until new frames arrived, and then memory,
threads and handles. Exit code 1 if a recovery took longer than the longest wait plus the open limit, if a thread or a
handle leaked, or if memory grew by more than 5 % after the first quarter. The tests run a short version.
"""

import argparse
import json
import logging
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes_http import http_camera, paced  # noqa: E402
from fakes_video import RtspServer, striped_image, transport_stream, wait_until, write_clip  # noqa: E402

from app.capture.capture import Capture, SourceState  # noqa: E402
from app.capture.process_exit import stuck_readers  # noqa: E402
from app.capture.slot import Slot  # noqa: E402
from app.capture.source import make_source  # noqa: E402
from app.core.types import Frame  # noqa: E402
from app.settings.source import SourceSettings  # noqa: E402

OPEN_S, READ_S, WAITS_S = 5.0, 2.0, (0.2, 0.5, 1.0)
LONGEST_S = max(WAITS_S) + OPEN_S + 1.0  # 1 s for the stream probe
GROWTH = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: seconds until it was noticed, seconds from the server's return to a new frame, and the resources of
    the process after that."""

    kind: str
    noticed_s: float
    recovered_s: float
    memory_mib: float
    threads: int
    handles: int


def run(kills: int, seed: int, freeze_every: int, verbose: bool = True) -> list[Fault]:
    """Causes ``kills`` faults at random moments."""
    chance = random.Random(seed)
    process = psutil.Process()
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory() as folder:
        write_clip(Path(folder) / "a.mp4", [striped_image(i, 640, 480) for i in range(250)])
        with RtspServer(Path(folder)) as server:
            settings = SourceSettings(
                uri=server.url("a.mp4"),
                open_timeout_s=OPEN_S,
                read_timeout_s=READ_S,
                stale_after_s=1.0,
                reconnect_s=WAITS_S,
            )
            slot: Slot[Frame] = Slot()
            capture = Capture(make_source(settings), settings, [slot])
            capture.start()
            try:
                _wait_for_new_frames(capture)
                for number in range(1, kills + 1):
                    threading.Event().wait(chance.uniform(0.0, 2.0))
                    freezes = bool(freeze_every) and number % freeze_every == 0
                    noticed_s, recovered_s = _one_fault(
                        server, capture, freezes, chance.uniform(0.0, 2 * READ_S if freezes else 2.0)
                    )
                    memory_mib = process.memory_info().rss / 2**20
                    kind = "freeze" if freezes else "kill"
                    fault = Fault(kind, noticed_s, recovered_s, memory_mib, threading.active_count(), _handles(process))
                    faults.append(fault)
                    if verbose:
                        print(
                            f"{number:3d} {kind:6s} noticed {noticed_s:5.2f} s  back {recovered_s:5.2f} s  "
                            f"{memory_mib:7.1f} MiB  {fault.threads} threads  {fault.handles} handles",
                            flush=True,
                        )
            finally:
                capture.stop()
                if not capture.join(5):
                    raise SystemExit("the capture did not stop")
    return faults


def _one_fault(server: RtspServer, capture: Capture, freezes: bool, pause_s: float) -> tuple[float, float]:
    start_s = time.monotonic()
    server.pause() if freezes else server.kill()
    wait_until(lambda: capture.status.state is not SourceState.LIVE, "the fault is noticed")
    noticed_s = time.monotonic() - start_s
    threading.Event().wait(pause_s)
    server.resume() if freezes else server.start()
    back_s = time.monotonic()
    _wait_for_new_frames(capture)
    recovered_s = time.monotonic() - back_s
    wait_until(lambda: len(stuck_readers()) <= 1, "the thread of the lost connection has ended")
    return noticed_s, recovered_s


def _wait_for_new_frames(capture: Capture) -> None:
    seen = capture.status.frames
    wait_until(lambda: capture.status.frames > seen and capture.status.state is SourceState.LIVE, "new frames", 60)


def _handles(process: psutil.Process) -> int:
    return process.num_fds() if hasattr(process, "num_fds") else process.num_handles()


def problems_of(faults: list[Fault], longest_s: float = LONGEST_S, growth: float = GROWTH) -> list[str]:
    """The limits that these figures break, as messages. ``growth``: allowed growth of the memory, as a share."""
    problems: list[str] = []
    settled = faults[len(faults) // 4 :]
    problems += [f"a recovery took {f.recovered_s:.1f} s" for f in faults if f.recovered_s > longest_s]
    if settled[-1].threads > settled[0].threads:
        problems.append(f"threads grew from {settled[0].threads} to {settled[-1].threads}")
    if settled[-1].handles > settled[0].handles:
        problems.append(f"handles grew from {settled[0].handles} to {settled[-1].handles}")
    grown = settled[-1].memory_mib / settled[0].memory_mib - 1
    if grown > growth:
        problems.append(f"memory grew by {grown:.1%}")
    return problems


@dataclass(frozen=True, slots=True)
class KeyFrameWait:
    """A live stream that is joined right after a key frame: seconds to the message that it waits (None: no message),
    to the first frame, and how often the capture has reconnected meanwhile."""

    distance_s: float
    message_s: float | None
    first_frame_s: float
    reconnects: int


def join_between_key_frames(distance_s: float, limit_s: float = 90.0) -> KeyFrameWait:
    """Joins a stream whose key frames are ``distance_s`` apart, 0.2 s after one of them."""
    body = transport_stream(round((2 * distance_s + 3) * 25), round(distance_s * 25))
    bytes_per_s = len(body) / (2 * distance_s + 3)
    start = round(0.2 * bytes_per_s) // 188 * 188
    with http_camera(lambda request: paced(request, body[start:], bytes_per_s)) as camera:
        settings = SourceSettings(uri=camera.url("/cam.ts"), reconnect_s=WAITS_S)
        capture = Capture(make_source(settings), settings, [Slot[Frame]()])
        start_s = time.monotonic()
        message_s = None
        capture.start()
        try:
            while not capture.status.frames and time.monotonic() - start_s < limit_s:
                if message_s is None and "key frame" in capture.status.last_error:
                    message_s = round(time.monotonic() - start_s, 2)
                threading.Event().wait(0.02)
            first_s = round(time.monotonic() - start_s, 2)
            return KeyFrameWait(distance_s, message_s, first_s, capture.status.reconnects)
        finally:
            capture.stop()
            capture.join(5)


def run_key_frames(distances_s: list[float], path: Path | None) -> int:
    """Prints and writes the waits. The exit code is 1 if one took 3 s longer than its distance or reconnected."""
    waits = []
    for distance_s in distances_s:
        waits.append(join_between_key_frames(distance_s))
        print(waits[-1], flush=True)
    problems = [
        f"key frames {wait.distance_s:g} s apart: frame after {wait.first_frame_s} s, {wait.reconnects} reconnects"
        for wait in waits
        if wait.first_frame_s > wait.distance_s + 3 or wait.reconnects
    ]
    print("\n".join(problems) or "every stream was waited for")
    if path is not None:
        record = {"is_well": not problems, "wrong": problems, "waits": [asdict(wait) for wait in waits]}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="fault injection against a real RTSP server")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--freeze-every", type=int, default=5, help="every n-th fault freezes the server; 0: none")
    parser.add_argument(
        "--key-frames", type=float, nargs="+", metavar="S", help="distances of key frames to join between"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.disable()  # the table shows every fault
    if args.key_frames:
        return run_key_frames(args.key_frames, args.json)
    faults = run(args.kills, args.seed, args.freeze_every)
    recovered = sorted(fault.recovered_s for fault in faults)
    print(f"recovery: median {recovered[len(recovered) // 2]:.2f} s, longest {recovered[-1]:.2f} s")
    problems = problems_of(faults)
    print("\n".join(problems) or "no thread, handle or memory leak")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"is_well": not problems, "wrong": problems, "seed": args.seed}
        record["faults"] = [asdict(fault) for fault in faults]
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
