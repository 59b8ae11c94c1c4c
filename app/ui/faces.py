"""Draws the faces of a frame: boxes, labels that avoid each other, and the time that is left before an alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cv2

from app.core.images import fast_resized
from app.core.types import Box, Image, Label, Track
from app.ui.canvas import Canvas, Sprite, blur_faces, composed
from app.ui.palette import STYLES

_SEVERITY = (Label.UNSURE, Label.MASK, Label.INCORRECT, Label.NO_MASK)
_TEXT, _HEIGHT, _PAD = 0.92, 1.62, 0.45
"""Size of a label's text, its height and its inner margin, in units."""
_Area = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle: faster than a ``Box``, because very many are compared."""
_LARGE_PX, _STEP_PX = 160, 4
"""Boxes with a longer side are not kept; the sides of others are multiples of the step, so that few are drawn."""


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
    unit = max(11.0, min(height_px / 40, width_px / 44, 60.0))
    return max(11.0, min(unit * 1.45, width_px / 24)) if large else unit


def canvas(image: Image, max_width_px: int) -> tuple[Canvas, float]:
    """A copy of ``image`` at most ``max_width_px`` wide, and the factor from source to canvas pixels."""
    height, width = image.shape[:2]
    factor = min(1.0, max_width_px / width)
    small = fast_resized(image, round(width * factor), max(1, round(height * factor)))
    copy = image.copy() if small is image else small
    return Canvas(copy, text_unit(copy.shape[1], copy.shape[0])), factor


def hide_faces(board: Canvas, boxes: Sequence[Box], factor: float) -> None:
    """Blurs the faces in ``boxes`` (source pixels) on ``board``."""
    blur_faces(board.image, [box.scaled(factor) for box in boxes])


def draw_faces(board: Canvas, tracks: Sequence[Track], factor: float, options: FaceOptions | None = None) -> None:
    """Draws boxes and labels; the most severe label is on top and chooses its place first. ``factor``: from source to
    canvas pixels."""
    options = options or FaceOptions()
    boxes = {track.id: track.box.scaled(factor) for track in tracks}
    whole = 0.0, 0.0, float(board.width), float(board.height)
    areas = {id_: _area(box) for id_, box in boxes.items()}
    shown = [track for track in tracks if not _is_free(areas[track.id], [whole])]
    shown.sort(key=lambda track: (_SEVERITY.index(track.label.label), track.box.area))
    for track in shown:
        box, opacity = boxes[track.id], options.opacity.get(track.id, 1.0)
        grown = board.unit
        area = board.part(*map(int, (box.x - grown, box.y - grown, box.width + 2 * grown, box.height + 2 * grown)))
        before = area.copy() if opacity < 1 else None
        _draw_box(board, track.label.label, box)
        if before is not None:
            cv2.addWeighted(area, opacity, before, 1 - opacity, 0, dst=area)
    placed = list(map(_area, options.taken))
    for track in reversed(shown):
        if track.id not in options.opacity:
            others = [area for id_, area in areas.items() if id_ != track.id]
            placed += _draw_label(board, track, boxes[track.id], options, placed, others)


def _draw_box(board: Canvas, label: Label, box: Box) -> None:
    """A small box is kept as a sprite; a large one costs less when it is drawn in parts."""
    width, height = (max(_STEP_PX, _STEP_PX * round(side / _STEP_PX)) for side in (box.width, box.height))
    if max(width, height) > _LARGE_PX:
        _outline(board, label, box)
    else:
        sprite, (x, y) = _box_sprite(label, width, height, board.unit), box.center
        board.blend(sprite, round(x - sprite.keep.shape[1] / 2), round(y - sprite.keep.shape[0] / 2))


def _outline(board: Canvas, label: Label, box: Box) -> None:
    style = STYLES[label]
    width = max(1, round(board.unit / 7 * style.weight))
    arms = max(style.arms * box.size, 1.0) if style.arms else 0.0
    board.outline(box, min(board.unit * 0.7, box.size / 3), style.colour, width, arms, _halo_px(board.unit))


def _halo_px(unit: float) -> int:
    """Width of the dark edge that keeps a box visible on any image."""
    return max(1, round(unit / 14))


@lru_cache(maxsize=256)
def _box_sprite(label: Label, width: int, height: int, unit: float) -> Sprite:
    halo = _halo_px(unit)
    box = Box(halo, halo, width, height)
    return composed(width + 2 * halo, height + 2 * halo, unit, lambda board: _outline(board, label, box))


def _draw_label(
    board: Canvas, track: Track, box: Box, options: FaceOptions, placed: Sequence[_Area], others: Sequence[_Area]
) -> list[_Area]:
    """Draws the label where it covers no other label: with its word, or only its icon; not at all if there is no room.
    Returns its area."""
    style, unit = STYLES[track.label.label], board.unit
    is_decided = track.label.label is not Label.UNSURE
    details = f"{track.label.confidence:.0%}  #{track.id}" if is_decided else f"#{track.id}"
    text = f"{style.word}  {details}" if options.verbose else style.word
    size, height = unit * _TEXT, unit * _HEIGHT
    text_px = board.text_size(text, size, bold=True)[0]
    waiting = options.waiting.get(track.id)
    steps = None if waiting is None else round((1 - waiting) * 40)
    start = height * (0.92 if waiting is None else 1.05)
    wide = start + text_px + unit * _PAD
    for width, avoided in ((wide, others), (wide, ()), (height, ())):
        found = _free_place(board, box, (width, height), [*placed, *avoided], options.places.get(track.id, 0))
        if found is not None:
            options.places[track.id], area = found
            text_at = (text, start) if width == wide else ("", 0.0)
            sprite = label_sprite(track.label.label, *text_at, round(width), unit, steps)
            board.blend(sprite, round(area[0]), round(area[1]))
            return [area]
    return []


@lru_cache(maxsize=256)
def label_sprite(label: Label, text: str, start_px: float, width: int, unit: float, steps: int | None) -> Sprite:
    """Icon and text on a rounded background. ``steps``: fortieths of the dwell time that are left, as a ring."""
    style, height = STYLES[label], unit * _HEIGHT

    def draw(board: Canvas) -> None:
        board.card(Box(0, 0, width, height), height * 0.36, style.colour)
        middle, side = height / 2, height * (0.6 if steps is None else 0.34)
        board.icon(style.icon, Box(middle - side / 2, middle - side / 2, side, side), style.ink)
        if steps is not None:
            board.ring((middle, middle), height * 0.33, steps / 40, style.ink, max(2.0, height * 0.09))
        board.text((start_px, middle), text, unit * _TEXT, style.ink, "lm", bold=True)

    return composed(width, round(height), unit, draw)


def _free_place(
    board: Canvas, box: Box, size: tuple[float, float], taken: Sequence[_Area], preferred: int
) -> tuple[int, _Area] | None:
    """The first place of a label that covers nothing of ``taken``; the number of the place and its area."""
    width, height = size
    places = _places(box, width, height)
    for number in (preferred, *range(len(places))):
        x, y = places[number]
        x = min(max(x, 0.0), max(0.0, board.width - width))
        if y < 0 or y + height > board.height or x + width > board.width + 1:
            continue
        area = x, y, x + width, y + height
        if _is_free(area, taken):
            return number, area
    return None


def _places(box: Box, width: float, height: float) -> tuple[tuple[float, float], ...]:
    """Above, below, inside and beside the box."""
    gap = height * 0.14
    right, above, below, inside = box.x2 - width, box.y - height - gap, box.y2 + gap, box.x + 2 * gap
    return (
        *((box.x, above), (right, above), (box.x, below), (right, below)),
        *((inside, box.y + 2 * gap), (inside, box.y2 - height - 2 * gap)),
        *((box.x2 + gap, box.y), (box.x - width - gap, box.y), (box.x2 + gap, box.y2 - height)),
    )


def _area(box: Box) -> _Area:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _is_free(area: _Area, taken: Sequence[_Area]) -> bool:
    """Whether ``area`` has nothing in common with any of ``taken``."""
    left, top, right, bottom = area
    return not any(left < x2 and x < right and top < y2 and y < bottom for x, y, x2, y2 in taken)
