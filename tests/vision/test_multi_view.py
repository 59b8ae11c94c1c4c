"""A single image is searched in several sizes, one of them mirrored; the scores of all views count."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.core.types import Box, Detection, Image
from app.vision.multi_view import MISSING, VIEWS, MultiViewDetector, comparable_score

EYES_NOSE_MOUTH = ((10.0, 10.0), (30.0, 10.0), (20.0, 20.0), (12.0, 30.0), (28.0, 30.0))
IMAGE = np.zeros((100, 200, 3), np.uint8)
IMAGE[:, :100] = 255
FACE = Box(10, 20, 40, 50)
SHRUNK, MIRRORED, ENLARGED = VIEWS
LEAST = 0.4


class Views:
    """A detector that finds each given face of ``IMAGE`` in the views that it is given for."""

    def __init__(self, *found: tuple[Detection, Sequence[object]]) -> None:
        self._found = found
        self.sizes: list[tuple[int, int]] = []

    def detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        self.sizes.append((width, height))
        (shown,) = (view for view in VIEWS if width == round(200 * view.factor))
        assert shown.is_mirrored == (not image[0, 0].any())
        here = [face for face, views in self._found if shown in views]
        if shown.is_mirrored:
            here = [_mirror_image(face) for face in here]
        return [face.mapped(shown.factor, shown.factor) for face in here]


def _mirror_image(face: Detection) -> Detection:
    order = (1, 0, 2, 4, 3) if face.landmarks else ()
    landmarks = tuple((200 - face.landmarks[index][0], face.landmarks[index][1]) for index in order)
    return Detection(Box(200 - face.box.x2, face.box.y, face.box.width, face.box.height), face.score, landmarks)


def detect(*found: tuple[Detection, Sequence[object]], least_px: float = 8) -> list[Detection]:
    return MultiViewDetector(Views(*found), LEAST, least_px).detect(IMAGE)


def test_the_score_is_the_mean_of_all_views() -> None:
    (face,) = detect(
        (Detection(FACE, 0.9), [SHRUNK]),
        (Detection(FACE, 0.5), [MIRRORED]),
        (Detection(FACE, 0.7), [ENLARGED]),
    )
    assert face.score == pytest.approx(comparable_score(0.7))
    assert [face.box.x, face.box.y, face.box.x2, face.box.y2] == pytest.approx([10, 20, 50, 70])


def test_the_views_have_different_sizes() -> None:
    views = Views()
    MultiViewDetector(views, LEAST, 8).detect(IMAGE)
    assert views.sizes == [(140, 70), (200, 100), (300, 150)]


def test_the_box_is_that_of_the_surest_view() -> None:
    (face,) = detect(
        (Detection(FACE, 0.5), [SHRUNK, ENLARGED]),
        (Detection(Box(12, 20, 40, 50), 0.9), [MIRRORED]),
    )
    assert [face.box.x, face.box.y, face.box.width, face.box.height] == pytest.approx([12, 20, 40, 50])


@pytest.mark.parametrize("views", [VIEWS[:2], VIEWS[1:], [SHRUNK, ENLARGED]])
@pytest.mark.parametrize(("score", "is_face"), [(0.42, True), (0.35, False)])
def test_a_face_that_one_view_lacks_must_be_surer(views: Sequence[object], score: float, is_face: bool) -> None:
    """That view counts as below the least score."""
    found = detect((Detection(FACE, score), views))
    assert bool(found) is is_face
    assert all(each.score == pytest.approx(comparable_score((2 * score + LEAST - MISSING) / 3)) for each in found)


def test_agreeing_views_are_surer_than_one_view() -> None:
    means = (0.3, 0.5, 0.9)
    assert all(mean < comparable_score(mean) < mean + 0.08 for mean in means)
    assert [comparable_score(mean) for mean in (0.0, 1.0)] == [0, 1]


@pytest.mark.parametrize("view", VIEWS)
def test_landmarks_of_each_view_keep_their_sides(view: object) -> None:
    """The right eye of a mirrored face is the left one of the person."""
    (face,) = detect((Detection(Box(0, 0, 40, 40), 0.9, EYES_NOSE_MOUTH), [view]))
    assert np.allclose(face.landmarks, EYES_NOSE_MOUTH)


def test_two_faces_of_one_view_do_not_support_each_other() -> None:
    near = [Detection(Box(10, 20, 40, 40), 0.9), Detection(Box(100, 20, 40, 40), 0.8)]
    found = detect(*((face, [SHRUNK]) for face in near))
    missing = LEAST - MISSING
    expected = [comparable_score((score + 2 * missing) / 3) for score in (0.9, 0.8)]
    assert [face.score for face in found] == pytest.approx(expected)


def test_a_second_box_on_a_face_in_one_view_is_dropped() -> None:
    (face,) = detect((Detection(FACE, 0.9), VIEWS), (Detection(Box(14, 22, 40, 50), 0.5), [SHRUNK]))
    assert face.score == pytest.approx(comparable_score(0.9))


def test_a_part_of_a_surer_face_is_left_out() -> None:
    whole, part = Detection(Box(10, 10, 80, 80), 0.9), Detection(Box(30, 30, 30, 30), 0.8)
    (face,) = detect((whole, VIEWS), (part, VIEWS))
    assert face.box.width == pytest.approx(80)


@pytest.mark.parametrize("view", VIEWS)
def test_the_size_of_a_face_is_that_in_the_image(view: object) -> None:
    small = (Detection(Box(10, 20, 7, 7), 0.9), [view])
    assert detect(small) == []
    assert len(detect(small, least_px=6)) == 1


@pytest.mark.parametrize(
    ("width", "widths"), [(200, [140, 200, 300]), (2000, [1400, 2000, 2600]), (4000, [2800, 4000, 4000])]
)
def test_large_images_are_enlarged_less(width: int, widths: list[int]) -> None:
    seen: list[int] = []

    class Nothing:
        def detect(self, image: Image) -> list[Detection]:
            seen.append(image.shape[1])
            return []

    MultiViewDetector(Nothing(), LEAST, 8).detect(np.zeros((20, width, 3), np.uint8))
    assert seen == widths
