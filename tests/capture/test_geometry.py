"""Blackout, rotation and mirroring by the settings of a camera."""

from collections.abc import Callable

import numpy as np
import pytest

from app.capture.geometry import corrected
from app.core.types import Image
from app.settings.polygons import Polygon
from app.settings.source import SourceSettings

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.mark.parametrize(
    ("rotate", "turned"),
    [
        (0, lambda image: image),
        (90, lambda image: np.rot90(image, -1)),
        (180, lambda image: np.rot90(image, 2)),
        (270, lambda image: np.rot90(image)),
    ],
)
@pytest.mark.parametrize(
    ("flip", "mirrored"),
    [
        ("none", lambda image: image),
        ("horizontal", lambda image: image[:, ::-1]),
        ("vertical", lambda image: image[::-1]),
    ],
)
def test_an_image_is_rotated_clockwise_and_then_mirrored(
    rotate: int, turned: Callable[[Image], Image], flip: str, mirrored: Callable[[Image], Image]
) -> None:
    settings = SourceSettings.model_validate({"uri": "0", "rotate": rotate, "flip": flip})
    before = IMAGE.copy()
    image = corrected(IMAGE, settings)
    assert (image == mirrored(turned(IMAGE))).all()
    assert image.flags.c_contiguous
    assert (before == IMAGE).all(), "the frame is not changed"


@pytest.mark.parametrize("pixel_aspect", [0.0, -1.0, 1.0, 1.004, 12.0, float("nan"), float("inf")])
def test_implausible_pixel_shapes_are_ignored(pixel_aspect: float) -> None:
    assert corrected(IMAGE, SourceSettings(uri="0"), pixel_aspect) is IMAGE


def rectangle(x: float, y: float, x2: float, y2: float) -> Polygon:
    return ((x, y), (x2, y), (x2, y2), (x, y2))


def test_the_blackout_covers_its_polygons_and_nothing_else() -> None:
    image = np.full((100, 200, 3), 255, np.uint8)
    before = image.copy()
    settings = SourceSettings(uri="0", blackout=(rectangle(0, 0, 0.5, 0.5), rectangle(0.25, 0.25, 1, 1)))
    black = (corrected(image, settings) == 0).all(axis=2)
    assert black[:50, :100].all()
    assert black[25:, 50:].all(), "also where two polygons overlap"
    assert not black[60:, :48].any()
    assert not black[:23, 103:].any()
    assert (image == before).all(), "the frame is not changed"
    whole = SourceSettings(uri="0", blackout=(rectangle(0, 0, 1, 1),))
    assert (corrected(image, whole) == 0).all()


def test_the_blackout_stays_on_its_place_when_the_image_is_turned() -> None:
    """It belongs to the picture of the camera: a key that turns the image must not show what is hidden."""
    image = np.full((100, 200, 3), (0, 255, 0), np.uint8)
    image[:, :100] = (0, 0, 255)  # what is to be hidden is red
    for rotate in (0, 90, 180, 270):
        for flip in ("none", "horizontal", "vertical"):
            settings = SourceSettings.model_validate(
                {"uri": "0", "rotate": rotate, "flip": flip, "blackout": [rectangle(0, 0, 0.5, 1)]}
            )
            turned = corrected(image, settings, 1.5)
            assert turned[..., 2].max() == 0
            assert turned[..., 1].max() == 255


@pytest.mark.parametrize("polygon", [((0, 0), (1, 1)), ((0, 0), (1, 0), (1.2, 1))])
def test_a_blackout_must_be_a_polygon_in_the_picture(polygon: Polygon) -> None:
    with pytest.raises(ValueError, match=r"three corners|from 0 to 1"):
        SourceSettings(uri="0", blackout=(polygon,))
