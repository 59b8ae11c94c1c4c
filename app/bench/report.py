"""Prints the figures as tables."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from app.bench.result_types import Comparison, Figures, Ratio, Report, StartupTime
from app.core.text import counted

_STAGES = {
    "capture": "capture (read, decode)",
    "detect": "detection",
    "analyse": "tracks, crops, policy",
    "classify": "classification",
    "draw": "drawing",
    "show": "window",
    "rest": "rest: helper threads, queues",
}
_TITLES = {
    "capture": "frames captured",
    "analysis": "frames analysed",
    "looks": "detection passes",
    "faces_classified": "faces classified",
    "pictures_drawn": "images drawn",
    "pictures_moved": "images with a new frame",
    "capture_to_result": "capture to result",
    "capture_to_glass": "capture to glass",
    "age_shown": "age of the frame shown",
}


def show(report: Report, console: Console) -> None:
    machine = report.machine
    cores = f"{report.threads or machine.cores_allowed} of {counted(machine.cores, 'core')}"
    mode = f"as a camera of {report.as_live_fps:g} frames/s" if report.as_live_fps else "at full speed"
    console.print(f"{machine.cpu}, {cores}, {machine.os}; {report.source}, {mode}", highlight=False)
    middle = sorted(report.runs, key=lambda run: run.frames_per_s)[len(report.runs) // 2]
    for table in (_rates(middle), _latencies(middle), _stages(middle)):
        console.print(table)
    console.print(_totals(middle), highlight=False)
    if report.starts is not None:
        console.print(_starts([("cold", report.starts.cold), *(("warm", start) for start in report.starts.warm)]))
    if report.comparisons:
        console.print(_comparisons(report.runs, report.comparisons))


def _rates(run: Figures) -> Table:
    table = _table(f"{counted(run.frames, 'frame')} in {run.seconds:.1f} s", "stage", "per second")
    for name, rate in run.rates_per_s.items():
        table.add_row(_TITLES.get(name, name), f"{rate:.1f}")
    return table


def _latencies(run: Figures) -> Table:
    table = _table("time, ms", "from, to", "p50", "p95", "p99", "max")
    for name, spread in run.latency.items():
        values = (spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.max_ms)
        table.add_row(_TITLES.get(name, name), *(f"{value:.1f}" for value in values))
    return table


def _stages(run: Figures) -> Table:
    table = _table("processor time by stage", "stage", "calls", "wall ms per call", "cpu ms per frame", "share")
    for name, stage in run.stages.items():
        each = f"{stage.wall_s / stage.calls * 1000:.2f}" if stage.calls else ""
        frame = f"{stage.cpu_s / run.frames * 1000:.2f}" if run.frames else ""
        table.add_row(_STAGES.get(name, name), str(stage.calls or ""), each, frame, f"{stage.share:.0%}")
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    columns = (Column(name, justify="right") for name in numbers)
    return Table(first, *columns, title=title, title_justify="left")


def _totals(run: Figures) -> str:
    cost = f"{run.cpu_s_per_frame * 1000:.1f} ms of processor time per frame" if run.cpu_s_per_frame else "no frame"
    memory = f"{run.peak_rss_mb:.0f} MB at most" if run.peak_rss_mb else "memory not reported by this system"
    totals = [cost, f"{run.cores_used:.2f} cores busy", memory, f"{counted(run.dropped, 'frame')} dropped"]
    return ", ".join([*totals, f"{run.faces_per_frame:.1f} faces per frame", *([run.notes] if run.notes else [])])


def _starts(starts: Sequence[tuple[str, StartupTime]]) -> Table:
    columns = ("start", "first frame", "first labelled face", "processor time", "memory, MB")
    table = _table("start-up time of a fresh process, s", *columns)
    for name, each in starts:
        memory = f"{each.rss_mb:.0f}" if each.rss_mb else ""
        values = (each.first_frame_s, each.first_label_s, each.first_label_cpu_s)
        table.add_row(name, *(f"{value:.2f}" for value in values), memory)
    return table


def _comparisons(ours: Sequence[Figures], comparisons: Sequence[Comparison]) -> Table:
    title = f"comparison, {counted(len(ours), 'run')} each; ratio maskwatch / reference: median (minimum to maximum)"
    table = Table(title=title, title_justify="left")
    for name in ("", "frames/s", "ratio", "cpu ms/frame", "ratio", "faces/frame", "MB"):
        table.add_column(name, justify="right" if name else "left", no_wrap=not name)
    rows: list[tuple[str, Sequence[Figures], Ratio | None, Ratio | None]] = [("maskwatch", ours, None, None)]
    rows += [(each.name, each.runs, each.frames_per_s, each.cpu_s_per_frame) for each in comparisons]
    for name, runs, rate, cost in rows:
        middle = sorted(runs, key=lambda run: run.frames_per_s)[len(runs) // 2]
        table.add_row(
            name,
            f"{middle.frames_per_s:.1f}",
            ratio_text(rate),
            f"{middle.cpu_s_per_frame * 1000:.1f}" if middle.cpu_s_per_frame else "",
            ratio_text(cost),
            f"{middle.faces_per_frame:.1f}",
            f"{middle.peak_rss_mb:.0f}" if middle.peak_rss_mb else "",
        )
    return table


def ratio_text(ratio: Ratio | None) -> str:
    """The median, with minimum and maximum if there is more than one pair."""
    if ratio is None:
        return ""
    limits = f" ({ratio.least:.2f} to {ratio.greatest:.2f})" if ratio.pairs > 1 else ""
    return f"{ratio.median:.2f}{limits}"
