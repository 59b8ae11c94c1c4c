"""Crops for training are equal to the monitor's crops, and unreadable images are listed."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import DataError
from app.core.types import Box, Label
from app.training.data.crops import Crops, load_crops, usable_box
from app.training.paper.training import PaperBatches
from app.training.types import LeftOut, Sample
from app.vision.preprocess import face_crop, to_crop

LABELS = (Label.MASK, Label.NO_MASK)


def noisy_image(path: Path, seed: int = 0, width_px: int = 60, height_px: int = 50) -> Path:
    image = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), np.uint8)
    cv2.imwrite(str(path), image)
    return path


def test_a_crop_is_equal_to_the_monitors_crop(tmp_path: Path) -> None:
    path = noisy_image(tmp_path / "a.png")
    box = Box(10, 12, 20, 24)
    samples = [Sample(path, Label.MASK, "a", box), Sample(path, Label.NO_MASK, "a")]
    crops = load_crops(samples, LABELS, 32, 0.2)
    image = cv2.imread(str(path))
    assert np.array_equal(crops.images[0], face_crop(image, box, 32, 0.2))
    assert np.array_equal(crops.images[1], to_crop(image, 32))
    assert crops.targets.tolist() == [0, 1]
    assert crops.sizes_px.tolist() == [20, 50]


def test_equal_resolution_removes_fine_detail(tmp_path: Path) -> None:
    samples = [Sample(noisy_image(tmp_path / "a.png"), Label.MASK, "a")]
    full, equal = (load_crops(samples, LABELS, 32, 0.0, sight).images[0].astype(float) for sight in (0, 8))
    assert equal.std() < 0.5 * full.std()


def test_unreadable_images_are_listed_and_too_many_raise(tmp_path: Path) -> None:
    samples = [Sample(noisy_image(tmp_path / f"{i}.png", i), Label.MASK, "a") for i in range(19)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 not an image")
    crops = load_crops([*samples, Sample(broken, Label.NO_MASK, "a")], LABELS, 16, 0.0)
    assert crops.left_out == (LeftOut(broken, "cannot be read"),)
    assert len(crops.samples) == 19
    with pytest.raises(DataError, match=r"cannot be read; the first: .*broken\.jpg"):
        load_crops([samples[0], Sample(broken, Label.NO_MASK, "a")], LABELS, 16, 0.0)


def test_boxes_outside_their_image_are_left_out_and_reported(tmp_path: Path) -> None:
    path = noisy_image(tmp_path / "a.png")
    boxes = [Box(500, 500, 20, 20), Box(10, 10, 20, 20), Box(0, 0, 1e6, 1e6)]
    crops = load_crops([Sample(path, Label.MASK, "a", box) for box in boxes], LABELS, 16, 0.0)
    assert [sample.box for sample in crops.samples] == boxes[1:]
    assert crops.sizes_px.tolist() == [20, 50]
    assert [entry.path for entry in crops.left_out] == [path]
    assert "is outside the image" in crops.left_out[0].reason
    assert crops.where(crops.sizes_px > 30).left_out == crops.left_out
    with pytest.raises(DataError, match="no face can be used"):
        load_crops([Sample(path, Label.MASK, "a", boxes[0])], LABELS, 16, 0.0)


@pytest.mark.parametrize(
    ("box", "usable"),
    [
        (Box(-10, 5, 30, 30), Box(-10, 5, 30, 30)),
        (Box(-60, -50, 170, 140), Box(-60, -50, 170, 140)),
        (Box(-61, 10, 100, 20), Box(0, 10, 39, 20)),
        (Box(5, 5, 20, 1e9), Box(5, 5, 20, 45)),
        (Box(59, 0, 30, 30), Box(59, 0, 30, 30)),
        (Box(59.5, 0, 30, 30), None),
        (Box(-30, 0, 30, 30), None),
        (Box(10, 10, 0.3, 9), None),
        (Box(float("nan"), 10, 5, 9), None),
    ],
)
def test_a_box_is_clipped_only_far_outside_the_image(box: Box, usable: Box | None) -> None:
    assert usable_box(box, np.zeros((50, 60, 3), np.uint8)) == usable


def some_crops(count: int) -> Crops:
    rng = np.random.default_rng(1)
    sample = Sample(Path("a.png"), Label.MASK, "a")
    images = rng.integers(0, 256, (count, 24, 24, 3), np.uint8)
    return Crops(images, np.arange(count) % 2, np.full(count, 24.0), (sample,) * count, LABELS)


def test_the_papers_batches_contain_every_image_once_and_repeat() -> None:
    batches = PaperBatches(some_crops(21), batch=8, seed=3)
    first, again, other = (list(batches.epoch(index)) for index in (0, 0, 1))
    assert batches.steps == len(first) == 3
    assert sum(targets.sum() for _, targets in first) == 21
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], other[0][0])


def test_the_papers_augmentation_keeps_the_centre() -> None:
    crops = some_crops(1)
    crops.images[:] = 0
    crops.images[0, 11:13, 11:13] = 255
    for index in range(8):
        ((images, _),) = PaperBatches(crops, batch=1, seed=index).epoch(index)
        ys, xs = np.nonzero(images[0, ..., 0] > 100)
        assert abs(ys.mean() - 11.5) < 1
        assert abs(xs.mean() - 11.5) < 1
