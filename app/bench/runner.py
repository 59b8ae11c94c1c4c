"""One call of ``maskwatch bench``: all its runs, in turns, each in a process of its own."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.bench import reference_programs
from app.bench.child_process import BenchError, Child, own_child, run_for_figures, run_for_startup, thread_limits
from app.bench.machine import describe, only_cores, versions
from app.bench.result_types import Report, StartupTime, StartupTimes
from app.settings.flags import MONITORING, SOURCE, VISION
from app.settings.root import Settings

R = TypeVar("R")

_ROUNDS = 3
"""Of each, where two programs are compared: fewer give no spread."""


def run_all(args: argparse.Namespace, settings: Settings) -> Report:
    """Raises the line of the child that fails, as BenchError."""
    programs = _references(args, settings)
    rounds = args.rounds or (_ROUNDS if programs else 1)
    machine = describe()  # before we load it ourselves
    with only_cores(args.threads):
        turns = [partial(run_for_figures, _ourselves(args, "run"), args.seconds + args.warm_up)]
        turns += [partial(run_for_figures, program, args.seconds + args.warm_up) for program in programs]
        begin = partial(run_for_startup, _ourselves(args, "start"))
        starts_wanted = args.starts + 1 if args.starts else 0
        with _steps(starts_wanted + rounds * len(turns)) as told:
            starts = [told("start", begin) for _ in range(starts_wanted)]
            names = ["maskwatch", *(program.label for program in programs)]
            told_turns = [partial(told, name, turn) for name, turn in zip(names, turns, strict=True)]
            ours, *others = reference_programs.run_in_turns(rounds, told_turns)
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
        raise BenchError("--compare plays the film at full speed; leave --as-live out")
    clip = reference_programs.clip_of(settings)
    words = ["--seconds", str(args.seconds), "--warm-up", str(args.warm_up)]
    words += ["--threads", str(args.threads)] if args.threads else []
    words += ["--window"] if args.window else []
    limits = thread_limits(args.threads)
    return [reference_programs.reference(reference_programs.find(name), clip, words, limits) for name in args.compare]


def _ourselves(args: argparse.Namespace, part: str) -> Child:
    return own_child(child_arguments(args), part, thread_limits(args.threads))


def child_arguments(args: argparse.Namespace) -> list[str]:
    """The words that make a child of ours measure the same."""
    words = [word for uri in args.source or () for word in ("--source", uri)]
    words += ["--config", args.config] if args.config else []
    for flag in (*SOURCE, *MONITORING, *VISION):
        value = getattr(args, flag.place, None)
        if value is not None:
            words += [flag.name] if flag.constant is not None else [flag.name, str(value)]
    words += ["--seconds", str(args.seconds), "--warm-up", str(args.warm_up)]
    words += ["--slow-detector", str(args.slow_detector)]
    for name, value in (("--as-live", args.as_live), ("--threads", args.threads)):
        words += [name, str(value)] if value else []
    return [*words, *(["--window"] if args.window else []), *(["--paused"] if args.paused else [])]


def _starts(starts: list[StartupTime]) -> StartupTimes | None:
    return StartupTimes(cold=starts[0], warm=tuple(starts[1:])) if starts else None


class _Teller(Protocol):
    def __call__(self, name: str, step: Callable[[], R]) -> R: ...


@contextmanager
def _steps(count: int) -> Iterator["_Teller"]:
    """Yields what runs one step and says which, on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=count)

        def told(name: str, step: Callable[[], R]) -> R:
            progress.update(task, description=name)
            done = step()
            progress.advance(task)
            return done

        yield told
