"""``maskwatch evaluate``: tables on the terminal, optional JSON, Markdown and HTML files."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.core.errors import DataError
from app.core.files import output_errors, write_json, write_text
from app.core.text import counted
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.training.classifier.evaluation import (
    UNSURE_MIN_FACE_PX,
    Predictions,
    ReportedSet,
    SetReport,
    predict_samples,
    report,
    subset,
    time_per_face_ms,
    usual_slices,
    without_siblings,
)
from app.training.classifier.open_tests import OpenTests, run_open_tests
from app.training.classifier.shortcut_probe import probe_of
from app.training.data.annotations import split_of
from app.training.data.face_pool import landmark_detector
from app.training.data.samples import find_samples, labels_of, show_left_out
from app.training.data.user_splits import across
from app.training.reports.html_report import Page, write_report
from app.training.reports.tables import HEADINGS, markdown, percent, plain, probes_markdown, rows, share
from app.training.types import Sample
from app.vision.classifier import MaskClassifier, bundled_model, load_classifier
from app.vision.detector_loader import load_detector
from app.vision.preprocess import limit_opencv_threads


def run(args: argparse.Namespace) -> int:
    limit_opencv_threads(args.threads)
    console = Console()
    classifier = open_classifier(args.model or bundled_model(".tflite", args.models), args.threads)
    sets: list[ReportedSet] = []
    others: list[SetReport] = []
    for folder in args.data:
        with console.status(f"evaluating {classifier.metadata.name} on {escape(str(folder))}") as status:
            if args.open_tests:
                landmarks = landmark_detector(args.threads)
                detectors = {"haar": load_detector(DetectorSettings(kind="haar", min_face_px=20)), "cnn": landmarks}
                tests = OpenTests(folder, landmarks, detectors)
                others += run_open_tests(tests, classifier, lambda name: status.update(f"evaluating on {name}"))
                continue
            found = find_samples(folder)
            show_left_out(console, found.left_out)  # before an error that may follow from it
            samples = chosen_split(found.splits, args.split)
            name = f"{folder}{split_text(found.splits, args.split)}"
            labels_of(samples, name)
            paths = {sample.path for sample in samples}
            others_of_folder = [
                sample for split in found.splits.values() for sample in split if sample.path not in paths
            ]
            duplicates = tuple((one.path, other.path) for one, other in across(samples, others_of_folder))
            sets.append(replace(evaluate_set(name, classifier, samples, args), copies=duplicates))
            show_left_out(console, sets[-1].predictions.crops.left_out)
    reports = [*(report for one in sets for report in one.reports), *others]
    show(console, classifier.metadata.name, reports)
    print_extra_results(console, sets, others)
    times = {}
    if args.time:
        times = {str(batch): time_per_face_ms(classifier, batch) for batch in (1, 8)}
        figures = ", ".join(f"{ms:.3f} ms in batches of {batch}" for batch, ms in times.items())
        console.print(f"time per face, {args.threads} threads: {figures}")
    probes = {one.report.name: one.probe.found for one in sets if one.probe is not None and one.probe.found}
    tree = {
        "model": plain(classifier.metadata.model_dump(mode="json")),
        "sets": plain(reports),
        "probes": plain(probes),
        "ms_per_face": plain(times),
    }
    with output_errors(args.json, "choose another --json"):
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, tree)
    with output_errors(args.markdown, "choose another --markdown"):
        if args.markdown is not None:
            args.markdown.parent.mkdir(parents=True, exist_ok=True)
            write_text(args.markdown, markdown(HEADINGS, rows(reports)) + "\n" + probes_markdown(probes))
    with output_errors(args.html, "choose another --html"):
        if args.html is not None:
            write_report(args.html, Page(classifier.metadata, sets, others))
    return 0


def evaluate_set(
    name: str, classifier: MaskClassifier, samples: Sequence[Sample], args: argparse.Namespace
) -> ReportedSet:
    """Evaluates one set at its own resolution; ``args`` add equal resolution and the shortcut probe."""

    def predict_at(size_px: int) -> Predictions:
        predictions = predict_samples(classifier, samples, args.min_face_px, size_px)
        return subset(predictions, without_siblings(predictions)) if args.without_siblings else predictions

    predictions, equalised = predict_at(0), None
    if args.equal_px:
        equalised = report(f"{name} at {args.equal_px} px", predict_at(args.equal_px))
    probe = None if args.probe is False else probe_of(predictions.crops)
    return ReportedSet(report(name, predictions, usual_slices(predictions)), predictions, equalised, probe)


def open_classifier(path: Path, threads: int) -> MaskClassifier:
    """Raises ModelError if the file cannot be used."""
    backend = "keras" if path.suffix == ".keras" else "litert"
    return load_classifier(ClassifierSettings(backend=backend, model=path, threads=threads))


def chosen_split(splits: Mapping[str, list[Sample]], wanted: str) -> list[Sample]:
    """The split ``wanted``, also in a folder's spelling (``Test``, ``valid``). Raises DataError if it is missing."""
    split = split_of(wanted) if wanted else "test"
    if wanted and split not in splits:
        raise DataError(f"no split {wanted!r}; choose from {', '.join(splits)}")
    if split in splits:
        return splits[split]
    return [sample for samples in splits.values() for sample in samples]


def split_text(splits: Mapping[str, list[Sample]], wanted: str) -> str:
    """The suffix that names the evaluated split; '' if there is only one split."""
    if len(splits) < 2:
        return ""
    split = split_of(wanted) if wanted else "test"
    return f" ({split})" if split in splits else f" ({' and '.join(splits)})"


def show(console: Console, title: str, reports: Sequence[SetReport]) -> None:
    """Prints one block per set, which fits in 80 columns."""
    console.print(f"classifier {escape(title)}, recalls in percent with Wilson 95 % intervals")
    for entry in reports:
        console.print(f"\n[bold]{escape(entry.name)}[/bold], {counted(entry.scores.faces, 'face')}", highlight=False)
        _show_block(console, entry)


def _show_block(console: Console, entry: SetReport) -> None:
    scores, unsure = entry.scores, entry.unsure
    recalls = Table(box=None, pad_edge=False)
    for heading in ("  label", "faces", "recall %"):
        recalls.add_column(heading, justify="left" if heading == "  label" else "right")
    for label, rate in scores.recall.items():
        recalls.add_row(f"  {label.value}", str(rate.total), percent(rate))
    console.print(recalls)
    figures = (
        f"two-way {share(scores.two_way_balanced)} %",
        f"balanced {share(scores.balanced_accuracy)} %",
        f"macro-F1 {scores.macro_f1:.3f}",
        f"ECE {scores.calibration_error:.3f}",
        f"risk-coverage {scores.risk_coverage:.4f}",
    )
    console.print("  " + ", ".join(figures), highlight=False)
    if scores.rejected is not None and scores.rejected.total:
        console.print(f"  {percent(scores.rejected)} % of the faces are called not_face", highlight=False)
    if unsure is not None:
        errors = ((unsure.errors, unsure.removed, "errors"), (unsure.two_way_errors, unsure.two_way_removed, "two-way"))
        removed = [f"{share(part)} % of {count} {kind}" for count, part, kind in errors if count]
        rejected = (
            f"  {share(unsure.rejected_share)} % of {unsure.faces} faces of at least {UNSURE_MIN_FACE_PX} px are unsure"
        )
        console.print(rejected + (f",\n  including {', '.join(removed)}" if removed else ""), highlight=False)
    if entry.slices:
        console.print(_slices(entry))


def _slices(entry: SetReport) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("  slice", overflow="fold", min_width=12)
    for heading in ("faces", *(f"{label.value} %" for label in entry.scores.recall)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, scores in entry.slices.items():
        rates = [percent(scores.recall[label]) if label in scores.recall else "-" for label in entry.scores.recall]
        table.add_row(f"  {escape(name)}", str(scores.faces), *rates)
    return table


def print_extra_results(console: Console, sets: Sequence[ReportedSet], others: Sequence[SetReport]) -> None:
    """Prints near-duplicates, shortcut probes and faces that were left out."""
    for one in sets:
        name = one.report.name
        if one.copies:
            duplicates = f"{len(one.copies)}, for example {one.copies[0][0]}"
            text = f"{name}: near-duplicates of faces of other splits: {duplicates}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        if one.probe is not None:
            figures = ", ".join(f"{clue} {100 * value:.1f} %" for clue, value in one.probe.found.items())
            text = f"balanced accuracy of the shortcuts alone: {figures}" if figures else one.probe.missing
            console.print(f"\n{name}: {text}", highlight=False, markup=False)
    for entry in [*(one.report for one in sets), *others]:
        for reason, count in entry.left_out.items():
            console.print(f"{entry.name}: {counted(count, 'face')} left out: {reason}", highlight=False, markup=False)
