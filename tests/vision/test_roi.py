"""ROI squares show every tracked face, lie inside the image, and have fewer pixels than the image."""

from hypothesis import given
from hypothesis import strategies as st

from app.core.types import Box
from app.vision.roi import min_tracked_px, roi_squares

WIDTH, HEIGHT = 640, 480
BOXES = st.builds(
    Box, *(st.floats(-50, 600, allow_nan=False),) * 2, st.floats(5, 200, allow_nan=False), st.floats(5, 200)
)


def is_inside(squares: list[tuple[int, int, int, int]], x: float, y: float) -> bool:
    return any(left <= x <= left + width and top <= y <= top + height for left, top, width, height in squares)


@given(st.lists(BOXES, min_size=1, max_size=6))
def test_squares_show_every_tracked_face_with_its_surroundings(tracked: list[Box]) -> None:
    squares = roi_squares(tracked, [], WIDTH, HEIGHT)
    assert squares
    for x, y, width, height in squares:
        assert 0 <= x <= WIDTH - width
        assert 0 <= y <= HEIGHT - height
        assert x % 32 == y % 32 == 0
    for box in tracked:
        side, (x, y) = max(box.width, box.height), box.center
        for dx in (-1.4, 0, 1.4):
            for dy in (-1.4, 0, 1.4):
                corner = min(max(x + dx * side, 0), WIDTH), min(max(y + dy * side, 0), HEIGHT)
                assert is_inside(squares, *corner)


def test_distant_faces_get_separate_squares_and_neighbours_share_one() -> None:
    assert len(roi_squares([Box(20, 20, 30, 30), Box(560, 400, 30, 30)], [], WIDTH, HEIGHT)) == 2
    assert roi_squares([Box(300, 200, 30, 30), Box(330, 210, 30, 30)], [], WIDTH, HEIGHT) == [(224, 128, 192, 192)]


def test_a_face_that_is_too_large_for_a_square_needs_the_whole_image() -> None:
    assert roi_squares([Box(100, 50, 300, 300)], [], WIDTH, HEIGHT) == [(0, 0, WIDTH, HEIGHT)]
    assert roi_squares([Box(10, 10, 20, 20)], [], 100, 90) == [(0, 0, 100, 90)]


def test_the_smallest_face_sets_the_minimum_size() -> None:
    assert min_tracked_px([Box(0, 0, 100, 120), Box(0, 0, 40, 50)]) == 28


def test_moved_parts_are_shown_without_more_surroundings() -> None:
    assert roi_squares([], [Box(100, 100, 60, 90)], WIDTH, HEIGHT) == [(32, 64, 192, 192)]
    assert len(roi_squares([Box(40, 40, 30, 30)], [Box(500, 300, 60, 90)], WIDTH, HEIGHT)) == 2
