"""Scenes, their split, pseudo-labels, and boxes after augmentation."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from app.core.errors import DataError
from app.core.types import Box, Detection, Image, Label
from app.training.data.images import CachedDetector, ImageCache
from app.training.data.near_duplicates import near_duplicate_groups
from app.training.detector.augmentation import (
    DetectorAugmentation,
    Sampler,
    TrainingView,
    degrade,
    flip,
    mosaic,
    paste,
    scene_view,
)
from app.training.detector.scenes import (
    FaceCrop,
    PseudoLabelThresholds,
    as_array,
    read_crops,
    split_scenes,
    with_pseudo_labels,
)
from app.training.types import Scene, SceneFace

POINTS = ((12.0, 14.0), (18.0, 14.0), (15.0, 18.0), (13.0, 22.0), (17.0, 22.0))


def blob_scene(folder: Path, name: str, source: str = "here", seed: int = 0) -> Scene:
    """Noise with one magenta rectangle, which is the annotated face."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 90, (120, 160, 3), dtype=np.uint8)
    x, y = int(rng.integers(10, 90)), int(rng.integers(10, 60))
    image[y : y + 40, x : x + 32] = (255, 0, 255)
    path = folder / name
    cv2.imwrite(str(path), image)
    return Scene(path, source, (SceneFace(Box(x, y, 32, 40), Label.MASK),))


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg"):
        ImageCache().get(tmp_path / "text.jpg")


def test_images_that_do_not_fit_in_the_cache_are_read_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((10, 10, 3), np.uint8))
    cache = ImageCache(max_bytes=300)
    first, second = (cache.get(tmp_path / f"{name}.png") for name in ("a", "b"))
    assert cache.get(tmp_path / "a.png") is first
    assert cache.get(tmp_path / "b.png") is not second
    assert not second.flags.writeable


def test_near_duplicates_share_a_group_transitively() -> None:
    chain = [0b0, 0b1111, 0b11111111, 1 << 40 | 0xFFFF0000]
    assert near_duplicate_groups(chain) == [0, 0, 0, 3]
    assert near_duplicate_groups([]) == []


def test_the_split_keeps_groups_and_develops_on_no_rough_source(tmp_path: Path) -> None:
    scenes = [blob_scene(tmp_path, f"{i}.png", "tfm" if i % 7 == 0 else "here", seed=i // 2) for i in range(60)]
    train, development = split_scenes(scenes, ImageCache())
    assert len(train) + len(development) == 60
    assert development
    assert {scene.source for scene in development} == {"here"}
    pairs = {int(scene.path.stem) // 2 for scene in train}
    assert not pairs & {int(scene.path.stem) // 2 for scene in development}


def test_held_back_lists_decide_the_split(tmp_path: Path) -> None:
    scenes = [Scene(tmp_path / f"{i}.png", "beards" if i == 5 else "here", ()) for i in range(6)]
    held_back = {"development": ["1.png", "5.png"], "empty_test": ["2.png"]}
    train, development = split_scenes(scenes, ImageCache(), held_back)
    assert [scene.path.stem for scene in train] == ["0", "3", "4"]  # the boxes of 5 are incomplete
    assert [scene.path.stem for scene in development] == ["1"]


def test_a_teacher_adds_landmarks_faces_and_neutral_regions_only() -> None:
    scene = Scene(Path("a"), "", (SceneFace(Box(10, 10, 10, 14), Label.MASK),))
    found = [
        Detection(Box(10, 11, 10, 14), 0.9, POINTS),
        Detection(Box(14, 16, 30, 30), 0.8),  # overlaps the annotated face but does not match it
        Detection(Box(60, 10, 12, 12), 0.8, POINTS),
        Detection(Box(90, 10, 12, 12), 0.4),
        Detection(Box(120, 10, 12, 12), 0.1),
    ]
    labelled = with_pseudo_labels(scene, found, PseudoLabelThresholds(sure=0.75, doubt=0.3))
    assert labelled.faces == (
        SceneFace(Box(10, 10, 10, 14), Label.MASK, POINTS),
        SceneFace(Box(60, 10, 12, 12), None, POINTS),
    )
    assert labelled.neutral == (Box(90, 10, 12, 12),)


class FixedTeacher:
    """Detects the same in every image. ``shown``: the images it got."""

    def __init__(self, *found: Detection) -> None:
        self.found = list(found)
        self.shown: list[Image] = []

    def detect(self, image: Image) -> list[Detection]:
        self.shown.append(image)
        return self.found


def test_detections_are_computed_once_for_each_content(tmp_path: Path) -> None:
    images = [np.full((10, 20, 3), grey, np.uint8) for grey in (1, 2)]
    images.append(images[0].reshape(20, 10, 3))
    found = [Detection(Box(1, 2, 3, 4), 0.5, POINTS), Detection(Box(1, 2, 3, 4), 0.4)]
    teacher = FixedTeacher(*found)
    with CachedDetector(teacher, tmp_path / "found.json") as detector:
        assert [detector.detect(image) for image in images + images] == [found] * 6
    assert len(teacher.shown) == 3
    with CachedDetector(FixedTeacher(), tmp_path / "found.json") as resumed:
        assert resumed.detect(images[0]) == found
        assert resumed.detect(images[0] + 7) == []


def test_face_crops_use_the_teachers_box_or_the_usual_one(tmp_path: Path) -> None:
    for folder in ("crops/kary/mask", "crops/rmfd_part2/mask", "crops/jnogra/not_face"):
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "a.png"), np.full((80, 80, 3), 50, np.uint8))
    blind = read_crops(tmp_path, ImageCache(), FixedTeacher())
    assert [(crop.path.parts[-3], crop.face is None) for crop in blind] == [("jnogra", True), ("rmfd_part2", False)]
    # in the framed image: twice as large, 80 px of border
    seeing = FixedTeacher(Detection(Box(80 + 20, 80 + 10, 100, 120), 0.9))
    crops = read_crops(tmp_path, ImageCache(), seeing)
    assert [crop.path.parts[-3] for crop in crops] == ["kary", "rmfd_part2"]
    assert all(crop.face is not None and crop.face.box == Box(10, 5, 50, 60) for crop in crops)


def magenta(image: Image) -> tuple[int, int, int, int]:
    """x, y, x2, y2 of the magenta area."""
    rows, columns = np.nonzero((image[..., 0] > 170) & (image[..., 1] < 60))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("seed", range(30))
def test_boxes_follow_their_faces_in_every_view(tmp_path: Path, seed: int) -> None:
    scene = blob_scene(tmp_path, "a.png", seed=seed)
    rng = np.random.default_rng(seed)
    image = ImageCache().get(scene.path)
    view = scene_view(scene, image, (96, 128), rng, DetectorAugmentation())
    if rng.random() < 0.5:
        flip(view)
    assert view.image.shape == (128, 96, 3)
    for box in np.concatenate([view.faces[:, :4], view.neutral]):
        if (box[2:] - box[:2]).min() >= 8:
            assert magenta(view.image) == pytest.approx(box, abs=2.5)


def test_a_flip_mirrors_landmarks_and_exchanges_left_and_right() -> None:
    face = SceneFace(Box(10, 10, 10, 16), Label.MASK, POINTS)
    view = TrainingView(np.zeros((40, 60, 3), np.uint8), as_array([face]), np.empty((0, 4), np.float32))
    flip(view)
    assert view.faces[0, :4].tolist() == [40, 10, 50, 26]
    assert view.faces[0, 4:].reshape(5, 2).tolist() == [[42, 14], [48, 14], [45, 18], [43, 22], [47, 22]]


def test_a_mosaic_moves_boxes_with_their_images() -> None:
    views = []
    for width, height in ((20, 30), (40, 30), (20, 50), (40, 50)):
        face = as_array([SceneFace(Box(2, 3, 8, 9), None)])
        views.append(
            TrainingView(np.full((height, width, 3), width, np.uint8), face, np.array([[0, 0, 5, 5]], np.float32))
        )
    whole = mosaic(views, (20, 30), (60, 80))
    assert whole.faces[:, :4].tolist() == [[2, 3, 10, 12], [22, 3, 30, 12], [2, 33, 10, 42], [22, 33, 30, 42]]
    assert whole.neutral[3].tolist() == [20, 30, 25, 35]
    assert whole.image[0, 25, 0] == whole.image[79, 59, 0] == 40


@pytest.mark.parametrize("seed", range(20))
def test_pasted_faces_cover_no_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    view = TrainingView(
        np.zeros((128, 128, 3), np.uint8),
        as_array([SceneFace(Box(40, 40, 40, 40), None)]),
        np.empty((0, 4), np.float32),
    )
    crop = FaceCrop(Path("c"), SceneFace(Box(0, 0, 50, 50), Label.MASK))
    paste(view, crop, np.full((50, 50, 3), 255, np.uint8), rng, DetectorAugmentation())
    assert view.image[40:80, 40:80].max() == 0
    for face in view.faces[1:]:
        x, y, x2, y2 = face[:4].round().astype(int)
        assert view.image[(y + y2) // 2, (x + x2) // 2].min() == 255
        assert not view.image[:, :x].any() or not view.image[:y].any()


def test_pasted_images_without_a_face_add_no_face() -> None:
    view = TrainingView(np.zeros((128, 128, 3), np.uint8), as_array([]), np.empty((0, 4), np.float32))
    paste(
        view,
        FaceCrop(Path("c"), None),
        np.full((50, 50, 3), 255, np.uint8),
        np.random.default_rng(0),
        DetectorAugmentation(),
    )
    assert view.image.any()
    assert len(view.faces) == len(view.neutral) == 0


@pytest.mark.parametrize("seed", range(12))
def test_degrading_keeps_shape_type_and_the_given_image(seed: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    before = image.copy()
    always = DetectorAugmentation(colour=1, grey=1, low_light=1, blur=1, jpeg=1, noise=1)
    out = degrade(image, np.random.default_rng(seed), always)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert not np.array_equal(out, image)
    assert np.array_equal(image, before)


def test_the_same_seed_makes_the_same_image(tmp_path: Path) -> None:
    scenes = [blob_scene(tmp_path, f"{i}.png", seed=i) for i in range(4)]
    sampler = Sampler(
        scenes, [FaceCrop(scenes[0].path, scenes[0].faces[0])], ImageCache(), DetectorAugmentation(paste=1.0)
    )
    views = [sampler.sample(1, 96, np.random.default_rng(5)) for _ in range(2)]
    assert np.array_equal(views[0].image, views[1].image)
    assert views[0].image.shape == (96, 96, 3)
    assert views[0].faces.shape[1] == 14
