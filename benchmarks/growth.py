"""Measures how the cost grows with the frame width, the number of faces and the number of cameras.

    python benchmarks/growth.py [--threads 2] [--seconds 10] [--rounds 3] [--json docs/results/growth.json]
                                [--plot docs/results/growth.svg] [--page docs/speed.md]

Width and faces: videos play at full speed; the cost is the processor time per frame. Cameras: videos play as cameras
of 10 frames per second in another process, which replays packets that were encoded beforehand; the cost is the analysed
rate, the delay and the core load. The points of an axis alternate.
``--page`` writes the tables between ``<!-- growth -->`` and ``<!-- /growth -->`` of a Markdown page.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from bar_table import write_between  # noqa: E402
from make_clip import SCENES, make  # noqa: E402
from replay import encode, replayed  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402

from app.bench.child_process import own_child, run_for_figures, thread_limits  # noqa: E402
from app.bench.machine import describe, only_cores, versions  # noqa: E402
from app.bench.result_types import Figures  # noqa: E402
from app.core.cpu import cores_allowed  # noqa: E402
from app.core.errors import MaskwatchError  # noqa: E402

WIDTHS_PX = (320, 640, 960, 1280, 1920)
FACES = (0, 1, 2, 4, 9, 16)
CAMERAS = (1, 2, 4, 8, 16)
CAMERA_FPS = 10


@dataclass(frozen=True, slots=True)
class Point:
    """One value on an axis, as medians over the rounds. ``delay_p95_ms`` is the time from capture to result;
    ``sources_cores`` the load of the process that replays the cameras."""

    x: int
    frames_per_s: float
    cpu_ms_per_frame: float
    cores_used: float
    faces_per_frame: float
    delay_p95_ms: float
    dropped_share: float
    peak_rss_mb: float
    sources_cores: float


def point(x: int, runs: Sequence[Figures], sources_cores: Sequence[float]) -> Point:
    def median(value: Any) -> float:
        return statistics.median(value(run) for run in runs)

    return Point(
        x=x,
        frames_per_s=median(lambda run: run.frames_per_s),
        cpu_ms_per_frame=median(lambda run: (run.cpu_s_per_frame or 0.0) * 1000),
        cores_used=median(lambda run: run.cores_used),
        faces_per_frame=median(lambda run: run.faces_per_frame),
        delay_p95_ms=median(lambda run: run.latency["capture_to_result"].p95_ms if run.frames else float("nan")),
        dropped_share=median(lambda run: run.dropped / max(1, run.dropped + run.frames)),
        peak_rss_mb=median(lambda run: run.peak_rss_mb or float("nan")),
        sources_cores=statistics.median(sources_cores),
    )


def videos(folder: Path, axis: str, values: Sequence[int]) -> dict[int, Path]:
    """Creates the videos of ``axis``."""
    paths = {value: folder / f"{axis}{value if axis != 'cameras' else ''}.mp4" for value in values}
    for value, path in paths.items():
        if axis == "width":
            make(path, "busy", (value, value * 3 // 4 // 2 * 2))
        elif axis == "faces":
            make(path, faces=value)
        elif not path.exists():
            encode(SCENES["busy"](640, 480), path, "h264", CAMERA_FPS)
    return paths


def measure(axis: str, values: Sequence[int], args: argparse.Namespace, folder: Path) -> list[Point]:
    common = ["--seconds", str(args.seconds), "--warm-up", "2", "--threads", str(args.threads)]
    paths, limits = videos(folder, axis, values), thread_limits(args.threads)
    runs: dict[int, list[Figures]] = {value: [] for value in values}
    sources_cores: dict[int, list[float]] = {value: [] for value in values}

    def run(value: int, addresses: Sequence[str]) -> None:
        flags = [part for address in addresses for part in ("--source", address)]
        runs[value].append(run_for_figures(own_child([*flags, *common], "run", limits), args.seconds))

    turns = [value for _ in range(args.rounds) for value in values]
    console = Console(stderr=True)
    for value in track(turns, axis, console=console, transient=True, disable=not console.is_terminal):
        if axis != "cameras":
            run(value, [str(paths[value])])
            sources_cores[value].append(0.0)
            continue
        start_s = time.monotonic()
        with replayed(paths[value], value) as replay:
            run(value, replay.addresses)
        sources_cores[value].append(replay.cpu_s / (time.monotonic() - start_s))
    return [point(value, each, sources_cores[value]) for value, each in runs.items()]


_TITLES = {
    "width": "frame width, px (4:3, one or two faces)",
    "faces": "faces in a frame of 640 x 480",
    "cameras": f"cameras of 640 x 480, {CAMERA_FPS} frames/s each",
}


def markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {results['threads']} of {machine['cores']} cores; "
        f"load before {machine['load_before']:.1f}; medians of {results['rounds']} rounds of {results['seconds']:g} s."
    ]
    for axis, title in _TITLES.items():
        lines += [
            "",
            f"| {title} | frames/s analysed | processor ms per frame | cores busy | faces per frame "
            "| capture to result p95, ms | frames dropped | memory, MB | sources, cores |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for each in results[axis]:
            lines.append(
                f"| {each['x']} | {each['frames_per_s']:.1f} | {each['cpu_ms_per_frame']:.1f} "
                f"| {each['cores_used']:.2f} | {each['faces_per_frame']:.1f} | {each['delay_p95_ms']:.0f} "
                f"| {each['dropped_share']:.0%} | {each['peak_rss_mb']:.0f} "
                f"| {each['sources_cores']:.2f} |"
            )
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws one panel per axis with the costs of the tables."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "maskwatch", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(10, 3), layout="constrained")
    shown = (("cpu_ms_per_frame", "processor ms per frame"),) * 2 + (("cores_used", "cores busy"),)
    for panel, axis, (value, label) in zip(panels, _TITLES, shown, strict=True):
        panel.plot(
            [each["x"] for each in results[axis]], [each[value] for each in results[axis]], "o-", color="#0072b2"
        )
        panel.set(xlabel=_TITLES[axis], ylabel=label, ylim=(0, None))
        panel.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _whole_numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text} is not a list of whole numbers; write, for example, 1,2,4")
    return tuple(int(part) for part in parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, cores_allowed()), metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each point (default 3)")
    parser.add_argument("--widths", type=_whole_numbers, default=WIDTHS_PX, metavar="PX,PX")
    parser.add_argument("--faces", type=_whole_numbers, default=FACES, metavar="N,N")
    parser.add_argument("--cameras", type=_whole_numbers, default=CAMERAS, metavar="N,N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="for example growth.svg; needs matplotlib")
    parser.add_argument("--page", type=Path, metavar="FILE", help="Markdown page to write the tables into")
    args = parser.parse_args()
    if args.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'maskwatch[train]'")
    machine = describe()
    results: dict[str, Any] = {
        "machine": machine.model_dump(mode="json"),
        "versions": versions(),
        "threads": args.threads,
        "seconds": args.seconds,
        "rounds": args.rounds,
    }
    try:
        with only_cores(args.threads), tempfile.TemporaryDirectory(prefix="maskwatch-growth-") as folder:
            for axis, values in (("width", args.widths), ("faces", args.faces), ("cameras", args.cameras)):
                results[axis] = [asdict(each) for each in measure(axis, values, args, Path(folder))]
    except MaskwatchError as error:
        print(f"growth: {error}", file=sys.stderr)
        return error.exit_code
    print(markdown(results))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if args.page:
        write_between(args.page, "growth", markdown(results))
    if args.plot:
        plot(results, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
