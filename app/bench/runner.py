"""Runs one ``maskwatch bench``: all programs in alternation, each run in its own process."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.bench import reference_programs
from app.bench.child_process import BenchError, Child, own_child, run_for_figures, run_for_startup, thread_limits
from app.bench.machine import describe, only_cores, versions
from app.bench.result_types import Report, StartupTime, StartupTimes
from app.settings.flags import MONITORING, SOURCE, VISION
from app.settings.root import Settings

_ROUNDS = 3
"""Runs of each program in a comparison: fewer give no spread."""


def run_all(args: argparse.Namespace, settings: Settings) -> Report:
    """Raises BenchError with the error line of the child that failed."""
    programs = _references(args, settings)
    rounds = args.rounds or (_ROUNDS if programs else 1)
    machine = describe()  # before the runs raise the machine's load
    with only_cores(args.threads):
        turns = [partial(run_for_figures, _own_child(args, "run"), args.seconds + args.warm_up)]
        turns += [partial(run_for_figures, program, args.seconds + args.warm_up) for program in programs]
        start = partial(run_for_startup, _own_child(args, "start"))
        start_count = args.starts + 1 if args.starts else 0
        with _progress(start_count + rounds * len(turns)) as run_step:
            starts = [run_step("start", start) for _ in range(start_count)]
            names = ["maskwatch", *(program.label for program in programs)]
            shown_turns = [partial(run_step, name, turn) for name, turn in zip(names, turns, strict=True)]
            ours, *others = reference_programs.run_in_turns(rounds, shown_turns)
    return Report(
        schema=1,
        machine=machine,
        versions=versions(),
        source=", ".join(camera.shown for camera in settings.camera),
        as_live_fps=args.as_live,
        threads=args.threads,
        window=args.window,
        runs=tuple(ours),
        starts=_starts(starts),
        comparisons=tuple(
            reference_programs.comparison(program.label, ours, runs)
            for program, runs in zip(programs, others, strict=True)
        ),
    )


def _references(args: argparse.Namespace, settings: Settings) -> list[Child]:
    if not args.compare:
        return []
    if args.as_live:
        raise BenchError("--compare plays the video at full speed; remove --as-live")
    clip = reference_programs.clip_of(settings)
    arguments = ["--seconds", str(args.seconds), "--warm-up", str(args.warm_up)]
    arguments += ["--threads", str(args.threads)] if args.threads else []
    arguments += ["--window"] if args.window else []
    limits = thread_limits(args.threads)
    return [
        reference_programs.reference(reference_programs.find(name), clip, arguments, limits) for name in args.compare
    ]


def _own_child(args: argparse.Namespace, part: str) -> Child:
    return own_child(child_arguments(args), part, thread_limits(args.threads))


def child_arguments(args: argparse.Namespace) -> list[str]:
    """The arguments with which a child process measures the same as this call."""
    arguments = [argument for uri in args.source or () for argument in ("--source", uri)]
    arguments += ["--config", args.config] if args.config else []
    for flag in (*SOURCE, *MONITORING, *VISION):
        value = getattr(args, flag.place, None)
        if value is not None:
            arguments += [flag.name] if flag.constant is not None else [flag.name, str(value)]
    arguments += ["--seconds", str(args.seconds), "--warm-up", str(args.warm_up)]
    arguments += ["--slow-detector", str(args.slow_detector)]
    for name, value in (("--as-live", args.as_live), ("--threads", args.threads)):
        arguments += [name, str(value)] if value else []
    return [*arguments, *(["--window"] if args.window else []), *(["--paused"] if args.paused else [])]


def _starts(starts: list[StartupTime]) -> StartupTimes | None:
    return StartupTimes(cold=starts[0], warm=tuple(starts[1:])) if starts else None


@contextmanager
def _progress(count: int) -> Iterator[Callable[[str, Callable[[], Any]], Any]]:
    """Yields a function that runs one step and shows its name in a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=count)

        def run_step(name: str, step: Callable[[], Any]) -> Any:
            progress.update(task, description=name)
            result = step()
            progress.advance(task)
            return result

        yield run_step
