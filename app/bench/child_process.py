"""Each run in a process of its own: the harness's memory, its imports and its threads count for nothing."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.bench.result_types import Figures, StartupSample, StartupTime
from app.core.errors import MaskwatchError, MonitorError
from app.core.own_command import own_command

_SLACK_S = 300.0
"""What a child may take beyond the time it measures: TensorFlow alone takes 10 s to load on a slow machine."""
_PREFIX = "maskwatch: "

R = TypeVar("R", bound=BaseModel)


class BenchError(MaskwatchError):
    """A benchmark that cannot be run, or a reference that gives no figures."""


@dataclass(frozen=True, slots=True)
class Child:
    """A program to run; ``label`` is what it is called in messages."""

    label: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def own_child(words: Sequence[str], part: str, environment: Mapping[str, str]) -> Child:
    """This very command again, for one ``part`` of it."""
    return Child("maskwatch", (*own_command(), "bench", *words, "--part", part), environment)


def thread_limits(threads: int | None) -> dict[str, str]:
    """What keeps the run times of a child to ``threads`` threads."""
    if threads is None:
        return {}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return dict.fromkeys(names, str(threads))


def run_for_figures(child: Child, seconds: float) -> Figures:
    """Raises BenchError with the child's own line where it fails."""
    return _answer(child, Figures, seconds)


def run_for_startup(child: Child) -> StartupTime:
    """Raises BenchError with the child's own line where it fails."""
    began_s = time.time()
    begun = _answer(child, StartupSample, 0.0)
    return StartupTime(
        first_frame_s=begun.first_frame_wall_s - began_s,
        first_label_s=begun.first_label_wall_s - began_s,
        first_label_cpu_s=begun.first_label_cpu_s,
        rss_mb=begun.rss_mb,
        tensorflow=begun.tensorflow,
    )


def _answer(child: Child, form: type[R], seconds: float) -> R:
    """The record that the child prints as the last line of its output."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        try:
            done = subprocess.run(
                child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                encoding="utf-8",
                errors="replace",
                timeout=seconds + _SLACK_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MonitorError(f"{child.label} hangs: no figures within {seconds + _SLACK_S:.0f} s") from error
        except OSError as error:
            raise BenchError(f"cannot start {child.label}: {error.strerror or error}") from error
        complaints.seek(0)
        said = [line for line in complaints.read().splitlines() if line.strip()]
    if done.returncode:
        ours = [line.removeprefix(_PREFIX) for line in said if line.startswith(_PREFIX)]
        raise BenchError((ours or said or [f"{child.label} ended with code {done.returncode}"])[-1])
    try:
        return form.model_validate(json.loads((done.stdout.strip().splitlines() or [""])[-1]))
    except (ValueError, ValidationError) as error:
        raise BenchError(f"{child.label} gives no figures in the form of docs/speed.md: {_reason(error)}") from error


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return str(error)
