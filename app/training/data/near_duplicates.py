"""Finds near-duplicates: a 64-bit difference hash (Krawetz 2013) of a 9x8 image gives candidates, and the correlation
of thumbnails decides. On equally cut faces the hash alone confuses different persons."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.images import cut, resize, square
from app.core.types import Image
from app.training.data.crops import usable_box
from app.training.data.images import read_image
from app.training.data.samples import by_image
from app.training.types import Sample

Hashes = NDArray[np.uint64]

MAX_DISTANCE = 4
THUMBNAIL_PX = 32
MIN_CORRELATION = 0.95
"""Copies of an image at other sizes and qualities correlate by at least 0.97, different persons by at most 0.91."""
MARGIN = 0.1


def difference_hash(image: Image) -> int:
    """64 bits, one per pair of horizontal neighbours in a 9x8 grey thumbnail; 0 for a uniform image."""
    grey = cv2.cvtColor(resize(image, 9, 8), cv2.COLOR_BGR2GRAY)
    return int.from_bytes(np.packbits(grey[:, 1:] < grey[:, :-1]).tobytes(), "big")


def distances(one: np.uint64, many: Hashes) -> NDArray[np.uint8]:
    """Hamming distances: (N,) uint8."""
    apart = np.bitwise_xor(one, many).reshape(-1, 1).view(np.uint8)
    counts: NDArray[np.uint8] = np.unpackbits(apart, axis=1).sum(axis=1, dtype=np.uint8)
    return counts


def near_duplicate_groups(hashes: Sequence[int], max_distance: int = MAX_DISTANCE) -> list[int]:
    """For each hash the index of its group's first member. Hashes within ``max_distance`` bits share a group."""
    codes, group = np.array(hashes, np.uint64), list(range(len(hashes)))
    for i in range(len(codes)):
        for j in np.flatnonzero(distances(codes[i], codes[:i]) <= max_distance):
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if member == old else member for member in group]
    return group


def shared_faces(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Near-duplicates across two splits: faces of ``first``, each with the most similar face of ``second``. Faces in
    frames are compared by their box, because all frames of one camera are similar. Uniform and unreadable images are
    left out."""
    codes, thumbnails = _hashes_and_thumbnails(second)
    pairs = []
    for sample, code, thumbnail in zip(first, *_hashes_and_thumbnails(first), strict=True):
        near = np.flatnonzero((distances(code, codes) <= MAX_DISTANCE) & (codes != 0) & (code != 0))
        alike = [_correlation(thumbnail, thumbnails[i]) for i in near]
        if alike and max(alike) >= MIN_CORRELATION:
            pairs.append((sample, second[near[int(np.argmax(alike))]]))
    return pairs


def _hashes_and_thumbnails(samples: Sequence[Sample]) -> tuple[Hashes, NDArray[np.uint8]]:
    """For each face its hash, 0 if it cannot be computed, and its grey thumbnail (N, S, S) uint8."""
    codes = np.zeros(len(samples), np.uint64)
    thumbnails = np.zeros((len(samples), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for path, places in by_image(samples):
        image = read_image(path)
        for i in places:
            face = None if image is None else _face(image, samples[i])
            if face is not None:
                codes[i] = difference_hash(face)
                thumbnails[i] = cv2.cvtColor(resize(face, THUMBNAIL_PX, THUMBNAIL_PX), cv2.COLOR_BGR2GRAY)
    return codes, thumbnails


def _face(image: Image, sample: Sample) -> Image | None:
    if sample.box is None:
        return image
    box = usable_box(sample.box, image)
    return None if box is None else cut(image, square(box, MARGIN))


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    first, second = (each.astype(np.float32) - each.mean(dtype=np.float32) for each in (one, other))
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / scale if scale else 0.0
