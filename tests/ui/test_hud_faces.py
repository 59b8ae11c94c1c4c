"""The boxes and labels of faces in the window."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fakes import plain_frame
from fakes_hud import ALERT, COUNTS, FACE, Drawn, analysed, overlap, status, track, view
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.capture import SourceState
from app.core.types import (
    FACE_LABELS,
    Box,
    Counts,
    FrameResult,
    Label,
    StageTimes,
)
from app.pipeline.camera import CameraView
from app.ui.canvas import Canvas
from app.ui.faces import FaceOptions, canvas, draw_faces, text_unit
from app.ui.hud import Screen, render, render_result
from app.ui.motion import Motion
from app.ui.palette import CHROMES, STYLES

VERDICTS = {style.colour for style in STYLES.values()}

boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0.1, 1500), st.floats(0.1, 1500))


@pytest.mark.parametrize("label", FACE_LABELS)
def test_each_label_is_drawn_in_its_colour_on_a_copy(label: Label) -> None:
    image = np.full((300, 400, 3), 60, np.uint8)
    before = image.copy()
    board, factor = canvas(image, 400)
    draw_faces(board, [track(Box(100, 100, 120, 120), label)], factor)
    assert (image == before).all()
    assert STYLES[label].colour in {tuple(pixel) for pixel in board.image.reshape(-1, 3).tolist()}


def test_labels_differ_in_word_icon_and_shape_too() -> None:
    styles = STYLES.values()
    for distinct in ({s.word for s in styles}, {s.icon for s in styles}, {(s.arms, s.weight) for s in styles}):
        assert len(distinct) == len(STYLES)


@settings(max_examples=25)
@given(st.lists(boxes, max_size=4), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_any_box_and_any_size_can_be_drawn(places: list[Box], width: int, height: int, blur: bool) -> None:
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    tracks = tuple(track(box, Label.NO_MASK, i) for i, box in enumerate(places))
    result = FrameResult(frame, tracks, (), Counts({}, {}), (), (ALERT,), StageTimes(), tuple(places), {0: 0.5})
    assert render_result(result, blur).shape == frame.image.shape
    shown = CameraView("door", status(SourceState.STALE, "late"), True, frame, tracks, COUNTS, (ALERT,))
    assert render(shown, Screen(help=True, message="a message")).shape == frame.image.shape


@pytest.mark.parametrize("theme", CHROMES)
def test_only_the_labels_have_colours(theme: str) -> None:
    """State, recording, clock, messages and keys are neutral, so that a colour always means a label."""
    for state in SourceState:
        shown = replace(view(state=state, error="no answer"), counts=None, duration_s=9.0, position_s=3.0)
        image = render(shown, Screen(recorded_s=5, clock="12:00:00", message="saved", help=True, theme=theme))
        assert int(image.max(axis=2).astype(int).max() - 0) > 90
        assert (image.max(axis=2) - image.min(axis=2)).max() == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (320, 180)])
def test_labels_cover_neither_each_other_nor_the_cards(seed: int, size: tuple[int, int], drawn: Drawn) -> None:
    rng = np.random.default_rng(seed)
    width, height = size
    tracks = [
        track(Box(*rng.uniform(-0.05, 0.9, 2) * size, *rng.uniform(0.05, 0.3, 2) * height), FACE_LABELS[i % 4], i)
        for i in range(14)
    ]
    render(view(*tracks, size=size, alerts=(replace(ALERT, track_id=0),)), Screen(size_px=size))
    icons_px = 1.3 * text_unit(*size)  # the squares behind the icons of the counts are smaller than a label
    labels = [box for box, colour in drawn.cards if colour in VERDICTS and box.height > icons_px]
    neutral = [box for box, colour in drawn.cards if colour == CHROMES["dark"].card]
    assert len(labels) >= 6
    assert all(overlap(label, card) == 0 for label in labels for card in neutral)
    for one, other in itertools.combinations(labels, 2):
        assert overlap(one, other) == 0
    for one in labels:
        assert -1 <= one.x < one.x2 <= width + 1
        assert -1 <= one.y < one.y2 <= height + 1


def test_labels_do_not_lie_below_the_clock(drawn: Drawn) -> None:
    face = track(Box(1090, 70, 90, 90), Label.NO_MASK)
    render(view(face, size=(1280, 720)), Screen(clock="12:00:00", recorded_s=5))
    label, *_ = [box for text, box in drawn.texts if text == "No mask"]
    assert all(overlap(label, box) == 0 for text, box in drawn.texts if text in ("12:00:00", "REC"))
    assert label.y > 60


def test_the_most_severe_label_keeps_its_word(drawn: Drawn) -> None:
    """In a crowd without room for all words, a bare face is named."""
    crowd = [track(Box(40 + 9 * i, 200, 60, 60), Label.MASK, i) for i in range(20)]
    render(view(*crowd, track(Box(130, 200, 60, 60), Label.NO_MASK, 99)), Screen())
    assert "No mask" in drawn.words().replace("No mask Worn", "")


def test_a_label_keeps_its_place_between_frames(drawn: Drawn) -> None:
    motion = Motion()
    for x in (100, 101, 102):
        render(view(track(Box(x, 40, 80, 80), Label.MASK)), Screen(), motion)
    tops = [box.y for text, box in drawn.texts if text == "Mask"]
    assert len(set(tops[::2])) == 1


def test_percentages_and_numbers_only_with_details(drawn: Drawn) -> None:
    render(view(FACE, alerts=(ALERT,)), Screen())
    assert "%" not in drawn.words()
    assert "#" not in drawn.words()
    drawn.texts.clear()
    render(view(FACE, alerts=(ALERT,)), Screen(size_px=(1280, 720), verbose=True))
    assert "No mask  90%  #7" in drawn.words()
    assert "analysed 12/s" in drawn.words()


@pytest.mark.parametrize("side", [21.0, 90.6, 158.3, 170.2, 400.9])
def test_a_box_is_where_the_face_is(side: float) -> None:
    face = replace(FACE, box=Box(101.3, 102.7, side, side * 0.9))
    board = Canvas(np.full((600, 600, 3), 90, np.uint8), 14.0)
    draw_faces(board, [face], 1.0, FaceOptions(taken=[Box(0, 0, 600, 600)]))  # no room for the label
    rows, columns = (np.flatnonzero((board.image != 90).any(axis=(axis, 2))) for axis in (1, 0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(edges - (face.box.x, face.box.y, face.box.x2, face.box.y2)).max() <= 3, "with the dark edge"


def test_boxes_move_gradually_and_fade_out() -> None:
    motion = Motion()
    motion.faces(view(FACE), 0.0)
    moved = replace(FACE, box=FACE.box.moved(20, 0))
    (shown,), fading = motion.faces(view(moved), 0.04)
    assert FACE.box.x < shown.box.x < moved.box.x
    assert fading == {}
    (shown,), _ = motion.faces(view(moved), 2.0)
    assert shown.box.x == pytest.approx(moved.box.x, abs=0.1)
    (shown,), _ = motion.faces(view(replace(FACE, box=Box(300, 140, 90, 110))), 2.04)
    assert shown.box.x == 300, "a jump is not eased"
    _, fading = motion.faces(view(), 2.14)
    assert 0 < fading[7] < 1
    assert motion.faces(view(), 3.0) == ([], {})


def test_a_box_outside_the_frame_is_not_drawn() -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    for box in (Box(-90, 50, 80, 80), Box(310, 50, 80, 80), Box(50, -90, 80, 80), Box(50, 210, 80, 80)):
        board, factor = canvas(frame, 300)
        draw_faces(board, [track(box)], factor)
        assert not board.image.any()


def test_faces_that_fade_out_are_fainter() -> None:
    strong, faint = canvas(np.zeros((300, 300, 3), np.uint8), 300)[0], canvas(np.zeros((300, 300, 3), np.uint8), 300)[0]
    draw_faces(strong, [FACE], 1.0)
    draw_faces(faint, [FACE], 1.0, FaceOptions(opacity={7: 0.4}))
    assert faint.image.max() == pytest.approx(0.4 * 213, abs=4)
    assert strong.image.max() > 213


def test_with_blur_no_unanalysed_frame_is_shown() -> None:
    unanalysed = CameraView("door", status(), True, plain_frame(0, colour=255, size=480))
    assert render(unanalysed, Screen(blur=True)).mean() < 64 < render(unanalysed, Screen()).mean()


@pytest.mark.parametrize("state", [SourceState.LIVE, SourceState.STALE])
def test_with_blur_unconfirmed_faces_are_blurred_in_stale_frames_too(state: SourceState) -> None:
    result = analysed(0, Box(100, 60, 150, 100))
    newer = plain_frame(1, colour=255, size=480)
    shown = render(CameraView("door", status(state), True, newer, (), analysed=result), Screen(blur=True))
    detail = np.abs(np.diff(shown[70:150, 120:230].astype(int), axis=1)).mean()
    around = np.abs(np.diff(shown[400:440, 20:90].astype(int), axis=1)).mean()
    assert detail < around / 3
    assert (shown[330:420, 300:] != 255).any(), "the analysed frame is shown, not the newer one"


def test_the_labels_of_an_annotated_video_stay_inside(drawn: Drawn) -> None:
    result = replace(analysed(0), tracks=(track(Box(200, 5, 150, 150), Label.NO_MASK),))
    render_result(result, blur=False)
    assert any(text == "No mask" and box.y >= 0 for text, box in drawn.texts)
