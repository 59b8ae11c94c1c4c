"""``maskwatch scan``: analyse an archive of recorded videos, on this machine or on a Ray cluster."""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.arguments import count
from app.core.cpu import cores_allowed
from app.core.errors import SettingsError
from app.core.text import counted, duration_text, listed, parse_duration
from app.settings.flags import SOURCE, VISION, add_flags, config_path, flag_values, source_values

if TYPE_CHECKING:
    from rich.console import Console

    from app.scan.run_folder import RunFolder
    from app.scan.runner import Engine, Summary

_OF_VIDEOS = frozenset(
    ("every_s", "key_frames", "starts_at", "name_pattern", "timezone", "rotate", "flip", "aspect_ratio")
)
DEFAULT_EVERY_S = 0.2
_FLAGS = tuple(
    replace(flag, help=f"{flag.help} (default {DEFAULT_EVERY_S})") if flag.place == "camera.every_s" else flag
    for flag in SOURCE
    if flag.place.partition(".")[2] in _OF_VIDEOS
)
_LEAST_SHARD_S = 1.0
"""Each shard reads some seconds more than its length; millions of them also fill the memory of the plan."""
_FAILED = 1


def register(commands: Any) -> None:
    text = "analyse an archive of recorded videos"
    scan = commands.add_parser("scan", help=text, description=f"{text}: plan, run, then report")
    actions = scan.add_subparsers(dest="action", metavar="ACTION", required=True)
    plan = actions.add_parser("plan", help="find the videos and cut them into shards", description=__doc__)
    plan.add_argument("archive", nargs="+", metavar="ARCHIVE", help="video, folder, or URL such as s3://bucket/a.mp4")
    plan.add_argument("--out", required=True, type=Path, metavar="RUN", help="folder of this scan")
    plan.add_argument("--shard", default="10m", metavar="TIME", help="length of a shard (default 10m)")
    plan.add_argument("--thumbnails", action="store_true", help="keep a small image of each event, with blurred faces")
    plan.add_argument("--config", metavar="FILE", help="TOML file of settings; [[camera]] tables apply by name")
    add_flags(plan, "videos", _FLAGS)
    add_flags(plan, "faces", VISION)
    plan.set_defaults(run=_plan)
    for name, help_text in (
        ("run", "analyse the shards that are not done"),
        ("resume", "the same as run: continue after a stop or a crash"),
        ("retry-failed", "try the shards again that failed three times"),
        ("verify", "analyse 1 %% of the done shards again and compare the results"),
    ):
        parser = actions.add_parser(name, help=help_text, description=help_text)
        _add_run(parser)
        _add_engine(parser)
        if name != "verify":
            parser.add_argument("--budget", metavar="TIME", help="start no shard after this time, such as 6h")
        parser.set_defaults(run=_verify if name == "verify" else _run, only_failed=name == "retry-failed")
    status = actions.add_parser("status", help="show what is done, failed and left")
    _add_run(status)
    status.set_defaults(run=_status)
    report = actions.add_parser("report", help="write the results as a page or a table")
    _add_run(report)
    report.add_argument("--html", type=Path, metavar="FILE", help="page with all results and a search field")
    report.add_argument(
        "--csv", type=Path, metavar="FILE", help="people, alerts and watched minutes by camera and hour"
    )
    report.add_argument("--events", type=Path, metavar="FILE", help="events (.jsonl, .csv)")
    report.add_argument("--open", action="store_true", help="open the page in the browser")
    report.set_defaults(run=_report)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of the scan")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="where shards run (default local)")
    parser.add_argument("--workers", type=count, metavar="N", help="most shards at a time (default: all cores)")
    parser.add_argument("--address", default="", metavar="A", help="address of a Ray cluster, such as ray://head:10001")


def _duration(text: str, flag: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{flag}: {error}") from None
    if seconds <= 0:
        raise SettingsError(f"{flag} must be more than 0, such as 10m")
    return seconds


def _console() -> "Console":
    from rich.console import Console

    from app.core.standard_streams import fault_tolerant_stderr

    return Console(stderr=True, file=fault_tolerant_stderr(), markup=False, highlight=False)


def _folder(args: argparse.Namespace) -> "RunFolder":
    from app.scan.run_folder import RunFolder

    return RunFolder(args.folder)


def _plan(args: argparse.Namespace) -> int:
    from app.scan.planner import ScanOptions, make_plan
    from app.scan.run_folder import RunFolder
    from app.settings.load import load_settings
    from app.settings.monitor import CameraSettings

    shard_s = _duration(args.shard, "--shard")
    if shard_s < _LEAST_SHARD_S:
        raise SettingsError(f"--shard {args.shard} is too short; give {_LEAST_SHARD_S:g}s or more, such as 10m")
    values = source_values(args)
    if not values.get("key_frames"):
        values.setdefault("every_s", DEFAULT_EVERY_S)
    config, flags = config_path(args), flag_values(args, VISION)
    every = load_settings(None, {**flags, "camera": [{"uri": "scan"}]}, each_camera=values).camera[0]
    options = ScanOptions(every, shard_s, args.thumbnails)
    assert isinstance(every, CameraSettings)
    console = _console()
    with console.status("reading the archive") as status:
        plan = make_plan(args.archive, load_settings(config, flags), options, lambda uri: status.update(uri))
    RunFolder(args.out).create(plan)
    core_s = sum(each.estimate_core_s for each in plan.shards)
    print(
        f"{counted(plan.files, 'video')}, {duration_text(plan.hours * 3600)}, {counted(len(plan.shards), 'shard')}; "
        f"about {duration_text(core_s)} of one core, {duration_text(core_s / cores_allowed())} on this machine"
    )
    for origin in sorted({each.start_from for each in plan.shards}):
        count = len({each.shard.origin for each in plan.shards if each.start_from == origin})
        print(f"time of {counted(count, 'recording')} from: {origin}")
    for file in plan.unreadable:
        print(f"left out: {file.path}: {file.reason}", file=sys.stderr)
    print(f"next: maskwatch scan run {args.out}")
    return 0


def _engine(args: argparse.Namespace) -> "Engine":
    if args.engine == "ray":
        from app.scan.ray_engine import RayEngine

        return RayEngine(args.address, args.workers)
    if args.address:
        raise SettingsError("--address is for --engine ray")
    from app.scan.local_engine import LocalEngine

    return LocalEngine(args.workers or cores_allowed())


def _run(args: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from app.scan.run_folder import DoneShard, PlannedShard
    from app.scan.runner import run_plan

    folder = _folder(args)
    budget_s = None if args.budget is None else _duration(args.budget, "--budget")
    plan, done = folder.plan(), folder.done()
    print(f"{counted(len(plan.shards), 'shard')}, {sum(each.shard.id in done for each in plan.shards)} done")
    columns = (TextColumn("scanning"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started_s, watched_s = time.monotonic(), 0.0
    with Progress(*columns, console=_console(), transient=True) as progress:
        bar = progress.add_task("scanning", total=len(plan.shards), completed=len(done))

        def on_done(each: PlannedShard, _: DoneShard) -> None:
            nonlocal watched_s
            watched_s += each.shard.length_s
            progress.advance(bar)

        summary = run_plan(folder, _engine(args), budget_s=budget_s, only_failed=args.only_failed, on_done=on_done)
    elapsed_s = time.monotonic() - started_s
    speed = f", {watched_s / max(elapsed_s, 1e-9):.1f} hours of video an hour" if summary.done else ""
    print(f"{counted(summary.done, 'shard')} analysed in {elapsed_s:.0f} s{speed}")
    return _print_left(folder, summary)


def _print_left(folder: "RunFolder", summary: "Summary") -> int:
    failed = list(folder.failed().values())
    if summary.left:
        print(f"{counted(summary.left, 'shard')} left; continue with 'maskwatch scan resume {folder.path}'")
    for each in failed:
        print(f"failed: shard {each.shard_id} of {each.path}: {each.reason}", file=sys.stderr)
    if failed:
        print(f"try again with 'maskwatch scan retry-failed {folder.path}'", file=sys.stderr)
    return _FAILED if failed else 0


def _status(args: argparse.Namespace) -> int:
    folder = _folder(args)
    plan, done, failed = folder.plan(), folder.done(), folder.failed()
    lines = [done[each.shard.id] for each in plan.shards if each.shard.id in done]
    done_s = sum(each.shard.length_s for each in plan.shards if each.shard.id in done)
    core_s = sum(line.cpu_s for line in lines)
    left = [each for each in plan.shards if each.shard.id not in done and each.shard.id not in failed]
    print(f"{len(lines)} of {counted(len(plan.shards), 'shard')} done, {len(failed)} failed, {len(left)} left")
    whole = duration_text(plan.hours * 3600)
    print(f"{duration_text(done_s)} of {whole} of video in {duration_text(core_s)} of one core")
    if done_s and left:
        left_s = sum(each.shard.length_s for each in left) * core_s / done_s
        print(f"about {duration_text(left_s)} of one core left")
    if nodes := sorted({line.node.partition(":")[0] for line in lines}):
        print(f"machines: {listed(nodes)}")
    for each in failed.values():
        print(f"failed: shard {each.shard_id} of {each.path}: {each.reason}")
    return _FAILED if failed else 0


def _verify(args: argparse.Namespace) -> int:
    from app.scan.runner import verify

    count, differences = verify(_folder(args), _engine(args))
    for each in differences:
        print(f"shard {each.shard_id} of {each.path}: {each.reason}", file=sys.stderr)
    same = sum(not each.same_events for each in differences)
    print(f"{counted(count, 'shard')} analysed again, {count - len(differences)} with the same bytes")
    return _FAILED if same else 0


def _report(args: argparse.Namespace) -> int:
    from app.alerts.export import WRITERS, atomic_text_file
    from app.scan.report import html_page, make_report, write_csv

    folder = _folder(args)
    report = make_report(folder)
    page = args.html or (args.folder / "report.html" if args.open or not (args.csv or args.events) else None)
    written = [path for path in (page, args.csv, args.events) if path is not None]
    if args.events is not None and args.events.suffix.lower().lstrip(".") not in WRITERS:
        raise SettingsError(f"cannot write events to {args.events}: name it .jsonl or .csv")
    if page is not None:
        with atomic_text_file(page) as file:
            file.write(html_page(report))
    if args.csv is not None:
        with atomic_text_file(args.csv) as file:
            write_csv(report, file)
    if args.events is not None:
        with atomic_text_file(args.events) as file:
            WRITERS[args.events.suffix.lower().lstrip(".")](report.events, file)
    print(f"{counted(len(report.events), 'event')}; written: {', '.join(map(str, written))}")
    if args.open and page is not None:
        import webbrowser

        webbrowser.open(page.absolute().as_uri())
    return 0
