"""Compares face detectors on the same images at the same working width."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.types import Box, Detection, FaceLabel, Image, Label
from app.training.data.images import ImageCache
from app.training.detector.evaluation import (
    ANY,
    BANDS_PX,
    CLASSES,
    SCAN_SCORE,
    Classify,
    Detect,
    DetectorScore,
    EndToEndScore,
    score_detections,
    score_end_to_end,
    time_in_turn,
)
from app.training.metrics import Rate, wilson
from app.training.reports.tables import plain
from app.training.types import Scene

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class ComparedDetector:
    """A detector that reports detections down to ``SCAN_SCORE``, for its average precision, and its own score
    threshold."""

    name: str
    detect: Detect
    score: float


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One row of the table. ``end_to_end`` uses the most probable label of each face, ``refusing`` also ``unsure``.
    ``relative_time`` is the time divided by that of the last row."""

    name: str
    score: float
    found: DetectorScore
    end_to_end: EndToEndScore | None
    refusing: EndToEndScore | None
    relative_time: float


@dataclass(frozen=True, slots=True)
class HaarOptions:
    """Options of the Haar cascade beyond the paper. ``name`` is the name of its row."""

    name: str = "haar"
    equalize: bool = False
    profile: bool = False
    min_face_px: int = 8


PAPER = HaarOptions()


def haar_options(text: str) -> HaarOptions:
    """Parses ``equalize``, ``profile`` and ``min24`` (smallest face, px), joined by ``+``. Raises ValueError."""
    options = replace(PAPER, name=f"haar+{text}")
    for word in text.split("+"):
        if word == "equalize":
            options = replace(options, equalize=True)
        elif word == "profile":
            options = replace(options, profile=True)
        elif re.fullmatch(r"min[1-9]\d{0,3}", word):
            options = replace(options, min_face_px=int(word[3:]))
        else:
            raise ValueError(f"{word!r} is not one of equalize, profile, min24; join several with '+'")
    return options


@dataclass(frozen=True, slots=True)
class ComparisonSettings:
    """Which detectors to compare, at what working width, and with how many threads. With a ``classifier`` that knows
    not_face, our detector is also compared together with it, in one view of the image and in two as in ``annotate``."""

    ours: Path
    width_px: int
    threads: int = 1
    haar: tuple[HaarOptions, ...] = (PAPER,)
    classifier: Path | None = None


def compared_detectors(comparison: ComparisonSettings) -> list[ComparedDetector]:
    """Haar as in the paper and with options, then our detector, alone and with the classifier. Raises ModelError for a
    damaged file."""
    from app.settings.vision import DetectorSettings
    from app.vision.haar_detector import HaarDetector
    from app.vision.yunet_detector import YuNetDetector

    width_px = comparison.width_px
    entries = []
    for options in comparison.haar:
        settings = DetectorSettings(kind="haar", equalize=options.equalize, profile=options.profile)
        settings = settings.model_copy(update={"working_width_px": width_px, "min_face_px": options.min_face_px})
        entries.append(ComparedDetector(options.name, HaarDetector(settings).detect, 0.0))
    ours = YuNetDetector(
        comparison.ours, score=SCAN_SCORE, working_width_px=width_px, min_face_px=1, threads=comparison.threads
    )
    entries.append(ComparedDetector("cnn", ours.detect, ours.metadata.score))
    if comparison.classifier is None:
        return entries
    return entries + [
        weighed
        for entry in (entries[-1], _several_views(comparison))
        for weighed in with_not_face(entry, comparison.classifier)
    ]


def _several_views(comparison: ComparisonSettings) -> ComparedDetector:
    """Our detector on several views of an image, with the candidates that the classifier wants."""
    from app.vision.model_metadata import read_classifier_metadata
    from app.vision.multi_view import MISSING, VIEWS, MultiViewDetector
    from app.vision.yunet_detector import YuNetDetector

    assert comparison.classifier is not None
    least = read_classifier_metadata(comparison.classifier).candidate_score or 0.5
    width_px = math.ceil(max(view.factor for view in VIEWS) * comparison.width_px)
    each_view = YuNetDetector(
        comparison.ours, score=least - MISSING, working_width_px=width_px, min_face_px=1, threads=comparison.threads
    )
    return ComparedDetector("cnn, several views", MultiViewDetector(each_view, least, 1).detect, least)


def with_not_face(entry: ComparedDetector, path: Path) -> list[ComparedDetector]:
    """``entry`` with scores that weigh in the not_face of a classifier; nothing if it has no such output. Raises
    ModelError if the file is damaged."""
    from app.vision.classifier import LiteRtClassifier, weigh_not_face
    from app.vision.preprocess import face_crops

    classifier = LiteRtClassifier(path, threads=1)
    metadata, least = classifier.metadata, classifier.metadata.candidate_score
    if Label.NOT_FACE not in metadata.labels or least is None:
        return []
    column = metadata.labels.index(Label.NOT_FACE)

    def detect(image: Image) -> list[Detection]:
        candidates = [one for one in entry.detect(image) if one.score >= least]
        crops = face_crops(image, [one.box for one in candidates], metadata.input_px, metadata.margin)
        rows = weigh_not_face(classifier.classify(crops), [one.score for one in candidates], metadata)
        return [replace(one, score=1 - float(row[column])) for one, row in zip(candidates, rows, strict=True)]

    return [ComparedDetector(f"{entry.name} + not_face", detect, 1 - metadata.max_not_face)]


def evaluate_all(
    scenes: Sequence[Scene], entries: Sequence[ComparedDetector], classifier: Path, threads: int = 1
) -> list[ComparisonRow]:
    """One row per detector, with end-to-end scores if ``classifier`` exists."""
    import cv2

    cv2.setNumThreads(threads)  # for OpenCV's detectors; LiteRT has its own setting
    cache = ImageCache()
    label_functions = [labeller(classifier, refuse) for refuse in (False, True)] if classifier.is_file() else []
    times_ms = time_in_turn([entry.detect for entry in entries], scenes, cache)
    rows = []
    for entry, ms in zip(entries, times_ms, strict=True):
        found = [entry.detect(cache.get(scene.path)) for scene in scenes]
        strong = [[one for one in detections if one.score >= entry.score] for detections in found]
        likeliest, refusing = [
            score_end_to_end(scenes, strong, cache, label_function) for label_function in label_functions
        ] or (None, None)
        score = score_detections(scenes, found, entry.score, ms)
        rows.append(ComparisonRow(entry.name, entry.score, score, likeliest, refusing, ms / max(times_ms[-1], 1e-9)))
    return rows


def labeller(path: Path, refuse: bool) -> Classify:
    """Labels faces in single images with the most probable label other than not_face. With ``refuse``, the thresholds
    of the model's metadata apply, as for a new track of the monitor. Raises ModelError if the file is damaged."""
    from app.vision.classifier import LiteRtClassifier, decide
    from app.vision.preprocess import face_crops, sharpness

    classifier = LiteRtClassifier(path, threads=1)
    metadata = classifier.metadata
    faces = [i for i, label in enumerate(metadata.labels) if label is not Label.NOT_FACE]

    def classify(image: Image, boxes: Sequence[Box]) -> list[FaceLabel]:
        crops = face_crops(image, boxes, metadata.input_px, metadata.margin)
        labels = []
        for box, crop, row in zip(boxes, crops, classifier.classify(crops).tolist(), strict=True):
            if refuse:
                labels.append(decide(row, metadata, box.size, sharpness(crop)))
            else:
                best = max(faces, key=row.__getitem__)
                labels.append(FaceLabel(metadata.labels[best], row[best], tuple(row)))
        return labels

    return classify


def to_tables(rows: Sequence[ComparisonRow]) -> "list[Table]":
    """Tables for 80 columns: detected faces and false positives; detected faces by size; and, with a classifier, faces
    detected and labelled correctly."""
    found = _table(
        "faces detected (IoU ≥ 0.4)", ("score", "all", "mask", "no_mask", "incorr.", "10–20", "false", "AP", "ms", "×")
    )
    right = _table("detected and labelled correctly", ("labels", "mask", "no_mask", "incorrect", "false alarms/image"))
    for row in rows:
        score = row.found
        found.add_row(
            row.name,
            f"{row.score:.2f}",
            *map(_share_text, (score.recall_all, *(score.recall[label] for label in CLASSES), score.recall_small)),
            *map(_share_text, (score.false_boxes, score.ap)),
            f"{score.ms:.0f}",
            f"{row.relative_time:.2f}",
        )
        for label_kind, end in (("most probable", row.end_to_end), ("with unsure", row.refusing)):
            if end is not None:
                shares = (_share_text(end.right[label]) for label in CLASSES)
                right.add_row(row.name, label_kind, *shares, f"{end.false_alarms:.3f}")
    tables = [found, _size_table(rows)]
    return [*tables, right] if right.row_count else tables


def _share_text(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.3f}"


def _size_table(rows: Sequence[ComparisonRow]) -> "Table":
    """The counts of annotated faces, and recall by class and size."""
    edges = [f"{low}–{high}px" for low, high in pairwise(BANDS_PX)] + [f"≥{BANDS_PX[-1]}px"]
    table = _table("detected by size", ("label", *edges))
    names = [name for name in (*map(str, CLASSES), ANY) if any(total for _, total in rows[0].found.by_size[name])]
    for label in names:
        table.add_row("(faces)", label, *(str(total) for _, total in rows[0].found.by_size[label]))
    for row in rows:
        for label in names:
            shares = (f"{seen / total:.3f}" if total else "-" for seen, total in row.found.by_size[label])
            table.add_row(row.name, label, *shares)
    return table


def recalls_of_large_faces(found: DetectorScore) -> dict[str, Rate]:
    """Recall of faces of at least 20 px, by class."""
    return {
        label: wilson(sum(seen for seen, _ in bands[1:]), sum(total for _, total in bands[1:]))
        for label, bands in found.by_size.items()
    }


def _table(title: str, heads: Sequence[str]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("detector", min_width=8, max_width=13, overflow="fold")  # longer names are wrapped
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def to_tree(rows: Sequence[ComparisonRow], scenes: Sequence[Scene], width_px: int) -> dict[str, Any]:
    """The comparison as JSON data, with Wilson 95 % intervals of the recalls of faces of at least 20 px."""
    detectors = [plain(row) for row in rows]
    for tree, row in zip(detectors, rows, strict=True):
        tree["found"]["recall_intervals"] = {
            label: plain((rate.low, rate.high))
            for label, rate in recalls_of_large_faces(row.found).items()
            if rate.total
        }
    return {"pictures": len(scenes), "working_width_px": width_px, "bands_px": BANDS_PX, "detectors": detectors}
