"""Drawing: inputs are not changed, every element is drawn and stays inside the image."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import plain_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.capture import SourceState, SourceStatus
from app.core.types import FACE_LABELS, Box, Counts, Event, EventKind, FaceLabel, FrameResult, Label, StageTimes, Track
from app.pipeline.monitor import CameraView
from app.ui.faces import Canvas, ascii_only, blur_faces, canvas, draw_faces
from app.ui.hud import KEYS, Screen, alert_text, render, render_result
from app.ui.palette import PAPER, STYLES
from app.ui.window import grid


def track(box: Box, label: Label = Label.MASK, id_: int = 1) -> Track:
    return Track(id_, box, FaceLabel(label, 0.9), (0, 0), 0, 0, 9, 9, True)


def status(state: SourceState = SourceState.LIVE, error: str = "") -> SourceStatus:
    return SourceStatus("door", state, 0.0, last_error=error)


def view(*tracks: Track, state: SourceState = SourceState.LIVE, alerts: tuple[Event, ...] = ()) -> CameraView:
    frame = plain_frame(0, colour=90, size=480)
    counts = Counts({Label.MASK: 1}, {Label.MASK: 2, Label.NO_MASK: 1})
    return CameraView("door", status(state), True, frame, tracks, counts, alerts, 0.04, 12.0)


ALERT = Event("e", EventKind.NO_MASK, "door", 1.0, 1.7e9, 7, 0.97, 2.0, Box(1, 1, 9, 9))


@pytest.mark.parametrize("label", FACE_LABELS)
def test_each_label_is_drawn_in_its_colour_on_a_copy(label: Label) -> None:
    image = np.full((300, 400, 3), 60, np.uint8)
    before = image.copy()
    board, factor = canvas(image, 400)
    draw_faces(board, [track(Box(100, 100, 120, 120), label)], factor)
    assert (image == before).all()
    colours = {tuple(pixel) for pixel in board.image.reshape(-1, 3).tolist()}
    assert STYLES[label].colour in colours


def test_labels_differ_in_text_and_line_style_too() -> None:
    assert len({(style.word, style.is_closed, style.weight) for style in STYLES.values()}) == len(STYLES)


def test_a_wide_frame_and_its_boxes_are_scaled_down() -> None:
    board, factor = canvas(np.zeros((1080, 1920, 3), np.uint8), 960)
    draw_faces(board, [track(Box(1000, 500, 200, 200), Label.NO_MASK)], factor)
    assert board.image.shape == (540, 960, 3)
    ys, xs = np.nonzero((board.image == STYLES[Label.NO_MASK].colour).all(axis=2))
    assert xs.min() == pytest.approx(500, abs=4)
    assert ys.max() == pytest.approx(350, abs=4)


boxes = st.builds(Box, st.floats(-500, 900), st.floats(-500, 900), st.floats(0.1, 1500), st.floats(0.1, 1500))


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, max_size=4), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_any_box_and_any_size_can_be_drawn(faces: list[Box], width: int, height: int, blur: bool) -> None:
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    tracks = tuple(track(box, Label.NO_MASK, i) for i, box in enumerate(faces))
    counts = Counts({}, {})
    image = render_result(FrameResult(frame, tracks, (), counts, (), (ALERT,), StageTimes()), blur)
    assert image.shape == frame.image.shape


def test_blurred_faces_lose_their_details() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 200, 3), np.uint8)
    detail_before = float(np.abs(np.diff(image[60:140, 60:140].astype(int), axis=1)).mean())
    blur_faces(image, [Box(50, 50, 100, 100)])
    detail_after = float(np.abs(np.diff(image[60:140, 60:140].astype(int), axis=1)).mean())
    assert detail_after < detail_before / 20


def test_state_counts_alert_and_help_change_the_image() -> None:
    plain = render(view(), Screen())
    for other in (
        render(view(alerts=(ALERT,)), Screen()),
        render(view(), Screen(help=True)),
        render(view(), Screen(paused=True)),
        render(view(), Screen(recording=True)),
        render(view(state=SourceState.STALE), Screen()),
        render(view(track(Box(100, 100, 80, 80))), Screen()),
    ):
        assert (plain != other).any()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (120, 160), (300, 300)])
@pytest.mark.parametrize("y", [-0.1, 0.0, 0.02, 0.05, 0.08, 0.2])
def test_labels_are_not_covered_by_the_top_bar(
    height: int, width: int, y: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label lies between the bar and the lower edge, and above its box if there is room."""
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    box = Box(0.3 * width, y * height, 0.3 * height, 0.5 * height)
    shown = CameraView("door", status(), True, frame, (track(box, Label.NO_MASK),))
    filled: list[tuple[float, float, object]] = []
    original = Canvas.fill

    def fill(board: Canvas, x: float, top: float, x2: float, bottom: float, colour: object, *more: float) -> None:
        filled.append((top, bottom, colour))
        original(board, x, top, x2, bottom, colour, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Canvas, "fill", fill)
    image = render(shown, Screen(max_width_px=1280))
    (top, bottom), *more = [(top, bottom) for top, bottom, colour in filled if colour == STYLES[Label.NO_MASK].colour]
    bar_px = next(bottom for top, bottom, _ in filled if top == 0)
    assert not more, "without counts, only the label has this colour"
    assert bar_px <= top < bottom <= image.shape[0]
    upper_px = y * height * image.shape[1] / width
    assert bottom == pytest.approx(upper_px) if upper_px - (bottom - top) >= bar_px else top >= upper_px


def test_in_a_video_a_label_may_touch_the_upper_edge() -> None:
    frame = replace(plain_frame(0), image=np.zeros((480, 640, 3), np.uint8))
    result = FrameResult(frame, (), (), Counts({}, {}), (), (), StageTimes())
    image = render_result(replace(result, tracks=(track(Box(200, 25, 150, 150), Label.NO_MASK),)), blur=False)
    assert (image[:20] == STYLES[Label.NO_MASK].colour).all(axis=2).any()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (120, 160), (300, 300), (720, 300)])
def test_keys_and_messages_stay_on_their_background(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All texts lie inside the dark area behind them and do not overlap."""
    texts: list[tuple[str, float, float, float]] = []
    areas: list[tuple[float, float, float, float]] = []
    original = Canvas.fill
    monkeypatch.setattr(
        Canvas,
        "text",
        lambda board, text, x, y, colour=PAPER, size=1.0: texts.append((text, x, y, x + board.width(text, size))),
    )
    monkeypatch.setattr(Canvas, "fill", lambda board, *args: (areas.append(args[:4]), original(board, *args))[1])
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    plain = CameraView("door", status(), True, frame)
    render(plain, Screen(help=True))
    left, top, right, bottom = areas[-1]
    shown = texts[-2 * len(KEYS) :]
    for (key, key_x, _, key_right), (_, x, y, end) in zip(shown[::2], shown[1::2], strict=True):
        assert left <= key_x <= key_right < x <= end <= right, key
        assert top < y < bottom
    assert top >= -1
    assert bottom <= height + 1
    assert left >= -1
    assert right <= width + 1

    texts.clear()
    message = "click corners; Enter: close region; Backspace: undo; e: save; Esc: cancel"
    render(plain, Screen(message=message))
    lines = [line for line in texts if line[0] in message]
    assert " ".join(line[0] for line in lines) == message
    if width >= 300:
        assert all(line[3] <= width for line in lines)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (120, 160), (1920, 1080), (640, 360), (720, 300)])
def test_the_banner_and_the_counts_are_complete(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is cut off at the edge would show '2/1312' instead of '12/1312'."""
    texts: dict[str, tuple[float, float]] = {}
    monkeypatch.setattr(
        Canvas,
        "text",
        lambda board, text, x, y, colour=PAPER, size=1.0: texts.update({text: (x, x + board.width(text, size))}),
    )
    frame = replace(plain_frame(0), image=np.zeros((height, width, 3), np.uint8))
    counts = Counts({label: 12 + i for i, label in enumerate(Label)}, dict.fromkeys(Label, 1312))
    render(CameraView("door", status(), True, frame, (), counts, (ALERT, replace(ALERT, track_id=8))), Screen())
    assert len(texts) >= 5
    assert all(0 <= left < right <= width for left, right in texts.values()), texts


@pytest.mark.parametrize(("width", "has_rates"), [(640, True), (320, False), (180, False)])
def test_a_long_camera_name_takes_precedence_over_the_rates(
    width: int, has_rates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a grid only the name identifies the camera."""
    texts: list[str] = []
    monkeypatch.setattr(Canvas, "text", lambda _board, text, *_: texts.append(text))
    frame = replace(plain_frame(0), image=np.zeros((width * 9 // 16, width, 3), np.uint8))
    render(CameraView("Door of the northern hall", status(), True, frame, (), None, (), 0.04, 12.0), Screen())
    name = next(text for text in texts if text.startswith("Door of"))
    assert name.startswith("Door of the northern hall  0 fps") is has_rates


def test_a_camera_without_a_frame_shows_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(Canvas, "text", lambda _board, text, *_: written.append(text))
    render(CameraView("yard", status(SourceState.RECONNECTING), True), Screen())
    assert "yard" in written


def test_a_box_outside_the_frame_is_not_drawn() -> None:
    frame = np.zeros((200, 300, 3), np.uint8)
    for box in (Box(-90, 50, 80, 80), Box(310, 50, 80, 80), Box(50, -90, 80, 80), Box(50, 210, 80, 80)):
        board, factor = canvas(frame, 300)
        draw_faces(board, [track(box)], factor)
        assert not board.image.any()


def test_a_stale_frame_is_darkened() -> None:
    live, stale = (render(view(state=s), Screen()) for s in (SourceState.LIVE, SourceState.RECONNECTING))
    assert stale[200:400].mean() < 0.7 * live[200:400].mean()


def test_the_state_is_shown_before_the_first_frame() -> None:
    image = render(CameraView("door", status(SourceState.CONNECTING), True), Screen())
    assert image.max() > 100


@pytest.mark.parametrize(
    ("alerts", "text"),
    [
        ((ALERT,), "ALERT: no mask, person #7, for 5 s"),
        ((ALERT, replace(ALERT, track_id=8)), "ALERT: 2 people: #7, #8, for 5 s"),
    ],
)
def test_the_banner_shows_person_and_duration(alerts: tuple[Event, ...], text: str) -> None:
    assert alert_text(alerts, 4.0) == text


def test_text_is_converted_to_ascii() -> None:
    assert ascii_only("Entrée\nzwei") == "Entree zwei"


def test_a_grid_contains_every_image_completely() -> None:
    images = [np.full((90, 160, 3), 50 * (i + 1), np.uint8) for i in range(3)]
    images[1] = np.full((120, 100, 3), 100, np.uint8)
    sheet = grid(images, 2)
    assert sheet.shape == (240, 320, 3)
    assert [int((sheet == 50 * (i + 1)).all(axis=2).sum()) for i in range(3)] == [90 * 160, 120 * 100, 90 * 160]


def analysed(frame_index: int, *boxes: Box) -> FrameResult:
    frame = replace(plain_frame(frame_index), image=np.random.default_rng(0).integers(0, 255, (480, 480, 3), np.uint8))
    return FrameResult(frame, (), (), Counts({}, {}), (), (), StageTimes(), boxes)


def test_with_blur_no_unanalysed_frame_is_shown() -> None:
    unanalysed = CameraView("door", status(), True, plain_frame(0, colour=255, size=480))
    assert render(unanalysed, Screen(blur=True)).mean() < 64 < render(unanalysed, Screen()).mean()


@pytest.mark.parametrize("state", [SourceState.LIVE, SourceState.STALE])
def test_with_blur_unconfirmed_faces_are_blurred_in_stale_frames_too(state: SourceState) -> None:
    result = analysed(0, Box(100, 200, 150, 150))
    newer = plain_frame(1, colour=255, size=480)
    shown = render(CameraView("door", status(state), True, newer, (), analysed=result), Screen(blur=True))
    detail = np.abs(np.diff(shown[230:320, 120:230].astype(int), axis=1)).mean()
    around = np.abs(np.diff(shown[380:420, 20:90].astype(int), axis=1)).mean()
    assert detail < around / 4
    assert (shown[230:320, 300:] != 255).any(), "the analysed frame is shown, not the newer one"
