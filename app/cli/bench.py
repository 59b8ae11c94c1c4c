"""``maskwatch bench``: measure the speed of the pipeline on this machine, alone or against a reference.

Each run is a separate process. Files are played at full speed with every frame analysed and drawn, or as a live camera
with --as-live. With --compare, maskwatch and the reference run in turn.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.arguments import number, whole
from app.core.errors import SettingsError
from app.core.files import output_errors, write_text
from app.settings.flags import MONITORING, SOURCE, VISION, add_flags, config_path, flag_values, source_values

if TYPE_CHECKING:
    from app.settings.root import Settings

_seconds, _count = number(0.5, 86_400), whole(1, 1000)
_FLAGS = tuple(flag for flag in SOURCE if flag.name not in ("--loop", "--fast"))


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "bench", help="measure speed, latency, memory and start-up on this machine", description=__doc__
    )
    parser.add_argument("--source", action="append", metavar="S", help="a source as for 'watch' (default: demo)")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="measured time (default 20)")
    parser.add_argument(
        "--warm-up", type=_seconds, default=3.0, metavar="S", help="time before the measurement (default 3)"
    )
    as_live = "play files as live cameras with this frame rate"
    parser.add_argument("--as-live", type=number(0.1, 1000), metavar="FPS", help=as_live)
    parser.add_argument("--window", action="store_true", help="show the window, if there is a display")
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU cores and threads of each program")
    parser.add_argument(
        "--compare", action="append", default=[], metavar="NAME", help="also run a reference program, in turn"
    )
    parser.add_argument("--rounds", type=_count, metavar="N", help="runs of each program (default 1, with --compare 3)")
    parser.add_argument(
        "--starts",
        type=whole(0, 1000),
        default=3,
        metavar="N",
        help="number of warm starts to measure (default 3; 0: none)",
    )
    parser.add_argument(
        "--slow-detector", type=_count, default=1, metavar="N", help="run the detector N times per frame"
    )
    parser.add_argument("--paused", action="store_true", help="measure with the analysis paused")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    parser.add_argument("--part", choices=("run", "start"), help=argparse.SUPPRESS)
    add_flags(parser, "sources", (*_FLAGS, *MONITORING))
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def settings_of(args: argparse.Namespace) -> "Settings":
    """The user's settings, changed for a measurement: files loop at full speed and there is no web view.

    ``--threads`` limits the threads of detector and classifier.
    """
    from app.settings.load import load_settings

    demo = {} if args.source or args.config else {"camera": [{"uri": "demo"}]}
    flags = {**demo, **flag_values(args, (*MONITORING, *VISION))}
    settings = load_settings(config_path(args), flags, each_camera=source_values(args))
    looped = tuple(
        camera if camera.is_live else camera.model_copy(update={"loop": True, "pace": "fast"})
        for camera in settings.camera
    )
    changes: dict[str, Any] = {"camera": looped, "web": settings.web.model_copy(update={"enabled": False})}
    if args.threads:
        threads = {"detector": settings.detector.max_threads, "classifier": settings.classifier.threads}
        for name, most in threads.items():
            changes[name] = getattr(settings, name).model_copy(update={"threads": min(most, args.threads)})
    return settings.model_copy(update=changes)


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if args.part:
        return _run_part(args, settings)
    from rich.console import Console

    from app.bench.report import show
    from app.bench.runner import run_all

    if args.json is not None:
        from app.capture.recorder import check_output

        check_output(args.json, "results")
    if args.window:
        from app.ui.display import check_display

        check_display()
    if args.starts < 0:
        raise SettingsError(f"--starts {args.starts}: give 0 or more")
    report = run_all(args, settings)
    show(report, Console())
    if args.json is not None:
        with output_errors(f"results {args.json}", "choose another --json"):
            write_text(args.json, report.model_dump_json(indent=1, by_alias=True) + "\n")
    return 0


def _run_part(args: argparse.Namespace, settings: "Settings") -> int:
    """Runs one measurement in this process and prints its record to standard output."""
    if args.part == "start":
        from app.cli.bench_startup import measure_startup

        print(measure_startup(settings).model_dump_json())
        return 0
    from app.bench.measure import Plan, measure

    plan = Plan(
        seconds=args.seconds,
        warm_up_s=args.warm_up,
        as_live_fps=args.as_live,
        window=args.window,
        detector_repeats=args.slow_detector,
        paused=args.paused,
        idle=settings.monitor.retry_at_start,
    )
    print(json.dumps(measure(settings, plan).model_dump(mode="json", by_alias=True)))
    return 0
