"""Rotation and mirroring by the settings of a camera."""

from collections.abc import Callable

import numpy as np
import pytest

from app.capture.geometry import corrected
from app.core.types import Image
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
