"""What each saving is worth: the pipeline as it is, by turns with the same less one saving.

    python benchmarks/levers.py [--threads 2] [--seconds 10] [--rounds 3] [--json docs/results/levers.json]
                                [--page docs/speed.md]

The busy film plays at full speed, so all of its frames are analysed and the cost is processor time a frame; the still
one plays as a camera of 25 frames a second. Ratios are taken within a round. ``--page`` writes the table between the
marks ``<!-- levers -->`` and ``<!-- /levers -->`` of a Markdown page.
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
_QUICK, _STILL = "MASKWATCH_DETECTOR__FULL_LOOK_S", "MASKWATCH_DETECTOR__STILL_LOOK_S"
_NEVER_SETTLED = {"MASKWATCH_TRACKING__SETTLED_AFTER": "100", "MASKWATCH_TRACKING__SETTLED_CONFIDENCE": "1"}


@dataclass(frozen=True, slots=True)
class Lever:
    """A saving, and what takes it away."""

    name: str
    without: str
    environment: dict[str, str] = field(default_factory=dict)
    threads: int | None = None


LEVERS = {
    "busy": (
        Lever("between whole looks only squares around known faces are seen", "every look a whole one", {_QUICK: "0"}),
        Lever("settled labels are asked for again now and then", "every face in every frame", _NEVER_SETTLED),
        Lever("both", "neither", {_QUICK: "0", _STILL: "0", **_NEVER_SETTLED}),
        Lever("a call has the cores of the machine", "one", threads=1),
    ),
    "wide": (Lever("the detector sees 640 of 1,280 px", "all", {"MASKWATCH_DETECTOR__WORKING_WIDTH_PX": "1280"}),),
    "still": (Lever("a still picture is looked at once a second", "in each frame", {_STILL: "0", _QUICK: "0"}),),
}
"""By film."""


def turns(film: str, path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """The child of each turn: the pipeline as it is, called "", and by lever what is played without it."""
    common = ["--source", str(path), "--seconds", str(args.seconds), "--warm-up", "2"]
    if film == "still":
        common += ["--as-live", str(CAMERA_FPS)]

    def child(lever: Lever) -> Any:
        threads = lever.threads or args.threads
        words = [*common, "--threads", str(threads)]
        return own_child(words, "run", {**thread_limits(threads), **lever.environment})

    return {lever.name: child(lever) for lever in (Lever("", ""), *LEVERS[film])}


def measure(film: str, path: Path, args: argparse.Namespace, console: Console) -> list[dict[str, Any]]:
    children = turns(film, path, args)
    runs: dict[str, list[Figures]] = {name: [] for name in children}
    order = [name for _ in range(args.rounds) for name in children]
    for name in track(order, film, console=console, transient=True, disable=not console.is_terminal):
        runs[name].append(run_for_figures(children[name], args.seconds))
    return [row(film, lever, runs[""], runs[lever.name]) for lever in LEVERS[film]]


def row(film: str, lever: Lever, with_it: Sequence[Figures], without: Sequence[Figures]) -> dict[str, Any]:
    """``ratios``: of processor time a frame, without by with, one a round."""
    ratios = [_cost(one) / _cost(other) for one, other in zip(without, with_it, strict=True)]
    return {
        "film": film,
        "saving": lever.name,
        "without": lever.without,
        "cpu_ms_with": statistics.median(map(_cost, with_it)),
        "cpu_ms_without": statistics.median(map(_cost, without)),
        "fps_with": statistics.median(run.frames_per_s for run in with_it),
        "fps_without": statistics.median(run.frames_per_s for run in without),
        "ratios": ratios,
    }


def _cost(run: Figures) -> float:
    """Processor ms a frame."""
    return (run.cpu_s_per_frame or float("nan")) * 1000


def markdown(facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    lines = [
        f"{machine['cpu']}, {facts['threads']} of {machine['cores']} cores; load before {machine['load_before']:.1f}; "
        f"medians of {facts['rounds']} rounds of {facts['seconds']:g} s.",
        "",
        "| film | saving | without it | processor ms a frame: without, with | without by with (least to greatest) "
        "| frames/s: without, with |",
        "|---|---|---|---|---|---|",
    ]
    for each in facts["rows"]:
        ratios = each["ratios"]
        lines.append(
            f"| {each['film']} | {each['saving']} | {each['without']} "
            f"| {each['cpu_ms_without']:.1f}, {each['cpu_ms_with']:.1f} "
            f"| {statistics.median(ratios):.2f} × ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {each['fps_without']:.1f}, {each['fps_with']:.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, cores_allowed()), metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--films", nargs="+", choices=sorted(LEVERS), default=sorted(LEVERS), help="(default all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE", help="Markdown page to write the table into")
    args = parser.parse_args()
    machine, console = describe(), Console(stderr=True)
    rows: list[dict[str, Any]] = []
    try:
        with only_cores(args.threads), tempfile.TemporaryDirectory(prefix="maskwatch-levers-") as folder:
            for film in args.films:
                path = Path(folder) / f"{film}.mp4"
                make(path, "still" if film == "still" else "busy", (1280, 720) if film == "wide" else (640, 480))
                rows += measure(film, path, args, console)
    except MaskwatchError as error:
        print(f"levers: {error}", file=sys.stderr)
        return error.exit_code
    facts = {
        "machine": machine.model_dump(mode="json"),
        "versions": versions(),
        "threads": args.threads,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "rows": rows,
    }
    print(markdown(facts))
    if args.json:
        args.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if args.page:
        write_between(args.page, "levers", markdown(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
