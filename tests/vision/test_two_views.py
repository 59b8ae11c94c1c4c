"""A single image is searched as it is and mirrored; the scores of both views count."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from app.core.types import Box, Detection, Image
from app.vision.two_views import MISSING, TwoViewDetector

EYES_NOSE_MOUTH = ((10.0, 10.0), (30.0, 10.0), (20.0, 20.0), (12.0, 30.0), (28.0, 30.0))
IMAGE = np.zeros((100, 200, 3), np.uint8)
IMAGE[:, :100] = 255


class Views:
    """Answers for the image (its left half is white) and for the mirrored view, whose width is given too."""

    def __init__(self, plain: Sequence[Detection], mirrored: Callable[[float], Sequence[Detection]]) -> None:
        self._plain, self._mirrored = plain, mirrored
        self.sizes: list[tuple[int, int]] = []

    def detect(self, image: Image) -> list[Detection]:
        self.sizes.append((image.shape[1], image.shape[0]))
        return list(self._plain if image[0, 0].any() else self._mirrored(image.shape[1] / 200))


def mirrored(box: Box, score: float) -> Callable[[float], list[Detection]]:
    """A face of the mirrored view that is ``box`` in the image."""
    return lambda factor: [Detection(Box(200 - box.x2, box.y, box.width, box.height).scaled(factor), score)]


def test_the_score_is_the_mean_of_both_views() -> None:
    views = Views([Detection(Box(10, 20, 40, 50), 0.9)], mirrored(Box(12, 20, 40, 50), 0.5))
    (face,) = TwoViewDetector(views, 0.4, 8).detect(IMAGE)
    assert face.score == pytest.approx(0.7)
    assert face.box == Box(10, 20, 40, 50)
    assert views.sizes == [(200, 100), (300, 150)]


def test_the_box_is_that_of_the_surer_view() -> None:
    views = Views([Detection(Box(10, 20, 40, 50), 0.5)], mirrored(Box(12, 20, 40, 50), 0.9))
    (face,) = TwoViewDetector(views, 0.4, 8).detect(IMAGE)
    assert [face.box.x, face.box.y, face.box.width, face.box.height] == pytest.approx([12, 20, 40, 50])


@pytest.mark.parametrize(("score", "is_face"), [(0.46, True), (0.44, False)])
def test_a_face_of_one_view_must_be_surer(score: float, is_face: bool) -> None:
    """The other view counts as just below the least score."""
    only_plain = TwoViewDetector(Views([Detection(Box(10, 20, 40, 50), score)], lambda _: []), 0.4, 8)
    only_mirrored = TwoViewDetector(Views([], mirrored(Box(10, 20, 40, 50), score)), 0.4, 8)
    for detector in (only_plain, only_mirrored):
        found = detector.detect(IMAGE)
        assert bool(found) is is_face
        assert all(each.score == pytest.approx((score + 0.4 - MISSING) / 2) for each in found)


def test_landmarks_of_the_mirrored_view_keep_their_sides() -> None:
    """The right eye of a mirrored face is the left one of the person."""

    def face(factor: float) -> list[Detection]:
        return [Detection(Box(0, 0, 40, 40).scaled(factor), 0.9, EYES_NOSE_MOUTH).mapped(factor, factor)]

    (found,) = TwoViewDetector(Views([], face), 0.4, 8).detect(IMAGE)
    expected = ((170.0, 10.0), (190.0, 10.0), (180.0, 20.0), (172.0, 30.0), (188.0, 30.0))
    assert np.allclose(found.landmarks, expected)


def test_two_faces_of_one_view_are_not_each_others_other_view() -> None:
    near = [Detection(Box(10, 20, 40, 40), 0.8), Detection(Box(100, 20, 40, 40), 0.7)]
    found = TwoViewDetector(Views(near, lambda _: []), 0.4, 8).detect(IMAGE)
    assert [face.score for face in found] == pytest.approx([0.575, 0.525])


def test_a_part_of_a_surer_face_is_left_out() -> None:
    whole, part = Detection(Box(10, 10, 80, 80), 0.9), Detection(Box(30, 30, 30, 30), 0.8)
    (face,) = TwoViewDetector(Views([whole], lambda f: mirrored(part.box, part.score)(f)), 0.4, 8).detect(IMAGE)
    assert face.box == whole.box


def test_a_small_face_of_the_enlarged_view_is_small() -> None:
    views = Views([], mirrored(Box(10, 20, 7, 7), 0.9))
    assert TwoViewDetector(views, 0.4, 8).detect(IMAGE) == []
    assert len(TwoViewDetector(views, 0.4, 6).detect(IMAGE)) == 1


@pytest.mark.parametrize(("width", "enlarged"), [(200, 300), (2000, 2600), (4000, 4000)])
def test_large_images_are_enlarged_less(width: int, enlarged: int) -> None:
    image = np.zeros((20, width, 3), np.uint8)
    image[:, : width // 2] = 255
    views = Views([], lambda _: [])
    TwoViewDetector(views, 0.4, 8).detect(image)
    assert [size[0] for size in views.sizes] == [width, enlarged]
