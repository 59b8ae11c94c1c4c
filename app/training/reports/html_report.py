"""A report in one HTML file, without network access or scripts: results, training, confusion, reliability, slices and
the worst errors of each set."""

import base64
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.core.files import write_text
from app.core.types import Label
from app.training.classifier.calibration import Calibration
from app.training.classifier.evaluation import MIN_SLICE, UNSURE_MIN_FACE_PX, Predictions, SetReport
from app.training.data.samples import LeftOut, Sample
from app.training.metrics import Scores, reliability
from app.training.reports.charts import CHART_STYLE, Chart, as_file, confusion, curves, reliability_diagram
from app.training.reports.set_report import Probe, ReportedSet
from app.training.reports.tables import percent, share
from app.training.trainer import Fitted
from app.vision.model_metadata import ClassifierMetadata

PAGE_STYLE = (
    "body{font:16px/1.55 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1.2rem;color:var(--ink);"
    "background:var(--paper)}h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.3rem;margin-top:2.6rem;"
    "border-bottom:2px solid var(--faint);padding-bottom:.2rem;overflow-wrap:anywhere}h3{font-size:1.05rem;"
    "margin:1.6rem 0 .5rem}p{max-width:46rem}.wide{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0;"
    "font-size:.9rem;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--soft);padding-bottom:.3rem}"
    "td,th{border-bottom:1px solid var(--faint);padding:.25rem .5rem;text-align:right;vertical-align:top}"
    ".ci{white-space:nowrap}th{font-weight:600}tbody th,thead th:first-child{text-align:left}tbody th{font-weight:400;"
    "overflow-wrap:break-word;min-width:8rem;max-width:24rem}table{min-width:min(34rem,100%)}"
    "svg{max-width:100%;height:auto}figure{margin:0}.sheet{display:grid;gap:.9rem;"
    "grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr))}.sheet img{width:96px;height:96px;"
    "image-rendering:pixelated;display:block}.sheet figcaption{font-size:.75rem;line-height:1.35;"
    "overflow-wrap:anywhere}.sheet figure{break-inside:avoid}.note{color:var(--soft)}summary{cursor:pointer;"
    "font-weight:600}ul{overflow-wrap:anywhere}@media print{body{max-width:none;margin:0;font-size:11pt}h2,h3{"
    "break-after:avoid}svg,tr,img{break-inside:avoid}*{print-color-adjust:exact}.wide{overflow:visible}"
    "table{font-size:8pt}td,th{padding:.15rem .3rem}tbody th{min-width:5rem}"
    "details::details-content{content-visibility:visible;height:auto}}"
)
INTERVAL, UNBROKEN = re.compile(r"(\(\S+\))"), r'<span class="ci">\1</span>'
WORST = 40
TILE_PX = 96
LISTED = 200
"""How many files a list names. For the others only their number is given."""


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was trained. ``faces``: samples by split; ``settings``: the settings of the run folder."""

    fitted: Fitted
    choice: Calibration
    place: Path
    faces: Mapping[str, Sequence[Sample]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    near_duplicates: Sequence[tuple[Path, Path]] = ()
    """Pairs of an image and its near-duplicate in another split."""
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a report. ``others`` are results without images."""

    metadata: ClassifierMetadata
    sets: Sequence[ReportedSet] = ()
    others: Sequence[SetReport] = ()
    training: Training | None = None


def write_report(path: Path, page: Page) -> None:
    """Writes the report. Raises OSError if the file cannot be written."""
    title = f"{page.metadata.name} {page.metadata.version}: {'training' if page.training else 'evaluation'}"
    parts = [f"<h1>{html.escape(title)}</h1>", *_summary(page)]
    if page.training is not None:
        parts += _training(page.training, page.metadata)
    for shown in page.sets:
        parts += _set(shown)
    for report in page.others:
        parts += [f"<h2>{html.escape(report.name)}</h2>", *_figures(report, page.metadata.labels)]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{html.escape(title)}</title><style>{CHART_STYLE}{PAGE_STYLE}</style></head>'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, head + "<body><main>" + "\n".join(parts) + "</main></body></html>\n")


def write_charts(folder: Path, training: Training, shown: ReportedSet) -> None:
    """Writes the charts as files: curves.svg, confusion.svg, reliability.svg. Raises OSError."""
    charts = {
        "curves": curves(training.fitted.history, training.fitted.best_epoch),
        "confusion": confusion(shown.report.scores.confusion, shown.predictions.metadata.labels),
        "reliability": _diagram(shown.predictions),
    }
    for name, chart in charts.items():
        (folder / f"{name}.svg").write_text(as_file(chart), "utf-8")


def _summary(page: Page) -> list[str]:
    reports = [*(report for shown in page.sets for report in shown.reports), *page.others]
    labels = [label for label in page.metadata.labels if any(label in report.scores.recall for report in reports)]
    headings = (
        "set",
        "faces",
        "accuracy %",
        *(f"{label.value} %" for label in labels),
        "balanced %",
        "macro-F1",
        "ECE",
    )
    lines = [(report.name, *_row(report.scores, labels)) for report in reports]
    parts = ["<h2>Results</h2>", _table("Recall by label, with Wilson 95 % intervals in brackets", headings, lines)]
    lines = [
        (
            report.name,
            str(report.unsure.faces),
            share(report.unsure.rejected_share),
            str(report.unsure.errors),
            share(report.unsure.removed),
            str(report.unsure.two_way_errors),
            share(report.unsure.two_way_removed),
        )
        for report in reports
        if report.unsure is not None
    ]
    headings = ("set", "faces", "unsure %", "errors", "of these unsure %", "two-way errors", "of these unsure %")
    caption = (
        f"Errors that the label unsure removes, for faces of at least {UNSURE_MIN_FACE_PX} px; "
        "two-way: mask predicted as no_mask, or the reverse"
    )
    return [*parts, _table(caption, headings, lines)] if lines else parts


def _row(scores: Scores, labels: Sequence[Label]) -> tuple[str, ...]:
    recalls = [percent(scores.recall[label]) if label in scores.recall else "-" for label in labels]
    figures = share(scores.balanced_accuracy), f"{scores.macro_f1:.3f}", f"{scores.calibration_error:.3f}"
    return str(scores.faces), percent(scores.accuracy), *recalls, *figures


def _set(shown: ReportedSet) -> list[str]:
    report, predictions = shown.report, shown.predictions
    error, area = report.scores.calibration_error, report.scores.risk_coverage
    parts = [f"<h2>{html.escape(report.name)}</h2>", *_figures(report, predictions.metadata.labels)]
    parts.append(
        f"<h3>Reliability</h3><figure>{_diagram(predictions)}<figcaption>On the diagonal, confidence equals "
        "accuracy; bars are 95 % intervals. On average, confidence and accuracy differ by "
        f"{100 * error:.1f} percentage points (expected calibration error {error:.3f}). The area under the "
        f"risk-coverage curve is {area:.4f}; lower is better.</figcaption></figure>"
    )
    parts += _shortcuts(shown, predictions.metadata.labels)
    if shown.copies:
        parts.append(_copies(shown.copies))
    if predictions.crops.left_out:
        parts.append(_left_out(predictions.crops.left_out))
    parts.append(f"<h3>Worst errors: wrong predictions, highest confidence first</h3>{_worst(predictions)}")
    return parts


def _figures(report: SetReport, labels: Sequence[Label]) -> list[str]:
    """Confusion matrix, slices, and what was not evaluated."""
    parts = [
        f"<h3>Confusion</h3><figure>{confusion(report.scores.confusion, labels)}<figcaption>Rows are the ground "
        "truth, columns the prediction: faces and share of the row. Blue is correct, orange is wrong."
        "</figcaption></figure>"
    ]
    if report.slices:
        present = [label for label in labels if label in report.scores.recall]
        headings = ("slice", "faces", "accuracy %", *(f"{label.value} %" for label in present), "balanced %")
        lines = [(name, *_row(scores, present)[:-2]) for name, scores in report.slices.items()]
        caption = f"Recall by label with 95 % intervals; slices with fewer than {MIN_SLICE} faces are not shown"
        parts += ["<h3>Slices</h3>", _table(caption, headings, lines)]
    if report.left_out:
        entries = "".join(f"<li>{count}: {html.escape(reason)}</li>" for reason, count in report.left_out.items())
        parts.append(f"<h3>Faces left out</h3><ul>{entries}</ul>")
    if report.unreadable:
        parts.append(_files("Unreadable files, left out", [str(path) for path in report.unreadable]))
    return parts


def _shortcuts(shown: ReportedSet, labels: Sequence[Label]) -> list[str]:
    parts = []
    if shown.equalised is not None:
        present = [label for label in labels if label in shown.report.scores.recall]
        headings = ("faces shown", "faces", "accuracy %", *(f"{label.value} %" for label in present), "balanced %")
        both = (("as they are", shown.report), (shown.equalised.name, shown.equalised))
        lines = [(name, *_row(report.scores, present)[:-2]) for name, report in both]
        caption = "If accuracy is much lower at equal resolution, the model uses resolution as a shortcut"
        parts.append(_table(caption, headings, lines))
    if shown.probe is not None:
        parts.append(_probe(shown.probe, shown.report.scores))
    return ["<h3>Shortcuts</h3>", *parts] if parts else []


def _probe(probe: Probe, scores: Scores) -> str:
    if probe.missing:
        return f'<p class="note">{html.escape(probe.missing)}</p>'
    lines = [(name, share(value)) for name, value in probe.found.items()]
    caption = (
        "Cross-validated balanced accuracy of a logistic regression on this feature alone: "
        "a model that is not better may use only this shortcut"
    )
    lines.append(("the model", share(scores.balanced_accuracy)))
    return _table(caption, ("feature", "balanced %"), lines)


def _training(training: Training, metadata: ClassifierMetadata) -> list[str]:
    fitted = training.fitted
    best = next(record for record in fitted.history if record.epoch == fitted.best_epoch)
    parts = [
        f"<h2>Training</h2><figure>{curves(fitted.history, fitted.best_epoch)}"
        f"<figcaption>Epochs: {len(fitted.history)} ({html.escape(fitted.stopped)}). "
        f"Kept: epoch {best.epoch + 1}, validation loss {best.val_loss:.4f}, "
        f"{100 * best.val_accuracy:.1f} % accuracy.</figcaption></figure>"
    ]
    parts += ["<h3>Data</h3>", f"<p>{html.escape(str(training.place))}</p>", _faces(training.faces, metadata.labels)]
    if training.near_duplicates:
        parts.append(_copies(training.near_duplicates))
    if training.left_out:
        parts.append(_left_out(training.left_out))
    title = (
        "Chosen on the development faces"
        if training.choice.is_chosen
        else "Unchanged: too few faces or errors to choose"
    )
    parts += [f"<h3>{title}</h3>", _chosen(training.choice, metadata)]
    groups = [(name, value) for name, value in training.settings.items() if isinstance(value, Mapping)]
    ungrouped = {name: value for name, value in training.settings.items() if not isinstance(value, Mapping)}
    for name, settings in [("run", ungrouped), *groups]:
        lines = [(str(key), str(value)) for key, value in settings.items()]
        table = _table("", ("setting", "value"), lines)
        parts.append(f"<details><summary>Settings: {html.escape(name)}</summary>{table}</details>")
    return parts


def _faces(splits: Mapping[str, Sequence[Sample]], labels: Sequence[Label]) -> str:
    lines = []
    for split, samples in splits.items():
        counts = Counter((sample.source, sample.label) for sample in samples)
        for source in sorted({sample.source for sample in samples}):
            row = [counts[source, label] for label in labels]
            total = sum(sample.source == source for sample in samples)  # hard negatives have no label
            lines.append((f"{split}: {source}", *map(str, row), str(total)))
        row = [sum(sample.label == label for sample in samples) for label in labels]
        lines.append((f"{split}: all", *map(str, row), str(len(samples))))
    return _table(
        "Faces by split, source and label", ("split: source", *(label.value for label in labels), "all"), lines
    )


def _chosen(choice: Calibration, metadata: ClassifierMetadata) -> str:
    offsets = ", ".join(
        f"{label.value} {offset:+g}" for label, offset in zip(metadata.labels, choice.offsets, strict=True)
    )
    lines = [("offsets of the labels' logits", offsets), ("temperature", f"{choice.temperature:.3g}")]
    names = {
        "min_confidence": "unsure below a confidence of",
        "min_two_way": "unsure below a share of mask or no_mask in their sum of",
        "min_sharpness": "unsure below a sharpness of",
    }
    lines += [(names[name], f"{value:.3g}") for name, value in asdict(choice.unsure).items()]
    lines.append(("unsure below a face of", f"{metadata.min_face_px} px"))
    return _table("", ("setting", "value"), lines)


def _copies(pairs: Sequence[tuple[Path, Path]]) -> str:
    names = [f"{first} (near-duplicate of {second})" for first, second in pairs]
    return _files("Near-duplicates of images of other splits", names)


def _left_out(entries: Sequence[LeftOut]) -> str:
    return _files("Left out", [f"{entry.path}: {entry.reason}" for entry in entries])


def _files(title: str, names: Sequence[str]) -> str:
    entries = "".join(f"<li>{html.escape(name)}</li>" for name in names[:LISTED])
    more = f"<p>and {len(names) - LISTED} more</p>" if len(names) > LISTED else ""
    return f"<h3>{html.escape(title)}: {len(names)}</h3><ul>{entries}</ul>{more}"


def _table(caption: str, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """An HTML table. The first cell of each line is its header."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in headings)
    body = "".join(
        f'<tr><th scope="row">{html.escape(line[0])}</th>'
        + "".join(f"<td>{INTERVAL.sub(UNBROKEN, html.escape(cell))}</td>" for cell in line[1:])
        + "</tr>"
        for line in lines
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _diagram(predictions: Predictions) -> Chart:
    return reliability_diagram(reliability(predictions.probabilities, predictions.crops.targets))


def _worst(predictions: Predictions) -> str:
    truth, chosen = predictions.crops.targets, predictions.probabilities.argmax(axis=1)
    confidence = predictions.probabilities.max(axis=1)
    wrong = np.flatnonzero(truth != chosen)
    if not len(wrong):
        return "<p>None.</p>"
    figures = []
    for i in wrong[np.argsort(-confidence[wrong])][:WORST]:
        tile = cv2.resize(predictions.crops.images[i], (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST)
        _, coded = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
        source = base64.b64encode(coded.tobytes()).decode()
        sample, labels = predictions.crops.samples[i], predictions.metadata.labels
        box = sample.box
        size = (
            f"image {predictions.crops.sizes_px[i]:.0f} px" if box is None else f"{box.width:.0f} × {box.height:.0f} px"
        )
        error = f"{labels[truth[i]].value} predicted as {labels[chosen[i]].value}"
        place = html.escape(str(sample.path))
        figures.append(
            f'<figure><img src="data:image/jpeg;base64,{source}" alt="face: {error}" title="{place}">'
            f"<figcaption><b>{error}</b>, {confidence[i]:.2f}<br>{html.escape(sample.path.name)}, {size}</figcaption>"
            "</figure>"
        )
    count = f"the {WORST} most confident of {len(wrong)}" if len(wrong) > WORST else f"all {len(wrong)}"
    return f'<p>Ground truth, prediction and its confidence: {count}.</p><div class="sheet">{"".join(figures)}</div>'
