"""Near-duplicates by difference hash (Krawetz 2013): 64 bits, one for each fall of brightness in a 9x8 picture."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.train.dataset import read_picture
from app.vision.preprocess import resize

Hashes = NDArray[np.uint64]


def difference_hash(path: Path) -> int:
    """64 bits; 0 for a file that cannot be read."""
    picture = read_picture(path)
    if picture is None:
        return 0
    grey = cv2.cvtColor(resize(picture, 9, 8), cv2.COLOR_BGR2GRAY).astype(np.int16)
    bits = np.packbits(grey[:, 1:] < grey[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


def distances(one: np.uint64, many: Hashes) -> NDArray[np.uint8]:
    """Hamming distances: (N,) uint8."""
    apart = np.bitwise_xor(one, many).reshape(-1, 1).view(np.uint8)
    counts: NDArray[np.uint8] = np.unpackbits(apart, axis=1).sum(axis=1, dtype=np.uint8)
    return counts


def shared_pictures(first: Sequence[Path], second: Sequence[Path], max_distance: int = 4) -> list[tuple[Path, Path]]:
    """Pairs of near-duplicates across two splits: each of ``first`` with its closest in ``second``. Flat pictures
    (hash 0) say nothing and are left out."""
    known = np.array([difference_hash(path) for path in second], np.uint64)
    pairs = []
    for path in first:
        code = np.uint64(difference_hash(path))
        if not code or not len(known):
            continue
        apart = distances(code, known)
        closest = int(apart.argmin())
        if apart[closest] <= max_distance:
            pairs.append((path, second[closest]))
    return pairs
