"""What is drawn over the image of a camera (state, counts, alerts) and over the window (clock, keys, messages)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from app.capture.capture import SourceState
from app.core.types import Box, Counts, FrameResult, Image, Label
from app.pipeline.monitor import CameraView
from app.settings.monitor import Polygon
from app.ui.canvas import Canvas, blur_faces
from app.ui.cards import Card, Part, Picture
from app.ui.faces import FaceOptions, draw_faces, hide_faces, text_unit
from app.ui.motion import Motion, ShownAlert, open_alerts
from app.ui.palette import CHROMES, STYLES, Chrome
from app.ui.region_editor import RegionDraft, draw_regions

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
_STATE_ICONS = {SourceState.LIVE: "live", SourceState.CONNECTING: "dots", SourceState.ENDED: "stop"}
_NOT_CURRENT = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED)
_COUNTED = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
_NO_FRAME_PX = 640, 480
_MARGIN = 0.7
"""Distance of the cards from the edges and from each other, in units."""
_WIDE_BARS = 0.6
"""A frame that fills less than this share of the image's width or height has wide bars beside it."""
_SMALL = 24.0
"""Images that are lower than this, in units, have only the most important parts."""


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
    """A new image (H, W, 3) uint8 BGR of one camera: frame, faces, state, counts and alerts. Returns too where the
    faces that alert, or will, and the alerts are."""
    if screen.blur:
        view = view.private()
    now_s, chrome = time.monotonic(), screen.chrome
    (width, height), area = video_box(view, screen)
    is_current = view.status.state not in _NOT_CURRENT
    image = _scaled(view.frame.image if view.frame is not None else None, (width, height), area, chrome.backdrop)
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
    cards = [_title_card(board, view, screen)]
    low_px = board.height - _progress_px(board, view)
    if view.counts and is_current:
        table = count_rows(view.counts, view.is_live)
        card = _counts_card(table, (board.width, board.height), unit, chrome)
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
    draw_regions(video, screen.regions, screen.draft)
    for card, place in cards:
        card.draw(board, place.x, place.y)
    if view.frame is None or not is_current:
        _draw_reason(board, view, chrome, [place for _, place in cards])
    _draw_progress(board, view, chrome)
    return image, [place.moved(area.x - left, area.y - top) for place in alerting]


def _scaled(frame: Image | None, size: tuple[int, int], area: Box, backdrop: int) -> Image:
    """A new image of ``size`` (width, height) with ``frame`` scaled into ``area``."""
    width, height = int(area.width), int(area.height)
    if frame is None:
        return np.full((size[1], size[0], 3), backdrop, np.uint8)
    if frame.shape[:2] == (height, width):
        scaled = frame
    else:
        is_smaller = height < frame.shape[0]
        scaled = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)  # type: ignore[assignment]
    if (width, height) == size:
        return scaled.copy() if scaled is frame else scaled
    image = np.full((size[1], size[0], 3), backdrop, np.uint8)
    image[int(area.y) : int(area.y) + height, int(area.x) : int(area.x) + width] = scaled
    return image


def render_result(result: FrameResult, blur: bool, verbose: bool = False) -> Image:
    """One frame of an annotated video in its own size: faces, counts and alerts."""
    frame = result.frame.image
    board = Canvas(frame.copy(), text_unit(frame.shape[1], frame.shape[0]))
    if blur:
        hide_faces(board, result.faces, 1.0)
    screen = Screen(blur=blur, verbose=verbose)
    alerts = open_alerts(result.alerts, result)
    size = board.width, board.height
    counts = _counts_card(count_rows(result.counts, False), size, board.unit, screen.chrome)
    cards = [_in_corner(board, counts, 0.0, board.height)]
    cards += _alert_cards(board, alerts, screen, [cards[0][1]], board.height)
    draw_faces(board, result.tracks, 1.0, FaceOptions(verbose, result.waiting, taken=[place for _, place in cards]))
    for card, place in cards:
        card.draw(board, place.x, place.y)
    return board.image


def _in_corner(board: Canvas, card: Card, right: float, low_px: float) -> tuple[Card, Box]:
    """``card`` with its place at the lower left (``right`` 0) or lower right (1), above ``low_px``."""
    margin = board.unit * _MARGIN
    card = card.fitted(board.unit, board.width - 2 * margin)
    width, height = card.size(board.unit)
    return card, Box(margin + right * (board.width - 2 * margin - width), low_px - margin - height, width, height)


def _title_card(board: Canvas, view: CameraView, screen: Screen) -> tuple[Card, Box]:
    """Name and state of the camera at the upper left; rates with ``verbose``."""
    chrome, state = screen.chrome, view.status.state
    is_file = state is SourceState.LIVE and not view.is_live
    icon = "pause" if screen.paused else "play" if is_file else _STATE_ICONS.get(state, "camera_off")
    word = "Paused" if screen.paused else "Playing" if is_file else state.value.capitalize()
    row = [Part(icon, chrome.text, 0.9, is_icon=True), Part(view.camera, chrome.text, bold=True)]
    if board.width > 26 * board.unit or state is not SourceState.LIVE:
        row.append(Part(word, chrome.dim))
    if view.duration_s and view.frame is not None:
        row.append(Part(f"{minutes(view.position_s)} / {minutes(view.duration_s)}", chrome.dim))
    if screen.verbose and view.frame is not None:
        rates = f"{screen.shown_fps:.0f} fps, analysed {view.analysis_fps:.0f}/s"
        row.append(Part(rates + (f", age {age_text(view.age_s)}" if view.is_live else ""), chrome.dim))
    margin = board.unit * _MARGIN
    room = board.width - 2 * margin - (board.unit * 7 if screen.clock else 0.0)
    card = Card((tuple(row),), chrome.card, chrome.opacity)
    while len(row) > 2 and card.size(board.unit)[0] > room:  # the name is more important
        row.pop()
        card = replace(card, rows=(tuple(row),))
    card = card.fitted(board.unit, room)
    return card, Box(margin, margin, *card.size(board.unit))


def age_text(age_s: float) -> str:
    return f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.0f} s"


def minutes(time_s: float) -> str:
    """A length as minutes and seconds, with hours if there are any."""
    whole = int(time_s)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else str(whole // 60)
    return f"{hours}:{whole % 60:02d}"


def count_rows(counts: Counts, is_live: bool) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The rows of the counts: a heading, then how many people, with a mask, without one, and with one worn wrong.

    The first row is who is in view, by the label that they show; the second everybody so far, by their worst label.
    Faces that are not decided are in none.
    """
    now, counted = ([numbers.get(label, 0) for label in _COUNTED] for numbers in (counts.now, counts.seen))
    heading = "Today, at worst" if is_live else "In all, at worst"
    return ("Now", (sum(now), *now)), (heading, (sum(counted), *counted))


@lru_cache(maxsize=64)
def _counts_card(table: tuple[tuple[str, tuple[int, ...]], ...], size: tuple[int, int], unit: float, chrome: Chrome) -> Card:
    """Who is in view, and who was so far. Only icons and *now* where there is little room in ``size``, px."""
    width_px, height_px = size
    if height_px < _SMALL * unit:
        table = table[:1]
    styles = [STYLES[label] for label in _COUNTED]
    icons = [Part("person", chrome.dim, is_icon=True)]
    icons += [Part(style.icon, style.ink, is_icon=True, behind=style.colour) for style in styles]
    headings = [Part(heading, chrome.dim) for heading, _ in table]
    first = max(heading.width_px(unit) for heading in headings) / unit + 0.4
    has_words = len(table) > 1 and width_px > 46 * unit
    words = [
        Part(word if has_words else "", chrome.dim, 0.85) for word in ("People", *(style.word for style in styles))
    ]
    digits = max(len(str(number)) for _, numbers in table for number in numbers) * 0.68 + 0.3
    columns = [max(1.45 * has_words + word.width_px(unit) / unit + 0.6 * has_words, digits) for word in words]

    def numbers_of(numbers: Sequence[int]) -> list[Part]:
        return [Part(str(number), chrome.text if number else chrome.dim, 1.1, bold=True) for number in numbers]

    rows: list[tuple[Part, ...]] = []
    if has_words:
        heads = [
            (icon, word._replace(width=wide - 1.45)) for icon, word, wide in zip(icons, words, columns, strict=True)
        ]
        rows.append((Part("", chrome.dim, 0.85, width=first), *(part for pair in heads for part in pair)))
    for heading, (_, numbers) in zip(headings, table, strict=True):
        row = [heading._replace(width=first)]
        for icon, number, wide in zip(icons, numbers_of(numbers), columns, strict=True):
            row += [number._replace(width=wide)] if has_words else [icon, number._replace(width=digits)]
        rows.append(tuple(row))
    card = Card(tuple(rows), chrome.card, chrome.opacity)
    is_too_wide = card.size(unit)[0] > width_px - 2 * _MARGIN * unit
    return replace(card, rows=tuple(row[3:] for row in rows)) if is_too_wide else card


def _alert_cards(
    board: Canvas, alerts: Sequence[ShownAlert], screen: Screen, beside: Sequence[Box], low_px: float
) -> list[tuple[Card, Box]]:
    """The alerts from the lower right corner upwards, above the cards ``beside`` that they would cover."""
    placed: list[tuple[Card, Box]] = []
    top_px = low_px - (board.height * (0.4 if board.height < _SMALL * board.unit else 0.62))
    for index, alert in enumerate(alerts):
        card, place = _in_corner(board, _alert_card(alert, screen, board), 1.0, low_px)
        for other in beside:
            if place.x < other.x2 + board.unit * _MARGIN and place.y2 > other.y:
                place = place.moved(0.0, other.y - board.unit * _MARGIN - place.y2)
        if placed and place.y < top_px:
            more = Part(f"{len(alerts) - index} more", screen.chrome.text)
            card, place = _in_corner(board, Card(((more,),), screen.chrome.card, screen.chrome.opacity), 1.0, low_px)
            return [*placed, (card, place)]
        placed.append((card, place))
        low_px = place.y
    return placed


def _alert_card(alert: ShownAlert, screen: Screen, board: Canvas) -> Card:
    """The face, what is wrong with it, where and since when. It turns neutral while it resolves."""
    event, chrome = alert.event, screen.chrome
    style = STYLES[Label(event.kind.value)]
    ink, dim = (chrome.text, chrome.dim) if alert.is_resolving else (style.ink, style.ink)
    word = style.word if event.people == 1 else f"{event.people} people: {style.word.lower()}"
    clock = time.strftime("%H:%M:%S", time.localtime(event.wall_s))
    number = f"  #{event.track_id}" if screen.verbose else ""
    icon = Part(style.icon, style.ink, 1.1, is_icon=True, behind=style.colour)
    title = (icon, Part(word + number, ink, 1.15, bold=True))
    place = (Part(event.camera, dim), Part(clock, dim))
    state = (Part("Resolving" if alert.is_resolving else f"for {minutes(alert.for_s)}", dim, bold=alert.is_resolving),)
    picture = _blurred(alert.picture) if alert.picture is not None and screen.blur else alert.picture
    rows = (title, place, state) if board.height >= _SMALL * board.unit else (title, place)
    fill = chrome.card if alert.is_resolving else style.colour
    return Card(rows, fill, (chrome.opacity if alert.is_resolving else 0.94) * round(alert.opacity, 1), picture)


@lru_cache(maxsize=32)
def _blurred(picture: Picture) -> Picture:
    image, side = picture.image.copy(), float(picture.image.shape[0])
    blur_faces(image, [Box(side * 0.18, side * 0.14, side * 0.64, side * 0.72)])
    return Picture(image)


def _draw_reason(board: Canvas, view: CameraView, chrome: Chrome, cards: Sequence[Box]) -> None:
    """Says in the middle why there is no current image, between the ``cards``."""
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
    card.draw(board, (width - wide) / 2, max(top, (top + bottom - high) / 2))


def _progress_px(board: Canvas, view: CameraView) -> float:
    return board.unit * 0.35 if view.duration_s else 0.0


def _draw_progress(board: Canvas, view: CameraView, chrome: Chrome) -> None:
    """How much of a file was played, at the lower edge."""
    if not view.duration_s:
        return
    high = _progress_px(board, view)
    share = min(1.0, view.position_s / view.duration_s)
    board.card(Box(0, board.height - high, board.width, high), 0, chrome.card, 0.7)
    board.card(Box(0, board.height - high, round(board.width * share), high), 0, chrome.text)


def draw_window(image: Image, screen: Screen, alerting: Sequence[Box] = (), rows: int = 1) -> None:
    """Draws what belongs to the whole window over ``image``: clock, recording, message, summary and keys.

    The keys never cover the areas in ``alerting``. With several ``rows`` of cameras, the text is smaller.
    """
    unit = text_unit(image.shape[1], image.shape[0], screen.large)
    board = Canvas(image, max(unit / rows, min(unit, 12.0)) if rows > 1 else unit)
    chrome, unit = screen.chrome, board.unit
    margin, x = unit * _MARGIN, board.width - unit * _MARGIN
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
        card.draw(board, margin, unit * (2 * _MARGIN + 2.3))
    table = screen.summary or (KEYS if screen.help else ())
    if table:
        whole = Canvas(image, text_unit(image.shape[1], image.shape[0], screen.large))
        _draw_table(whole, table, chrome, alerting)


def _draw_table(board: Canvas, table: Sequence[tuple[str, str]], chrome: Chrome, alerting: Sequence[Box]) -> None:
    """Draws two columns in the middle, or beside the faces in ``alerting``; smaller if necessary."""
    for share in (1.0, 0.85, 0.7, 0.55, 0.4):
        small = Canvas(board.image, board.unit * share)
        first = max(small.text_size(left, small.unit, bold=True)[0] for left, _ in table) / small.unit + 0.8
        rows = [(Part(left, chrome.text, bold=True, width=first), Part(right, chrome.dim)) for left, right in table]
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
