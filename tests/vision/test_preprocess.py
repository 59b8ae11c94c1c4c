"""Resizing of whole frames."""

import numpy as np
import pytest

from app.core.images import fast_resized, resize


@pytest.mark.parametrize("size_px", [(160, 120), (80, 60), (213, 160), (100, 75), (45, 34), (480, 360)])
def test_a_fast_resize_looks_like_the_exact_one(size_px: tuple[int, int]) -> None:
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    waves = 127 + 60 * np.sin(x / 9) + 60 * np.cos(y / 7 + x / 20)
    image = np.dstack([waves, waves[::-1], waves[:, ::-1]]).astype(np.uint8)
    fast, exact = fast_resized(image, *size_px), resize(image, *size_px)
    assert fast.shape == (size_px[1], size_px[0], 3)
    assert np.abs(fast.astype(int) - exact).mean() < 2.0
    assert fast_resized(image, 320, 240) is image
