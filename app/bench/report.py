"""The figures as tables for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from app.bench.result_types import Comparison, Figures, Ratio, Report, StartupTime
from app.core.text import counted

_STAGES = {
    "capture": "capture (read, decode)",
    "detect": "detection",
    "analyse": "tracks, crops, policy",
    "classify": "classification",
    "draw": "drawing",
    "show": "window",
    "rest": "rest: helper threads, hand-overs",
}
_WORDS = {
    "capture": "frames captured",
    "analysis": "frames analysed",
    "looks": "looks for faces",
    "faces_classified": "faces classified",
    "pictures_drawn": "pictures drawn",
    "pictures_moved": "pictures with a new frame",
    "capture_to_result": "capture to result",
    "capture_to_glass": "capture to glass",
    "age_shown": "age of the frame shown",
}


def show(report: Report, console: Console) -> None:
    machine = report.machine
    cores = f"{report.threads or machine.cores_allowed} of {counted(machine.cores, 'core')}"
    how = f"as a camera of {report.as_live_fps:g} frames/s" if report.as_live_fps else "at full speed"
    console.print(f"{machine.cpu}, {cores}, {machine.os}; {report.source}, {how}", highlight=False)
    middle = sorted(report.runs, key=lambda run: run.frames_per_s)[len(report.runs) // 2]
    for table in (_rates(middle), _latencies(middle), _stages(middle)):
        console.print(table)
    console.print(_totals(middle), highlight=False)
    if report.starts is not None:
        console.print(_starts([("cold", report.starts.cold), *(("warm", start) for start in report.starts.warm)]))
    if report.comparisons:
        console.print(_comparisons(report.runs, report.comparisons))


def _rates(run: Figures) -> Table:
    table = Table(title=f"{counted(run.frames, 'frame')} in {run.seconds:.1f} s", title_justify="left")
    table.add_column("stage")
    table.add_column("a second", justify="right")
    for name, rate in run.rates_per_s.items():
        table.add_row(_WORDS.get(name, name), f"{rate:.1f}")
    return table


def _latencies(run: Figures) -> Table:
    table = Table(title="time, ms", title_justify="left")
    table.add_column("from, to")
    for name in ("p50", "p95", "p99", "max"):
        table.add_column(name, justify="right")
    for name, spread in run.latency.items():
        values = (spread.p50_ms, spread.p95_ms, spread.p99_ms, spread.max_ms)
        table.add_row(_WORDS.get(name, name), *(f"{value:.1f}" for value in values))
    return table


def _stages(run: Figures) -> Table:
    table = Table(title="where the processor time goes", title_justify="left")
    table.add_column("stage")
    for name in ("calls", "wall ms a call", "cpu ms a frame", "share"):
        table.add_column(name, justify="right")
    for name, stage in run.stages.items():
        each = f"{stage.wall_s / stage.calls * 1000:.2f}" if stage.calls else ""
        frame = f"{stage.cpu_s / run.frames * 1000:.2f}" if run.frames else ""
        table.add_row(_STAGES.get(name, name), str(stage.calls or ""), each, frame, f"{stage.share:.0%}")
    return table


def _totals(run: Figures) -> str:
    cost = f"{run.cpu_s_per_frame * 1000:.1f} ms of processor time a frame" if run.cpu_s_per_frame else "no frame"
    memory = f"{run.peak_rss_mb:.0f} MB at most" if run.peak_rss_mb else "memory not told by this system"
    words = [cost, f"{run.cores_used:.2f} cores busy", memory, f"{counted(run.dropped, 'frame')} dropped"]
    return ", ".join([*words, f"{run.faces_per_frame:.1f} faces a frame", *([run.notes] if run.notes else [])])


def _starts(starts: Sequence[tuple[str, StartupTime]]) -> Table:
    table = Table(title="from the start of a fresh process, s", title_justify="left")
    for name in ("start", "first frame", "first labelled face", "processor time", "memory, MB"):
        table.add_column(name, justify="left" if name == "start" else "right")
    for name, each in starts:
        memory = f"{each.rss_mb:.0f}" if each.rss_mb else ""
        values = (each.first_frame_s, each.first_label_s, each.first_label_cpu_s)
        table.add_row(name, *(f"{value:.2f}" for value in values), memory)
    return table


def _comparisons(ours: Sequence[Figures], comparisons: Sequence[Comparison]) -> Table:
    title = f"side by side, {counted(len(ours), 'turn')} each; ratio: ours by it, the median (least to greatest)"
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
    """The median, with the least and the greatest where there are more."""
    if ratio is None:
        return ""
    more = f" ({ratio.least:.2f} to {ratio.greatest:.2f})" if ratio.pairs > 1 else ""
    return f"{ratio.median:.2f}{more}"
