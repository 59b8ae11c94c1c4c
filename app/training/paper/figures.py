"""The images of the study's report: charts of a network, and demo frames with its predicted labels."""

from collections.abc import Sequence

import cv2
import numpy as np

from app.core import resources
from app.core.types import Box, Image, Label
from app.training.metrics import Rate
from app.training.reports.charts import INK, as_file, draw_confusion, draw_curves, new_figure, svg
from app.training.types import EpochRecord
from app.vision.classifier import MaskClassifier
from app.vision.detector import FaceDetector
from app.vision.preprocess import face_crops

LABELS = (Label.MASK, Label.NO_MASK)
"""The two classes of the study's networks."""
DEMO_FRAMES = (80, 150, 200)
"""Frames of assets/demo.mp4: one bare face; one bare and one masked face; two masked faces."""
STRIP_WIDTH_PX = 320
COLOURS_BGR = {Label.MASK: (178, 114, 0), Label.NO_MASK: (0, 94, 213)}


def figure(
    title: str, history: Sequence[EpochRecord], kept_epoch: int, sets: Sequence[tuple[str, dict[str, Rate]]]
) -> str:
    """The text of an SVG file with loss and accuracy by epoch, and a confusion matrix for each of ``sets`` (name,
    recalls by label). ``kept_epoch`` counts from 1."""
    sheet = new_figure(8.4, 6.4)
    sheet.suptitle(title, x=0.02, ha="left", color=INK, fontsize=11, fontweight="bold")
    upper, lower = sheet.subfigures(2, 1, height_ratios=(3.6, 2.6), squeeze=False)[:, 0]
    draw_curves(upper, history, kept_epoch - 1)
    for axes, (name, recalls) in zip(lower.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        draw_confusion(axes, _counts(recalls), LABELS, name)
    return as_file(svg(sheet, title))


def _counts(recalls: dict[str, Rate]) -> list[list[int]]:
    """The confusion matrix of two labels, computed from their recalls."""
    counts = []
    for place, label in enumerate(LABELS):
        rate = recalls[label.value]
        row = [rate.total - rate.right] * len(LABELS)
        row[place] = rate.right
        counts.append(row)
    return counts


def demo_frames() -> list[Image]:
    """Frames of the demo clip, each (H, W, 3) uint8 BGR. Fewer than ``DEMO_FRAMES`` if it cannot be decoded."""
    clip, frames = cv2.VideoCapture(str(resources.asset("demo.mp4"))), []
    for place in range(max(DEMO_FRAMES) + 1):
        read, frame = clip.read()
        if not read:
            break
        if place in DEMO_FRAMES:
            frames.append(frame)
    clip.release()
    return frames  # type: ignore[return-value]


def labelled_strip(frames: Sequence[Image], detector: FaceDetector, classifier: MaskClassifier) -> Image:
    """The frames side by side with the predicted label of each face: (H, N x ``STRIP_WIDTH_PX``, 3) uint8 BGR."""
    metadata, drawn = classifier.metadata, []
    for frame in frames:
        factor = STRIP_WIDTH_PX / frame.shape[1]
        board = cv2.resize(frame, (STRIP_WIDTH_PX, round(frame.shape[0] * factor)), interpolation=cv2.INTER_AREA)
        boxes = [found.box for found in detector.detect(frame)]
        answers = classifier.classify(face_crops(frame, boxes, metadata.input_px, metadata.margin))
        for box, row in zip(boxes, answers, strict=True):
            _draw_label(board, box.scaled(factor), metadata.labels[int(row.argmax())], float(row.max()))  # type: ignore[arg-type]
        drawn.append(board)
    return np.hstack(drawn)


def _draw_label(board: Image, box: Box, label: Label, confidence: float) -> None:
    colour = COLOURS_BGR.get(label, (128, 128, 128))
    corner, end = (round(box.x), round(box.y)), (round(box.x2), round(box.y2))
    cv2.rectangle(board, corner, end, colour, 2, cv2.LINE_AA)
    text = f"{label.value} {100 * confidence:.0f}%"
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    x = min(max(corner[0], 0), board.shape[1] - width - 4)
    y = max(corner[1] - height - 8, 0)
    cv2.rectangle(board, (x, y), (x + width + 4, y + height + 6), colour, -1)
    cv2.putText(board, text, (x + 2, y + height + 2), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
