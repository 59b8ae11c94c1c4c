"""Evaluation of face detectors on annotated images: recall by class and size, precision, average precision."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.types import Box, Detection, FaceLabel, Image, Label
from app.training.data.images import ImageCache
from app.training.types import Scene

FOUND_IOU = 0.4
AP_IOU = 0.5
SCAN_SCORE = 0.1
"""Lowest score of the precision-recall curve."""

SMALL_PX, TINY_PX = 20, 10
"""Faces of at least 20 px are evaluated by class, those of 10 to 20 px together. Smaller ones are not evaluated."""

BANDS_PX = (TINY_PX, SMALL_PX, 40, 80, 160)
"""Lower edges of the face size bands. The last band has no upper edge."""

ANY = "any"
"""The name for faces of all classes, including unknown."""

NEUTRAL_SHARE = 0.5
"""A detection with at least this share of its area in a neutral region is not evaluated."""

CLASSES = (Label.MASK, Label.NO_MASK, Label.INCORRECT)

Detect = Callable[[Image], list[Detection]]
Classify = Callable[[Image, Sequence[Box]], Sequence[FaceLabel]]


@dataclass(frozen=True, slots=True)
class DetectorScore:
    """Recall is at ``FOUND_IOU``: ``recall`` by class and ``recall_all`` for faces of at least 20 px, ``recall_small``
    for 10 to 20 px. ``precision`` counts each face once, ``false_boxes`` are false positives per image. ``by_size``:
    (detected, annotated) faces per class and band. ``ap``: average precision at ``AP_IOU`` of faces of at least 20 px.
    ``ms``: median time per image. NaN if there are no faces or detections."""

    pictures: int
    faces: dict[str, int]
    recall: dict[str, float]
    recall_all: float
    recall_small: float
    by_size: dict[str, list[tuple[int, int]]]
    precision: float
    false_boxes: float
    ap: float
    ms: float


@dataclass(frozen=True, slots=True)
class EndToEndScore:
    """``right``: share of faces of at least 20 px, by class, that were detected and labelled correctly.
    ``false_alarms``: boxes per image that are labelled ``no_mask`` but show no bare face. Faces of unknown class and
    neutral regions are not evaluated."""

    right: dict[str, float]
    false_alarms: float


def match(boxes: Sequence[Box], detections: Sequence[Detection], iou: float) -> list[int]:
    """For each detection the index of its matched box, or -1. Detections with a higher score match first."""
    taken: set[int] = set()
    found = [-1] * len(detections)
    for i in sorted(range(len(detections)), key=lambda k: -detections[k].score):
        overlaps = [-1.0 if k in taken else box.iou(detections[i].box) for k, box in enumerate(boxes)]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= iou:
            found[i] = best
            taken.add(best)
    return found


def run_detector(detect: Detect, scenes: Sequence[Scene], cache: ImageCache) -> list[list[Detection]]:
    """The detections of ``detect`` on each image."""
    return [detect(cache.get(scene.path)) for scene in scenes]


def time_in_turn(
    detectors: Sequence[Detect], scenes: Sequence[Scene], cache: ImageCache, images: int = 100
) -> list[float]:
    """Median milliseconds per image of each detector, on at most ``images`` images. The detectors alternate on each
    image, so that other load affects all equally. The first call on an image is not timed, because LiteRT may prepare
    a plan for its size."""
    chosen = scenes[:: max(1, len(scenes) // images)][:images]
    times_s: list[list[float]] = [[] for _ in detectors]
    for scene in chosen:
        image = cache.get(scene.path)
        for detect, spent_s in zip(detectors, times_s, strict=True):
            detect(image)
            began_s = time.perf_counter()
            detect(image)
            spent_s.append(time.perf_counter() - began_s)
    return [float(np.median(spent_s)) * 1000 if spent_s else 0.0 for spent_s in times_s]


def score_detections(
    scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], score: float, ms: float = 0.0
) -> DetectorScore:
    """Detections in ``found`` below ``score`` count only for the average precision."""
    counts = {name: [[0, 0] for _ in BANDS_PX] for name in (*map(str, CLASSES), ANY)}
    right = wrong = 0
    for scene, detections in zip(scenes, found, strict=True):
        strong = [detection for detection in detections if detection.score >= score]
        hits = match([face.box for face in scene.faces], strong, FOUND_IOU)
        right += sum(hit >= 0 for hit in hits)
        wrong += sum(hit < 0 and not is_neutral(one.box, scene) for hit, one in zip(hits, strong, strict=True))
        for k, face in enumerate(scene.faces):
            if face.box.size >= TINY_PX:
                for name in (ANY,) if face.label is None else (ANY, str(face.label)):
                    band = counts[name][band_index(face.box.size)]
                    band[0] += k in hits
                    band[1] += 1
    fair = {name: _summed(bands[1:]) for name, bands in counts.items()}
    small = _summed(counts[ANY][:1])
    return DetectorScore(
        pictures=len(scenes),
        faces={**{name: total for name, (_, total) in fair.items()}, "small": small[1]},
        recall={str(label): _share(*fair[str(label)]) for label in CLASSES},
        recall_all=_share(*fair[ANY]),
        recall_small=_share(*small),
        by_size={name: [(seen, total) for seen, total in bands] for name, bands in counts.items()},
        precision=_share(right, right + wrong),
        false_boxes=_share(wrong, len(scenes)),
        ap=average_precision(scenes, found),
        ms=ms,
    )


def is_neutral(box: Box, scene: Scene) -> bool:
    """Whether a detection without an annotated face is in a neutral region of ``scene``."""
    return any(_inside(box, place) >= NEUTRAL_SHARE for place in scene.neutral)


def _inside(box: Box, place: Box) -> float:
    width = min(box.x2, place.x2) - max(box.x, place.x)
    height = min(box.y2, place.y2) - max(box.y, place.y)
    return max(width, 0.0) * max(height, 0.0) / max(box.area, 1e-9)


def _share(part: int, total: int) -> float:
    return part / total if total else math.nan


def band_index(size_px: float) -> int:
    """The index in ``BANDS_PX`` for a face of at least ``TINY_PX``."""
    return sum(size_px >= edge for edge in BANDS_PX) - 1


def _summed(counts: Iterable[Sequence[int]]) -> tuple[int, int]:
    rows = list(counts)
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def average_precision(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]]) -> float:
    """Area under the precision-recall curve with monotonic precision (VOC 2010 and later), for faces of at least
    ``SMALL_PX``. Detections of smaller annotated faces are ignored."""
    ranked: list[tuple[float, bool]] = []
    faces = 0
    for scene, detections in zip(scenes, found, strict=True):
        boxes = [face.box for face in scene.faces]
        is_evaluated = [box.size >= SMALL_PX for box in boxes]
        faces += sum(is_evaluated)
        for detection, hit in zip(detections, match(boxes, detections, AP_IOU), strict=True):
            if is_evaluated[hit] if hit >= 0 else not is_neutral(detection.box, scene):
                ranked.append((detection.score, hit >= 0))
    if not faces:
        return math.nan
    if not ranked:
        return 0.0
    ranked.sort(key=lambda one: -one[0])
    hits = np.cumsum([hit for _, hit in ranked])
    precision = hits / np.arange(1, len(ranked) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], hits / faces]))
    return float((best * steps).sum())


def score_end_to_end(
    scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], cache: ImageCache, classify: Classify
) -> EndToEndScore:
    """Scores detections together with a classifier. ``unsure`` is neither correct nor a false alarm."""
    right = dict.fromkeys(CLASSES, 0)
    total = dict.fromkeys(CLASSES, 0)
    false_alarms = 0
    for scene, detections in zip(scenes, found, strict=True):
        labels = classify(cache.get(scene.path), [detection.box for detection in detections])
        hits = match([face.box for face in scene.faces], detections, FOUND_IOU)
        for hit, predicted, detection in zip(hits, labels, detections, strict=True):
            true_label = scene.faces[hit].label if hit >= 0 else None
            is_evaluated = true_label is not None if hit >= 0 else not is_neutral(detection.box, scene)
            false_alarms += is_evaluated and predicted.label is Label.NO_MASK and true_label is not Label.NO_MASK
            if true_label is not None and scene.faces[hit].box.size >= SMALL_PX:
                right[true_label] += predicted.label is true_label
        for face in scene.faces:
            if face.box.size >= SMALL_PX and face.label is not None:
                total[face.label] += 1
    return EndToEndScore(
        {str(label): _share(right[label], total[label]) for label in CLASSES}, false_alarms / max(len(scenes), 1)
    )


def choose_score(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], precision: float) -> float:
    """The lowest score from 0.2 on, in steps of 0.01, with at least ``precision``; 0.99 if there is none."""
    for hundredths in range(20, 100):
        score = hundredths / 100
        if score_detections(scenes, found, score).precision >= precision:
            return score
    return 0.99
