"""A report of one HTML file, without network: figures, confusion, reliability, slices and the worst mistakes."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from app.train.evaluate import Judged, SetReport
from app.train.fit import EpochRecord
from app.train.metrics import reliability
from app.train.tables import HEADINGS, rows
from app.vision.modelfile import ClassifierFacts

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #bbb;padding:.25rem .6rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left;white-space:pre}img{image-rendering:pixelated;max-width:100%}"
)
WORST = 40
TILE_PX = 96


def write_report(
    path: Path,
    facts: ClassifierFacts,
    reports: Sequence[SetReport],
    judged: Sequence[Judged],
    history: Sequence[EpochRecord] = (),
) -> None:
    """``judged`` are those of the sets whose mistakes are shown; ``history`` is drawn where there is one. Raises
    OSError where the file cannot be written."""
    title = f"{facts.name} {facts.version}: evaluation"
    parts = [f"<h1>{html.escape(title)}</h1>", _table(HEADINGS, rows(reports))]
    if history:
        parts.append(f"<h2>Training</h2>{_curves(history)}")
    for report in reports:
        labels = [label.value for label in facts.labels]
        counts = [(name, *map(str, row)) for name, row in zip(labels, report.scores.confusion, strict=True)]
        parts.append(f"<h2>{html.escape(report.name)}</h2><h3>Confusion: truth down, answer across</h3>")
        parts.append(_table(("", *labels), counts))
    for one in judged:
        parts.append(
            f"<h2>{html.escape(str(one.crops.samples[0].path.parent))}</h2><h3>Reliability</h3>{_diagram(one)}"
        )
        parts.append(f"<h3>Worst mistakes: sure and wrong</h3>{_worst(one)}")
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page + "<body>" + "\n".join(parts) + "</body></html>\n", "utf-8")


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def _curves(history: Sequence[EpochRecord]) -> str:
    """Loss by epoch: training thin, validation thick."""
    top = max(max(record.loss, record.val_loss) for record in history) or 1.0
    last = max(len(history) - 1, 1)

    def line(losses: Sequence[float], width: int, colour: str) -> str:
        points = " ".join(f"{600 * i / last:.1f},{200 - 200 * loss / top:.1f}" for i, loss in enumerate(losses))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    best = min(history, key=lambda record: record.val_loss)
    return (
        '<svg width="640" height="240" viewBox="-20 -10 640 230" role="img" aria-label="loss by epoch">'
        '<rect width="600" height="200" fill="none" stroke="#999"/>'
        f"{line([record.loss for record in history], 1, '#d55e00')}"
        f"{line([record.val_loss for record in history], 3, '#0072b2')}</svg>"
        f"<p>Orange: training loss; blue: validation loss; the frame is {top:.3f} high and {len(history)} epochs wide. "
        f"Least validation loss {best.val_loss:.4f} in epoch {best.epoch + 1}.</p>"
    )


def _diagram(judged: Judged) -> str:
    """Confidence across, share right up; on the diagonal the model means what it says."""
    points = "".join(
        f'<circle cx="{300 * confidence:.1f}" cy="{300 - 300 * right:.1f}" r="{3 + min(count, 400) ** 0.5 / 2:.1f}" '
        f'fill="#0072b2" fill-opacity=".7"><title>{count} faces</title></circle>'
        for confidence, right, count in reliability(judged.probabilities, judged.crops.targets)
    )
    return (
        '<svg width="320" height="320" viewBox="-10 -10 320 320" role="img" aria-label="reliability diagram">'
        '<rect width="300" height="300" fill="none" stroke="#999"/><line y1="300" x2="300" y2="0" stroke="#999"/>'
        f"{points}</svg>"
    )


def _worst(judged: Judged) -> str:
    truth, chosen = judged.crops.targets, judged.probabilities.argmax(axis=1)
    confidence = judged.probabilities.max(axis=1)
    wrong = np.flatnonzero(truth != chosen)
    if not len(wrong):
        return "<p>None.</p>"
    figures = []
    for i in wrong[np.argsort(-confidence[wrong])][:WORST]:
        tile = cv2.resize(judged.crops.images[i], (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST)
        _, coded = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        text = f"{judged.facts.labels[truth[i]]} taken for {judged.facts.labels[chosen[i]]}, {confidence[i]:.2f}"
        source = base64.b64encode(coded.tobytes()).decode()
        figures.append(f'<img src="data:image/jpeg;base64,{source}" alt="{text}" title="{text}">')
    return f"<p>{' '.join(figures)}</p>"
