"""Draws the faces of a frame: boxes, labels that avoid each other, and the time that is left before an alert."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from app.core.types import Box, Image, Label, Track
from app.ui.canvas import Canvas, blur_faces
from app.ui.palette import STYLES, Colour

_SEVERITY = (Label.UNSURE, Label.MASK, Label.INCORRECT, Label.NO_MASK)
_TEXT, _HEIGHT, _PAD = 0.92, 1.62, 0.45
"""Size of a label's text, its height and its inner margin, in units."""


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """``verbose``: labels show probability and track number. ``waiting``: for bare faces without an alert, the share of
    the dwell time that has passed. ``opacity``: of faces that fade out. ``taken``: areas without labels, in canvas
    pixels. ``places``: the place of each label, kept between frames. All by track number."""

    verbose: bool = False
    waiting: Mapping[int, float] = field(default_factory=dict)
    opacity: Mapping[int, float] = field(default_factory=dict)
    taken: Sequence[Box] = ()
    places: dict[int, int] = field(default_factory=dict)


def text_unit(width_px: float, height_px: float, large: bool = False) -> float:
    """The size of normal text on an image of that size, px."""
    unit = float(np.clip(min(height_px / 40, width_px / 44), 11, 60))
    return max(11.0, min(unit * 1.45, width_px / 24)) if large else unit


def canvas(image: Image, max_width_px: int) -> tuple[Canvas, float]:
    """A copy of ``image`` at most ``max_width_px`` wide, and the factor from source to canvas pixels."""
    height, width = image.shape[:2]
    factor = min(1.0, max_width_px / width)
    if factor < 1.0:
        size = (round(width * factor), max(1, round(height * factor)))
        copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    else:
        copy = image.copy()
    return Canvas(copy, text_unit(copy.shape[1], copy.shape[0])), factor  # type: ignore[arg-type]


def hide_faces(board: Canvas, boxes: Sequence[Box], factor: float) -> None:
    """Blurs the faces in ``boxes`` (source pixels) on ``board``."""
    blur_faces(board.image, [box.scaled(factor) for box in boxes])


def draw_faces(board: Canvas, tracks: Sequence[Track], factor: float, options: FaceOptions | None = None) -> None:
    """Draws boxes and labels; the most severe label is on top and chooses its place first. ``factor``: from source to
    canvas pixels."""
    options = options or FaceOptions()
    whole = Box(0, 0, board.width, board.height)
    boxes = {track.id: track.box.scaled(factor) for track in tracks}
    shown = [track for track in tracks if _overlap(boxes[track.id], whole) > 0]
    shown.sort(key=lambda track: (_SEVERITY.index(track.label.label), track.box.area))
    for track in shown:
        box, opacity = boxes[track.id], options.opacity.get(track.id, 1.0)
        grown = board.unit
        area = board.part(*map(int, (box.x - grown, box.y - grown, box.width + 2 * grown, box.height + 2 * grown)))
        before = area.copy() if opacity < 1 else None
        _draw_box(board, track.label.label, box)
        if before is not None:
            cv2.addWeighted(area, opacity, before, 1 - opacity, 0, dst=area)
    placed: list[Box] = list(options.taken)
    for track in reversed(shown):
        if track.id not in options.opacity:
            others = [box for id_, box in boxes.items() if id_ != track.id]
            placed += _draw_label(board, track, boxes[track.id], options, placed, others)


def _draw_box(board: Canvas, label: Label, box: Box) -> None:
    style = STYLES[label]
    width = max(1, round(board.unit / 7 * style.weight))
    arms = max(style.arms * box.size, 1.0) if style.arms else 0.0
    halo = max(1, round(board.unit / 14))  # a dark edge keeps it visible on any image
    board.outline(box, min(board.unit * 0.7, box.size / 3), style.colour, width, arms, halo)


def _draw_label(
    board: Canvas, track: Track, box: Box, options: FaceOptions, placed: Sequence[Box], others: Sequence[Box]
) -> list[Box]:
    """Draws the label where it covers no other label: with its word, or only its icon; not at all if there is no room.
    Returns its area."""
    style, unit = STYLES[track.label.label], board.unit
    is_decided = track.label.label is not Label.UNSURE
    details = f"{track.label.confidence:.0%}  #{track.id}" if is_decided else f"#{track.id}"
    text = f"{style.word}  {details}" if options.verbose else style.word
    size, height = unit * _TEXT, unit * _HEIGHT
    text_px = board.text_size(text, size, bold=True)[0]
    waiting = options.waiting.get(track.id)
    start = height * (0.92 if waiting is None else 1.05)
    wide = start + text_px + unit * _PAD
    for width, limit in ((wide, 0.0), (wide, 1.0), (height, 1.0)):
        found = _free_place(board, box, (width, height), placed, others, limit, options.places.get(track.id, 0))
        if found is not None:
            options.places[track.id], area = found
            board.card(area, height * 0.36, style.colour)
            _draw_icon(board, style.icon, Box(area.x, area.y, height, height), style.ink, waiting)
            if width == wide:
                board.text((area.x + start, area.y + height / 2), text, size, style.ink, "lm", bold=True)
            return [area]
    return []


def _draw_icon(board: Canvas, name: str, box: Box, colour: Colour, waiting: float | None) -> None:
    """Draws the icon in the square ``box``; while the dwell time runs, a ring around it that shrinks."""
    (x, y), side = box.center, box.width * (0.6 if waiting is None else 0.34)
    board.icon(name, Box(x - side / 2, y - side / 2, side, side), colour)
    if waiting is not None:
        board.ring((x, y), box.width * 0.33, 1 - waiting, colour, max(2.0, box.width * 0.09))


def _free_place(
    board: Canvas,
    box: Box,
    size: tuple[float, float],
    placed: Sequence[Box],
    others: Sequence[Box],
    limit: float,
    preferred: int,
) -> tuple[int, Box] | None:
    """The first place of a label that covers no other label, and of other faces at most ``limit`` of itself."""
    places = list(enumerate(_places(box, *size)))
    for number, place in [places[preferred], *places]:
        x = float(np.clip(place.x, 0, max(0.0, board.width - place.width)))
        area = Box(x, place.y, place.width, place.height)
        if area.y < 0 or area.y2 > board.height or area.x2 > board.width + 1:
            continue
        if any(_overlap(area, other) > 0 for other in placed):
            continue
        if sum(_overlap(area, other) for other in others) <= limit * area.area:
            return number, area
    return None


def _places(box: Box, width: float, height: float) -> Iterator[Box]:
    """Above, below, inside and beside the box."""
    gap = height * 0.14
    right = box.x2 - width
    for x, y in (
        *((box.x, box.y - height - gap), (right, box.y - height - gap)),
        *((box.x, box.y2 + gap), (right, box.y2 + gap)),
        *((box.x + gap * 2, box.y + gap * 2), (box.x + gap * 2, box.y2 - height - gap * 2)),
        *((box.x2 + gap, box.y), (box.x - width - gap, box.y), (box.x2 + gap, box.y2 - height)),
    ):
        yield Box(x, y, width, height)


def _overlap(a: Box, b: Box) -> float:
    """The common area of two boxes."""
    return max(0.0, min(a.x2, b.x2) - max(a.x, b.x)) * max(0.0, min(a.y2, b.y2) - max(a.y, b.y))
