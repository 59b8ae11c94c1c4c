"""The records that a benchmark prints and writes: the same for maskwatch and for every reference program."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Record):
    """Percentiles of a duration in milliseconds, and the number of samples."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def spread_of(seconds: Sequence[float]) -> Spread | None:
    """None for an empty sequence."""
    if not seconds:
        return None
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1000
    return Spread(count=len(seconds), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=max(seconds) * 1000)


class Stage(_Record):
    """The work of one stage: calls, wall time, processor time, and its share of the run's processor time."""

    calls: int
    wall_s: float
    cpu_s: float
    share: float


class Figures(_Record):
    """One run of one program on one clip, after its warm-up. ``frames`` counts the frames analysed in ``seconds``.

    A reference program omits stages and latencies that it does not have. ``cores_used`` is processor time / wall time.
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
    """One fresh start. Wall times are Unix times; the parent process subtracts its own start time."""

    first_frame_wall_s: float
    first_label_wall_s: float
    first_label_cpu_s: float
    rss_mb: float | None
    tensorflow: bool


class StartupTime(_Record):
    """Seconds from the start of the process to the first analysed frame and to the first labelled face."""

    first_frame_s: float
    first_label_s: float
    first_label_cpu_s: float
    rss_mb: float | None
    tensorflow: bool


class StartupTimes(_Record):
    """``cold`` is the first start of the call, ``warm`` are the later ones."""

    cold: StartupTime
    warm: tuple[StartupTime, ...]


class Ratio(_Record):
    """The ratio maskwatch / reference over pairs of alternating runs."""

    median: float
    least: float
    greatest: float
    pairs: int


class Comparison(_Record):
    """Ratios maskwatch / reference. ``frames_per_s``: higher is better; ``cpu_s_per_frame``: lower is better."""

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
    """All results of one ``maskwatch bench`` call."""

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
