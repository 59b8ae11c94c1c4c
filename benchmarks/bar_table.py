"""Computes the bars (values with a limit) from the figures of ``bars.py`` and writes them as Markdown."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.bench.child_process import BenchError
from app.bench.result_types import Figures, Spread, StartupTime

Runs = dict[str, list[Figures]]
_NEAR_ZERO_CORES = 0.02
"""The limit for "near zero" processor load: 2 % of one core."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value, its spread over the rounds, and its limit: a minimum with ``at_least``, else a maximum."""

    name: str
    limit: float
    at_least: bool
    values: tuple[float, ...]
    unit: str = "×"
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def limit_text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_number(self.limit)} {self.unit}"

    @property
    def value_text(self) -> str:
        spread = ""
        if len(self.values) > 1:
            spread = f" ({_number(min(self.values))} to {_number(max(self.values))})"
        return f"{_number(self.value)}{spread} {self.unit}"

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "value": self.value, "met": self.met}


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bars_of(measured: dict[str, Any]) -> list[Bar]:
    runs: Runs = measured["runs"]
    return [
        *_comparison(runs, "naive", 20.0),
        *_comparison(runs, "naive-ssd", 14.0),
        *_comparison(runs, "facemaskdetector", 18.0),
        *_overhead(runs),
        *_classifier(measured["parts"]),
        *_delays(runs),
        *_idle(runs),
        *_start_and_memory(measured["starts"], runs),
    ]


def _each(runs: Runs, names: Sequence[str], value: Callable[..., float]) -> tuple[float, ...]:
    """``value`` of the runs with these names, once per round."""
    return tuple(value(*round_runs) for round_runs in zip(*(runs[name] for name in names), strict=True))


def _comparison(runs: Runs, name: str, limit: float) -> list[Bar]:
    if name not in runs:
        return []
    cost = statistics.median(_each(runs, ("maskwatch", name), lambda a, b: b.cpu_s_per_frame / a.cpu_s_per_frame))
    rates = _each(runs, ("maskwatch", name), lambda a, b: a.frames_per_s / b.frames_per_s)
    note = f"and {_number(cost)} × less processor time per frame"
    return [Bar(f"frames per second, pipeline / `{name}`", limit, True, rates, note=note)]


def _overhead(runs: Runs) -> list[Bar]:
    if "stages" not in runs:
        return []

    def ratio(ours: Figures, alone: Figures) -> float:
        networks_s = sum(alone.stages[name].cpu_s for name in ("detect", "classify") if name in alone.stages)
        return (ours.cpu_s_per_frame or 0.0) / (networks_s / alone.frames)

    values = _each(runs, ("maskwatch", "stages"), ratio)
    alone = Bar("processor time per frame, pipeline / detector and classifier alone", 1.20, False, values)
    return [alone, _overhead_within(runs["one thread"])]


def _overhead_within(runs: Sequence[Figures]) -> Bar:
    """The same within one run, on the same frames. One thread per network, so all network time is counted."""

    def share(run: Figures) -> float:
        return sum(run.stages[name].share for name in ("detect", "classify") if name in run.stages)

    shares = ", ".join(f"{name} {stage.share:.0%}" for name, stage in _middle(runs).stages.items())
    values = tuple(1.0 / max(share(run), 1e-9) for run in runs)
    name = "the same within one run, one thread per network"
    return Bar(name, 1.20, False, values, note=f"decoding and drawing included: {shares}")


def _classifier(parts: dict[str, Any]) -> list[Bar]:
    bars = []
    ours = parts["classifier, LiteRT"]["cpu_ms"]
    if "classifier, keras.predict" in parts:
        by_predict = parts["classifier, keras.predict"]["cpu_ms"] / ours
        bars.append(Bar("one face, `keras.predict` / LiteRT, same network", 20.0, True, (by_predict,)))
    by_paper = parts["model_6, LiteRT"]["cpu_ms"] / ours
    bars.append(Bar("one face, the paper's `model_6` / our classifier, both LiteRT", 3.0, True, (by_paper,)))
    return bars


def _spread(run: Figures, name: str) -> Spread:
    if name not in run.latency:
        raise BenchError(f"a run has no '{name}' figures: no frame was analysed; raise --seconds")
    return run.latency[name]


def _delays(runs: Runs) -> list[Bar]:
    def delay(ours: Figures, every: Figures) -> float:
        networks_ms = _spread(every, "detection").p50_ms + _spread(every, "classification").p50_ms
        return _spread(ours, "capture_to_result").p95_ms / networks_ms

    def age_ms(slow: Figures) -> float:
        return _spread(slow, "age_shown").p99_ms - _spread(slow, "detection").p50_ms

    def rate(slow: Figures) -> float:
        return slow.rates_per_s["pictures_moved"] / slow.rates_per_s["capture"]

    slow = _middle(runs["slow detector"])
    detection_ms, shown_ms = _spread(slow, "detection").p50_ms, _spread(slow, "age_shown").p99_ms
    note = f"p99 of the age {_number(shown_ms)} ms, one detection pass {_number(detection_ms)} ms"
    return [
        Bar(
            "capture to result, p95 / median time of detector and classifier",
            1.5,
            False,
            _each(runs, ("busy", "every look"), delay),
            note="the divisor with a full detection pass over each frame",
        ),
        Bar(
            "detector 10 × slower: age of the shown frame minus one detection pass",
            50.0,
            False,
            _each(runs, ("slow detector",), age_ms),
            "ms",
            note,
        ),
        Bar(
            "detector 10 × slower: new frames in the window / frames of the camera",
            0.95,
            True,
            _each(runs, ("slow detector",), rate),
        ),
    ]


def _idle(runs: Runs) -> list[Bar]:
    def by_busy(idle: Figures, busy: Figures) -> float:
        return idle.cores_used / busy.cores_used

    rates = {name: _middle(runs[name]).frames_per_s for name in ("busy", "still", "empty")}
    bars = []
    for name, scene, limit in (("still", "still empty scene", 0.12), ("empty", "moving scene without faces", 0.25)):
        note = f"frames/s analysed: {rates[name]:.1f} of {rates['busy']:.1f}"
        values = _each(runs, (name, "busy"), by_busy)
        bars.append(Bar(f"processor load, {scene} / busy scene", limit, False, values, note=note))
    for name, title in (("no camera", "processor load, no camera"), ("paused", "processor load, paused")):
        bars.append(Bar(title, _NEAR_ZERO_CORES, False, _each(runs, (name,), lambda run: run.cores_used), "cores"))
    return bars


def _start_and_memory(starts: Sequence[StartupTime], runs: Runs) -> list[Bar]:
    warm = starts[1:]
    heavy = any(start.tensorflow for start in starts)
    cpu_s = statistics.median(start.first_label_cpu_s for start in starts)
    cold = f"cold {starts[0].first_label_s:.2f} s; {cpu_s:.2f} s of processor time"
    note = f"{cold}; TensorFlow {'IMPORTED' if heavy else 'not imported'}"
    first = Bar("start to first labelled face, warm", 1.0, False, tuple(s.first_label_s for s in warm), "s", note)
    peaks = tuple(run.peak_rss_mb for run in runs["720p"] if run.peak_rss_mb is not None)
    memory = [Bar("resident memory, one 720p camera", 180.0, False, peaks, "MB")] if peaks else []
    return [first, *memory]


def _middle(runs: Sequence[Figures]) -> Figures:
    return sorted(runs, key=lambda run: run.frames_per_s)[len(runs) // 2]


def markdown(results: dict[str, Any]) -> str:
    """The tables for a page, from the content of the JSON file."""
    machine = results["machine"]
    lines = [
        f"{machine['cpu']}, {results['threads']} of {machine['cores']} cores, {machine['os']}; load before "
        f"{machine['load_before']:.1f}; {results['rounds']} rounds of {results['seconds']:g} s each.",
        "",
        "| bar | limit | measured: median (minimum to maximum) | met | |",
        "|---|---|---|---|---|",
    ]
    for each in results["bars"]:
        names = ("name", "limit", "at_least", "values", "unit", "note")
        bar = Bar(**{name: tuple(each[name]) if name == "values" else each[name] for name in names})
        met = "yes" if bar.met else "**no**"
        lines.append(f"| {bar.name} | {bar.limit_text} | {bar.value_text} | {met} | {bar.note} |")
    return "\n".join([*lines, "", *_programs(results["runs"]), "", *_roofline(results)])


def _programs(runs: dict[str, Any]) -> list[str]:
    lines = [
        "| program | frames/s | processor ms per frame | faces per frame | memory, MB "
        "| capture to result p50, p95, ms |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("maskwatch", "naive", "naive-ssd", "facemaskdetector", "stages"):
        if name not in runs:
            continue
        run = _middle([Figures.model_validate(each) for each in runs[name]])
        delay, memory = _spread(run, "capture_to_result"), run.peak_rss_mb or float("nan")
        lines.append(
            f"| {name} | {run.frames_per_s:.1f} | {(run.cpu_s_per_frame or 0) * 1000:.1f} | "
            f"{run.faces_per_frame:.1f} | {memory:.0f} | {delay.p50_ms:.0f}, {delay.p95_ms:.0f} |"
        )
    return lines


def _roofline(results: dict[str, Any]) -> list[str]:
    peaks, parts = results["roofline"]["peaks"], results["parts"]
    detectors = [each for each in results["roofline"]["networks"] if each["name"].startswith("detector")]
    sums = {key: sum(each[key] for each in detectors) for key in _SUMS}
    whole = {"name": "detector, one full detection pass (all sizes)", **sums}
    timed = {
        whole["name"]: "detector",
        "classifier, one face": "classifier, LiteRT",
        "model_6, one face": "model_6, LiteRT",
    }
    lines = [
        f"Peak of one core: {peaks['flops'] / 1e9:.0f} GFLOP/s in float32 matrix products, "
        f"{peaks['bytes_per_s'] / 1e9:.1f} GB/s copied.",
        "",
        "| network | million multiply-adds | MB moved, minimum to maximum | minimum processor ms | measured |",
        "|---|---|---|---|---|",
    ]
    for each in [*detectors, whole, *(each for each in results["roofline"]["networks"] if each not in detectors)]:
        part = parts.get(timed.get(each["name"], ""))
        measured_ms = f"{part['cpu_ms']:.2f}" if part else ""
        moved = f"{each['least_bytes'] / 1e6:.1f} to {each['most_bytes'] / 1e6:.0f}"
        lines.append(
            f"| {each['name']} | {each['multiply_adds'] / 1e6:.1f} | {moved} | {each['least_ms']:.2f} | {measured_ms} |"
        )
    return lines


_SUMS = ("multiply_adds", "most_bytes", "least_bytes", "least_ms")


def write_between(page: Path, marker: str, text: str) -> None:
    """Replaces what stands between ``<!-- marker -->`` and ``<!-- /marker -->`` in ``page`` with ``text``."""
    begin, end = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    whole = page.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise SystemExit(f"{page} must have one '{begin}' and one '{end}'; add them where the table belongs")
    before, _, rest = whole.partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
