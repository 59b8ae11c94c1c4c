"""``maskwatch evaluate``: tables on the terminal, JSON and HTML on request."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from app import resources
from app.errors import DataError, OutputError
from app.train.command import landmark_detector
from app.train.evaluate import (
    SetReport,
    judge,
    only,
    report,
    size_slices,
    source_slices,
    time_per_face_ms,
    utkface_slices,
    without_siblings,
)
from app.train.fit import write_json
from app.train.notes import split_of
from app.train.open_tests import OpenTests, run_open_tests, shortcut_probe
from app.train.samples import Sample, find_samples, labels_of, left_out_lines
from app.train.tables import HEADINGS, markdown, plain, rows
from app.vision.classify import MaskClassifier, load_classifier
from app.vision.detect import load_detector
from app.vision.settings import ClassifierSettings, DetectorSettings


def run(args: argparse.Namespace) -> int:
    import cv2

    cv2.setNumThreads(args.threads)
    console = Console()
    classifier = open_classifier(args.model, args.threads)
    probes: dict[str, dict[str, float]] = {}
    reports: list[SetReport] = []
    mistakes = []
    for place in args.data:
        with console.status(f"judging {classifier.facts.name} on {place}") as status:
            if args.open_tests:
                landmarks = landmark_detector(args.landmarks, place)
                finders = {"haar": load_detector(DetectorSettings(kind="haar", min_face_px=20))}
                if landmarks is not None:
                    finders["YuNet"] = landmarks
                tests = OpenTests(place, landmarks, finders)
                reports += run_open_tests(tests, classifier, lambda name: status.update(f"judging on {name}"))
                continue
            given = find_samples(place)
            samples = chosen_split(given.splits, args.split)
            labels_of(samples)
            judged = judge(classifier, samples, args.min_face_px, args.equal_px)
            for line in left_out_lines((*given.left_out, *judged.crops.left_out)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if args.without_siblings:
                judged = only(judged, without_siblings(judged))
            slices = size_slices(judged.crops.sizes_px) | utkface_slices(judged.crops.samples)
            if len({sample.source for sample in samples}) > 1:
                slices |= source_slices(judged.crops.samples)
            reports.append(report(str(place), judged, slices))
            mistakes.append(judged)
            if args.probe:
                probes[str(place)] = shortcut_probe(judged.crops)
    show(console, classifier.facts.name, reports)
    for name, found in probes.items():
        told = ", ".join(f"{clue} {100 * value:.1f} %" for clue, value in found.items())
        console.print(f"{name}: balanced accuracy of the shortcuts alone: {told}")
    for entry in reports:
        for path in entry.unreadable:
            console.print(f"unreadable, left out: {path}")
    times = {}
    if args.time:
        times = {str(batch): time_per_face_ms(classifier, batch) for batch in (1, 8)}
        told = ", ".join(f"{ms:.3f} ms in batches of {batch}" for batch, ms in times.items())
        console.print(f"time a face, {args.threads} threads: {told}")
    tree = {
        "model": plain(classifier.facts.model_dump(mode="json")),
        "sets": plain(reports),
        "probes": plain(probes),
        "ms_per_face": plain(times),
    }
    try:
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, tree)
        if args.markdown is not None:
            args.markdown.parent.mkdir(parents=True, exist_ok=True)
            args.markdown.write_text(markdown(HEADINGS, rows(reports)) + "\n", "utf-8")
        if args.html is not None:
            from app.train.report import write_report

            write_report(args.html, classifier.facts, reports, mistakes)
    except OSError as error:
        raise OutputError(f"cannot write {error.filename}: {error.strerror}; choose another place") from error
    return 0


def open_classifier(model: Path | None, threads: int) -> MaskClassifier:
    """Raises ModelError where the file cannot be used."""
    path = model or resources.model("classifier.tflite")
    backend = "keras" if path.suffix == ".keras" else "litert"
    return load_classifier(ClassifierSettings(backend=backend, model=path, threads=threads))


def chosen_split(splits: Mapping[str, list[Sample]], wanted: str) -> list[Sample]:
    """``wanted`` as the folders may call it (``Test``, ``valid``). Raises DataError where it is not there."""
    split = split_of(wanted) if wanted else "test"
    if wanted and split not in splits:
        raise DataError(f"no split {wanted!r}; there is {', '.join(splits)}")
    if split in splits:
        return splits[split]
    return [sample for samples in splits.values() for sample in samples]


def show(console: Console, title: str, reports: Sequence[SetReport]) -> None:
    table = Table(*HEADINGS, title=title, caption="recalls with Wilson 95 % intervals; unsure: faces of 32 px and more")
    for row in rows(reports):
        table.add_row(*row, style="dim" if row[0].startswith("  ") else None)
    console.print(table)
