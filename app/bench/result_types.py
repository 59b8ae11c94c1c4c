"""What a benchmark says, and what it writes: one form for our own runs and for those of every reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Record):
    """Milliseconds of many like things: percentiles, and how many there were."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def spread_of(seconds: Sequence[float]) -> Spread | None:
    """None where there is nothing to tell."""
    if not seconds:
        return None
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1000
    return Spread(count=len(seconds), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=max(seconds) * 1000)


class Stage(_Record):
    """One stage's work: how often, how long by the clock on the wall and by that of the processor, and its part of
    all processor time of the run."""

    calls: int
    wall_s: float
    cpu_s: float
    share: float


class Figures(_Record):
    """One run of one program on one clip, after its warm-up. ``frames`` are those analysed in ``seconds``.

    A reference that has no such stage or latency leaves it out. ``cores_used`` is processor time by time.
    """

    schema_version: int = Field(SCHEMA, alias="schema")
    name: str
    seconds: float = Field(gt=0)
    frames: int = Field(ge=0)
    rates_per_s: dict[str, float] = {}
    latency: dict[str, Spread] = {}
    dropped: int = 0
    faces_per_frame: float = 0.0
    cpu_s_per_frame: float | None = None
    cores_used: float = 0.0
    peak_rss_mb: float | None = None
    stages: dict[str, Stage] = {}
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}
    notes: str = ""

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds


class StartupSample(_Record):
    """A fresh start. Wall times are Unix times, for the parent to subtract when it began."""

    first_frame_wall_s: float
    first_label_wall_s: float
    first_label_cpu_s: float
    rss_mb: float | None
    tensorflow: bool


class StartupTime(_Record):
    """From the start of the process to the first analysed frame, and to the first labelled face."""

    first_frame_s: float
    first_label_s: float
    first_label_cpu_s: float
    rss_mb: float | None
    tensorflow: bool


class StartupTimes(_Record):
    """``cold`` is the first of the call, ``warm`` are those after it."""

    cold: StartupTime
    warm: tuple[StartupTime, ...]


class Ratio(_Record):
    """Of pairs of runs that took turns: the median, the least and the greatest of ours by the other's."""

    median: float
    least: float
    greatest: float
    pairs: int


class Comparison(_Record):
    """``frames_per_s``: ours by the reference's, more is better; ``cpu_s_per_frame``: less is better."""

    name: str
    runs: tuple[Figures, ...]
    frames_per_s: Ratio
    cpu_s_per_frame: Ratio | None


class Machine(_Record):
    cpu: str
    cores: int
    cores_allowed: int
    memory_gb: float | None
    os: str
    load_before: float | None


class Report(_Record):
    """All of one call."""

    schema_version: int = Field(SCHEMA, alias="schema")
    machine: Machine
    versions: dict[str, str]
    source: str
    as_live_fps: float | None
    threads: int | None
    window: bool
    runs: tuple[Figures, ...]
    starts: StartupTimes | None
    comparisons: tuple[Comparison, ...]
