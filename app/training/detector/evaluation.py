"""How good a face detector is on annotated pictures: faces found by class and size, precision, average precision."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.types import Box, Detection, FaceLabel, Image, Label
from app.training.detector.scenes import ImageCache, Scene

FOUND_IOU = 0.4
AP_IOU = 0.5
SCAN_SCORE = 0.1
"""Detections from here on make the precision-recall curve."""

SMALL_PX, TINY_PX = 20, 10
"""Faces of 20 px and more are judged by class, those of 10 to 20 px together; lesser ones are nobody's fault."""

BANDS_PX = (TINY_PX, SMALL_PX, 40, 80, 160)
"""Lower edges of the bands of face sizes; the last one has no upper edge."""

ANY = "any"
"""All faces, those of unknown class too."""

NEUTRAL_SHARE = 0.5
"""A detection of which so much lies in a neutral place is not judged."""

CLASSES = (Label.MASK, Label.NO_MASK, Label.INCORRECT)

Detect = Callable[[Image], list[Detection]]
Classify = Callable[[Image, Sequence[Box]], Sequence[FaceLabel]]


@dataclass(frozen=True, slots=True)
class DetectorScore:
    """NaN stands where there is nothing to count. ``recall`` per class of faces of 20 px and more, ``recall_all`` of
    those of any class (``ANY``), ``recall_small`` of those of 10 to 20 px, at ``FOUND_IOU``;
    ``precision``: share of detections that are an annotated face of any size at ``FOUND_IOU``, each face counted once,
    ``false_boxes``: how many a picture are not; detections in neutral places count in neither;
    ``by_size``: per class and for ``ANY``, for each of ``BANDS_PX``, faces found and faces there were;
    ``ap``: average precision at ``AP_IOU`` of faces of 20 px and more over all scores given;
    ``ms``: median milliseconds per picture."""

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
    """``right``: share of the faces of 20 px and more, by class, that were found and labelled right; ``false_alarms``:
    boxes per picture labelled ``no_mask`` that are no bare face (faces of unknown class and neutral places are not
    judged)."""

    right: dict[str, float]
    false_alarms: float


def match(boxes: Sequence[Box], detections: Sequence[Detection], iou: float) -> list[int]:
    """For each detection the index of the box it finds, or -1: best score first, each box found once."""
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
    """What ``detect`` finds on each picture."""
    return [detect(cache.get(scene.path)) for scene in scenes]


def time_in_turn(
    detectors: Sequence[Detect], scenes: Sequence[Scene], cache: ImageCache, pictures: int = 100
) -> list[float]:
    """Median milliseconds per picture of each detector, over at most ``pictures`` spread over the scenes. They take
    turns on each picture, so that other work of the machine strikes all alike; the first call on a picture, for which
    LiteRT may make a plan, is not timed."""
    chosen = scenes[:: max(1, len(scenes) // pictures)][:pictures]
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
    """``found`` may hold detections below ``score``: they count for the average precision only."""
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
                    band = counts[name][band_of(face.box.size)]
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
    """Whether a detection that is no annotated face lies where ``scene`` judges none."""
    return any(_inside(box, place) >= NEUTRAL_SHARE for place in scene.neutral)


def _inside(box: Box, place: Box) -> float:
    width = min(box.x2, place.x2) - max(box.x, place.x)
    height = min(box.y2, place.y2) - max(box.y, place.y)
    return max(width, 0.0) * max(height, 0.0) / max(box.area, 1e-9)


def _share(part: int, total: int) -> float:
    return part / total if total else math.nan


def band_of(size_px: float) -> int:
    """The place in ``BANDS_PX`` of a face of at least ``TINY_PX``."""
    return sum(size_px >= edge for edge in BANDS_PX) - 1


def _summed(counts: Iterable[Sequence[int]]) -> tuple[int, int]:
    rows = list(counts)
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def average_precision(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]]) -> float:
    """Area under the precision-recall curve, precision made monotonous (VOC 2010 and later), of faces of
    ``SMALL_PX`` and more; detections on smaller annotated faces count neither way."""
    ranked: list[tuple[float, bool]] = []
    faces = 0
    for scene, detections in zip(scenes, found, strict=True):
        boxes = [face.box for face in scene.faces]
        judged = [box.size >= SMALL_PX for box in boxes]
        faces += sum(judged)
        for detection, hit in zip(detections, match(boxes, detections, AP_IOU), strict=True):
            if judged[hit] if hit >= 0 else not is_neutral(detection.box, scene):
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
    """The detector with a classifier behind it; ``unsure`` is neither right nor an alarm."""
    right = dict.fromkeys(CLASSES, 0)
    total = dict.fromkeys(CLASSES, 0)
    false_alarms = 0
    for scene, detections in zip(scenes, found, strict=True):
        said = classify(cache.get(scene.path), [detection.box for detection in detections])
        hits = match([face.box for face in scene.faces], detections, FOUND_IOU)
        for hit, answer, detection in zip(hits, said, detections, strict=True):
            truth = scene.faces[hit].label if hit >= 0 else None
            judged = truth is not None if hit >= 0 else not is_neutral(detection.box, scene)
            false_alarms += judged and answer.label is Label.NO_MASK and truth is not Label.NO_MASK
            if truth is not None and scene.faces[hit].box.size >= SMALL_PX:
                right[truth] += answer.label is truth
        for face in scene.faces:
            if face.box.size >= SMALL_PX and face.label is not None:
                total[face.label] += 1
    return EndToEndScore(
        {str(label): _share(right[label], total[label]) for label in CLASSES}, false_alarms / max(len(scenes), 1)
    )


def choose_score(
    scenes: Sequence[Scene], found: Sequence[Sequence[Detection]], precision: float, least: float = 0.2
) -> float:
    """The lowest score, in hundredths from ``least`` on, at which the precision reaches ``precision``."""
    for hundredths in range(round(least * 100), 100):
        score = hundredths / 100
        if score_detections(scenes, found, score).precision >= precision:
            return score
    return 0.99
