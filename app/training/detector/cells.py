"""Cells of a detector as examples: the features before its score layers, and what their scores should be. The replay
sample holds such cells of training scenes, without images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.core import resources
from app.core.errors import ModelError
from app.core.types import Image, Label
from app.training.detector.augmentation import DetectorAugmentation, degrade, flip, scene_view
from app.training.detector.head import CELLS, DetectorHead, Floats, logits_of, scores_of
from app.training.detector.loss import cell_grid
from app.training.types import Scene

BUNDLED = "replay_detector.npz"
VIEW_PX = 320
FACE, OBJECT, NEAR, OTHER = range(4)
"""Kinds of cells: their box is a face, or what a person called no face; it overlaps one of them; it is elsewhere."""
_FACE_IOU, _OBJECT_IOU, _NEAR_IOU = 0.5, 0.2, 0.1
_FACE_CELLS, _OBJECT_CELLS, _OTHER_CELLS, _RANDOM_CELLS = 2, 12, 4, 1
"""Most cells of a face, of an object, and of the rest of a view: those with the highest scores, and random ones."""
_MOST_FACES = 1000
"""More than a view has."""


@dataclass(frozen=True, slots=True)
class Cells:
    """``windows`` (N, 9, F + 1) float32; ``places`` (N,): indices of strides; ``kinds`` (N,); ``groups`` (N,): equal
    for cells of the same face in the same view."""

    windows: Floats
    places: NDArray[np.int64]
    kinds: NDArray[np.int64]
    groups: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> "Cells":
        return Cells(self.windows[chosen], self.places[chosen], self.kinds[chosen], self.groups[chosen])

    def scores(self, weights: Floats) -> Floats:
        """(N,) the scores with these weights of a ``DetectorHead``."""
        scores = np.zeros(len(self.places), np.float32)
        for place, rows in enumerate(weights):
            own = self.places == place
            scores[own] = scores_of(logits_of(self.windows[own], rows))
        return scores


def join(parts: Sequence[Cells]) -> Cells:
    return Cells(*(np.concatenate([getattr(each, name) for each in parts]) for name in Cells.__slots__))


def cells_of(
    head: DetectorHead,
    scenes: Iterable[tuple[Scene, DetectorAugmentation]],
    read: Callable[[Path], Image],
    rng: np.random.Generator,
) -> Cells:
    """Cells of a random view of each scene. Faces with the label ``not_face`` are objects."""
    views = enumerate(scenes)
    return join([_cells_of_view(head, scene, read(scene.path), mix, rng, group) for group, (scene, mix) in views])


def _cells_of_view(
    head: DetectorHead, scene: Scene, image: Image, mix: DetectorAugmentation, rng: np.random.Generator, group: int
) -> Cells:
    view = scene_view(scene, image, (VIEW_PX, VIEW_PX), rng, mix)
    if rng.random() < mix.flip:
        flip(view)
    features, maps = head.run(degrade(view.image, rng, mix))
    windows, places = windows_of(features)
    scores = Cells(windows, places, places, places).scores(head.weights)
    overlap = _overlap(_boxes(maps), np.concatenate([view.faces[:, :4], view.neutral]))
    nearest = overlap.max(axis=1, initial=0)
    kinds = np.where(nearest > _NEAR_IOU, NEAR, OTHER)
    is_object = any(face.label is Label.NOT_FACE for face in scene.faces)
    least, most = (_OBJECT_IOU, _OBJECT_CELLS) if is_object else (_FACE_IOU, _FACE_CELLS)
    taken, groups = [], []
    for number, column in enumerate(overlap[:, : len(view.faces)].T):
        near = np.flatnonzero((column >= least) & (column >= nearest))
        best = near[np.argsort(-scores[near])[:most]]
        kinds[best] = OBJECT if is_object else FACE
        taken.append(best)
        groups.append(np.full(len(best), _MOST_FACES * group + number))
    rest = np.flatnonzero((kinds == OTHER) | ((kinds == NEAR) & (not is_object)))
    rest = rest[np.argsort(-scores[rest])]
    top, others = rest[:_OTHER_CELLS], rest[_OTHER_CELLS:]
    taken.append(np.concatenate([top, rng.choice(others, _RANDOM_CELLS) if len(others) else others]))
    groups.append(np.full(len(taken[-1]), -1))
    chosen = np.concatenate(taken)
    return Cells(windows[chosen], places[chosen], kinds[chosen], np.concatenate(groups))


def _boxes(maps: Sequence[Floats]) -> Floats:
    """(N, 4) x, y, x2, y2 of all cells."""
    grid = cell_grid(VIEW_PX, VIEW_PX)
    raw = np.concatenate([each.reshape(-1, 4) for each in maps])
    centers = grid.centers + (raw[:, :2] - 0.5) * grid.strides[:, None]
    half = np.exp(np.minimum(raw[:, 2:], 5.0)) * grid.strides[:, None] / 2
    return np.concatenate([centers - half, centers + half], axis=1)


def windows_of(features: Sequence[Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """The 3 x 3 windows of all cells, (N, 9, F + 1), and the index of their stride."""
    windows = [
        sliding_window_view(each, (3, 3), axis=(0, 1)).transpose(0, 1, 3, 4, 2).reshape(-1, CELLS, each.shape[2])
        for each in features
    ]
    return np.concatenate(windows), np.repeat(np.arange(len(windows)), [len(each) for each in windows])


def _overlap(boxes: Floats, others: Floats) -> Floats:
    """(N, M) intersection over union of boxes x, y, x2, y2."""
    size = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    both = np.maximum(size, 0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others)]
    overlap: Floats = both / (areas[0][:, None] + areas[1] - both + 1e-6)
    return overlap


@dataclass(frozen=True, slots=True)
class ReplayCells:
    """Cells of training scenes: ``known`` are learned, ``guard`` only show whether something is forgotten."""

    known: Cells
    guard: Cells

    def write(self, path: Path, steps: Floats, fingerprints: Sequence[str]) -> None:
        """Features as multiples of ``steps``. ``fingerprints``: of the models with these features. Raises OSError."""
        cells = join([self.known, self.guard])
        inside = cells.windows[..., -1].min(axis=1) > 0  # a window that the edge of the image cuts is not kept
        cells = cells.where(inside)
        np.savez_compressed(
            path,
            features=np.round(cells.windows[..., :-1] / steps[cells.places][:, None, None]).astype(np.uint8),
            places=cells.places.astype(np.uint8),
            kinds=cells.kinds.astype(np.uint8),
            groups=cells.groups.astype(np.int32),
            is_guard=(np.arange(len(inside)) >= len(self.known.places))[inside],
            steps=steps,
            fingerprints=np.array(fingerprints),
        )


def read_replay_cells(head: DetectorHead, path: Path | None = None) -> ReplayCells:
    """The bundled sample. Raises ModelError if it belongs to another model, or cannot be read."""
    path = path or resources.model(BUNDLED)
    try:
        with np.load(path) as kept:
            places, is_guard = kept["places"].astype(np.int64), kept["is_guard"]
            features = kept["features"] * kept["steps"][places][:, None, None]
            windows = np.pad(features, ((0, 0), (0, 0), (0, 1)), constant_values=1).astype(np.float32)
            cells = Cells(windows, places, kept["kinds"].astype(np.int64), kept["groups"].astype(np.int64))
            fingerprints = kept["fingerprints"].tolist()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot read {path}: {error}; reinstall maskwatch") from error
    if head.fingerprint not in fingerprints:
        raise ModelError(
            f"{path} was made with another detector than {head.path}; train yours with 'maskwatch train-detector'"
        )
    return ReplayCells(cells.where(~is_guard), cells.where(is_guard))
