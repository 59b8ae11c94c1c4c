"""The drawing surface: smooth shapes, text where it should be, nothing outside the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.types import Box
from app.ui.canvas import Canvas, blur_faces
from app.ui.icons import ICONS
from app.ui.palette import INK, PAPER

RED = (0, 0, 255)


def canvas(width: int = 200, height: int = 120, grey: int = 0) -> Canvas:
    return Canvas(np.full((height, width, 3), grey, np.uint8), 18)


def ink_box(board: Canvas) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what was drawn on black."""
    ys, xs = np.nonzero(board.image.max(axis=2) > 40)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize("anchor", ["lt", "ms", "rb", "mm", "lm"])
def test_a_text_lies_at_its_anchor(anchor: str) -> None:
    board = canvas()
    box = board.text((100, 60), "HIH", 30, anchor=anchor)
    left, top, right, bottom = ink_box(board)
    assert box.x - 2 <= left <= right <= box.x2 + 2
    assert box.y <= top <= bottom <= box.y2
    expected = {"l": box.x, "m": box.center[0], "r": box.x2}[anchor[0]]
    assert expected == pytest.approx(100, abs=0.1)
    if anchor[1] == "m":
        assert (top + bottom) / 2 == pytest.approx(60, abs=1)
    if anchor[1] == "s":
        assert bottom == pytest.approx(60, abs=1)


def test_edges_are_smooth() -> None:
    board = canvas()
    board.card(Box(20, 20, 100, 60), 20, PAPER)
    board.ring((160, 60), 20, 0.7, PAPER, 5)
    board.text((20, 110), "soft", 24)
    assert len(np.unique(board.image)) > 30


def test_a_card_with_opacity_shows_what_is_behind_it() -> None:
    board = canvas(grey=200)
    board.card(Box(20, 20, 100, 60), 12, INK, 0.5)
    assert board.image[50, 70, 0] == pytest.approx((200 + INK[0]) / 2, abs=3)
    assert board.image[20, 20, 0] == 200, "the corner is outside the card"


def test_an_outline_is_closed_or_has_only_corners() -> None:
    closed, open_ = canvas(), canvas()
    closed.outline(Box(20, 20, 100, 80), 10, RED, 4)
    open_.outline(Box(20, 20, 100, 80), 10, RED, 4, arms=25)
    for board, middle in ((closed, RED), (open_, (0, 0, 0))):
        assert tuple(board.image[21, 70]) == middle
        assert tuple(board.image[60, 21]) == middle
        assert tuple(board.image[21, 40]) == RED
        assert tuple(board.image[60, 70]) == (0, 0, 0)


@pytest.mark.parametrize("name", ICONS)
def test_icons_are_drawn_at_any_size(name: str) -> None:
    masks = []
    for side in (10, 24, 200):
        board = canvas(200, 200)
        board.icon(name, Box(0, 0, side, side), PAPER)
        assert 0.02 < (board.image[:side, :side, 0] > 100).mean() < 0.98
        assert not board.image[side:].any()
        masks.append(board.image.tobytes())
    assert len(set(masks)) == 3


def test_icons_differ() -> None:
    drawn = set()
    for name in ICONS:
        board = canvas(24, 24)
        board.icon(name, Box(0, 0, 24, 24), PAPER)
        drawn.add(board.image.tobytes())
    assert len(drawn) == len(ICONS)


place = st.floats(-400, 400)
extent = st.floats(0, 500)


@settings(max_examples=80)
@given(place, place, extent, extent, st.floats(0, 60), st.integers(1, 90), st.integers(1, 90))
def test_any_place_is_allowed(x: float, y: float, w: float, h: float, radius: float, width: int, height: int) -> None:
    board, box = canvas(width, height), Box(x, y, w, h)
    board.card(box, radius, RED, 0.7)
    board.outline(box, radius, RED, 1 + radius / 9, arms=w / 3, halo=2)
    board.paste(np.full((20, 30, 3), 90, np.uint8), box, radius)
    board.icon("mask", box, RED)
    board.text((x, y), "text", 1 + radius, RED, "mm")
    board.ring((x, y), radius, w / 500, RED, 2)
    board.dot((x, y), radius, RED)
    board.lines([(x, y), (w, h)], RED, 2)
    blur_faces(board.image, [box])
    assert board.image.shape == (height, width, 3)


def test_a_pasted_image_lies_in_its_box_and_the_part_outside_is_cut_off() -> None:
    board = canvas()
    board.paste(np.full((10, 10, 3), 200, np.uint8), Box(-20, 30, 60, 40))
    assert ink_box(board) == (0, 30, 40, 70)


def test_long_texts_are_shortened_and_wrapped() -> None:
    board = canvas()
    text = "The camera of the northern hall does not answer"
    short = board.shortened(text, 150, 18)
    assert text.startswith(short.rstrip("…"))
    assert board.text_size(short, 18)[0] <= 150
    assert board.shortened("x", 150, 18) == "x"
    lines = board.wrapped(text, 150, 18)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(board.text_size(line, 18)[0] <= 150 for line in lines)


def test_blurred_faces_lose_their_details() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 200, 3), np.uint8)
    before = image.copy()
    blur_faces(image, [Box(50, 50, 100, 100)])
    face = slice(60, 140), slice(60, 140)
    assert len(np.unique(image[face].reshape(-1, 3), axis=0)) <= 7 * 7
    assert (image[:20] == before[:20]).all()
    assert (image[36, 40] == before[36, 40]).all(), "the corners are rounded"
