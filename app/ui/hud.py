"""What is drawn over the image of a camera (state, counts, alerts) and over the window (clock, keys, messages)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from app.capture.capture import SourceState
from app.core.images import fast_resized
from app.core.types import Box, FrameResult, Image
from app.pipeline.camera import CameraView
from app.settings.polygons import Polygon
from app.ui.canvas import Canvas
from app.ui.cards import Card, Part
from app.ui.faces import FaceOptions, draw_faces, hide_faces, text_unit
from app.ui.hud_cards import MARGIN, SMALL, age_text, alert_card, count_rows, counts_card, minutes, title_card
from app.ui.motion import Motion, ShownAlert, open_alerts
from app.ui.palette import CHROMES, Chrome
from app.ui.region_editor import RegionDraft, draw_regions
from app.ui.zones import draw_zones

KEYS = (
    ("q, Esc", "quit"),
    ("space", "pause"),
    ("s", "snapshot"),
    ("r", "record"),
    ("b", "blur faces"),
    ("v", "details"),
    ("e", "edit regions"),
    ("t", "turn the camera"),
    ("f", "full screen"),
    ("1-9, click", "one camera; 0: all"),
    ("h", "help"),
)
_NOT_CURRENT = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED, SourceState.STANDBY)
_NO_FRAME_PX = 640, 480
_WIDE_BARS = 0.6
"""A frame that fills less than this share of the image's width or height has wide bars beside it."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Display options of the window. ``size_px``: width and height of the image to draw; None: the size of the frame,
    at most ``max_width_px`` wide. ``recorded_s``: length of the running recording."""

    max_width_px: int = 1280
    size_px: tuple[int, int] | None = None
    shown_fps: float = 0.0
    blur: bool = False
    paused: bool = False
    recorded_s: int | None = None
    help: bool = False
    message: str = ""
    clock: str = ""
    verbose: bool = False
    large: bool = False
    theme: str = "dark"
    regions: tuple[Polygon, ...] = ()
    draft: RegionDraft | None = None
    summary: tuple[tuple[str, str], ...] = ()

    @property
    def chrome(self) -> Chrome:
        return CHROMES[self.theme]


def video_box(view: CameraView, screen: Screen) -> tuple[tuple[int, int], Box]:
    """The size (width, height) of the drawn image, and where the frame lies in it. A frame is never stretched."""
    height, width = view.frame.image.shape[:2] if view.frame is not None else _NO_FRAME_PX[::-1]
    factor = min(1.0, screen.max_width_px / width)
    size = screen.size_px or (max(1, round(width * factor)), max(1, round(height * factor)))
    factor = min(size[0] / width, size[1] / height)
    shown = max(1, round(width * factor)), max(1, round(height * factor))
    return size, Box((size[0] - shown[0]) // 2, (size[1] - shown[1]) // 2, *shown)


def render(view: CameraView, screen: Screen, motion: Motion | None = None) -> Image:
    """A new image (H, W, 3) uint8 BGR of one camera with everything over it."""
    image, alerting = draw_camera(view, screen, motion)
    draw_window(image, screen, alerting)
    return image


def draw_camera(view: CameraView, screen: Screen, motion: Motion | None = None) -> tuple[Image, list[Box]]:
    """A new image (H, W, 3) uint8 BGR of one camera: frame, faces, state, counts and alerts. Returns too what nothing
    may cover: the faces that alert, or will, the alerts, and why there is no image."""
    if screen.blur:
        view = view.private()
    now_s, chrome = time.monotonic(), screen.chrome
    (width, height), area = video_box(view, screen)
    is_current = view.status.state not in _NOT_CURRENT
    image = _placed(view.frame.image if view.frame is not None else None, (width, height), area, chrome.backdrop)
    unit = text_unit(width, height, screen.large)
    video = Canvas(Canvas(image).part(*map(int, (area.x, area.y, area.width, area.height))), unit)
    # Wide bars beside the frame have room for the cards; narrow ones look better without.
    is_inside = min(area.width / width, area.height / height) > _WIDE_BARS
    board = video if is_inside else Canvas(image, unit)
    left, top = (0.0, 0.0) if is_inside else (area.x, area.y)
    factor = area.width / view.frame.image.shape[1] if view.frame is not None else 1.0
    if screen.blur and view.analysed is not None:
        hide_faces(video, view.analysed.faces, factor)
    if view.frame is not None and not is_current:
        cv2.convertScaleAbs(video.image, dst=video.image, alpha=0.4)  # a stale frame must not look live
    alerts = motion.alerts(view, now_s) if motion is not None else open_alerts(view.alerts, view.analysed)
    margin = unit * MARGIN
    room_px = board.width - 2 * margin - (unit * 7 if screen.clock else 0.0)
    title = title_card(view, chrome, unit, room_px, screen.paused, screen.shown_fps if screen.verbose else None)
    cards = [(title, Box(margin, margin, *title.size(unit)))]
    low_px = board.height - _progress_px(board, view)
    if view.counts and is_current:
        table = count_rows(view.counts, view.is_live)
        card = counts_card(table, (board.width, board.height), unit, chrome)
        cards.append(_in_corner(board, card, 0.0, low_px))
    shown_alerts = _alert_cards(board, alerts, screen, [area for _, area in cards[1:]], low_px)
    cards += shown_alerts
    alerting = [place for _, place in shown_alerts]
    if is_current:
        taken = [place.moved(-left, -top) for _, place in cards]
        if screen.clock:
            wide_px = (6.5 if screen.recorded_s is None else 14) * unit
            taken.append(Box(width - area.x - wide_px, -area.y, wide_px, 3 * unit))
        tracks, fading = motion.faces(view, now_s) if motion is not None else (view.tracks, {})
        waiting = view.analysed.waiting if view.analysed is not None else {}
        places = motion.places if motion is not None else {}
        ids = {event.track_id for event in view.alerts} | waiting.keys()
        alerting += [each.box.scaled(factor).moved(left, top) for each in tracks if each.id in ids]
        draw_faces(video, tracks, factor, FaceOptions(screen.verbose, waiting, fading, taken, places))
    draw_zones(video, view)
    draw_regions(video, screen.regions, screen.draft)
    for card, place in cards:
        card.draw(board, place.x, place.y)
    if view.frame is None or not is_current:
        alerting.append(_draw_reason(board, view, chrome, [place for _, place in cards]))
    _draw_progress(board, view, chrome)
    return image, [place.moved(area.x - left, area.y - top) for place in alerting]


def _placed(frame: Image | None, size: tuple[int, int], area: Box, backdrop: int) -> Image:
    """A new image of ``size`` (width, height) with ``frame`` scaled into ``area``."""
    width, height = int(area.width), int(area.height)
    if frame is None:
        return np.full((size[1], size[0], 3), backdrop, np.uint8)
    inner = fast_resized(frame, width, height)
    if (width, height) == size:
        return inner.copy() if inner is frame else inner
    image = np.full((size[1], size[0], 3), backdrop, np.uint8)
    image[int(area.y) : int(area.y) + height, int(area.x) : int(area.x) + width] = inner
    return image


def render_result(
    result: FrameResult,
    blur: bool,
    verbose: bool = False,
    view: CameraView | None = None,
    regions: Sequence[Polygon] = (),
) -> Image:
    """One frame of an annotated video in its own size: faces, counts and alerts, the zones and lines of the camera in
    ``view``, and its alert ``regions``."""
    frame = result.frame.image
    board = Canvas(frame.copy(), text_unit(frame.shape[1], frame.shape[0]))
    if blur:
        hide_faces(board, result.faces, 1.0)
    screen = Screen(blur=blur, verbose=verbose)
    alerts = open_alerts(result.alerts, result)
    size = board.width, board.height
    counts = counts_card(count_rows(result.counts, False), size, board.unit, screen.chrome)
    cards = [_in_corner(board, counts, 0.0, board.height)]
    cards += _alert_cards(board, alerts, screen, [cards[0][1]], board.height)
    draw_faces(board, result.tracks, 1.0, FaceOptions(verbose, result.waiting, taken=[place for _, place in cards]))
    if view is not None:
        draw_zones(board, view)
    draw_regions(board, regions)
    for card, place in cards:
        card.draw(board, place.x, place.y)
    return board.image


def _in_corner(board: Canvas, card: Card, right: float, low_px: float) -> tuple[Card, Box]:
    """``card`` with its place at the lower left (``right`` 0) or lower right (1), above ``low_px``."""
    margin = board.unit * MARGIN
    card = card.fitted(board.unit, board.width - 2 * margin)
    width, height = card.size(board.unit)
    return card, Box(margin + right * (board.width - 2 * margin - width), low_px - margin - height, width, height)


def _alert_cards(
    board: Canvas, alerts: Sequence[ShownAlert], screen: Screen, beside: Sequence[Box], low_px: float
) -> list[tuple[Card, Box]]:
    """The alerts from the lower right corner upwards, above the cards ``beside`` that they would cover."""
    placed: list[tuple[Card, Box]] = []
    is_small = board.height < SMALL * board.unit
    top_px = low_px - board.height * (0.4 if is_small else 0.62)
    for index, alert in enumerate(alerts):
        card, place = _in_corner(
            board, alert_card(alert, screen.chrome, is_small, screen.blur, screen.verbose), 1.0, low_px
        )
        for other in beside:
            if place.x < other.x2 + board.unit * MARGIN and place.y2 > other.y:
                place = place.moved(0.0, other.y - board.unit * MARGIN - place.y2)
        if placed and place.y < top_px:
            more = Part(f"{len(alerts) - index} more", screen.chrome.text)
            card, place = _in_corner(board, Card(((more,),), screen.chrome.card, screen.chrome.opacity), 1.0, low_px)
            return [*placed, (card, place)]
        placed.append((card, place))
        low_px = place.y
    return placed


def _draw_reason(board: Canvas, view: CameraView, chrome: Chrome, cards: Sequence[Box]) -> Box:
    """Says in the middle why there is no current image, between the ``cards``. Returns where."""
    is_waiting = view.status.state in (SourceState.CONNECTING, SourceState.LIVE)
    unit, width = board.unit, board.width
    top = cards[0].y2
    bottom = min([card.y for card in cards[1:]], default=float(board.height))
    icon = Part("dots" if is_waiting else "camera_off", chrome.text, 1.4, is_icon=True)
    heading = "Waiting for the first image" if is_waiting else view.status.state.value.capitalize()
    rows: list[tuple[Part, ...]] = [(icon, Part(heading, chrome.text, 1.2, bold=True))]
    room = max(1, int((bottom - top - unit * 3.2) / (unit * 1.6)))
    lines = board.wrapped(view.status.last_error, width - unit * 5, unit)
    if len(lines) > room:
        lines = [*lines[: room - 1], board.shortened(" ".join(lines[room - 1 :]), width - unit * 5, unit)]
    rows += [(Part(line, chrome.text),) for line in lines]
    if view.frame is not None and len(lines) < room:
        rows.append((Part(f"Last image {age_text(view.age_s)} ago", chrome.dim),))
    card = Card(tuple(rows), chrome.card, 0.86).fitted(board.unit, width - unit)
    wide, high = card.size(board.unit)
    place = Box((width - wide) / 2, max(top, (top + bottom - high) / 2), wide, high)
    card.draw(board, place.x, place.y)
    return place


def _progress_px(board: Canvas, view: CameraView) -> float:
    return board.unit * 0.35 if view.duration_s else 0.0


def _draw_progress(board: Canvas, view: CameraView, chrome: Chrome) -> None:
    """How much of a file was played, at the lower edge."""
    if not view.duration_s:
        return
    high = _progress_px(board, view)
    share = 1.0 if view.status.state is SourceState.ENDED else min(1.0, view.position_s / view.duration_s)
    board.card(Box(0, board.height - high, board.width, high), 0, chrome.card, 0.7)
    board.card(Box(0, board.height - high, round(board.width * share), high), 0, chrome.text)


def draw_window(image: Image, screen: Screen, alerting: Sequence[Box] = (), rows: int = 1) -> None:
    """Draws what belongs to the whole window over ``image``: clock, recording, message, summary and keys.

    The keys never cover the areas in ``alerting``. With several ``rows`` of cameras, the text is smaller.
    """
    unit = text_unit(image.shape[1], image.shape[0], screen.large)
    board = Canvas(image, max(unit / rows, min(unit, 12.0)) if rows > 1 else unit)
    chrome, unit = screen.chrome, board.unit
    margin, x = unit * MARGIN, board.width - unit * MARGIN
    corner: list[tuple[Part, ...]] = [(Part(screen.clock, chrome.text),)] if screen.clock else []
    if screen.recorded_s is not None:
        record = Part("record", chrome.text, 0.8, is_icon=True)
        corner.append((record, Part("REC", chrome.text, bold=True), Part(minutes(screen.recorded_s), chrome.dim)))
    for row in corner:
        card = Card((row,), chrome.card, chrome.opacity)
        x -= card.size(board.unit)[0]
        card.draw(board, x, margin)
        x -= margin
    if screen.message:
        lines = board.wrapped(screen.message, board.width - 4 * unit, unit)
        card = Card(tuple((Part(line, chrome.text),) for line in lines), chrome.card, 0.9)
        card.draw(board, margin, unit * (2 * MARGIN + 2.3))
    table = screen.summary or (KEYS if screen.help else ())
    if table:
        whole = Canvas(image, text_unit(image.shape[1], image.shape[0], screen.large))
        _draw_table(whole, table, chrome, alerting)


def _draw_table(board: Canvas, table: Sequence[tuple[str, str]], chrome: Chrome, alerting: Sequence[Box]) -> None:
    """Draws two columns in the middle, or beside the faces in ``alerting``; smaller if necessary. A row with an empty
    second column is a heading."""
    for share in (1.0, 0.85, 0.7, 0.55, 0.4):
        small = Canvas(board.image, board.unit * share)
        first = (
            max(small.text_size(left, small.unit, bold=True)[0] for left, right in table if right) / small.unit + 0.8
        )
        rows = [
            (Part(left, chrome.text, bold=True, width=first * bool(right)), Part(right, chrome.text))
            for left, right in table
        ]
        card = Card(tuple(rows), chrome.card, 0.92)
        width, height = card.size(small.unit)
        room_x, room_y = board.width - width, board.height - height
        if room_x < 0 or room_y < 0:
            continue
        for across, down in ((0.5, 0.5), (1, 0.5), (0, 0.5), (0.5, 1), (0.5, 0), (1, 1), (0, 1), (1, 0), (0, 0)):
            place = Box(room_x * across, room_y * down, width, height)
            if not any(place.iou(face) > 0 for face in alerting):
                card.draw(small, place.x, place.y)
                return
