"""Trains the score layers of a face detector on scenes of the user's own cameras, together with a replay sample, and
decides on a later part of these scenes whether the result is better."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.types import Image, Label
from app.settings.vision import DEFAULT_WIDTH_PX
from app.training.classifier.improvement import Comparison, compare
from app.training.detector.augmentation import DetectorAugmentation
from app.training.detector.cells import FACE, OBJECT, OTHER, Cells, ReplayCells, cells_of, join
from app.training.detector.head import CELLS, DetectorHead, Floats
from app.training.types import Scene
from app.vision.detector import FaceDetector

COUNTS_SCORE = 0.6
"""In video, detections from this score on count towards a person."""
_SAME_IOU = 0.3
MAX_FORGOTTEN = 0.01
"""How much the share of found faces of the replay sample may fall. Its false boxes must not become more."""
VIEWS, MAX_VIEWS = 8, 400
"""Augmented views of each scene about which the detector is wrong, and of all of them. Of others there is one."""
STRENGTHS = (1.0, 0.3, 0.1, 0.03)
"""Weights of the user's scenes against the replay sample. The first that forgets nothing is used."""
_SIZES = 1.4
_OWN_REST = 0.2
"""Weight of all other cells of the user's scenes."""
STEPS, RATE = 150, 0.03
_MISSED_WANTED = 0.9
"""The score that a missed face should get."""
_WEAK_SCORE, _WEAK_WANTED = 0.3, 0.8
"""Faces of the replay sample from the first score on should get the second one, and its false boxes half of theirs:
what is forgotten is made up for."""

LoadDetector = Callable[[Path], FaceDetector]


@dataclass(frozen=True, slots=True)
class DetectorImprovement:
    """``forgotten``: how far the share of found faces of the replay sample falls; ``false_boxes``: how many more false
    boxes it has."""

    network: bytes
    learned: int
    comparison: Comparison
    forgotten: float
    false_boxes: int

    @property
    def forgets(self) -> bool:
        return self.forgotten > MAX_FORGOTTEN or self.false_boxes > 0

    @property
    def is_better(self) -> bool:
        return self.comparison.interval[0] > 0 and not self.forgets


def improve_detector(
    head: DetectorHead,
    replay: ReplayCells,
    scenes: Sequence[Scene],
    first: int,
    read: Callable[[Path], Image],
    load: LoadDetector,
    seed: int,
) -> DetectorImprovement | None:
    """``scenes``: oldest first, each with one face, or one object with the label ``not_face``. Learns those before
    ``first`` and compares on the others. ``load`` opens a model with ``COUNTS_SCORE``. None: it is right about all that
    it could learn."""
    was = _right_answers(load(head.path), scenes, read)
    wrong = [scene for scene, is_right in zip(scenes[:first], was, strict=False) if not is_right]
    if not wrong:
        return None
    rng = np.random.default_rng(seed)
    views = min(VIEWS, max(MAX_VIEWS // len(wrong), 1))
    shown = [*wrong * views, *scenes[:first]][:MAX_VIEWS]
    own = cells_of(head, [(scene, view_of(scene, read(scene.path), rng)) for scene in shown], read, rng)
    everything = join([replay.known, replay.guard, own])
    examples = [everything.windows[everything.places == place] for place in range(len(head.weights))]
    with tempfile.TemporaryDirectory() as folder:
        for strength in STRENGTHS:
            weights = fit(head.weights, replay.known, own, strength)
            forgotten, false_boxes = _forgotten(replay.guard, head.weights, weights)
            if forgotten <= MAX_FORGOTTEN and false_boxes <= 0:
                break
        network = head.network_with(weights, examples)
        path = Path(folder, "new.tflite")
        head.write(path, network)
        now = _right_answers(load(path), scenes[first:], read)
    return DetectorImprovement(network, first, compare(was[first:], now), forgotten, false_boxes)


def view_of(scene: Scene, image: Image, rng: np.random.Generator) -> DetectorAugmentation:
    """Views in which the face is about as large as in one of the passes of the detector."""
    size_px = scene.faces[0].box.size * min(1.0, DEFAULT_WIDTH_PX / image.shape[1])
    size_px /= rng.choice([factor for factor in (1, 2, 4) if factor == 1 or size_px >= 32 * factor])
    return DetectorAugmentation(min_face_px=size_px / _SIZES, max_face_px=size_px * _SIZES)


def fit(begin: Floats, known: Cells, own: Cells, strength: float) -> Floats:
    """The weights that give nearly the scores of ``begin`` on ``known`` and on the rest of ``own`` (distillation), with
    weak faces raised, and with ``strength`` times that weight 0 for objects and a high score for missed faces: Adam on
    all cells."""
    cells = join([known, own])
    is_own = np.arange(len(cells.places)) >= len(known.places)
    old = cells.scores(begin)
    is_object, is_face = cells.kinds == OBJECT, cells.kinds == FACE
    best_own = _best(own, old[is_own])[1][own.groups]
    is_missed = is_own & is_face & (np.concatenate([np.ones(len(known.places)), best_own]) < COUNTS_SCORE)
    is_weak, is_false = ~is_own & is_face & (old > _WEAK_SCORE), ~is_own & (cells.kinds == OTHER)
    wanted = np.select(
        [is_object, is_missed, is_weak, is_false],
        [np.zeros_like(old), np.maximum(old, _MISSED_WANTED), np.maximum(old, _WEAK_WANTED), old / 2],
        old,
    )
    taught = is_object | is_missed
    parts = ((taught, strength), (is_own & ~taught, _OWN_REST), (~is_own & is_face, 0.5), (~is_own & ~is_face, 0.5))
    share = np.zeros(len(old), np.float32)
    for part, weight in parts:
        share[part] = weight / max(part.sum(), 1)
    return np.stack(
        [
            _fit_place(rows, cells.windows[here], wanted[here], share[here])
            for rows, here in ((rows, cells.places == place) for place, rows in enumerate(begin))
        ]
    )


def _fit_place(begin: Floats, windows: Floats, wanted: Floats, share: Floats) -> Floats:
    """(2, F + 11) weights of one stride."""
    size = windows.shape[2]
    cuts = [size, size + CELLS]
    flat, weights = windows.reshape(-1, size), begin.copy()
    sizes = [np.sqrt((part**2).mean(axis=1, keepdims=True)) + 0 * part for part in np.split(begin, cuts, axis=1)]
    unit = np.concatenate(sizes, axis=1)
    mean = square = np.zeros_like(weights)
    for step in range(1, STEPS + 1):
        kernels, kernels3, biases3 = np.split(weights, cuts, axis=1)
        middle = (flat @ kernels.T).reshape(-1, CELLS, 2)
        factors = 1 / (1 + np.exp(-np.einsum("njr,rj->nr", middle, kernels3) - biases3[:, 0]))
        score = np.sqrt(factors.prod(axis=1))
        error = (share * (score - wanted) / (1 - score + 1e-4) / 2)[:, None] * (1 - factors)
        slope = unit * np.concatenate(
            [
                (error[:, None, :] * kernels3.T).reshape(-1, 2).T @ flat,
                np.einsum("nr,njr->rj", error, middle),
                error.sum(axis=0)[:, None],
            ],
            axis=1,
        )
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rate = RATE * min(1.0, 2 * (1 - step / (STEPS + 1)))
        change = (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        weights = (weights - rate * unit * change).astype(np.float32)
    return weights


def _best(cells: Cells, scores: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The groups of faces, and the best score of each group; the last one is that of other cells."""
    best = np.zeros(cells.groups.max(initial=0) + 2, np.float32)
    np.maximum.at(best, cells.groups, scores)
    return np.unique(cells.groups[cells.kinds == FACE]), best


def _forgotten(guard: Cells, before: Floats, after: Floats) -> tuple[float, int]:
    """How far the share of found faces falls, and by how much the number of false boxes rises."""
    found, false_boxes = [], []
    for weights in (before, after):
        scores = guard.scores(weights)
        faces, best = _best(guard, scores)
        found.append(float((best[faces] >= COUNTS_SCORE).mean()))
        false_boxes.append(int((scores[guard.kinds == OTHER] >= COUNTS_SCORE).sum()))
    return found[0] - found[1], false_boxes[1] - false_boxes[0]


def _right_answers(detector: FaceDetector, scenes: Sequence[Scene], read: Callable[[Path], Image]) -> NDArray[np.bool_]:
    """(N,) whether the face of a scene is found, or its object is not."""
    right = []
    for scene in scenes:
        (face,) = scene.faces
        is_found = any(each.box.iou(face.box) >= _SAME_IOU for each in detector.detect(read(scene.path)))
        right.append(is_found != (face.label is Label.NOT_FACE))
    return np.array(right, np.bool_)
