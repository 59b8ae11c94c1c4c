"""The pictures of the study's report: curves and confusion as SVG, and demo frames labelled by a trained network."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app import resources
from app.domain import Box, Image, Label
from app.train.fit import EpochRecord
from app.train.metrics import Rate
from app.vision.classify import MaskClassifier
from app.vision.detect import FaceDetector
from app.vision.preprocess import face_crops

TRAINING, VALIDATION = "#d55e00", "#0072b2"
PANEL_PX, HEIGHT_PX, GAP_PX = 250, 180, 60
GRID_PX = 150
DEMO_FRAMES = (80, 150, 200)
"""Of assets/demo.mp4: she alone and bare; she bare and he masked; both masked."""
STRIP_WIDTH_PX = 320
COLOURS_BGR = {Label.MASK: (178, 114, 0), Label.NO_MASK: (0, 94, 213)}


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels above the panel's lower edge; ``ticks`` are values with their names."""

    height_px: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def figure(
    title: str, history: Sequence[EpochRecord], best_epoch: int, sets: Sequence[tuple[str, dict[str, Rate]]]
) -> str:
    """An SVG: accuracy and loss by epoch, and a confusion matrix for each of ``sets`` (its name, recalls by label).
    ``best_epoch`` counts from 1. What a history does not know (NaN) is not drawn."""
    accuracies = [value for record in history for value in (record.accuracy, record.val_accuracy)]
    losses = [value for record in history for value in (record.loss, record.val_loss)]
    lines = [[(record.accuracy, record.val_accuracy) for record in history]]
    lines.append([(record.loss, record.val_loss) for record in history])
    parts = []
    for place, (name, pairs, axis) in enumerate(
        (("accuracy", lines[0], _linear(accuracies)), ("loss (log scale)", lines[1], _logarithmic(losses)))
    ):
        parts.append(_panel(name, pairs, axis, best_epoch, GAP_PX + place * (PANEL_PX + GAP_PX)))
    x = GAP_PX + 2 * (PANEL_PX + GAP_PX)
    for name, recalls in sets:
        parts.append(_confusion(name, recalls, x))
        x += GRID_PX + GAP_PX + 20
    key = (
        f'<text x="{GAP_PX}" y="{HEIGHT_PX + 86}"><tspan fill="{TRAINING}">training</tspan> '
        f'<tspan fill="{VALIDATION}">validation</tspan> '
        f"dashed: epoch {best_epoch}, whose weights are kept</text>"
        f'<text x="{GAP_PX + 2 * (PANEL_PX + GAP_PX)}" y="{HEIGHT_PX + 86}">truth down, answer across</text>'
    )
    head = f'<text x="{GAP_PX}" y="18" font-weight="bold">{html.escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x}" height="{HEIGHT_PX + 100}" role="img" '
        f'aria-label="{html.escape(title)}" font-family="sans-serif" font-size="12" fill="#222">'
        f'<rect width="100%" height="100%" fill="white"/>{head}{"".join(parts)}{key}</svg>\n'
    )


def _linear(values: Sequence[float]) -> _Axis:
    known = [value for value in values if math.isfinite(value)]
    floor = math.floor(10 * min(known, default=0.0)) / 10 if min(known, default=0.0) < 1 else 0.9
    step = 0.1 if floor < 0.8 else 0.05
    ticks = [floor + i * step for i in range(round((1 - floor) / step) + 1)]
    if len(ticks) > 6:
        ticks = [*ticks[:: math.ceil(len(ticks) / 6)], 1.0]
    return _Axis(lambda value: HEIGHT_PX * (value - floor) / (1 - floor), [(tick, f"{tick:.2f}") for tick in ticks])


def _logarithmic(values: Sequence[float]) -> _Axis:
    known = [value for value in values if math.isfinite(value) and value > 0]
    low, high = math.floor(math.log10(min(known, default=0.1))), math.ceil(math.log10(max(known, default=1.0)))
    high = max(high, low + 1)
    ticks = [(10.0**power, f"{10.0**power:g}") for power in range(low, high + 1)]
    return _Axis(lambda value: HEIGHT_PX * (math.log10(max(value, 10.0**low)) - low) / (high - low), ticks)


def _panel(name: str, pairs: Sequence[tuple[float, float]], axis: _Axis, best_epoch: int, x: float) -> str:
    top, last = 44, max(len(pairs) - 1, 1)

    def at(i: int, value: float) -> tuple[float, float]:
        return x + PANEL_PX * i / last, top + HEIGHT_PX - axis.height_px(value)

    parts = [
        f'<text x="{x}" y="{top - 8}">{name}</text>',
        f'<rect x="{x}" y="{top}" width="{PANEL_PX}" height="{HEIGHT_PX}" fill="none" stroke="#999"/>',
    ]
    for value, label in axis.ticks:
        y = at(0, value)[1]
        parts.append(f'<line x1="{x}" x2="{x + PANEL_PX}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for i in range(0, len(pairs), math.ceil(len(pairs) / 10) or 1):
        parts.append(f'<text x="{at(i, 1)[0]:.1f}" y="{top + HEIGHT_PX + 16}" text-anchor="middle">{i + 1}</text>')
    best_x = at(best_epoch - 1, 1)[0]
    ends = f'x1="{best_x:.1f}" x2="{best_x:.1f}" y1="{top}" y2="{top + HEIGHT_PX}"'
    parts.append(f'<line {ends} stroke="#999" stroke-dasharray="4"/>')
    for place, colour in ((0, TRAINING), (1, VALIDATION)):
        known = [at(i, pair[place]) for i, pair in enumerate(pairs) if math.isfinite(pair[place])]
        points = " ".join(f"{left:.1f},{down:.1f}" for left, down in known)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left:.1f}" cy="{down:.1f}" r="2.5" fill="{colour}"/>' for left, down in known]
    return "".join(parts)


def _confusion(name: str, recalls: dict[str, Rate], x: float) -> str:
    """Truth down, answer across; shaded by the share of its row. Two labels: who is not right said the other."""
    top, cell = 74, GRID_PX // 2
    labels = [label.value for label in (Label.MASK, Label.NO_MASK)]
    parts = [f'<text x="{x}" y="36">{html.escape(name)}</text>']
    for row, truth in enumerate(labels):
        rate = recalls[truth]
        parts.append(f'<text x="{x + (row + 0.5) * cell}" y="{top - 8}" text-anchor="middle">{truth}</text>')
        turned = f"translate({x - 8} {top + (row + 0.5) * cell}) rotate(-90)"
        parts.append(f'<text transform="{turned}" text-anchor="middle">{truth}</text>')
        for column in range(2):
            count = rate.right if row == column else rate.total - rate.right
            share = count / max(rate.total, 1)
            left, down = x + column * cell, top + row * cell
            parts.append(
                f'<rect x="{left}" y="{down}" width="{cell}" height="{cell}" fill="{VALIDATION}" '
                f'fill-opacity="{0.85 * share:.2f}" stroke="#999"/>'
            )
            ink = "white" if share > 0.5 else "#222"
            parts.append(
                f'<text x="{left + cell / 2}" y="{down + cell / 2}" text-anchor="middle" fill="{ink}">{count}</text>'
                f'<text x="{left + cell / 2}" y="{down + cell / 2 + 16}" text-anchor="middle" fill="{ink}">'
                f"{100 * share:.1f} %</text>"
            )
    return "".join(parts)


def demo_frames(places: Sequence[int] = DEMO_FRAMES) -> list[Image]:
    """(H, W, 3) uint8 BGR each, of the demo clip; shorter than ``places`` where it cannot be decoded."""
    clip, frames = cv2.VideoCapture(str(resources.asset("demo.mp4"))), []
    for place in range(max(places) + 1):
        read, frame = clip.read()
        if not read:
            break
        if place in places:
            frames.append(frame)
    clip.release()
    return frames  # type: ignore[return-value]


def labelled_strip(frames: Sequence[Image], detector: FaceDetector, classifier: MaskClassifier) -> Image:
    """The frames side by side, (H, N x ``STRIP_WIDTH_PX``, 3) uint8 BGR: each face with the network's answer."""
    facts, drawn = classifier.facts, []
    for frame in frames:
        factor = STRIP_WIDTH_PX / frame.shape[1]
        board = cv2.resize(frame, (STRIP_WIDTH_PX, round(frame.shape[0] * factor)), interpolation=cv2.INTER_AREA)
        boxes = [found.box for found in detector.detect(frame)]
        answers = classifier.classify(face_crops(frame, boxes, facts.input_px, facts.margin))
        for box, row in zip(boxes, answers, strict=True):
            _name_face(board, box.scaled(factor), facts.labels[int(row.argmax())], float(row.max()))  # type: ignore[arg-type]
        drawn.append(board)
    return np.hstack(drawn)


def _name_face(board: Image, box: Box, label: Label, confidence: float) -> None:
    colour = COLOURS_BGR.get(label, (128, 128, 128))
    corner, end = (round(box.x), round(box.y)), (round(box.x2), round(box.y2))
    cv2.rectangle(board, corner, end, colour, 2, cv2.LINE_AA)
    text = f"{label.value} {100 * confidence:.0f}%"
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    x = min(max(corner[0], 0), board.shape[1] - width - 4)
    y = max(corner[1] - height - 8, 0)
    cv2.rectangle(board, (x, y), (x + width + 4, y + height + 6), colour, -1)
    cv2.putText(board, text, (x + 2, y + height + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)


def save_strip(strip: Image, path: Path) -> None:
    """Raises OSError where it cannot be written."""
    path.write_bytes(cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes())
