"""Near-duplicates: the difference hash (Krawetz 2013; 64 bits, one for each fall of brightness in a 9x8 picture) says
which may be, the correlation of thumbnails which are. On faces cut alike the hash alone takes strangers for copies."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Image
from app.training.data.crops import read_image, usable_box
from app.training.data.samples import Sample, by_picture
from app.vision.preprocess import cut, resize, square

Hashes = NDArray[np.uint64]

MAX_DISTANCE = 4
THUMBNAIL_PX = 32
SAME = 0.95
"""Copies of one picture at other sizes and qualities correlate by 0.97 and more, strangers by 0.91 at most."""
MARGIN = 0.1


def difference_hash(path: Path) -> int:
    """64 bits; 0 for a file that cannot be read."""
    picture = read_image(path)
    return 0 if picture is None else _hash(picture)


def _hash(picture: Image) -> int:
    grey = cv2.cvtColor(resize(picture, 9, 8), cv2.COLOR_BGR2GRAY).astype(np.int16)
    bits = np.packbits(grey[:, 1:] < grey[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def distances(one: np.uint64, many: Hashes) -> NDArray[np.uint8]:
    """Hamming distances: (N,) uint8."""
    apart = np.bitwise_xor(one, many).reshape(-1, 1).view(np.uint8)
    counts: NDArray[np.uint8] = np.unpackbits(apart, axis=1).sum(axis=1, dtype=np.uint8)
    return counts


def shared_faces(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Pairs of near-duplicates across two splits: each face of ``first`` with the one of ``second`` that is most like
    it. A face in a frame is compared by its box: frames of one camera are all alike. Flat and unreadable pictures say
    nothing and are left out."""
    codes, thumbnails = _looks(second)
    pairs = []
    for sample, code, thumbnail in zip(first, *_looks(first), strict=True):
        near = np.flatnonzero((distances(code, codes) <= MAX_DISTANCE) & (codes != 0) & (code != 0))
        alike = [_correlation(thumbnail, thumbnails[i]) for i in near]
        if alike and max(alike) >= SAME:
            pairs.append((sample, second[near[int(np.argmax(alike))]]))
    return pairs


def _looks(samples: Sequence[Sample]) -> tuple[Hashes, NDArray[np.uint8]]:
    """Of each face its hash, 0 where there is none to be had, and its grey thumbnail."""
    codes = np.zeros(len(samples), np.uint64)
    thumbnails = np.zeros((len(samples), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for path, places in by_picture(samples):
        picture = read_image(path)
        for i in places:
            face = None if picture is None else _face(picture, samples[i])
            if face is not None:
                codes[i] = _hash(face)
                thumbnails[i] = cv2.cvtColor(resize(face, THUMBNAIL_PX, THUMBNAIL_PX), cv2.COLOR_BGR2GRAY)
    return codes, thumbnails


def _face(picture: Image, sample: Sample) -> Image | None:
    if sample.box is None:
        return picture
    box = usable_box(sample.box, picture)
    return None if box is None else cut(picture, square(box, MARGIN))


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    first, second = (each.astype(np.float32) - each.mean(dtype=np.float32) for each in (one, other))
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / scale if scale else 0.0
