"""The augmented batches are balanced, repeatable and independent of properties of the data sets."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import DataError
from app.core.types import Box, Detection, Image, Label
from app.training.classifier.augmentation import AugmentedBatches, ClassifierAugmentation, with_rendered_mask
from app.training.classifier.synthetic_masks import face_axes, hold_in_front, swap_lower_face, wear_mask
from app.training.data.face_pool import NoDetector, PooledFace, build_pool, central_crops
from app.training.types import Sample

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
LANDMARKS = np.array([[45, 50], [75, 50], [60, 66], [48, 82], [72, 82]], np.float32)


def face(label: Label, source: str, seed: int = 0, landmarks: bool = True, framed: bool = True) -> PooledFace:
    patch = np.random.default_rng(seed).integers(60, 200, (120, 120, 3), np.uint8)
    box = Box(30, 25, 60, 75)
    sample = Sample(Path(f"{source}.png"), label, source, box if framed else None)
    return PooledFace(
        patch, label, source, sample, None if framed else box, box, LANDMARKS if landmarks else None, 60.0
    )


def some_faces() -> list[PooledFace]:
    return [face(label, source, i) for i, label in enumerate(LABELS) for source in ("a", "b")]


def test_an_epoch_is_repeatable_and_another_differs() -> None:
    batches = AugmentedBatches(some_faces(), LABELS, ClassifierAugmentation(batch=16, steps=2))
    first, again, other = (list(batches.epoch(index)) for index in (0, 0, 1))
    assert len(first) == batches.steps == 2
    assert first[0][0].shape == (16, 64, 64, 3)
    assert first[0][0].dtype == np.uint8
    assert all(
        np.array_equal(one, two) for a, b in zip(first, again, strict=True) for one, two in zip(a, b, strict=True)
    )
    assert not np.array_equal(first[0][0], other[0][0])


def test_classes_are_drawn_in_their_shares_for_any_set_sizes() -> None:
    faces = [face(Label.MASK, "a")] * 200 + some_faces()
    settings = ClassifierAugmentation(batch=64, steps=20, class_shares=(0.4, 0.4, 0.2))
    counts = sum(targets.sum(axis=0) for _, targets in AugmentedBatches(faces, LABELS, settings).epoch(0))
    assert counts / counts.sum() == pytest.approx([0.4, 0.4, 0.2], abs=0.05)


@pytest.mark.parametrize("labels", [LABELS, (*LABELS, Label.NOT_FACE)])
def test_hard_negatives_are_learned_as_not_face_or_as_no_label(labels: tuple[Label, ...]) -> None:
    sample = Sample(Path("c.png"), Label.NOT_FACE, "c")
    white = np.full((120, 120, 3), 255, np.uint8)
    negative = PooledFace(white, Label.NOT_FACE, "c", sample, None, Box(30, 25, 60, 75), None, 60.0)
    settings = ClassifierAugmentation(batch=40, steps=4, nothing_share=0.25)
    targets = np.concatenate(
        [targets for _, targets in AugmentedBatches([*some_faces(), negative], labels, settings).epoch(0)]
    )
    assert targets.sum(axis=1) == pytest.approx(np.ones(160))
    expected = np.eye(4)[3] if Label.NOT_FACE in labels else np.full(3, 1 / 3)
    assert np.isclose(targets, expected).all(axis=1).mean() == pytest.approx(0.25, abs=0.12)
    without = np.concatenate([targets for _, targets in AugmentedBatches(some_faces(), labels, settings).epoch(0)])
    assert set(without.argmax(axis=1)) == {0, 1, 2}
    assert without.max(axis=1).min() == 1.0


def test_some_crops_are_dark_and_some_have_a_bright_background() -> None:
    """Faces at night and before windows are drawn of every class."""
    faces = [replace(one, patch=np.full((120, 120, 3), 120, np.uint8)) for one in some_faces()]
    settings = ClassifierAugmentation(input_px=32, batch=256, steps=1, synthetic_shares=(0.0, 0.0, 0.0), held_share=0.0)
    ((crops, targets),) = AugmentedBatches(faces, LABELS, settings).epoch(0)
    middle, corner = crops[:, 12:20, 12:20].mean((1, 2, 3)), crops[:, :3, :3].mean((1, 2, 3))
    for label in range(len(LABELS)):
        of_label = targets[:, label] == 1
        assert (middle[of_label] < 35).any()
        assert (corner - middle > 80)[of_label].any()


def test_the_pooled_faces_are_not_changed() -> None:
    faces = some_faces()
    before = [one.patch.copy() for one in faces]
    list(AugmentedBatches(faces, LABELS, ClassifierAugmentation(batch=32, steps=3)).epoch(0))
    assert all(np.array_equal(one.patch, kept) for one, kept in zip(faces, before, strict=True))


def changed(before: Image, after: Image, x: int, y: int) -> bool:
    return bool(np.abs(before[y, x].astype(int) - after[y, x].astype(int)).max() > 8)


@pytest.mark.parametrize("seed", range(12))
def test_a_rendered_mask_covers_nose_and_mouth_and_no_eye(seed: int) -> None:
    bare = np.full((120, 120, 3), 140, np.uint8)
    axes = face_axes(LANDMARKS)
    assert axes is not None
    worn = wear_mask(bare, axes, np.random.default_rng(seed))
    nose_mouth = [(60, 66), (52, 82), (68, 82), (60, 90)]
    covered = np.mean([np.abs(worn[y - 2 : y + 3, x - 2 : x + 3].astype(int) - 140).mean() > 2 for x, y in nose_mouth])
    assert covered == 1.0
    assert not any(changed(bare, worn, x, y) for x, y in ((45, 46), (75, 46)))


@pytest.mark.parametrize("seed", range(12))
def test_an_incorrectly_worn_mask_leaves_the_nose_bare(seed: int) -> None:
    bare = np.full((120, 120, 3), 140, np.uint8)
    axes = face_axes(LANDMARKS)
    assert axes is not None
    for how, y in (("nose", 98), ("chin", 108)):
        worn = wear_mask(bare, axes, np.random.default_rng(seed), how)
        assert not changed(bare, worn, 60, 64)
        assert np.abs(worn[y - 3 : y + 3, 55:65].astype(int) - 140).mean() > 2
        if how == "chin":
            assert not changed(bare, worn, 60, 82)


def test_objects_in_front_of_a_face_change_it() -> None:
    bare = np.full((120, 120, 3), 140, np.uint8)
    axes = face_axes(LANDMARKS)
    assert axes is not None
    assert all(np.any(hold_in_front(bare, axes, np.random.default_rng(seed)) != bare) for seed in range(12))


def test_no_mask_is_drawn_on_a_profile() -> None:
    profile = LANDMARKS.copy()
    profile[:, 0] = [58, 62, 66, 58, 62]
    assert face_axes(profile) is None
    assert with_rendered_mask(face(Label.NO_MASK, "a", landmarks=False), Label.MASK, np.random.default_rng(0)) is None


class FixedDetector:
    """Finds one face in the middle. ``part`` is its width relative to the image."""

    def __init__(self, part: float) -> None:
        self.part = part

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        side = self.part * width
        box = Box((width - side) / 2, (height - side) / 2, side, side)
        return [Detection(box, 0.9, tuple((x / 120 * width, y / 120 * height) for x, y in LANDMARKS.tolist()))]


@pytest.mark.parametrize(("part", "framed"), [(0.3, True), (0.8, False)])
def test_a_small_face_is_cut_out_of_its_image_and_a_tight_one_is_not(tmp_path: Path, part: float, framed: bool) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    (found,) = build_pool([Sample(path, Label.NO_MASK, "a")], FixedDetector(part)).faces
    assert (found.whole is None) == framed
    assert found.box is not None
    assert found.box.center[0] == pytest.approx(found.patch.shape[1] / 2, abs=2)
    assert max(found.patch.shape) <= 128


def test_in_the_box_of_a_head_the_detector_finds_the_face(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    head = Sample(path, Label.NO_MASK, "heads", Box(40, 50, 100, 100))
    (as_given,) = build_pool([head], FixedDetector(0.5)).faces
    (as_found,) = build_pool([head], FixedDetector(0.5), frozenset({"heads"})).faces
    assert as_given.size_px == 100
    assert as_found.size_px == pytest.approx(60, abs=1)  # half of the head with its margin
    assert as_found.box is not None
    assert as_found.box.center[0] == pytest.approx(as_found.patch.shape[1] / 2, abs=2)
    assert build_pool([head], NoDetector(), frozenset({"heads"})).faces == []


def test_samples_without_a_face_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8))
    inside, outside = (Sample(path, Label.MASK, "a", Box(x, 20, 30, 30)) for x in (20, 400))
    (tmp_path / "broken.png").write_bytes(b"nothing")
    broken = Sample(tmp_path / "broken.png", Label.MASK, "a", Box(1, 1, 30, 30))
    whole = [Sample(tmp_path / f"{i}.png", Label.MASK, "a", Box(1, 1, 30, 30)) for i in range(10)]
    for sample in whole:
        cv2.imwrite(str(sample.path), np.zeros((50, 50, 3), np.uint8))
    pool = build_pool([inside, outside, broken, *whole], FixedDetector(0.5))
    assert len(pool.faces) == 11
    assert [one.path.name for one in pool.left_out] == ["a.png", "broken.png"]


def test_sizes_are_those_of_the_source_image(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (600, 500, 3), np.uint8))
    whole, framed = Sample(path, Label.MASK, "a"), Sample(path, Label.MASK, "a", Box(50, 50, 300, 320))
    crops = central_crops(build_pool([whole, framed], FixedDetector(0.9)).faces, LABELS, 64, 0.1)
    assert crops.sizes_px.tolist() == [500, 300]
    (small,) = build_pool([whole], FixedDetector(0.3)).faces  # cut out like a face in a frame
    assert small.size_px == pytest.approx(150, abs=1)


def test_boxes_outside_all_images_raise_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(DataError, match=r"no face can be used; the first: .*a.png: a box of .* is outside"):
        build_pool([Sample(path, Label.MASK, "a", Box(0.2, 0.2, 0.5, 0.5))], FixedDetector(0.5))


def test_labels_keep_their_shares_for_any_set_of_labels() -> None:
    two = (Label.NO_MASK, Label.INCORRECT)
    faces = [face(Label.NO_MASK, "a"), face(Label.INCORRECT, "b")]
    settings = ClassifierAugmentation(
        batch=64, steps=10, class_shares=(0.5, 0.4, 0.1), synthetic_shares=(0.0, 0.0, 0.0)
    )
    targets = np.concatenate([targets for _, targets in AugmentedBatches(faces, two, settings).epoch(0)])
    assert targets.mean(axis=0) == pytest.approx([0.8, 0.2], abs=0.05)
    masked = replace(settings, synthetic_shares=(1.0, 0.0, 0.0))  # no mask is rendered on faces that stay bare
    shown, again = (next(iter(AugmentedBatches(faces, two, each).epoch(0)))[0] for each in (settings, masked))
    np.testing.assert_array_equal(shown, again)


def test_central_crops_are_squares_around_the_box() -> None:
    crops = central_crops([face(Label.MASK, "a")], LABELS, 64, 0.1)
    assert crops.images.shape == (1, 64, 64, 3)
    assert crops.sizes_px.tolist() == [60]


def test_a_swapped_face_has_the_lower_half_of_the_donor_and_the_rest_of_the_other() -> None:
    axes = face_axes(LANDMARKS)
    assert axes is not None
    other, donor = np.full((120, 120, 3), 120, np.uint8), np.full((120, 120, 3), 120, np.uint8)
    donor[70:] = (20, 60, 200)
    swapped = swap_lower_face(other, axes, donor, axes, np.random.default_rng(0))
    np.testing.assert_allclose(swapped[82, 60], (20, 60, 200), atol=3)
    np.testing.assert_array_equal(swapped[:40], other[:40])
    np.testing.assert_array_equal(swapped[:, :10], other[:, :10])
    assert (other == 120).all(), "the patches are not changed"


def test_a_swapped_face_takes_the_light_of_the_other() -> None:
    axes = face_axes(LANDMARKS)
    assert axes is not None
    dark, bright = np.full((120, 120, 3), 70, np.uint8), np.full((120, 120, 3), 140, np.uint8)
    swapped = swap_lower_face(dark, axes, bright, axes, np.random.default_rng(0))
    np.testing.assert_allclose(swapped[82, 60], 70, atol=6)


def test_swapped_faces_keep_the_label_of_their_lower_half() -> None:
    """Masked faces are white below, bare ones black; the surroundings come from any face."""
    faces = []
    for label, colour in ((Label.MASK, 255), (Label.NO_MASK, 0)):
        one = face(label, "a")
        patch = np.full((120, 120, 3), 120, np.uint8)
        patch[70:] = colour
        faces.append(replace(one, patch=patch))
    settings = ClassifierAugmentation(
        input_px=32, batch=64, steps=1, synthetic_shares=(0.0,) * 3, swap_shares=(1.0,) * 3, held_share=0.0
    )
    ((crops, targets),) = AugmentedBatches(faces, (Label.MASK, Label.NO_MASK), settings).epoch(0)
    below, above = crops[:, 20:24, 12:20].mean((1, 2, 3)), crops[:, :4, 12:20].mean((1, 2, 3))
    is_masked = targets[:, 0] == 1
    assert np.mean((below > above) == is_masked) > 0.9
