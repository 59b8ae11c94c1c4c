"""Measures what each optimisation saves: runs the pipeline alternately with and without it.

    python benchmarks/levers.py [--threads 2] [--seconds 10] [--rounds 3] [--json docs/results/levers.json]
                                [--page docs/speed.md]

The busy video plays at full speed, so that all frames are analysed and the cost is the processor time per frame. The
still one plays as a camera of 25 frames per second. Ratios are taken within a round. ``--page`` writes the table
between ``<!-- levers -->`` and ``<!-- /levers -->`` of a Markdown page.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bar_table import write_between  # noqa: E402
from make_clip import make  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402

from app.bench.child_process import own_child, run_for_figures, thread_limits  # noqa: E402
from app.bench.machine import describe, only_cores, versions  # noqa: E402
from app.bench.result_types import Figures  # noqa: E402
from app.core.cpu import cores_allowed  # noqa: E402
from app.core.errors import MaskwatchError  # noqa: E402

CAMERA_FPS = 25
_FULL_PASS, _STILL_PASS = "MASKWATCH_DETECTOR__FULL_LOOK_S", "MASKWATCH_DETECTOR__STILL_LOOK_S"
_ALWAYS_FULL = {_FULL_PASS: "0"}
_NEVER_SETTLED = {"MASKWATCH_TRACKING__SETTLED_AFTER": "100", "MASKWATCH_TRACKING__SETTLED_CONFIDENCE": "1"}


@dataclass(frozen=True, slots=True)
class Lever:
    """An optimisation, and the settings that disable it."""

    name: str
    without: str
    environment: dict[str, str] = field(default_factory=dict)
    threads: int | None = None


LEVERS = {
    "busy": (
        Lever("between full detection passes only ROIs around tracked faces are searched", "always full", _ALWAYS_FULL),
        Lever("settled faces are classified less often", "every face in every frame", _NEVER_SETTLED),
        Lever("both", "neither", {**_ALWAYS_FULL, _STILL_PASS: "0", **_NEVER_SETTLED}),
        Lever("inference uses all allowed cores", "one core", threads=1),
    ),
    "wide": (Lever("the detector runs at 640 px", "at 1,280 px", {"MASKWATCH_DETECTOR__WORKING_WIDTH_PX": "1280"}),),
    "still": (
        Lever("an unchanged frame is searched once per second", "every frame", {_STILL_PASS: "0", **_ALWAYS_FULL}),
    ),
}
"""By video."""


def child_programs(video: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The child programs by lever name; "" is the pipeline with all optimisations."""
    common = ["--source", str(path), "--seconds", str(args.seconds), "--warm-up", "2"]
    if video == "still":
        common += ["--as-live", str(CAMERA_FPS)]

    def child(lever: Lever) -> Any:
        threads = lever.threads or args.threads
        arguments = [*common, "--threads", str(threads)]
        return own_child(arguments, "run", {**thread_limits(threads), **lever.environment})

    return {lever.name: child(lever) for lever in (Lever("", ""), *LEVERS[video])}


def measure(video: str, path: Path, args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    children = child_programs(video, path, args)
    runs: dict[str, list[Figures]] = {name: [] for name in children}
    order = [name for _ in range(args.rounds) for name in children]
    for name in track(order, video, console=console, transient=True, disable=not console.is_terminal):
        runs[name].append(run_for_figures(children[name], args.seconds))
    return [row(video, lever, runs[""], runs[lever.name]) for lever in LEVERS[video]]


def row(video: str, lever: Lever, with_it: Sequence[Figures], without: Sequence[Figures]) -> dict[str, Any]:
    """``ratios``: processor time per frame without the optimisation / with it, one value per round."""
    ratios = [_cost(one) / _cost(other) for one, other in zip(without, with_it, strict=True)]
    return {
        "video": video,
        "saving": lever.name,
        "without": lever.without,
        "cpu_ms_with": statistics.median(map(_cost, with_it)),
        "cpu_ms_without": statistics.median(map(_cost, without)),
        "fps_with": statistics.median(run.frames_per_s for run in with_it),
        "fps_without": statistics.median(run.frames_per_s for run in without),
        "ratios": ratios,
    }


def _cost(run: Figures) -> float:
    """Processor ms per frame."""
    return (run.cpu_s_per_frame or float("nan")) * 1000


def markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {results['threads']} of {machine['cores']} cores; "
        f"load before {machine['load_before']:.1f}; medians of {results['rounds']} rounds of {results['seconds']:g} s.",
        "",
        "| video | saving | without it | processor ms per frame: without, with | without / with (minimum to maximum) "
        "| frames/s: without, with |",
        "|---|---|---|---|---|---|",
    ]
    for each in results["rows"]:
        ratios = each["ratios"]
        lines.append(
            f"| {each['video']} | {each['saving']} | {each['without']} "
            f"| {each['cpu_ms_without']:.1f}, {each['cpu_ms_with']:.1f} "
            f"| {statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {each['fps_without']:.1f}, {each['fps_with']:.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, cores_allowed()), metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each program (default 3)")
    parser.add_argument("--videos", nargs="+", choices=sorted(LEVERS), default=sorted(LEVERS), help="(default all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="Markdown page to write the table into")
    args = parser.parse_args()
    machine, console = describe(), Console(stderr=True)
    rows: list[dict[str, Any]] = []
    try:
        with only_cores(args.threads), tempfile.TemporaryDirectory(prefix="maskwatch-levers-") as folder:
            for video in args.videos:
                path = Path(folder) / f"{video}.mp4"
                make(path, "still" if video == "still" else "busy", (1280, 720) if video == "wide" else (640, 480))
                rows += measure(video, path, args, console)
    except MaskwatchError as error:
        print(f"levers: {error}", file=sys.stderr)
        return error.exit_code
    results = {
        "machine": machine.model_dump(mode="json"),
        "versions": versions(),
        "threads": args.threads,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "rows": rows,
    }
    print(markdown(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if args.page:
        write_between(args.page, "levers", markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
