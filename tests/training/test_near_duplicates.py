"""Near-duplicates are found, different persons are not."""

from pathlib import Path

import cv2
import numpy as np

from app.core.types import Box, Label
from app.training.data.near_duplicates import difference_hash, distances, shared_faces
from app.training.types import Sample


def whole(path: Path) -> Sample:
    return Sample(path, Label.MASK, "a")


def smooth(path: Path, seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    image = cv2.resize(coarse, (120, 120), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), image)
    return image


def test_a_smaller_paler_copy_is_found_and_another_person_is_not(tmp_path: Path) -> None:
    image = smooth(tmp_path / "a.png", 0)
    smooth(tmp_path / "stranger.png", 1)
    copy = tmp_path / "copy.jpg"
    cv2.imwrite(str(copy), cv2.resize(image // 2 + 60, (70, 70), interpolation=cv2.INTER_AREA))
    pairs = shared_faces([whole(copy), whole(tmp_path / "stranger.png")], [whole(tmp_path / "a.png")])
    assert pairs == [(whole(copy), whole(tmp_path / "a.png"))]
    assert shared_faces([whole(copy)], []) == []


def test_equal_gradients_are_not_near_duplicates(tmp_path: Path) -> None:
    lines = {
        "even": np.linspace(250, 10, 120),
        "steep": np.concatenate([np.linspace(250, 230, 110), np.linspace(60, 10, 10)]),
    }
    for name, line in lines.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.tile(line, (120, 1)).astype(np.uint8))
    even, steep = (tmp_path / f"{name}.png" for name in lines)
    assert difference_hash(cv2.imread(str(even))) == difference_hash(cv2.imread(str(steep))) != 0
    assert shared_faces([whole(even)], [whole(steep)]) == []
    assert shared_faces([whole(even)], [whole(even)]) == [(whole(even), whole(even))]


def test_faces_are_compared_and_not_frames_of_one_camera(tmp_path: Path) -> None:
    room = smooth(tmp_path / "room.png", 0)
    for name, seed in (("one", 1), ("two", 2)):
        frame = cv2.resize(room, (480, 480))
        frame[200:248, 200:248] = cv2.resize(smooth(tmp_path / "face.png", seed), (48, 48))
        cv2.imwrite(str(tmp_path / f"{name}.png"), frame)
    box = Box(200, 200, 48, 48)
    one, two = (Sample(tmp_path / f"{name}.png", Label.MASK, "a", box) for name in ("one", "two"))
    assert shared_faces([one], [two]) == []
    assert len(shared_faces([whole(one.path)], [whole(two.path)])) == 1
    outside = Sample(one.path, Label.MASK, "a", Box(900, 900, 20, 20))
    assert shared_faces([one, outside], [one, outside]) == [(one, one)]


def test_an_unreadable_file_is_not_a_near_duplicate(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    pale = tmp_path / "pale.png"
    cv2.imwrite(
        str(pale), np.tile(np.linspace(10, 250, 90), (80, 1)).astype(np.uint8)
    )  # brightness never falls, so its hash is 0 too
    assert shared_faces([whole(tmp_path / "broken.jpg"), whole(pale)], [whole(tmp_path / "broken.jpg")]) == []


def test_distances_count_bits() -> None:
    assert distances(np.uint64(0b1011), np.array([0b1011, 0, 2**63], np.uint64)).tolist() == [0, 3, 4]
