"""Measures what clips cost: analysed frames per second with clips and without, side by side, and their memory.

    python benchmarks/clips.py [--rounds 4] [--seconds 30] [--size 1920x1080] [--json docs/results/clips.json]

In each round two programs watch the same video in real time, at the same time: one stores a clip of each event, one
does not. Other load on the machine affects both, so their ratio is the result. If the machine is too slow for both,
the analysis drops below the rate of the video, and the ratio shows what clips take from it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import make_clip  # noqa: E402

from app.bench.machine import describe, versions  # noqa: E402
from app.cli.watch_session import WatchSession  # noqa: E402
from app.core.types import Counts, Frame, FrameResult, StageTimes  # noqa: E402
from app.review.clips import ClipRecorder  # noqa: E402
from app.review.picture_folder import PictureFolder  # noqa: E402
from app.settings.load import load_settings  # noqa: E402
from app.settings.review import ClipSettings  # noqa: E402

ARMS = ("no clips", "clips")
WARM_S = 4.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one program. ``ring_mb``: the most memory that the images of the camera needed."""

    fps: float
    cpu_ms: float
    late_ms: float
    ring_mb: float
    events: int
    written: int
    dropped: int


def watch(arm: str, source: str, seconds: float) -> Measured:
    """Waits for a line on standard input, then watches ``source`` in a loop for ``seconds``."""
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            "camera": [{"uri": source, "loop": True}],
            "policy": {"dwell_s": 0.5, "cooldown_s": 4.0},
            "alerts": {"store": Path(folder, "events.db"), "store_files": True},
            "clips": {"enabled": arm == ARMS[1], "max_width_px": 1920},
            "view": {"headless": True},
        }
        session = WatchSession(load_settings(None, tables), None, None)
        print("ready", flush=True)
        sys.stdin.readline()
        with session:
            end_s = time.monotonic() + WARM_S
            session.run_headless(lambda: time.monotonic() >= end_s)
            start_s, cpu_s, frames = time.monotonic(), time.process_time(), session.frames
            session.run_headless(lambda: time.monotonic() >= start_s + seconds)
            passed_s, cpu_s = time.monotonic() - start_s, time.process_time() - cpu_s
            frames = session.frames - frames
            late_ms = 1000 * (time.monotonic() - next(iter(session.latest.values())).frame.captured_s)
        clips = session.evidence.clips
        ring_mb, written, dropped = (clips.largest_bytes / 1e6, clips.written, clips.dropped) if clips else (0.0, 0, 0)
        events = len(session.alerts.recent())
    return Measured(frames / passed_s, 1000 * cpu_s / frames, late_ms, ring_mb, events, written, dropped)


def memory_mb(source: Path) -> float:
    """The most memory that the images of one camera need, if every image of ``source`` is encoded in time."""
    before_s = ClipSettings().before_s + ClipSettings().after_s
    with tempfile.TemporaryDirectory() as folder:
        settings = ClipSettings(enabled=True, max_width_px=1920, before_s=before_s, after_s=0)
        recorder = ClipRecorder(settings, PictureFolder(Path(folder)), blur_all=False, max_load=1)
        recorder.start()
        for index, image in enumerate(make_clip.frames_of(source)):
            time_s = index / make_clip.FPS
            frame = Frame(image, index, time_s, time.monotonic(), time.time(), "camera")
            recorder.on_result(FrameResult(frame, (), (), Counts({}, {}), (), (), StageTimes()))
            while not recorder.is_idle:
                time.sleep(0.001)
        recorder.close(60)
    return recorder.largest_bytes / 1e6


def run_round(source: str, seconds: float) -> dict[str, Measured]:
    argv = [sys.executable, __file__, "--source", source, "--seconds", str(seconds)]
    programs = {
        arm: subprocess.Popen(
            [*argv, "--arm", arm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for arm in ARMS
    }
    for program in programs.values():
        assert program.stdout is not None
        program.stdout.readline()
    for program in programs.values():
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    return {arm: Measured(**json.loads(program.communicate()[0].splitlines()[-1])) for arm, program in programs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each round")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(asdict(watch(args.arm, args.source, args.seconds))))
        return 0
    machine = describe().model_dump()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "busy.mp4")
        width, height = map(int, args.size.split("x"))
        make_clip.make(source, "busy", (width, height))
        full_mb = memory_mb(source)
        print(f"ten seconds of images in memory: at most {full_mb:.1f} MB at {args.size}")
        rounds = [run_round(str(source), args.seconds) for _ in range(args.rounds)]
    for arm in ARMS:
        runs = [each[arm] for each in rounds]
        print(
            f"{arm:10} {statistics.median(each.fps for each in runs):6.1f} frames/s, "
            f"{statistics.median(each.cpu_ms for each in runs):5.1f} ms CPU per frame, "
            f"images in memory at most {max(each.ring_mb for each in runs):.1f} MB, "
            f"{sum(each.events for each in runs)} events, {sum(each.written for each in runs)} clips, "
            f"{sum(each.dropped for each in runs)} dropped"
        )
    ratios = [each[ARMS[1]].fps / each[ARMS[0]].fps for each in rounds]
    print(f"frame rate: ratio with / without {statistics.median(ratios):.3f} ({', '.join(f'{r:.3f}' for r in ratios)})")
    if args.json:
        record = {
            "machine": machine,
            "versions": versions(),
            "seconds": args.seconds,
            "size": args.size,
            "memory_mb": full_mb,
        }
        record |= {"median_ratio": statistics.median(ratios), "ratios": ratios}
        record |= {"rounds": [{arm: asdict(each) for arm, each in turn.items()} for turn in rounds]}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
