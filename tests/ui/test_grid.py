"""The size of the window, and where each camera is in it."""

import pytest

from app.ui.grid import Grid, best_grid, window_size


@pytest.mark.parametrize(
    ("image_size", "expected"),
    [
        ((320, 240), (640, 480)),  # small images are enlarged
        ((640, 480), (960, 720)),
        ((1280, 720), (1280, 720)),
        ((1280, 960), (960, 720)),
        ((1080, 1920), (405, 720)),
        ((4000, 500), (1280, 160)),
    ],
)
def test_the_window_fits_on_the_screen(image_size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert window_size(*image_size, 1280) == expected


def test_each_tile_of_the_grid_belongs_to_one_camera() -> None:
    for cameras in range(1, 17):
        grid = best_grid(cameras, 1280, 720, 16 / 9)
        tiles = [grid.tile(i, 1280, 720, gap_px=3) for i in range(cameras)]
        assert [
            grid.index_at(*(at / side for at, side in zip(tile.center, (1280, 720), strict=True))) for tile in tiles
        ] == [*range(cameras)]
        assert sum(tile.area for tile in tiles) <= 1280 * 720
        assert all(a.iou(b) == 0 for a in tiles for b in tiles if a is not b)
    assert [best_grid(4, 9, 9, 1).index_at(x, y) for x, y in ((-0.1, 0.5), (1.0, 0.5), (0.5, 1.0))] == [None] * 3
    assert Grid(3, 2).index_at(0.9, 0.9) is None


@pytest.mark.parametrize(
    ("cameras", "ratio", "columns"),
    [
        (2, 16 / 9, 2),
        (4, 16 / 9, 2),
        (6, 4 / 3, 3),
        (9, 16 / 9, 3),
        (9, 4 / 3, 3),
        (16, 16 / 9, 4),
        (2, 9 / 16, 2),
        (3, 9 / 16, 3),
    ],
)
def test_the_grid_uses_the_screen(cameras: int, ratio: float, columns: int) -> None:
    """No other number of columns shows the cameras larger."""
    grid = best_grid(cameras, 1920, 1080, ratio)
    assert grid.columns == columns

    def height(of: int) -> float:
        return min(1920 / of / ratio, 1080 / -(-cameras // of))

    assert height(columns) == max(height(each) for each in range(1, cameras + 1))
