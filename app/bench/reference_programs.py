"""Runs reference programs on the same clip, alternating with maskwatch, so that a busy machine slows both equally."""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from app.bench.child_process import BenchError, Child
from app.bench.result_types import Comparison, Figures, Ratio
from app.core.resources import asset
from app.settings.root import Settings
from app.settings.source_uri import SourceKind

_FOLDER = Path(__file__).parents[2] / "benchmarks" / "references"


def names() -> list[str]:
    if not _FOLDER.is_dir():
        return []
    return sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("[!_]*.py"))


def find(name: str) -> Path:
    """The program of a reference: a name from the checkout, or any .py file. Raises BenchError if it does not exist."""
    own = Path(name)
    if own.suffix == ".py":
        if own.is_file():
            return own
        raise BenchError(f"reference program not found: {own}; check the path")
    path = _FOLDER / f"{name.replace('-', '_')}.py"
    if name in names():
        return path
    if not names():
        raise BenchError(
            f"no reference '{name}': an installed maskwatch has no benchmarks/references; "
            "install a checkout with 'pip install -e .', or give your own program (FILE.py)"
        )
    raise BenchError(f"no reference '{name}'; choose {', '.join(names())}, or give your own program (FILE.py)")


def clip_of(settings: Settings) -> Path:
    """The video that both programs play. Raises BenchError if the source is not exactly one video."""
    camera = settings.camera[0]
    if len(settings.camera) != 1 or camera.kind not in (SourceKind.FILE, SourceKind.DEMO):
        raise BenchError("--compare needs exactly one --source that both programs can play: a video file, or demo")
    return asset("demo.mp4") if camera.kind is SourceKind.DEMO else Path(camera.uri)


def reference(program: Path, clip: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
    if getattr(sys, "frozen", False):
        raise BenchError("--compare needs Python: run 'maskwatch bench' from a checkout, not from the executable")
    command = (sys.executable, str(program), "--clip", str(clip), *arguments)
    return Child(program.stem.replace("_", "-"), command, environment)


def run_in_turns(rounds: int, turns: Sequence[Callable[[], Figures]]) -> list[list[Figures]]:
    """Runs A B A B …; returns the runs of each."""
    runs: list[list[Figures]] = [[] for _ in turns]
    for _ in range(rounds):
        for own_runs, turn in zip(runs, turns, strict=True):
            own_runs.append(turn())
    return runs


def comparison(name: str, ours: Sequence[Figures], theirs: Sequence[Figures]) -> Comparison:
    pairs = list(zip(ours, theirs, strict=True))
    rates = [a.frames_per_s / b.frames_per_s for a, b in pairs if b.frames_per_s]
    if not rates:
        raise BenchError(f"{name} analysed no frame; raise --seconds")
    costs = [a.cpu_s_per_frame / b.cpu_s_per_frame for a, b in pairs if a.cpu_s_per_frame and b.cpu_s_per_frame]
    return Comparison(
        name=name, runs=tuple(theirs), frames_per_s=ratio_of(rates), cpu_s_per_frame=ratio_of(costs) if costs else None
    )


def ratio_of(values: Sequence[float]) -> Ratio:
    return Ratio(median=statistics.median(values), least=min(values), greatest=max(values), pairs=len(values))
