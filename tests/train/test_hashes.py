"""Near-duplicates are found, strangers are not."""

from pathlib import Path

import cv2
import numpy as np

from app.train.hashes import difference_hash, distances, shared_pictures


def smooth(path: Path, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = cv2.resize(coarse, (120, 120), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), image)
    return image


def test_a_smaller_paler_copy_is_found_and_a_stranger_is_not(tmp_path: Path) -> None:
    image = smooth(tmp_path / "a.png", 0)
    smooth(tmp_path / "stranger.png", 1)
    copy = tmp_path / "copy.jpg"
    cv2.imwrite(str(copy), cv2.resize(image // 2 + 60, (70, 70), interpolation=cv2.INTER_AREA))
    pairs = shared_pictures([copy, tmp_path / "stranger.png"], [tmp_path / "a.png"])
    assert pairs == [(copy, tmp_path / "a.png")]


def test_an_unreadable_file_is_nobodys_copy(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    assert difference_hash(tmp_path / "broken.jpg") == 0
    assert shared_pictures([tmp_path / "broken.jpg"], [tmp_path / "broken.jpg"]) == []


def test_distances_count_bits() -> None:
    assert distances(np.uint64(0b1011), np.array([0b1011, 0, 2**63], np.uint64)).tolist() == [0, 3, 4]
