"""The overlay: inputs are not changed, everything is inside the image, nothing covers what matters."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fakes_hud import ALERT, FACE, Drawn, overlap, status, track, view

from app.capture.capture import SourceState
from app.core.types import (
    Box,
    Counts,
    FaceLabel,
    Label,
)
from app.pipeline.camera import CameraView
from app.ui.canvas import Canvas
from app.ui.faces import canvas, draw_faces, text_unit
from app.ui.hud import KEYS, Screen, draw_window, render, video_box
from app.ui.hud_cards import count_rows, minutes
from app.ui.motion import Motion
from app.ui.palette import STYLES

SIZES = [(640, 360), (1280, 720), (1920, 1080), (320, 180), (240, 426), (720, 1280)]


def test_a_wide_frame_and_its_boxes_are_scaled_down() -> None:
    board, factor = canvas(np.zeros((1080, 1920, 3), np.uint8), 960)
    draw_faces(board, [track(Box(1000, 500, 200, 200), Label.NO_MASK)], factor)
    assert board.image.shape == (540, 960, 3)
    ys, xs = np.nonzero((board.image == STYLES[Label.NO_MASK].colour).all(axis=2))
    assert xs.min() == pytest.approx(500, abs=4)
    assert ys.max() == pytest.approx(350, abs=4)


def test_everything_that_can_change_changes_the_image() -> None:
    plain = render(view(FACE), Screen())
    for other in (
        render(view(FACE, alerts=(ALERT,)), Screen()),
        render(view(FACE, state=SourceState.STALE), Screen()),
        render(view(FACE, waiting={7: 0.5}), Screen()),
        render(view(replace(FACE, box=Box(200, 140, 90, 110))), Screen()),
        *(
            render(view(FACE), Screen(**options))  # type: ignore[arg-type]
            for options in (
                {"help": True},
                {"paused": True},
                {"recorded_s": 3},
                {"clock": "12:00:00"},
                {"verbose": True},
                {"theme": "light"},
                {"large": True},
            )
        ),
    ):
        assert (plain != other).any()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("large", [False, True])
def test_all_texts_are_complete(size: tuple[int, int], large: bool, drawn: Drawn) -> None:
    """A text that is cut off at the edge would show '2' instead of '12'."""
    counts = Counts({label: 12 + i for i, label in enumerate(Label)}, dict.fromkeys(Label, 1312))
    alerts = tuple(replace(ALERT, id=str(i), track_id=i, camera="Door of the northern hall") for i in range(9))
    shown = replace(view(FACE, alerts=alerts, size=size, name="Door of the northern hall"), counts=counts)
    render(shown, Screen(size_px=size, large=large, clock="12:00:00", help=True))
    assert len(drawn.texts) >= 5
    for text, box in drawn.texts:
        assert -1 <= box.x < box.x2 <= size[0] + 1, text
        assert -2 <= box.y < box.y2 <= size[1] + 2, text


@pytest.mark.parametrize(("is_live", "heading"), [(True, "Today, at worst"), (False, "In all, at worst")])
def test_the_counts_are_those_of_the_camera(is_live: bool, heading: str) -> None:
    """Each person of both rows has one label, so the people are the sum; an unsure face is in neither."""
    now = {Label.MASK: 3, Label.NO_MASK: 2, Label.INCORRECT: 1, Label.UNSURE: 4}
    seen = {Label.MASK: 40, Label.INCORRECT: 5}
    assert count_rows(Counts(now, seen), is_live) == (("Now", (6, 3, 2, 1)), (heading, (45, 40, 0, 5)))


@pytest.mark.parametrize("size", SIZES)
def test_the_numbers_stand_below_their_words(size: tuple[int, int], drawn: Drawn) -> None:
    counts = Counts({Label.MASK: 3}, {Label.MASK: 40, Label.NO_MASK: 17, Label.INCORRECT: 5})
    render(replace(view(size=size), counts=counts), Screen(size_px=size))
    at = {text: box.x for text, box in drawn.texts}
    if "40" not in at:
        assert "3" in at, "where there is little room, only those in view"
    elif "Worn wrong" in at:
        unit = text_unit(*size)
        for word, number in (("People", "62"), ("Mask", "40"), ("No mask", "17"), ("Worn wrong", "5")):
            assert at[word] - 2 * unit < at[number] < at[word]


@pytest.mark.parametrize("size", SIZES)
def test_an_alert_never_hides_why_a_camera_is_offline(size: tuple[int, int], drawn: Drawn) -> None:
    reason = "cannot connect to 10.0.0.7: connection refused"
    alerts = tuple(replace(ALERT, id=str(i), track_id=i) for i in range(6))
    offline = view(FACE, alerts=alerts, size=size, state=SourceState.RECONNECTING, error=reason)
    render(offline, Screen(size_px=size))
    (top,) = [i for i, (text, _) in enumerate(drawn.texts) if text.startswith("cannot")]
    lines = list(itertools.takewhile(lambda line: line[0] in reason, drawn.texts[top:]))
    assert " ".join(text for text, _ in lines) == reason
    alert_texts = [box for text, box in drawn.texts if text == "No mask"]
    assert alert_texts
    areas = [box for box, _ in drawn.cards]
    around = next(card for card in reversed(areas) if overlap(card, lines[0][1]) > 0)
    for _, line in lines:
        assert around.x <= line.x <= line.x2 <= around.x2 + 1
        assert 0 <= line.y <= line.y2 <= size[1]
    assert all(overlap(around, text) == 0 for text in alert_texts)


@pytest.mark.parametrize("size", SIZES)
def test_the_keys_never_hide_why_a_camera_is_offline(size: tuple[int, int], drawn: Drawn) -> None:
    offline = view(size=size, state=SourceState.RECONNECTING, error="cannot connect to 10.0.0.7: connection refused")
    render(offline, Screen(size_px=size, help=True))
    keys = [box for text, box in drawn.texts if text in dict(KEYS).values()]
    reason = [box for text, box in drawn.texts if "10.0.0.7" in text or "connection refused" in text]
    assert reason
    assert len(keys) == len(KEYS) or (not keys and size[1] < 200)
    assert all(overlap(key, line) == 0 for key in keys for line in reason)


def test_an_alert_shows_the_face_the_place_and_the_time(drawn: Drawn) -> None:
    shown = view(FACE, alerts=(ALERT,), size=(1280, 720))
    assert shown.frame is not None
    shown.frame.image[140:250, 100:190] = (10, 200, 30)
    image = render(shown, Screen())
    corner = image[500:, 900:].reshape(-1, 3).astype(int)
    assert (np.abs(corner - (10, 200, 30)).max(axis=1) < 12).sum() > 1000
    words = drawn.words()
    assert "door" in words
    assert ":13:20" in words or ":43:20" in words, "the time of the event in any time zone"
    assert any(colour == STYLES[Label.NO_MASK].colour and box.width > 200 for box, colour in drawn.cards)


def test_the_picture_of_an_alert_is_blurred_like_the_faces(drawn: Drawn) -> None:
    shown = view(FACE, alerts=(ALERT,), size=(1280, 720))
    assert shown.frame is not None
    shown.frame.image[100:280, 60:230] = np.random.default_rng(0).integers(0, 255, (180, 170, 3), np.uint8)
    colours = []
    for blur in (False, True):
        render(shown, Screen(blur=blur))
        middle = np.array_split(np.array_split(drawn.images[-1], 3)[1], 3, axis=1)[1]
        colours.append(len(np.unique(middle.reshape(-1, 3), axis=0)))
    assert colours[1] < 30 < colours[0]


def test_an_alert_turns_to_resolving_and_leaves(drawn: Drawn) -> None:
    motion, clock = Motion(), 100.0
    masked = replace(FACE, label=FaceLabel(Label.MASK, 0.9))
    first = motion.alerts(view(FACE, alerts=(ALERT,)), clock)
    second = motion.alerts(view(masked, alerts=(ALERT,)), clock + 0.1)
    assert [alert.is_resolving for alert in (*first, *second)] == [False, True]
    assert second[0].picture is not None, "the picture of the face stays"
    fading = motion.alerts(view(masked), clock + 0.2)
    assert 0 < fading[0].opacity < 1
    assert motion.alerts(view(masked), clock + 5) == []
    render(view(masked, alerts=(ALERT,)), Screen())
    assert "Resolving" in drawn.words()
    assert not any(colour == STYLES[Label.NO_MASK].colour and box.width > 150 for box, colour in drawn.cards)


def test_the_dwell_time_runs_down() -> None:
    paper = []
    for passed in (0.1, 0.5, 0.9):
        image = render(replace(view(FACE, waiting={7: passed}), counts=None), Screen())
        paper.append(int((image[100:140, 95:130].min(axis=2) > 200).sum()))
    assert paper[0] > paper[1] > paper[2]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", [(0.1, 0.2), (0.35, 0.3), (0.6, 0.2), (0.3, 0.05)])
def test_the_keys_never_cover_a_face_that_alerts(
    size: tuple[int, int], place: tuple[float, float], drawn: Drawn
) -> None:
    side = 0.3 * min(size)
    face = track(Box(place[0] * size[0], place[1] * size[1], side, side * 1.2), Label.NO_MASK, 7)
    for shown in (view(face, alerts=(ALERT,), size=size), view(face, size=size, waiting={7: 0.4})):
        drawn.texts.clear()
        drawn.cards.clear()
        render(shown, Screen(size_px=size, help=True))
        assert KEYS[0][1] in drawn.words()
        assert overlap(drawn.cards[-1][0], face.box) == 0


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (120, 160), (300, 300), (720, 300)])
def test_keys_and_messages_stay_on_their_background(height: int, width: int, drawn: Drawn) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    draw_window(image, Screen(help=True))
    area = drawn.cards[-1][0]
    assert [text for text, _ in drawn.texts] == [word for row in KEYS for word in row]
    for (_, key), (_, meaning) in zip(drawn.texts[::2], drawn.texts[1::2], strict=True):
        assert area.x <= key.x <= key.x2 < meaning.x <= meaning.x2 <= area.x2
        assert area.y <= key.y < key.y2 <= area.y2

    drawn.texts.clear()
    message = "click corners; Enter: close region; Backspace: undo; e: save; Esc: cancel"
    draw_window(image, Screen(message=message))
    assert drawn.words() == message
    assert all(box.x2 <= width for _, box in drawn.texts)


@pytest.mark.parametrize("name", ["大门入口", "المدخل الرئيسي", "Вход", "मुख्य द्वार", "כניסה"])
def test_names_in_any_script_are_drawn(name: str, drawn: Drawn) -> None:
    render(view(FACE, alerts=(replace(ALERT, camera=name),), name=name), Screen(size_px=(1280, 720)))
    assert [text for text, _ in drawn.texts].count(name) == 2, "in the title and in the alert"
    assert "?" not in drawn.words()


@pytest.mark.parametrize("size", [(1280, 720), (700, 900), (1920, 500), (3840, 2160)])
def test_nothing_is_stretched(size: tuple[int, int], drawn: Drawn) -> None:
    """The frame keeps its ratio in a window of any shape, and a text has the size that its shape needs."""
    shown = view(size=(400, 300), grey=0)
    assert shown.frame is not None
    shown.frame.image[100:200, 150:250] = 255
    image = render(replace(shown, counts=None), Screen(size_px=size))
    assert image.shape == (size[1], size[0], 3)
    _, area = video_box(shown, Screen(size_px=size))
    assert area.width / area.height == pytest.approx(4 / 3, rel=0.01)
    part = image[int(area.y) : int(area.y2), int(area.x) : int(area.x2)]
    column, row = part[:, part.shape[1] // 2].max(axis=1) > 128, part[part.shape[0] // 2].max(axis=1) > 128
    assert column.sum() == pytest.approx(row.sum(), rel=0.05)
    (text, box) = drawn.texts[0]
    board = Canvas(np.zeros((9, 9, 3), np.uint8))
    size_px = box.height / board.text_size(text, 1)[1]
    assert box.width == pytest.approx(board.text_size(text, size_px, bold=True)[0], rel=0.03)


@pytest.mark.parametrize(("state", "word"), [(SourceState.LIVE, "Live"), (SourceState.ENDED, "Ended")])
def test_the_title_says_name_and_state(state: SourceState, word: str, drawn: Drawn) -> None:
    render(view(state=state, size=(1280, 720)), Screen())
    assert [text for text, _ in drawn.texts][:2] == ["door", word]


def test_a_long_camera_name_takes_precedence(drawn: Drawn) -> None:
    """In a grid only the name identifies the camera."""
    render(view(name="Door of the northern hall", size=(320, 180)), Screen(verbose=True, clock="12:00:00"))
    assert drawn.texts[0][0].startswith("Door of")
    assert not any("analysed" in text for text, _ in drawn.texts)


def test_a_camera_without_a_frame_shows_its_name_and_why(drawn: Drawn) -> None:
    for state, reason in ((SourceState.CONNECTING, ""), (SourceState.FAILED, "no such device")):
        render(CameraView("yard", status(state, reason), True), Screen())
        assert "yard" in drawn.words()
        assert reason in drawn.words()
    assert "Waiting for the first image" in drawn.words()


def test_a_file_shows_how_much_was_played(drawn: Drawn) -> None:
    shares = []
    for position_s in (10.0, 30.0):
        shown = replace(view(size=(1280, 720)), is_live=False, position_s=position_s, duration_s=40.0)
        image = render(shown, Screen())
        shares.append((image[-2, :, 0] > 200).mean())
    assert shares == pytest.approx([0.25, 0.75], abs=0.02)
    assert "Playing 0:30 / 0:40" in drawn.words()


def test_lengths_are_readable() -> None:
    assert [minutes(s) for s in (0, 9.9, 61, 3599, 3600, 36061)] == [
        "0:00",
        "0:09",
        "1:01",
        "59:59",
        "1:00:00",
        "10:01:01",
    ]


def test_a_stale_frame_is_darkened() -> None:
    live, stale = (render(view(state=s), Screen()) for s in (SourceState.LIVE, SourceState.RECONNECTING))
    assert stale[300:400].mean() < 0.7 * live[300:400].mean()
