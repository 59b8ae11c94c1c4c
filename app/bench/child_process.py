"""Runs each measurement in its own process, so that the harness adds no memory, imports or threads to it."""

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
"""How long a child may run beyond the measured time: TensorFlow alone takes 10 s to load on a slow machine."""
_PREFIX = "maskwatch: "

R = TypeVar("R", bound=BaseModel)


class BenchError(MaskwatchError):
    """A benchmark cannot run, or a reference program prints no valid figures."""


@dataclass(frozen=True, slots=True)
class Child:
    """A program to run; ``label`` is its name in messages."""

    label: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


def own_child(arguments: Sequence[str], part: str, environment: Mapping[str, str]) -> Child:
    """``maskwatch bench`` again, for one ``part`` of the benchmark: "run" or "start". It keeps its bytecode, as an
    installed program does."""
    environment = {"PYTHONDONTWRITEBYTECODE": "", **environment}
    return Child("maskwatch", (*own_command(), "bench", *arguments, "--part", part), environment)


def thread_limits(threads: int | None) -> dict[str, str]:
    """Environment variables that limit the libraries of a child to ``threads`` threads."""
    if threads is None:
        return {}
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return dict.fromkeys(names, str(threads))


def run_for_figures(child: Child, seconds: float) -> Figures:
    """Raises BenchError with the child's own error line if it fails."""
    return _run(child, Figures, seconds)


def run_for_startup(child: Child) -> StartupTime:
    """Raises BenchError with the child's own error line if it fails."""
    start_s = time.time()
    sample = _run(child, StartupSample, 0.0)
    return StartupTime(
        first_frame_s=sample.first_frame_wall_s - start_s,
        first_label_s=sample.first_label_wall_s - start_s,
        first_label_cpu_s=sample.first_label_cpu_s,
        rss_mb=sample.rss_mb,
        tensorflow=sample.tensorflow,
    )


def _run(child: Child, record_type: type[R], seconds: float) -> R:
    """Returns the record that the child prints as its last line."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        try:
            done = subprocess.run(
                child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                errors="replace",
                timeout=seconds + _SLACK_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MonitorError(
                f"{child.label} does not answer: no figures within {seconds + _SLACK_S:.0f} s"
            ) from error
        except OSError as error:
            raise BenchError(f"cannot start {child.label}: {error.strerror or error}") from error
        stderr.seek(0)
        error_lines = [line for line in stderr.read().splitlines() if line.strip()]
    if done.returncode:
        own_lines = [line.removeprefix(_PREFIX) for line in error_lines if line.startswith(_PREFIX)]
        raise BenchError((own_lines or error_lines or [f"{child.label} ended with code {done.returncode}"])[-1])
    try:
        return record_type.model_validate(json.loads((done.stdout.strip().splitlines() or [""])[-1]))
    except (ValueError, ValidationError) as error:
        raise BenchError(f"{child.label} prints no figures in the format of docs/speed.md: {_reason(error)}") from error


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
