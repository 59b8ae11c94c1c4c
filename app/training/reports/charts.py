"""Charts as SVG: training curves, confusion matrix, reliability diagram. Colours are in ``CHART_STYLE``, which an HTML
page and every SVG file include, so that both are readable in light mode, in dark mode and in print."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.core.types import Label
from app.training.metrics import wilson
from app.training.reports.tables import faces
from app.training.trainer import EpochRecord

CHART_STYLE = (
    ":root{--ink:#1f2328;--paper:#fff;--faint:#d8dce0;--soft:#59636e;--blue:#0072b2;--orange:#b84a00}"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--paper:#16191d;--faint:#3a4048;--soft:#a5adb6;"
    "--blue:#56b4e9;--orange:#f0a04b}}"
    "svg{font:13px system-ui,sans-serif;fill:var(--ink)}svg .back{fill:var(--paper)}svg .frame{fill:none;"
    "stroke:var(--soft)}svg .grid{stroke:var(--faint)}svg .rule{stroke:var(--soft);stroke-dasharray:5 4}"
    "svg .small{font-size:11px}svg .soft{fill:var(--soft)}svg .over{fill:var(--paper)}"
    "svg .blue{fill:var(--blue)}svg .orange{fill:var(--orange)}"
    "svg .train{fill:none;stroke:var(--orange);stroke-width:2;stroke-dasharray:6 3}"
    "svg .valid{fill:none;stroke:var(--blue);stroke-width:2.5}svg .bar{stroke:var(--blue);stroke-width:1.5}"
)
"""Blue and orange of Okabe and Ito (2008), which colour-blind people can distinguish, adjusted for contrast."""

DOTTED = 30
"""With more epochs, curves have no dots."""
LOGARITHMIC = 30
"""With a larger ratio of highest to lowest loss, the loss axis is logarithmic."""
CELL_WIDTH, CELL_HEIGHT = 112, 62


@dataclass(frozen=True, slots=True)
class _Panel:
    """The plot area of a chart in px, and the values at its edges."""

    x: float
    y: float
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]

    def at(self, across: float, up: float) -> tuple[float, float]:
        spans = self.across[1] - self.across[0], self.up[1] - self.up[0]
        return (
            self.x + self.width * (across - self.across[0]) / spans[0],
            self.y + self.height * (1 - (up - self.up[0]) / spans[1]),
        )


@dataclass(frozen=True, slots=True)
class Chart:
    """An SVG chart of ``width`` by ``height`` px. ``description`` is for screen readers. ``str`` gives the SVG."""

    width: float
    height: float
    description: str
    content: str

    def __str__(self) -> str:
        return self.svg()

    def svg(self, attributes: str = "", before: str = "") -> str:
        """The SVG element with further ``attributes``, and with ``before`` drawn behind the chart."""
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        role = f'role="img" aria-label="{html.escape(self.description)}"'
        return f"<svg {attributes}{size} {role}>{before}{self.content}</svg>"


def as_file(chart: Chart) -> str:
    """The chart as the text of an SVG file."""
    back = f'<style>{CHART_STYLE}</style><rect class="back" width="100%" height="100%"/>'
    return chart.svg('xmlns="http://www.w3.org/2000/svg" ', back) + "\n"


def sheet(title: str, rows: Sequence[Sequence[tuple[str, Chart]]]) -> Chart:
    """Combines charts under one title: rows from top to bottom, (name, chart) from left to right."""
    parts, y, wide = [f'<text x="8" y="20" font-weight="600">{html.escape(title)}</text>'], 30.0, 0.0
    for row in rows:
        x, tall = 0.0, 0.0
        for name, chart in row:
            parts.append(f'<text x="{x + 8}" y="{y + 14}">{html.escape(name)}</text>' if name else "")
            parts.append(chart.svg(f'x="{x}" y="{y + (22 if name else 0)}" '))
            x, tall = x + chart.width + 24, max(tall, chart.height + (30 if name else 8))
        y, wide = y + tall, max(wide, x - 24)
    return Chart(wide, y, title, "".join(parts))


def curves(history: Sequence[EpochRecord], kept_epoch: int) -> Chart:
    """Loss and accuracy by epoch, side by side. The loss axis is logarithmic if the values differ much. ``kept_epoch``,
    the epoch whose weights are kept, counts from 0. Missing values (NaN) are not drawn."""
    epochs = [record.epoch + 1 for record in history]
    across = (float(epochs[0]), float(max(epochs[-1], epochs[0] + 1)))
    accuracies = _finite([value for record in history for value in (record.accuracy, record.val_accuracy)])
    floor = math.floor(10 * min(min(accuracies, default=0.0), 0.95)) / 10
    right = [(record.accuracy, record.val_accuracy) for record in history]
    parts = []
    for x, scale, pairs in (
        (58, _loss_scale(history), [(record.loss, record.val_loss) for record in history]),
        (448, _Scale("accuracy", (floor, 1.0), ticks(floor, 1.0)), right),
    ):
        panel = _Panel(x, 34, 320, 220, across, scale.span)
        parts.append(_axes(panel, scale.name, "epoch", ticks(*across, whole=True), scale.ticks, scale.shown))
        rows = [(epoch, scale.place(of[0]), scale.place(of[1])) for epoch, of in zip(epochs, pairs, strict=True)]
        parts.append(_series(panel, rows, kept_epoch + 1))
    key = (
        '<line class="train" x1="58" x2="92" y1="318" y2="318"/><text x="98" y="322">training</text>'
        '<line class="valid" x1="178" x2="212" y1="318" y2="318"/><text x="218" y="322">validation</text>'
        '<line class="rule" x1="308" x2="342" y1="318" y2="318"/>'
        '<circle class="valid" cx="325" cy="318" r="7"/>'
        f'<text x="348" y="322">epoch {kept_epoch + 1}, whose weights are kept</text>'
    )
    kept = next((record for record in history if record.epoch == kept_epoch), history[-1])
    description = (
        f"Loss and accuracy by epoch, {len(history)} epochs. Epoch {kept_epoch + 1} is kept: validation loss "
        f"{kept.val_loss:.4f}, validation accuracy {kept.val_accuracy:.4f}."
    )
    return Chart(790, 334, description, "".join(parts) + key)


@dataclass(frozen=True, slots=True)
class _Scale:
    """A vertical axis: ``place`` converts a value to a position in ``span``, ``shown`` formats a tick."""

    name: str
    span: tuple[float, float]
    ticks: Sequence[float]
    place: Callable[[float], float] = float
    shown: Callable[[float], str] = "{:.6g}".format


def _loss_scale(history: Sequence[EpochRecord]) -> _Scale:
    losses = [value for record in history for value in (record.loss, record.val_loss) if 0 < value < math.inf]
    top, low = max(losses, default=1.0), min(losses, default=1.0)
    if top <= LOGARITHMIC * low:
        return _Scale("loss", (0.0, 1.05 * top), ticks(0.0, 1.05 * top))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(top)) + 1)
    span, least = (float(powers[0]), float(powers[-1])), 10.0 ** powers[0]

    def place(loss: float) -> float:
        return math.log10(max(loss, least)) if math.isfinite(loss) else math.nan

    return _Scale("loss (log scale)", span, powers, place, lambda power: f"{10.0**power:g}")


def _series(panel: _Panel, rows: Sequence[tuple[int, float, float]], kept: int) -> str:
    """Two curves from ``rows`` of (epoch, training, validation). A ring marks the validation value at ``kept``."""
    left = panel.at(kept, panel.up[0])[0]
    ends = f'y1="{panel.y}" y2="{panel.y + panel.height}"'
    parts = [f'<line class="rule" x1="{left:.1f}" x2="{left:.1f}" {ends}/>']
    for place, css, dot in ((1, "train", "orange"), (2, "valid", "blue")):
        points = {row[0]: panel.at(row[0], row[place]) for row in rows if math.isfinite(row[place])}
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.values())
        parts.append(f'<polyline class="{css}" points="{path}"/>')
        if len(points) <= DOTTED:
            parts += [f'<circle class="{dot}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points.values()]
        if place == 2 and kept in points:
            x, y = points[kept]
            parts.append(f'<circle class="valid" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    return "".join(parts)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[Label]) -> Chart:
    """Confusion matrix: rows are the ground truth, columns the prediction. Labels that do not occur are left out."""
    places = [i for i in range(len(labels)) if sum(counts[i]) or any(row[i] for row in counts)]
    left, top = 130, 50
    parts = [
        f'<text x="{left}" y="16" class="soft">prediction</text>'
        f'<text x="8" y="{top - 12}" class="soft">ground truth</text>'
    ]
    descriptions = []
    for down, i in enumerate(places):
        total, y = sum(counts[i]), top + down * CELL_HEIGHT
        parts.append(
            f'<text x="{left - 10}" y="{y + 28}" text-anchor="end">{labels[i].value}</text>'
            f'<text x="{left - 10}" y="{y + 45}" text-anchor="end" class="small soft">{faces(total)}</text>'
        )
        for over, k in enumerate(places):
            x, count = left + over * CELL_WIDTH, counts[i][k]
            if not down:
                middle = x + CELL_WIDTH / 2
                parts.append(f'<text x="{middle}" y="{top - 12}" text-anchor="middle">{labels[k].value}</text>')
            parts.append(_cell(x, y, count, total, i == k))
            descriptions.append(f"{labels[i].value} predicted as {labels[k].value}: {count}")
    width, height = left + len(places) * CELL_WIDTH + 10, top + len(places) * CELL_HEIGHT + 10
    return Chart(
        width, height, f"Confusion matrix, ground truth and prediction. {'; '.join(descriptions)}.", "".join(parts)
    )


def _cell(x: float, y: float, count: int, total: int, right: bool) -> str:
    share = count / total if total else 0.0
    ink = "over" if share > 0.5 else ""
    middle = x + CELL_WIDTH / 2
    percent = f"{100 * share:.1f} %" if total else "–"
    return (
        f'<rect class="{"blue" if right else "orange"}" x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" '
        f'fill-opacity="{share if share > 0.5 else 0.6 * share:.2f}"/>'
        f'<rect class="frame" x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}"/>'
        f'<text class="{ink}" x="{middle}" y="{y + 28}" text-anchor="middle" font-weight="600">{count}</text>'
        f'<text class="{ink} small" x="{middle}" y="{y + 46}" text-anchor="middle">{percent}</text>'
    )


def reliability_diagram(bins: Sequence[tuple[float, float, int]]) -> Chart:
    """Accuracy by confidence from the ``bins`` of ``metrics.reliability``, with Wilson 95 % intervals and the number of
    faces per bin. On the diagonal, confidence equals accuracy."""
    panel = _Panel(58, 16, 360, 300, (0.0, 1.0), (0.0, 1.0))
    tenths = [i / 5 for i in range(6)]
    parts = [_axes(panel, "", "confidence of the prediction", tenths, tenths)]
    parts.append('<text transform="translate(14 166) rotate(-90)" text-anchor="middle">accuracy</text>')
    parts.append('<line class="rule" x1="58" y1="316" x2="418" y2="16"/>')
    most, descriptions = max((count for *_, count in bins), default=1), []
    for confidence, right, count in bins:
        (x, y), rate = panel.at(confidence, right), wilson(round(right * count), count)
        low, high = panel.at(confidence, rate.low)[1], panel.at(confidence, rate.high)[1]
        parts.append(f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="blue" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        start, tall = 58 + 36 * min(int(confidence * 10), 9), 44 * count / most
        parts.append(
            f'<rect class="blue" fill-opacity=".45" x="{start + 3}" y="{436 - tall:.1f}" width="30" '
            f'height="{tall:.1f}"/><text x="{start + 18}" y="{431 - tall:.1f}" text-anchor="middle" class="small">'
            f"{count}</text>"
        )
        descriptions.append(f"{faces(count)} at confidence {confidence:.2f}: {100 * right:.1f} % correct")
    parts.append('<line class="grid" x1="58" x2="418" y1="436" y2="436"/>')
    parts.append(
        '<text x="238" y="454" text-anchor="middle" class="small soft">faces in each tenth of confidence</text>'
    )
    return Chart(440, 462, f"Reliability diagram. {'; '.join(descriptions)}.", "".join(parts))


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Four to eight round values from ``low`` to ``high``, in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    step = max(step, 1.0) if whole else step
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _axes(
    panel: _Panel,
    name: str,
    below: str,
    across: Sequence[float],
    up: Sequence[float],
    shown: Callable[[float], str] = "{:.6g}".format,
) -> str:
    right, bottom = panel.x + panel.width, panel.y + panel.height
    parts = [f'<text x="{panel.x}" y="{panel.y - 12}" font-weight="600">{name}</text>' if name else ""]
    for value in up:
        y = panel.at(panel.across[0], value)[1]
        parts.append(
            f'<line class="grid" x1="{panel.x}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{panel.x - 7}" y="{y + 4:.1f}" text-anchor="end" class="small">{shown(value)}</text>'
        )
    for value in across:
        x = panel.at(value, panel.up[0])[0]
        parts.append(
            f'<line class="frame" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" class="small">{value:.6g}</text>'
        )
    parts.append(f'<rect class="frame" x="{panel.x}" y="{panel.y}" width="{panel.width}" height="{panel.height}"/>')
    middle = panel.x + panel.width / 2
    parts.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{below}</text>')
    return "".join(parts)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
