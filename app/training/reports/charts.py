"""Charts as SVG, drawn with matplotlib: training curves, confusion matrix, reliability diagram.

The colours become CSS variables of ``CHART_STYLE``, which an HTML page and every SVG file include, so that a chart is
readable in light mode, in dark mode and in print.
"""

import html
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from app.core.text import counted
from app.core.types import Label
from app.training.metrics import wilson
from app.training.types import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHART_STYLE = (
    ":root{--ink:#1f2328;--paper:#fff;--faint:#d8dce0;--soft:#59636e;--blue:#0072b2;--orange:#b84a00}"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--paper:#16191d;--faint:#3a4048;--soft:#a5adb6;"
    "--blue:#56b4e9;--orange:#f0a04b}}"
)
"""Blue and orange of Okabe and Ito (2008), which colour-blind people can distinguish, adjusted for contrast."""
INK, PAPER, FAINT, SOFT, BLUE, ORANGE = "#1f2328", "#fefefe", "#d8dce0", "#59636e", "#0072b2", "#b84a00"
VARIABLES = {INK: "ink", PAPER: "paper", FAINT: "faint", SOFT: "soft", BLUE: "blue", ORANGE: "orange"}

DOTTED = 30
"""With more epochs, curves have no dots."""
LOGARITHMIC = 30
"""With a larger ratio of highest to lowest loss, the loss axis is logarithmic."""


def svg(figure: "Figure", description: str) -> str:
    """The figure as an SVG element with a ``description`` for screen readers."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "maskwatch"}):  # text stays text
        figure.savefig(buffer, format="svg", transparent=True)
    element = buffer.getvalue().partition("<svg")[2]
    element = re.sub(r'<metadata>.*?</metadata>| xmlns(:xlink)?="[^"]*"', "", element, flags=re.DOTALL)
    element = re.sub(r'font-family: [^;"]*', "font-family: system-ui, sans-serif", element)
    element = re.sub(r"\s*\n\s*", " ", element)
    for colour, name in VARIABLES.items():
        element = element.replace(colour, f"var(--{name})")
    return f'<svg role="img" aria-label="{html.escape(description)}"{element}'


def as_file(chart: str) -> str:
    """The text of an SVG file with the chart."""
    head, inner = chart.split(">", 1)
    head += ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'{head}><style>{CHART_STYLE}</style><rect width="100%" height="100%" fill="var(--paper)"/>{inner}\n'


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sides in inches, whose axes are arranged without overlap."""
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def curves(history: Sequence[EpochRecord], kept_epoch: int) -> str:
    """Loss and accuracy by epoch, side by side. ``kept_epoch``, the epoch whose weights are kept, counts from 0."""
    figure = new_figure(8.4, 3.6)
    draw_curves(figure, history, kept_epoch)
    kept = next((record for record in history if record.epoch == kept_epoch), history[-1])
    return svg(
        figure,
        f"Loss and accuracy by epoch, {len(history)} epochs. Epoch {kept_epoch + 1} is kept: validation loss "
        f"{kept.development['loss']:.4f}, validation accuracy {kept.development['accuracy']:.4f}.",
    )


def draw_curves(figure: "Figure", history: Sequence[EpochRecord], kept_epoch: int) -> None:
    """The loss axis is logarithmic if the values differ much. Missing values (NaN) are not drawn."""
    epochs = [record.epoch + 1 for record in history]
    trained, developed = [record.training for record in history], [record.development for record in history]
    loss, accuracy = figure.subplots(1, 2)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        training, validation = ([part[name] for part in parts] for parts in (trained, developed))
        dot = "o" if len(epochs) <= DOTTED else None
        axes.plot(epochs, training, "--", color=ORANGE, marker=dot, markersize=4, label="training")
        axes.plot(epochs, validation, color=BLUE, lw=2.2, marker=dot, markersize=4, label="validation")
        label = f"epoch {kept_epoch + 1}, whose weights are kept"
        axes.axvline(kept_epoch + 1, color=SOFT, lw=1, ls=(0, (5, 4)))
        ring = [value for epoch, value in zip(epochs, validation, strict=True) if epoch == kept_epoch + 1]
        axes.plot([kept_epoch + 1] * len(ring), ring, "o", color=BLUE, fillstyle="none", markersize=11, label=label)
        _style(axes, name, "epoch", "y")
        axes.xaxis.get_major_locator().set_params(integer=True)
    losses = [value for part in trained + developed if 0 < (value := part["loss"]) < math.inf]
    if losses and max(losses) > LOGARITHMIC * min(losses):
        loss.set_yscale("log", nonpositive="clip")
        loss.set_title("loss (log scale)", loc="left", color=INK, fontsize=10, fontweight="bold")
    elif losses:
        loss.set_ylim(0, 1.05 * max(losses))
    accuracy.set_ylim(top=1.0 + 0.04 * (1.0 - accuracy.get_ylim()[0]))  # a ring at 1.0 is not cut off
    handles, labels = loss.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=9)


def confusion(counts: Sequence[Sequence[int]], labels: Sequence[Label]) -> str:
    """Confusion matrix: rows are the ground truth, columns the prediction. Labels that do not occur are left out."""
    places = _occurring(counts)
    figure = new_figure(2.1 + 1.2 * len(places), 0.8 + 0.72 * len(places))
    draw_confusion(figure.subplots(), counts, labels)
    cells = [f"{labels[i].value} predicted as {labels[k].value}: {counts[i][k]}" for i in places for k in places]
    return svg(figure, f"Confusion matrix, ground truth and prediction. {'; '.join(cells)}.")


def _occurring(counts: Sequence[Sequence[int]]) -> list[int]:
    return [i for i in range(len(counts)) if sum(counts[i]) or any(row[i] for row in counts)]


def draw_confusion(axes: "Axes", counts: Sequence[Sequence[int]], labels: Sequence[Label], title: str = "") -> None:
    """Each cell: faces and share of the row. Blue is correct, orange is wrong; a larger share is darker."""
    places = _occurring(counts)
    for row, i in enumerate(places):
        total = sum(counts[i])
        for column, k in enumerate(places):
            share = counts[i][k] / total if total else 0.0
            alpha = share if share > 0.5 else 0.6 * share
            axes.fill_between([column, column + 1], row, row + 1, color=BLUE if i == k else ORANGE, alpha=alpha, lw=0)
            ink, percent = PAPER if share > 0.5 else INK, f"{100 * share:.1f} %" if total else "–"
            for y, text, size in ((0.38, str(counts[i][k]), 11), (0.7, percent, 8)):
                axes.text(column + 0.5, row + y, text, fontsize=size, color=ink, ha="center", va="center")
    axes.hlines(range(len(places)), 0, len(places), color=SOFT, lw=0.8)
    axes.vlines(range(len(places)), 0, len(places), color=SOFT, lw=0.8)
    names = [labels[i].value for i in places]
    rows = [f"{name}\n{counted(sum(counts[i]), 'face')}" for name, i in zip(names, places, strict=True)]
    middles = [place + 0.5 for place in range(len(places))]
    axes.set(xlim=(0, len(places)), ylim=(len(places), 0))
    axes.set_xticks(middles, names)
    axes.set_yticks(middles, rows)
    axes.set_xlabel(f"{title}\nprediction" if title else "prediction", color=SOFT, fontsize=9)
    axes.set_ylabel("ground truth", color=SOFT, fontsize=9)
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, labelsize=9, labelcolor=INK, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_color(SOFT)


def reliability_diagram(bins: Sequence[tuple[float, float, int]]) -> str:
    """Accuracy by confidence from the ``bins`` of ``metrics.reliability``, with Wilson 95 % intervals and the number of
    faces per bin. On the diagonal, confidence equals accuracy."""
    figure = new_figure(4.6, 4.9)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(7, 1))
    confidences, accuracies, counts = zip(*bins, strict=True) if bins else ((), (), ())
    rates = [wilson(round(right * count), count) for _, right, count in bins]
    upper.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (5, 4)))
    upper.vlines(confidences, [rate.low for rate in rates], [rate.high for rate in rates], color=BLUE, lw=1.3)
    upper.plot(confidences, accuracies, "o", color=BLUE, clip_on=False)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    _style(upper, "", "", "both")
    upper.set_ylabel("accuracy", color=INK)
    tenths = [min(int(confidence * 10), 9) / 10 + 0.05 for confidence in confidences]
    bars = lower.bar(tenths, counts, 0.085, color=BLUE, alpha=0.45)
    lower.bar_label(bars, fontsize=8, color=INK)
    _style(lower, "", "confidence of the prediction; faces in each tenth")
    lower.set_yticks([])
    lower.spines[["left", "right", "top"]].set_visible(False)
    cells = [
        f"{counted(count, 'face')} at confidence {place:.2f}: {100 * right:.1f} % correct"
        for place, right, count in bins
    ]
    return svg(figure, f"Reliability diagram. {'; '.join(cells)}.")


def _style(axes: "Axes", title: str, below: str, grid: Literal["x", "y", "both"] | None = None) -> None:
    axes.set_title(title, loc="left", color=INK, fontsize=10, fontweight="bold")
    axes.set_xlabel(below, color=INK, fontsize=9)
    axes.tick_params(color=SOFT, labelcolor=INK, labelsize=9)
    axes.spines[:].set_color(SOFT)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=FAINT)
