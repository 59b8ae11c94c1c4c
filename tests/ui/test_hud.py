"""The overlay: inputs are not changed, everything is inside the image, nothing covers what matters."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fakes import plain_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.capture import SourceState, SourceStatus
from app.core.types import (
    FACE_LABELS,
    Box,
    Counts,
    Event,
    EventKind,
    FaceLabel,
    FrameResult,
    Image,
    Label,
    StageTimes,
    Track,
)
from app.pipeline.camera import CameraView
from app.ui import cards, faces
from app.ui.canvas import Canvas, Sprite, composed
from app.ui.faces import FaceOptions, canvas, draw_faces, text_unit
from app.ui.hud import KEYS, Screen, draw_window, render, render_result, video_box
from app.ui.hud_cards import count_rows, minutes
from app.ui.motion import Motion
from app.ui.palette import CHROMES, STYLES

VERDICTS = {style.colour for style in STYLES.values()}
SIZES = [(640, 360), (1280, 720), (1920, 1080), (320, 180), (240, 426), (720, 1280)]


def track(box: Box, label: Label = Label.MASK, id_: int = 1) -> Track:
    return Track(id_, box, FaceLabel(label, 0.9), (0, 0), 0, 0, 9, 9, True)


def status(state: SourceState = SourceState.LIVE, error: str = "") -> SourceStatus:
    return SourceStatus("door", state, 0.0, last_error=error)


COUNTS = Counts({Label.MASK: 1}, {Label.MASK: 2, Label.NO_MASK: 1})
ALERT = Event("e", EventKind.NO_MASK, "door", 1.0, 1.7e9, 7, 0.97, 2.0, Box(1, 1, 9, 9))
FACE = track(Box(100, 140, 90, 110), Label.NO_MASK, 7)


def view(
    *tracks: Track,
    state: SourceState = SourceState.LIVE,
    alerts: tuple[Event, ...] = (),
    size: tuple[int, int] = (480, 480),
    error: str = "",
    waiting: dict[int, float] | None = None,
    name: str = "door",
    grey: int = 90,
) -> CameraView:
    frame = replace(plain_frame(30), image=np.full((size[1], size[0], 3), grey, np.uint8))
    result = FrameResult(frame, tracks, (), COUNTS, (), alerts, StageTimes(), (), waiting or {})
    return CameraView(name, status(state, error), True, frame, tracks, COUNTS, alerts, 0.04, 12.0, analysed=result)


@dataclass
class Drawn:
    """What was drawn: texts with their extents, cards with their colours, and images."""

    texts: list[tuple[str, Box]]
    cards: list[tuple[Box, tuple[int, int, int]]]
    images: list[Image]

    def words(self) -> str:
        return " ".join(text for text, _ in self.texts)

    def add(self, other: "Drawn", x: int, y: int) -> None:
        self.texts += [(text, box.moved(x, y)) for text, box in other.texts]
        self.cards += [(box.moved(x, y), colour) for box, colour in other.cards]
        self.images += other.images


class KeptSprite(Sprite):
    """A sprite that knows what was drawn on it."""

    drawn: Drawn


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawn]:
    """Records what is drawn, also on cards and labels that are drawn once and kept."""
    records = [Drawn([], [], [])]
    text, card, paste, blend = Canvas.text, Canvas.card, Canvas.paste, Canvas.blend

    def keep_text(board: Canvas, xy: tuple[float, float], content: str, *more: object, **options: object) -> Box:
        box = text(board, xy, content, *more, **options)  # type: ignore[arg-type]
        if content:
            records[-1].texts.append((content, box))
        return box

    def keep_card(board: Canvas, box: Box, radius: float, fill: tuple[int, int, int], opacity: float = 1.0) -> None:
        records[-1].cards.append((box, fill))
        card(board, box, radius, fill, opacity)

    def keep_image(board: Canvas, image: Image, box: Box, radius: float = 0.0) -> None:
        records[-1].images.append(image)
        paste(board, image, box, radius)

    def keep_sprite(board: Canvas, sprite: Sprite, x: int, y: int) -> None:
        if isinstance(sprite, KeptSprite):
            records[-1].add(sprite.drawn, x, y)
        blend(board, sprite, x, y)

    def keep_composed(width: int, height: int, unit: float, draw: Callable[[Canvas], None]) -> Sprite:
        records.append(Drawn([], [], []))
        draw(Canvas(np.zeros((height, width, 3), np.uint8), unit))
        known = records.pop()
        records.append(Drawn([], [], []))
        sprite = KeptSprite(*composed(width, height, unit, draw))
        records.pop()
        sprite.drawn = known
        return sprite

    def forget() -> None:
        cards.card_sprite.cache_clear()
        faces.label_sprite.cache_clear()

    forget()
    for name, replacement in (("text", keep_text), ("card", keep_card), ("paste", keep_image), ("blend", keep_sprite)):
        monkeypatch.setattr(Canvas, name, replacement)
    for module in (cards, faces):
        monkeypatch.setattr(module, "composed", keep_composed)
    yield records[0]
    forget()


def overlap(a: Box, b: Box) -> float:
    """The common area in px, without what rounding adds."""
    width, height = min(a.x2, b.x2) - max(a.x, b.x), min(a.y2, b.y2) - max(a.y, b.y)
    return max(0.0, width - 1) * max(0.0, height - 1)


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


def test_a_wide_frame_and_its_boxes_are_scaled_down() -> None:
    board, factor = canvas(np.zeros((1080, 1920, 3), np.uint8), 960)
    draw_faces(board, [track(Box(1000, 500, 200, 200), Label.NO_MASK)], factor)
    assert board.image.shape == (540, 960, 3)
    ys, xs = np.nonzero((board.image == STYLES[Label.NO_MASK].colour).all(axis=2))
    assert xs.min() == pytest.approx(500, abs=4)
    assert ys.max() == pytest.approx(350, abs=4)


boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0.1, 1500), st.floats(0.1, 1500))


@settings(max_examples=25, deadline=None)
@given(st.lists(boxes, max_size=4), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_any_box_and_any_size_can_be_drawn(places: list[Box], width: int, height: int, blur: bool) -> None:
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    tracks = tuple(track(box, Label.NO_MASK, i) for i, box in enumerate(places))
    result = FrameResult(frame, tracks, (), Counts({}, {}), (), (ALERT,), StageTimes(), tuple(places), {0: 0.5})
    assert render_result(result, blur).shape == frame.image.shape
    shown = CameraView("door", status(SourceState.STALE, "late"), True, frame, tracks, COUNTS, (ALERT,))
    assert render(shown, Screen(help=True, message="a message")).shape == frame.image.shape


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


@pytest.mark.parametrize("side", [21.0, 90.6, 158.3, 170.2, 400.9])
def test_a_box_is_where_the_face_is(side: float) -> None:
    face = replace(FACE, box=Box(101.3, 102.7, side, side * 0.9))
    board = Canvas(np.full((600, 600, 3), 90, np.uint8), 14.0)
    draw_faces(board, [face], 1.0, FaceOptions(taken=[Box(0, 0, 600, 600)]))  # no room for the label
    rows, columns = (np.flatnonzero((board.image != 90).any(axis=(axis, 2))) for axis in (1, 0))
    edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(edges - (face.box.x, face.box.y, face.box.x2, face.box.y2)).max() <= 3, "with the dark edge"


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


def test_a_stale_frame_is_darkened() -> None:
    live, stale = (render(view(state=s), Screen()) for s in (SourceState.LIVE, SourceState.RECONNECTING))
    assert stale[300:400].mean() < 0.7 * live[300:400].mean()


def analysed(frame_index: int, *boxes: Box) -> FrameResult:
    frame = replace(plain_frame(frame_index), image=np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8))
    return FrameResult(frame, (), (), Counts({}, {}), (), (), StageTimes(), boxes)


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
