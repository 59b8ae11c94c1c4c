"""Squares around known faces: they show all of them, lie inside the picture, and are less work than all of it."""

from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Box
from app.vision.roi import min_kept_px, roi_squares

WIDTH, HEIGHT = 640, 480
BOXES = st.builds(
    Box, *(st.floats(-50, 600, allow_nan=False),) * 2, st.floats(5, 200, allow_nan=False), st.floats(5, 200)
)


def shown(squares: list[tuple[int, int, int, int]], x: float, y: float) -> bool:
    return any(left <= x <= left + across and top <= y <= top + down for left, top, across, down in squares)


@given(st.lists(BOXES, min_size=1, max_size=6))
def test_every_known_face_is_shown_with_what_is_around_it(known: list[Box]) -> None:
    squares = roi_squares(known, WIDTH, HEIGHT)
    assert squares
    for x, y, across, down in squares:
        assert 0 <= x <= WIDTH - across
        assert 0 <= y <= HEIGHT - down
        assert x % 32 == y % 32 == 0
    for box in known:
        around, (x, y) = max(box.width, box.height), box.center
        for dx in (-1.4, 0, 1.4):
            for dy in (-1.4, 0, 1.4):
                corner = min(max(x + dx * around, 0), WIDTH), min(max(y + dy * around, 0), HEIGHT)
                assert shown(squares, *corner)


def test_faces_apart_get_squares_of_their_own_and_neighbours_share_one() -> None:
    assert len(roi_squares([Box(20, 20, 30, 30), Box(560, 400, 30, 30)], WIDTH, HEIGHT)) == 2
    assert roi_squares([Box(300, 200, 30, 30), Box(330, 210, 30, 30)], WIDTH, HEIGHT) == [(224, 128, 192, 192)]


def test_a_face_that_fills_the_picture_is_looked_for_everywhere() -> None:
    assert roi_squares([Box(100, 50, 300, 300)], WIDTH, HEIGHT) == [(0, 0, WIDTH, HEIGHT)]
    assert roi_squares([Box(10, 10, 20, 20)], 100, 90) == [(0, 0, 100, 90)]


def test_the_smallest_decides_how_closely_to_look() -> None:
    assert min_kept_px([Box(0, 0, 100, 120), Box(0, 0, 40, 50)]) == 28
