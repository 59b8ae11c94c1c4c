"""Measures what a hook that takes 60 s costs: frame rate and latency with it and without a hook, side by side.

    python benchmarks/alert_slow_hook.py [--rounds 4] [--seconds 20] [--json docs/results/alert_slow_hook.json]

In each round two programs analyse the same clip at full speed, at the same time: one without a channel, one with two
channels that take 60 s for each alert (a program and a webhook). Other load on the machine affects both, so their ratio
is the result. Prints frames per second, processor time per frame, the latency from the capture of a frame to its result
(in between, events are stored and submitted), and the medians of the rounds' ratios.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from app.alerts.delivery import AlertCenter  # noqa: E402
from app.bench.machine import describe, versions  # noqa: E402
from app.core.types import FrameResult  # noqa: E402
from app.pipeline.monitor import Monitor  # noqa: E402
from app.settings.alerts import AlertSettings  # noqa: E402
from app.settings.load import load_settings  # noqa: E402

HOOK_S = 60.0
ARMS = ("no hook", "60 s hooks")
WARM_S = 3.0


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one program. ``submit_ms`` is the slowest ``submit``, ``close_s`` the duration of ``close``."""

    fps: float
    cpu_ms: float
    latency_ms: float
    latency_p95_ms: float
    submit_ms: float
    close_s: float
    events: int


def alert_settings(arm: str, store: Path, silent_port: int) -> AlertSettings:
    channels: list[dict[str, object]] = []
    if arm != ARMS[0]:
        program = [sys.executable, "-c", f"import time; time.sleep({HOOK_S})"]
        channels.append({"kind": "command", "name": "program", "argv": program, "timeout_s": 2 * HOOK_S})
        url = f"http://127.0.0.1:{silent_port}/"
        channels.append({"kind": "webhook", "name": "web", "url": url, "timeout_s": 2 * HOOK_S})
    return AlertSettings.model_validate({"store": store, "channels": channels})


def watch(arm: str, source: str, seconds: float, silent_port: int) -> Measured:
    """Waits for a line on standard input, then watches ``source`` in a loop for ``seconds``."""
    flags = {"camera": [{"uri": source, "pace": "fast", "loop": True}], "policy": {"dwell_s": 0.5, "cooldown_s": 0.0}}
    submits_ms = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        center = AlertCenter(alert_settings(arm, Path(folder, "events.db"), silent_port))

        def on_result(result: FrameResult) -> None:
            for event in result.events:
                start_s = time.perf_counter()
                center.submit(event)
                submits_ms.append(1000 * (time.perf_counter() - start_s))

        settings = load_settings(None, flags)
        print("ready", flush=True)
        sys.stdin.readline()
        center.start()
        measure_from_s = time.monotonic() + WARM_S
        latency_ms: list[float] = []
        cpu_s = last_s = 0.0
        with Monitor(settings, listeners=[on_result]) as monitor:
            for result in monitor:
                last_s = time.monotonic()
                if last_s < measure_from_s:
                    cpu_s = time.process_time()
                    continue
                latency_ms.append(1000 * (last_s - result.frame.captured_s))
                if last_s >= measure_from_s + seconds:
                    break
            cpu_s = time.process_time() - cpu_s
        start_s = time.monotonic()
        center.close()
        close_s = time.monotonic() - start_s
    p50_ms, p95_ms = (statistics.quantiles(latency_ms, n=100)[i] for i in (49, 94))
    frames = len(latency_ms)
    fps = frames / (last_s - measure_from_s)
    return Measured(fps, 1000 * cpu_s / frames, p50_ms, p95_ms, max(submits_ms), close_s, len(submits_ms) - 1)


def run_round(source: str, seconds: float, silent_port: int) -> dict[str, Measured]:
    """Runs one round: both programs at the same time."""
    argv = [sys.executable, __file__, "--source", source, "--seconds", str(seconds), "--port", str(silent_port)]
    programs = {
        arm: subprocess.Popen([*argv, "--arm", arm], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for arm in ARMS
    }
    for program in programs.values():
        assert program.stdout is not None
        program.stdout.readline()
    for program in programs.values():
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    return {arm: Measured(**json.loads(program.communicate()[0])) for arm, program in programs.items()}


def ratios_of(rounds: list[dict[str, Measured]]) -> dict[str, list[float]]:
    """The ratios with / without hooks, one per round."""
    names = {"frame rate": "fps", "CPU per frame": "cpu_ms", "latency": "latency_ms"}
    return {
        title: [getattr(each[ARMS[1]], name) / getattr(each[ARMS[0]], name) for each in rounds]
        for title, name in names.items()
    }


def report(rounds: list[dict[str, Measured]]) -> None:
    heads = ("frames/s", "CPU/frame", "latency p50", "p95", "slowest submit", "slowest close", "events")
    print(" " * 12 + "".join(f"{head:>16}" for head in heads))
    for arm in ARMS:
        runs = [each[arm] for each in rounds]
        cells = [f"{statistics.median(each.fps for each in runs):.1f}"]
        for name in ("cpu_ms", "latency_ms", "latency_p95_ms"):
            cells.append(f"{statistics.median(getattr(each, name) for each in runs):.1f} ms")
        cells += [f"{max(each.submit_ms for each in runs):.1f} ms", f"{max(each.close_s for each in runs):.2f} s"]
        print(f"{arm:12}" + "".join(f"{cell:>16}" for cell in (*cells, str(sum(each.events for each in runs)))))
    for title, ratios in ratios_of(rounds).items():
        spread = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{title}: ratio with / without {statistics.median(ratios):.3f} ({spread})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each round")
    parser.add_argument("--source", default=str(ROOT / "assets" / "demo.mp4"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.arm:
        print(json.dumps(asdict(watch(args.arm, args.source, args.seconds, args.port))))
        return 0
    machine = describe().model_dump()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        port = silent.getsockname()[1]
        rounds = [run_round(args.source, args.seconds, port) for _ in range(args.rounds)]
    report(rounds)
    if args.json:
        medians = {title: statistics.median(ratios) for title, ratios in ratios_of(rounds).items()}
        record = {"machine": machine, "versions": versions(), "seconds": args.seconds, "hook_s": HOOK_S}
        record |= {"median_ratios": medians, "ratios": ratios_of(rounds)}
        record |= {"rounds": [{arm: asdict(each) for arm, each in turn.items()} for turn in rounds]}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
