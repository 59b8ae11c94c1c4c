"""A report in one HTML file, without network access or scripts: results, training, confusion, reliability, slices and
the worst errors of each set. ``report.html`` is its template."""

import base64
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.core.files import write_text
from app.core.types import Label
from app.training.classifier.calibration import Calibration
from app.training.classifier.evaluation import MIN_SLICE, UNSURE_MIN_FACE_PX, Predictions, ReportedSet, SetReport
from app.training.metrics import reliability
from app.training.reports.charts import CHART_STYLE, as_file, confusion, curves, reliability_diagram
from app.training.reports.tables import percent, share
from app.training.trainer import Fitted
from app.training.types import LeftOut, Sample
from app.vision.model_metadata import ClassifierMetadata

INTERVAL = re.compile(r"(\(\S+\))")
WORST = 40
TILE_PX = 96
LISTED = 200
"""How many files a list names. For the others only their number is given."""


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was trained. ``faces``: samples by split; ``settings``: the settings of the run folder.
    ``verdict``: one sentence on the result; ``next_command``: what to do then."""

    fitted: Fitted
    choice: Calibration
    place: Path
    faces: Mapping[str, Sequence[Sample]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    near_duplicates: Sequence[tuple[Path, Path]] = ()
    """Pairs of an image and its near-duplicate in another split."""
    left_out: Sequence[LeftOut] = ()
    verdict: str = ""
    next_command: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a report. ``others`` are results without images."""

    metadata: ClassifierMetadata
    sets: Sequence[ReportedSet] = ()
    others: Sequence[SetReport] = ()
    training: Training | None = None


@dataclass(frozen=True, slots=True)
class ErrorTile:
    """One wrong prediction. ``jpeg``: the enlarged crop in base64."""

    title: str
    confidence: float
    path: Path
    size: str
    jpeg: str


def write_report(path: Path, page: Page) -> None:
    """Writes the report. Raises OSError if the file cannot be written."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=True
    )
    environment.filters |= {
        "unbroken": lambda cell: Markup(INTERVAL.sub(r'<span class="interval">\1</span>', str(escape(cell)))),
        "duplicate": lambda pair: f"{pair[0]} (near-duplicate of {pair[1]})",
        "left_out": lambda entry: f"{entry.path}: {entry.reason}",
        "percent": percent,
        "share": share,
        "shares": lambda found: [(name, share(value)) for name, value in found.items()],
        "heading": lambda label: f"{label} %",
        "recall": lambda label, scores: percent(scores.recall[label]) if label in scores.recall else "-",
        "confusion": confusion,
        "curves": lambda fitted: curves(fitted.history, fitted.best_epoch),
        "reliability": _diagram,
        "errors": _worst_errors,
    }
    environment.globals |= {
        "chart_style": Markup(CHART_STYLE),
        "listed": LISTED,
        "min_slice": MIN_SLICE,
        "unsure_min_px": UNSURE_MIN_FACE_PX,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, environment.get_template("report.html").render(_content(page)) + "\n")


def _content(page: Page) -> dict[str, Any]:
    """The variables of the template."""
    metadata, training = page.metadata, page.training
    reports = [*(report for shown in page.sets for report in shown.reports), *page.others]
    labels = [label for label in metadata.labels if any(label in report.scores.recall for report in reports)]
    content: dict[str, Any] = {
        "title": f"{metadata.name} {metadata.version}: {'training' if training else 'evaluation'}",
        "metadata": metadata,
        "sets": page.sets,
        "others": page.others,
        "training": training,
        "labels": labels,
        "result_scores": [(report.name, report.scores) for report in reports],
        "unsure_rows": [_unsure_row(report) for report in reports if report.unsure is not None],
    }
    if training is not None:
        settings = training.settings
        offsets = zip(metadata.labels, training.choice.offsets, strict=False)  # not_face, the last label, may have none
        ungrouped = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
        content |= {
            "best": next(record for record in training.fitted.history if record.epoch == training.fitted.best_epoch),
            "face_rows": list(_face_rows(training.faces, metadata.labels)),
            "offsets": ", ".join(f"{label} {offset:+g}" for label, offset in offsets),
            "setting_groups": {"run": ungrouped, **{k: v for k, v in settings.items() if k not in ungrouped}}.items(),
        }
    return content


def write_charts(folder: Path, training: Training, shown: ReportedSet) -> None:
    """Writes the charts as files: curves.svg, confusion.svg, reliability.svg. Raises OSError."""
    charts = {
        "curves": curves(training.fitted.history, training.fitted.best_epoch),
        "confusion": confusion(shown.report.scores.confusion, shown.predictions.metadata.labels),
        "reliability": _diagram(shown.predictions),
    }
    for name, chart in charts.items():
        write_text(folder / f"{name}.svg", as_file(chart))


def _unsure_row(report: SetReport) -> tuple[str, ...]:
    unsure = report.unsure
    assert unsure is not None  # the caller's condition
    figures = unsure.errors, share(unsure.removed), unsure.two_way_errors, share(unsure.two_way_removed)
    return report.name, str(unsure.faces), share(unsure.rejected_share), *map(str, figures)


def _face_rows(splits: Mapping[str, Sequence[Sample]], labels: Sequence[Label]) -> Iterable[tuple[str, ...]]:
    """For each source of a split, then for all of them, the faces of each label and all faces: hard negatives too."""
    for split, samples in splits.items():
        for source in [*sorted({sample.source for sample in samples}), None]:
            chosen = [sample.label for sample in samples if source in (sample.source, None)]
            counts = Counter(chosen)
            yield f"{split}: {source or 'all'}", *(str(counts[label]) for label in labels), str(len(chosen))


def _diagram(predictions: Predictions) -> str:
    return reliability_diagram(reliability(predictions.probabilities, predictions.crops.targets))


def _worst_errors(predictions: Predictions) -> tuple[int, list[ErrorTile]]:
    """The number of wrong predictions, and the ``WORST`` with the highest confidence."""
    crops, labels = predictions.crops, predictions.metadata.labels
    chosen, confidence = predictions.probabilities.argmax(axis=1), predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(crops.targets != chosen)
    tiles = []
    for i in wrong[np.argsort(-confidence[wrong])][:WORST]:
        tile = cv2.resize(crops.images[i], (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST)
        _, coded = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        sample = crops.samples[i]
        box = sample.box
        size = f"image {crops.sizes_px[i]:.0f} px" if box is None else f"{box.width:.0f} × {box.height:.0f} px"
        title = f"{labels[crops.targets[i]].value} predicted as {labels[chosen[i]].value}"
        tiles.append(
            ErrorTile(title, float(confidence[i]), sample.path, size, base64.b64encode(coded.tobytes()).decode())
        )
    return len(wrong), tiles
