"""The overlay of a frame: state of the source, counts, frame rates, alert banner, messages, keys."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.capture.capture import SourceState
from app.core.types import Counts, Event, FrameResult, Image, Label
from app.pipeline.monitor import CameraView
from app.settings.monitor import Polygon
from app.ui.faces import Canvas, canvas, draw_faces, hide_faces
from app.ui.palette import ALERT, DIM, GOOD, INK, PAPER, STYLES, WARN, Colour
from app.ui.region_editor import RegionDraft, draw_regions

KEYS = (
    ("q, Esc", "quit"),
    ("space", "pause"),
    ("s", "snapshot"),
    ("r", "record"),
    ("b", "blur faces"),
    ("e", "edit regions"),
    ("t", "turn the camera"),
    ("f", "full screen"),
    ("1-9, click", "one camera; 0: all"),
    ("h", "help"),
)

_STATE_COLOURS: dict[SourceState, Colour] = {
    SourceState.LIVE: GOOD,
    SourceState.CONNECTING: WARN,
    SourceState.STALE: WARN,
    SourceState.RECONNECTING: WARN,
    SourceState.ENDED: DIM,
    SourceState.FAILED: ALERT,
}


_TOP_BAR, _BANNER = 1.6, 2.2
"""Heights of the top bar and of the alert banner, in lines of text."""
_MIN_NAME = 6.0
"""Minimum width of the camera name beside the rates, in line heights; with less room the rates are omitted."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Display options of the window; ``shown_fps`` is its redraw rate."""

    max_width_px: int = 1280
    shown_fps: float = 0.0
    blur: bool = False
    paused: bool = False
    recording: bool = False
    help: bool = False
    message: str = ""
    regions: tuple[Polygon, ...] = ()
    draft: RegionDraft | None = None


def render(view: CameraView, screen: Screen) -> Image:
    """A new image (H, W, 3) uint8 BGR of one camera with its overlay."""
    if screen.blur:
        view = view.private()
    if view.frame is None:
        image: Image = np.full((480, 640, 3), 32, np.uint8)
    else:
        image = view.frame.image
    board, factor = canvas(image, screen.max_width_px)
    if screen.blur and view.analysed is not None:
        hide_faces(board, view.analysed.faces, factor)
    stale = view.status.state in (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED)
    if stale and view.frame is not None:
        board.fill(0, 0, board.image.shape[1], board.image.shape[0], INK, 0.55)  # a stale frame must not look live
    else:
        draw_faces(board, view.tracks, factor, board.unit * _TOP_BAR)
    if screen.draft is not None:
        draw_regions(board, screen.draft.closed, screen.draft.corners)
    else:
        draw_regions(board, screen.regions)
    _draw_top_bar(board, view, screen)
    if view.alerts:
        _draw_banner(board, view.alerts, view.frame.time_s if view.frame else 0.0)
    elif view.frame is None or stale:
        _draw_centred(board, _state_text(view))
    _draw_messages(board, screen)
    return board.image


def draw_messages(image: Image, screen: Screen) -> Image:
    """A new image (H, W, 3) uint8 BGR: ``image`` with the message and the key help of ``screen``."""
    board, _ = canvas(image, image.shape[1])
    _draw_messages(board, screen)
    return board.image


def _draw_messages(board: Canvas, screen: Screen) -> None:
    if screen.message:
        _draw_message(board, screen.message)
    if screen.help:
        _draw_help(board)


def render_result(result: FrameResult, blur: bool) -> Image:
    """One frame of an annotated video in its own size: faces, counts and alerts, without rates and frame age."""
    board, factor = canvas(result.frame.image, result.frame.image.shape[1])
    if blur:
        hide_faces(board, result.faces, factor)
    draw_faces(board, result.tracks, factor)
    _draw_counts(board, result.counts, _BANNER * board.unit if result.alerts else 0.0)
    if result.alerts:
        _draw_banner(board, result.alerts, result.frame.time_s)
    return board.image


def _state_text(view: CameraView) -> str:
    name = _state_name(view)
    return f"{name}: {view.status.last_error}" if view.status.last_error else name


def _state_name(view: CameraView) -> str:
    """The name of the state; a playing file is PLAYING, not LIVE."""
    if view.status.state is SourceState.LIVE and not view.is_live:
        return "PLAYING"
    return view.status.state.name


def age_text(age_s: float) -> str:
    return f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.0f} s"


def _draw_top_bar(board: Canvas, view: CameraView, screen: Screen) -> None:
    unit = board.unit
    board.fill(0, 0, board.image.shape[1], unit * _TOP_BAR, INK, 0.6)
    x, base = unit * 0.5, unit * 1.12
    state = "PAUSED" if screen.paused else _state_name(view)
    colour = WARN if screen.paused else _STATE_COLOURS[view.status.state]
    wide = board.width(state, 0.85) + unit * 0.6
    board.fill(x, unit * 0.3, x + wide, unit * 1.35, colour)
    board.text(state, x + unit * 0.3, base, PAPER if colour == ALERT else INK, 0.85)
    x += wide + unit * 0.6
    if screen.recording:
        board.fill(x, unit * 0.3, x + unit * 2.1, unit * 1.35, ALERT)
        board.text("REC", x + unit * 0.3, base, PAPER, 0.85)
        x += unit * 2.7
    if view.counts:
        _draw_counts(board, view.counts, _BANNER * unit if view.alerts else 0.0)
    rates = f"{screen.shown_fps:.0f} fps  analysed {view.analysis_fps:.0f}/s"
    if view.is_live:  # the frame age of a file is meaningless
        rates += f"  age {age_text(view.age_s)}"
    room_px = board.image.shape[1] - unit * 0.5 - x
    beside_px = room_px - board.width(f"  {rates}", 0.8)
    if view.frame is not None and beside_px >= min(board.width(view.camera, 0.8), unit * _MIN_NAME):
        title = f"{_shortened(board, view.camera, beside_px, 0.8)}  {rates}"
    else:  # the camera name is more important
        title = _shortened(board, view.camera, room_px, 0.8)
    board.text(title, x, base, PAPER, 0.8)


def _shortened(board: Canvas, text: str, width_px: float, size: float) -> str:
    """``text``, cut off with dots if it is wider than ``width_px``."""
    wide_px = board.width(text, size)
    if wide_px <= width_px:
        return text
    letters = int(len(text) * max(width_px, 0.0) / wide_px) + 1
    while letters and board.width(f"{text[:letters]}...", size) > width_px:
        letters -= 1
    return f"{text[:letters]}..." if letters else ""


def _draw_counts(board: Canvas, counts: Counts, lift: float) -> None:
    """Draws current and total counts at the lower right, ``lift`` pixels above the lower edge."""
    unit, (height, width) = board.unit, board.image.shape[:2]
    labels, gap = (Label.MASK, Label.NO_MASK, Label.INCORRECT), unit * 1.2
    total, texts = 0.0, []
    for form in ("{word} {now} ({seen} seen)", "{word} {now}/{seen}", "{now}/{seen}"):  # the longest that fits
        texts = [
            form.format(word=STYLES[label].word, now=counts.now.get(label, 0), seen=counts.seen.get(label, 0))
            for label in labels
        ]
        total = sum(board.width(text, 0.8) + gap for text in texts)
        if total <= width * 0.9:
            break
    size = min(1.0, width * 0.9 / total)  # no digit may be cut off
    x, base, unit = width - total * size, height - lift - unit * 0.5, unit * size
    board.fill(x - unit * 0.5, base - unit * 1.1, width, base + board.unit * 0.5, INK, 0.6)
    for label, text in zip(labels, texts, strict=True):
        side = unit * 0.45
        board.fill(x, base - side - 1, x + side, base - 1, STYLES[label].colour)
        board.text(text, x + unit * 0.6, base, PAPER, 0.8 * size)
        x += (board.width(text, 0.8) + gap) * size


def _draw_banner(board: Canvas, alerts: Sequence[Event], now_s: float) -> None:
    unit, (height, width) = board.unit, board.image.shape[:2]
    board.fill(0, height - unit * _BANNER, width, height, ALERT, 0.92)
    text = alert_text(alerts, now_s)
    size = 1.15 * min(1.0, (width - unit) / board.width(text, 1.15))
    board.text(text, (width - board.width(text, size)) / 2, height - unit * 0.75, PAPER, size)


def alert_text(alerts: Sequence[Event], now_s: float) -> str:
    """One line of text for all open alerts; ``now_s`` is stream time."""
    first = alerts[0]
    label = STYLES[Label(first.kind.value)].word.lower()
    for_s = max(0.0, now_s - first.time_s + first.duration_s)
    if len(alerts) == 1 and first.people == 1:
        return f"ALERT: {label}, person #{first.track_id}, for {for_s:.0f} s"
    who = ", ".join(f"#{event.track_id}" + ("+" if event.people > 1 else "") for event in alerts[:5])
    people = sum(event.people for event in alerts)
    return f"ALERT: {people} people: {who}{' ...' if len(alerts) > 5 else ''}, for {for_s:.0f} s"


def _draw_centred(board: Canvas, text: str) -> None:
    """Draws a message in the middle of the image, wrapped if necessary."""
    unit, (height, width) = board.unit, board.image.shape[:2]
    lines = _wrapped(board, text, width)
    y = (height - 1.6 * unit * len(lines)) / 2
    board.fill(0, y - unit * 0.4, width, y + unit * (1.6 * len(lines) + 0.4), INK, 0.6)
    for row, line in enumerate(lines):
        board.text(line, (width - board.width(line)) / 2, y + unit * (1.6 * row + 1.15), PAPER)


def _wrapped(board: Canvas, text: str, width_px: float, size: float = 1.0) -> list[str]:
    """``text`` in lines that fit into ``width_px`` with a margin."""
    letters = max(12, int(len(text) * 0.85 * width_px / max(1, board.width(text, size))))
    return textwrap.wrap(text, letters, break_on_hyphens=False)


def _draw_message(board: Canvas, text: str) -> None:
    """Draws a message below the top bar, wrapped if necessary."""
    unit, width = board.unit, board.image.shape[1]
    fits = board.width(text, 0.85) + unit <= width
    lines = [text] if fits else _wrapped(board, text, width, 0.85)
    wide = max(board.width(line, 0.85) for line in lines) + unit
    board.fill(0, unit * 1.8, wide, unit * (1.8 + 1.4 * len(lines)), INK, 0.75)
    for row, line in enumerate(lines):
        board.text(line, unit * 0.5, unit * (2.75 + 1.4 * row), PAPER, 0.85)


def _draw_help(board: Canvas) -> None:
    """Draws the key help in the middle, scaled down for a small image."""
    height, width = board.image.shape[:2]
    high = 1.6 * len(KEYS) + 1  # in units of the board, times size
    columns = tuple(zip(*KEYS, strict=True))
    wide_px = sum(max(map(board.width, column)) for column in columns) + 3 * board.unit
    size = min(1.0, height / (high * board.unit), width / wide_px)
    keys_px, meanings_px = (max(board.width(text, size) for text in column) for column in columns)
    unit = board.unit * size
    wide_px = keys_px + meanings_px + 3 * unit
    x, y = (width - wide_px) / 2, (height - high * unit) / 2
    board.fill(x, y, x + wide_px, y + high * unit, INK, 0.85)
    for row, (key, meaning) in enumerate(KEYS):
        base = y + unit * (1.6 * row + 1.5)
        board.text(key, x + unit, base, GOOD, size)
        board.text(meaning, x + 2 * unit + keys_px, base, PAPER, size)
