"""Watches cameras for a long time and measures the resources of the process: memory, threads, file handles.

    python benchmarks/soak.py [--minutes 20] [--cameras 2] [--fps 10] [--kill-every 60] [--json docs/results/soak.json]
                              [-- FLAGS OF WATCH]

The cameras send motion JPEG over HTTP on loopback; their server is killed and restarted at intervals. After the warm-up
(a fifth of the time, at least a minute) memory may grow by less than 5 %; the number of threads and handles must be the
same at the end. Exit code 1 otherwise. The tests run a short version.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from loopback import cameras_on_loopback  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.capture.capture import SourceState  # noqa: E402
from app.cli.main import build_parser  # noqa: E402
from app.cli.watch import settings_of  # noqa: E402
from app.core.types import Event, FrameResult  # noqa: E402
from app.pipeline.monitor import Monitor  # noqa: E402

LIMIT = 0.05
_EVERY_S, _END_S = 5.0, 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The process while all cameras are live. ``at_s``: seconds since the start; resident memory in MiB."""

    at_s: float
    memory_mib: float
    threads: int
    handles: int
    analysed: int


@dataclass(frozen=True, slots=True)
class Soak:
    """``growth`` of the memory: median of the last tenth of the samples after the warm-up / median of the first tenth,
    minus 1. Threads and handles: minimum of the first third and of the last third."""

    minutes: float
    cameras: int
    kills: int
    analysed: int
    events: dict[str, int]
    memory_first_mib: float
    memory_last_mib: float
    growth: float
    threads_first: int
    threads_last: int
    handles_first: int
    handles_last: int
    left_threads: tuple[str, ...]
    samples: tuple[Sample, ...]

    @property
    def is_well(self) -> bool:
        same = self.threads_first == self.threads_last and self.handles_first == self.handles_last
        return self.growth < LIMIT and same and not self.left_threads


class Cameras:
    """The loopback cameras. ``restart`` kills their server and starts a new one on the same ports."""

    def __init__(self, cameras: int, fps: float) -> None:
        self._cameras, self._fps = cameras, fps
        self._stack = ExitStack()
        self.addresses = self._stack.enter_context(cameras_on_loopback(cameras, fps))

    def restart(self) -> None:
        ports = [int(address.split(":")[2].partition("/")[0]) for address in self.addresses]
        self._stack.close()
        self._stack.enter_context(cameras_on_loopback(self._cameras, self._fps, ports))

    def close(self) -> None:
        self._stack.close()


def run(
    minutes: float, cameras: int, fps: float, kill_every_s: float, flags: list[str], print_line: Callable[[str], None]
) -> Soak:
    """Watches the cameras for ``minutes``; calls ``print_line`` once per minute."""
    analysed, events = Counter[str](), Counter[str]()

    def on_result(result: FrameResult) -> None:
        analysed[result.frame.camera] += 1

    def on_event(event: Event, _: FrameResult | None) -> None:
        events[event.kind.value] += 1

    process, samples, kills = psutil.Process(), list[Sample](), 0
    threads_before = set(threading.enumerate())
    server = Cameras(cameras, fps)
    try:
        argv = ["watch", "--headless", *(part for uri in server.addresses for part in ("--source", uri)), *flags]
        settings = settings_of(build_parser().parse_args(argv))
        limits = {"reconnect_s": (0.5, 1.0), "read_timeout_s": 2.0}
        settings = settings.model_copy(
            update={"camera": tuple(camera.model_copy(update=limits) for camera in settings.camera)}
        )
        with Monitor(settings, [on_result], [on_event]) as monitor:
            start_s, killed_s, minute = time.monotonic(), time.monotonic(), 1
            while (at_s := time.monotonic() - start_s) < minutes * 60:
                if kill_every_s and time.monotonic() - killed_s >= kill_every_s:
                    server.restart()
                    kills, killed_s = kills + 1, time.monotonic()
                _drain(monitor, min(_EVERY_S, minutes * 60 / 20))
                # Connecting needs more threads and handles for a moment: sample only while all cameras are live.
                if _all_live(monitor):
                    samples.append(_sample(process, time.monotonic() - start_s, sum(analysed.values())))
                if at_s >= 60 * minute and samples:
                    minute += 1
                    last = samples[-1]
                    print_line(
                        f"{last.at_s / 60:5.1f} min: {last.memory_mib:.1f} MiB, {last.threads} threads, "
                        f"{last.handles} handles, {last.analysed} frames, {kills} kills"
                    )
    finally:
        server.close()
    end_s = time.monotonic() + _END_S
    while (left := set(threading.enumerate()) - threads_before) and time.monotonic() < end_s:
        time.sleep(0.1)
    warm_s = max(60.0, minutes * 60 / 5) if minutes >= 2 else minutes * 60 / 5
    return _evaluate(minutes, cameras, kills, samples, warm_s, dict(events), tuple(each.name for each in left))


def _evaluate(
    minutes: float,
    cameras: int,
    kills: int,
    samples: list[Sample],
    warm_s: float,
    events: dict[str, int],
    left: tuple[str, ...],
) -> Soak:
    after = [sample for sample in samples if sample.at_s >= warm_s]
    if len(after) < 2:
        raise SystemExit("too few samples with all cameras live; raise --minutes")
    tenth = max(1, len(after) // 10)
    first, last = after[:tenth], after[-tenth:]
    early, late = after[: max(1, len(after) // 3)], after[-max(1, len(after) // 3) :]
    first_mib, last_mib = _median(first, "memory_mib"), _median(last, "memory_mib")
    return Soak(
        minutes=minutes,
        cameras=cameras,
        kills=kills,
        analysed=after[-1].analysed,
        events=events,
        memory_first_mib=first_mib,
        memory_last_mib=last_mib,
        growth=last_mib / first_mib - 1,
        # The minimum of a third: a connection that opens or closes adds one or two handles for a moment.
        threads_first=min(sample.threads for sample in early),
        threads_last=min(sample.threads for sample in late),
        handles_first=min(sample.handles for sample in early),
        handles_last=min(sample.handles for sample in late),
        left_threads=left,
        samples=tuple(samples),
    )


def _median(samples: list[Sample], name: str) -> float:
    values = sorted(float(getattr(sample, name)) for sample in samples)
    return values[len(values) // 2]


def _drain(monitor: Monitor, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0 and not monitor.finished:
        monitor.take(min(0.2, left_s))


def _all_live(monitor: Monitor) -> bool:
    return all(view.status.state is SourceState.LIVE and view.frame is not None for view in monitor.views())


def _sample(process: psutil.Process, at_s: float, analysed: int) -> Sample:
    handles = process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
    # Includes native threads: those of a decoder or a network runtime may leak too.
    return Sample(at_s, process.memory_info().rss / 2**20, process.num_threads(), handles, analysed)


def table_of(soak: Soak) -> Table:
    table = Table(title=f"{soak.minutes:g} min, {soak.cameras} cameras, {soak.kills} kills, {soak.analysed} frames")
    for name in ("", "after warm-up", "at the end"):
        table.add_column(name, justify="right" if name else "left")
    memory = f"{soak.memory_last_mib:.1f} MiB ({soak.growth:+.1%})"
    table.add_row("resident memory", f"{soak.memory_first_mib:.1f} MiB", memory)
    table.add_row("threads (including native ones)", str(soak.threads_first), str(soak.threads_last))
    table.add_row("file handles", str(soak.handles_first), str(soak.handles_last))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=float, default=10)
    parser.add_argument("--kill-every", type=float, default=60, metavar="S", help="0: never")
    parser.add_argument("--json", type=Path)
    parser.add_argument("flags", nargs="*", help="flags of 'maskwatch watch', after --")
    args = parser.parse_args()
    console = Console(width=100)
    soak = run(args.minutes, args.cameras, args.fps, args.kill_every, args.flags, console.print)
    console.print(table_of(soak))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"is_well": soak.is_well, **asdict(soak)}, indent=1) + "\n", encoding="utf-8")
    return 0 if soak.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
