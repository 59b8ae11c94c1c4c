"""Watches many cameras: is each analysed at the same rate, how old are the frames, how many are dropped?

    python benchmarks/cameras.py [--cameras 8] [--fps 10] [--seconds 60] [--cores 2] [--json docs/results/cameras.json]
                                 [--replay busy.mp4] [-- FLAGS OF WATCH, such as --detector haar]

Another process on the same cores serves the demo clip as motion JPEG over HTTP on loopback, or the packets of the
``--replay`` video (make_clip.py), encoded beforehand as H.264. Exit code 1 if the highest analysed rate of a camera is
more than 1.3 times the lowest. The tests run a short version.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from loopback import cameras_on_loopback  # noqa: E402
from make_clip import frames_of  # noqa: E402
from replay import encode, replayed  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.capture.live_source import throttle_of  # noqa: E402
from app.cli.main import build_parser  # noqa: E402
from app.cli.watch import settings_of  # noqa: E402
from app.core.types import FrameResult  # noqa: E402
from app.pipeline.monitor import Monitor  # noqa: E402

FAIR = 1.3
_WARM_S, _LIMIT_S = 5.0, 120.0


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera: frames per second received, analysed, dropped, and skipped because nothing happened;
    the age of a frame when its result was ready; the duration of detection and classification."""

    camera: str
    came_fps: float
    analysed_fps: float
    dropped_fps: float
    skipped_fps: float
    age_p50_ms: float
    age_p95_ms: float
    age_max_ms: float
    detect_p50_ms: float
    classify_p95_ms: float


@dataclass(frozen=True, slots=True)
class Figures:
    cameras: tuple[CameraFigures, ...]
    seconds: float
    cores: int
    detector: str
    fairness: float
    age_p95_ms: float
    analysed_fps: float
    dropped_fps: float
    faces_per_frame: float
    processor_share: float
    ms_per_frame: float
    sources_ms_per_frame: float | None
    """Processor time of the server of the cameras, per frame that it sent; None without ``--replay``."""


class ResultRecorder:
    """Records the age and the stage times of each result, while it is enabled."""

    def __init__(self) -> None:
        self.enabled = False
        self.ages_s: dict[str, list[float]] = defaultdict(list)
        self.detect_s: dict[str, list[float]] = defaultdict(list)
        self.classify_s: dict[str, list[float]] = defaultdict(list)
        self.faces = 0

    def __call__(self, result: FrameResult) -> None:
        if self.enabled:
            name = result.frame.camera
            self.ages_s[name].append(time.monotonic() - result.frame.captured_s)
            self.detect_s[name].append(result.times.detect_s)
            self.classify_s[name].append(result.times.classify_s)
            self.faces += len(result.tracks)


def run(cameras: int, fps: float, seconds: float, flags: list[str], video: Path | None = None) -> Figures:
    """Watches ``cameras`` cameras of ``fps`` frames per second for ``seconds``, or longer until each has a result; they
    replay ``video`` if given."""
    recorder, replay = ResultRecorder(), None
    with ExitStack() as stack:
        if video is None:
            addresses = stack.enter_context(cameras_on_loopback(cameras, fps))
        else:
            coded = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "coded.mkv"
            encode(frames_of(video), coded, "h264", round(fps))
            replay = stack.enter_context(replayed(coded, cameras))
            addresses, began_s = replay.addresses, time.monotonic()
        argv = ["watch", "--headless", *(part for address in addresses for part in ("--source", address)), *flags]
        settings = settings_of(build_parser().parse_args(argv))
        with Monitor(settings, [recorder]) as monitor:
            _wait_for_all(monitor, cameras)
            skipped = [-each.skipped for each in map(throttle_of, monitor.sources) if each]
            before, start_s, busy_s = monitor.views(), time.monotonic(), time.process_time()
            recorder.enabled = True
            while (took_s := time.monotonic() - start_s) < seconds or len(recorder.ages_s) < cameras:
                if took_s > seconds + _LIMIT_S:
                    raise SystemExit(f"a camera had no result in {took_s:.0f} s; use fewer --cameras")
                monitor.take(0.2)
            recorder.enabled = False
            after, lasted_s, busy_s = monitor.views(), time.monotonic() - start_s, time.process_time() - busy_s
            for number, each in enumerate(map(throttle_of, monitor.sources)):
                skipped[number] += each.skipped
            sent_s = time.monotonic() - began_s if video else 0.0
    figures = []
    for number, (first, last) in enumerate(zip(before, after, strict=True)):
        name = first.camera
        ages_ms = np.array(recorder.ages_s[name]) * 1000
        figures.append(
            CameraFigures(
                camera=name,
                came_fps=(last.status.frames - first.status.frames) / lasted_s,
                analysed_fps=len(recorder.ages_s[name]) / lasted_s,
                dropped_fps=(last.dropped - first.dropped) / lasted_s,
                skipped_fps=skipped[number] / lasted_s,
                age_p50_ms=float(np.percentile(ages_ms, 50)),
                age_p95_ms=float(np.percentile(ages_ms, 95)),
                age_max_ms=float(ages_ms.max()),
                detect_p50_ms=float(np.percentile(recorder.detect_s[name], 50)) * 1000,
                classify_p95_ms=float(np.percentile(recorder.classify_s[name], 95)) * 1000,
            )
        )
    rates = [each.analysed_fps + each.skipped_fps for each in figures]
    every_age_ms = np.concatenate([np.array(ages) * 1000 for ages in recorder.ages_s.values()])
    return Figures(
        cameras=tuple(figures),
        seconds=lasted_s,
        cores=_cores(),
        detector=settings.detector.kind,
        fairness=max(rates) / min(rates) if min(rates) else float("inf"),
        age_p95_ms=float(np.percentile(every_age_ms, 95)),
        analysed_fps=sum(each.analysed_fps for each in figures),
        dropped_fps=sum(each.dropped_fps for each in figures),
        faces_per_frame=recorder.faces / len(every_age_ms),
        processor_share=busy_s / lasted_s / _cores(),
        ms_per_frame=busy_s * 1000 / len(every_age_ms),
        sources_ms_per_frame=replay.cpu_s * 1000 / (cameras * fps * sent_s) if replay else None,
    )


def _wait_for_all(monitor: Monitor, cameras: int) -> None:
    """Waits until each camera was analysed, and a little longer: the first frames of a stream arrive in a burst."""
    seen: set[str] = set()
    end_s = time.monotonic() + _LIMIT_S
    while len(seen) < cameras:
        seen.update(result.frame.camera for result in monitor.take(0.2))
        if time.monotonic() > end_s:
            raise SystemExit(
                f"only {len(seen)} of {cameras} cameras were analysed within {_LIMIT_S:.0f} s; use fewer --cameras"
            )
    warm_s = time.monotonic() + _WARM_S
    while time.monotonic() < warm_s:
        monitor.take(0.2)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load() -> float:
    """The 1-minute load average, NaN if the system has none: other programs slow the measurement."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def table_of(figures: Figures) -> Table:
    table = Table(title=f"{len(figures.cameras)} cameras, {figures.seconds:.0f} s, detector {figures.detector}")
    table.add_column("camera")
    for name in (
        "came/s",
        "analysed/s",
        "dropped/s",
        "skipped/s",
        "age p50",
        "age p95",
        "age max",
        "detect p50",
        "classify p95",
    ):
        table.add_column(name, justify="right")
    for each in figures.cameras:
        rates = (each.came_fps, each.analysed_fps, each.dropped_fps, each.skipped_fps)
        times_ms = (each.age_p50_ms, each.age_p95_ms, each.age_max_ms, each.detect_p50_ms, each.classify_p95_ms)
        table.add_row(each.camera, *(f"{rate:.1f}" for rate in rates), *(f"{ms:.0f} ms" for ms in times_ms))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use, on systems that can limit them")
    parser.add_argument("--replay", type=Path, metavar="VIDEO")
    parser.add_argument("--json", type=Path)
    parser.add_argument("flags", nargs="*", help="flags of 'maskwatch watch', after --")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    load = _load()
    figures = run(args.cameras, args.fps, args.seconds, args.flags, args.replay)
    console = Console(width=120)
    console.print(table_of(figures))
    console.print(
        f"rates max/min {figures.fairness:.2f} (limit {FAIR}), age p95 {figures.age_p95_ms:.0f} ms, "
        f"{figures.analysed_fps:.1f} frames/s analysed and {figures.dropped_fps:.1f} dropped in total,\n"
        f"{figures.ms_per_frame:.1f} ms of processor time for each ({figures.faces_per_frame:.1f} faces), "
        f"{figures.processor_share:.0%} of {figures.cores} cores; load of the machine before: {load:.1f}"
    )
    if figures.sources_ms_per_frame is not None:
        console.print(f"the sources took {figures.sources_ms_per_frame:.1f} ms for each frame, in another process")
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"processor": platform.processor() or platform.machine(), "load_before": load}
        record = {**machine, "camera_fps": args.fps, **asdict(figures)}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0 if figures.fairness <= FAIR else 1


if __name__ == "__main__":
    sys.exit(main())
