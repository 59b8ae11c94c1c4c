"""What a hook that takes 60 s costs the watching: frame rate and latency with it and without any, side by side.

    python benchmarks/alert_slow_hook.py [--rounds 3] [--source assets/demo.mp4]

Each round analyses the same clip as fast as it goes, with no channel and with two channels that take 60 s for each
alert (a program and a webhook), in random order. Prints frames per second, the processor time of a frame (which other
programs on the machine disturb least), the latency from the capture of a frame to its result (events are stored and
handed over in between), and the ratios of the medians.
"""

import argparse
import random
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from app.alerts.delivery import AlertCenter  # noqa: E402
from app.alerts.settings import AlertSettings  # noqa: E402
from app.config import load_settings  # noqa: E402
from app.domain import FrameResult  # noqa: E402
from app.monitor.pipeline import Monitor  # noqa: E402

HOOK_S = 60.0
ARMS = ("no hook", "60 s hooks")


@dataclass
class Measured:
    """What one arm gave over all rounds."""

    fps: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    close_s: list[float] = field(default_factory=list)


def alert_settings(arm: str, store: Path, silent_port: int) -> AlertSettings:
    channels: list[dict[str, object]] = []
    if arm != ARMS[0]:
        program = [sys.executable, "-c", f"import time; time.sleep({HOOK_S})"]
        channels.append({"kind": "command", "name": "program", "argv": program, "timeout_s": 2 * HOOK_S})
        url = f"http://127.0.0.1:{silent_port}/"
        channels.append({"kind": "webhook", "name": "web", "url": url, "timeout_s": 2 * HOOK_S})
    return AlertSettings.model_validate({"store": store, "channels": channels})


def watch(arm: str, source: str, measured: Measured, silent_port: int) -> None:
    """One pass over ``source``."""
    flags = {"camera": [{"uri": source, "pace": "fast"}], "policy": {"dwell_s": 0.5, "cooldown_s": 0.0}}
    with tempfile.TemporaryDirectory() as folder:
        center = AlertCenter(alert_settings(arm, Path(folder, "events.db"), silent_port))

        def on_result(result: FrameResult) -> None:
            for event in result.events:
                began_s = time.perf_counter()
                center.submit(event)
                measured.submit_ms.append(1000 * (time.perf_counter() - began_s))

        center.start()
        frames, latency_ms = 0, list[float]()
        with Monitor(load_settings(None, flags), listeners=[on_result]) as monitor:
            began_s, cpu_s = 0.0, 0.0
            for result in monitor:
                now_s = time.monotonic()
                if not frames:
                    began_s, cpu_s = now_s, time.process_time()
                latency_ms.append(1000 * (now_s - result.frame.captured_s))
                frames += 1
            elapsed_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        began_s = time.monotonic()
        center.close()
        measured.close_s.append(time.monotonic() - began_s)
    measured.fps.append((frames - 1) / elapsed_s)
    measured.cpu_ms.append(1000 * cpu_s / (frames - 1))
    measured.latency_ms.extend(latency_ms)


def report(measured: dict[str, Measured]) -> None:
    heads = ("frames/s", "CPU/frame", "latency p50", "p95", "slowest submit", "slowest close", "events")
    print(" " * 12 + "".join(f"{head:>16}" for head in heads))
    for arm in ARMS:
        each = measured[arm]
        p50, p95 = (statistics.quantiles(each.latency_ms, n=100)[i] for i in (49, 94))
        cells = [f"{statistics.median(each.fps):.1f}"]
        cells += [f"{ms:.1f} ms" for ms in (statistics.median(each.cpu_ms), p50, p95, max(each.submit_ms))]
        cells += [f"{max(each.close_s):.2f} s", str(len(each.submit_ms))]
        print(f"{arm:12}" + "".join(f"{cell:>16}" for cell in cells))
    plain, slow = (measured[arm] for arm in ARMS)
    ratios = {
        name: statistics.median(getattr(slow, field_name)) / statistics.median(getattr(plain, field_name))
        for name, field_name in (("frame rate", "fps"), ("CPU per frame", "cpu_ms"), ("latency", "latency_ms"))
    }
    print("ratio with / without: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", default=str(ROOT / "assets" / "demo.mp4"))
    args = parser.parse_args()
    measured = {arm: Measured() for arm in ARMS}
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        port = silent.getsockname()[1]
        for number in range(args.rounds):
            arms = list(ARMS)
            random.Random(number).shuffle(arms)
            for arm in arms:
                watch(arm, args.source, measured[arm], port)
    report(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
