"""Draws the zones and the counting lines of a camera, with what was counted."""

import math

from app.core.types import Label
from app.pipeline.camera import CameraView
from app.settings.polygons import Point
from app.ui.canvas import Canvas
from app.ui.cards import Card, Part
from app.ui.palette import CHROMES, INK, PAPER, STYLES

_TEXT = 0.8
_ARROW, _WING = 1.6, 0.5
"""Length of the arrow that shows the way in, and of its wings, in units."""


def draw_zones(board: Canvas, view: CameraView) -> None:
    """Thin outlines with their names; an arrow on each line shows the way in. The counts are red at the limit."""
    settings, chrome = view.settings, CHROMES["dark"]
    if settings is None:
        return

    def pixels(*points: Point) -> list[Point]:
        return [(x * board.width, y * board.height) for x, y in points]

    def stroke(points: list[Point], closed: bool = False) -> None:
        for colour, width in ((INK, board.stroke + 2), (PAPER, board.stroke)):
            board.lines(points, colour, width, closed)

    def label(text: str, at: Point, is_full: bool = False) -> None:
        style = STYLES[Label.NO_MASK]
        ink, fill = (style.ink, style.colour) if is_full else (chrome.text, chrome.card)
        card = Card(((Part(text, ink, _TEXT),),), fill, 0.94 if is_full else chrome.opacity)
        width, height = card.fitted(board.unit, board.width).size(board.unit)
        x = min(max(at[0] - width / 2, 0.0), board.width - width)
        card.fitted(board.unit, board.width).draw(board, x, min(max(at[1], 0.0), board.height - height))

    for zone in settings.zone:
        corners = pixels(*zone.polygon)
        stroke(corners, closed=True)
        top = min(corners, key=lambda corner: corner[1])
        label(zone.name, top)
    for number, line in enumerate(settings.line):
        (ax, ay), (bx, by) = ends = pixels(*line.points)
        length = max(math.hypot(bx - ax, by - ay), 1.0)
        middle = (ax + bx) / 2, (ay + by) / 2
        along = (bx - ax) / length * board.unit, (by - ay) / length * board.unit
        tip = middle[0] - along[1] * _ARROW, middle[1] + along[0] * _ARROW
        foot = tip[0] + along[1] * _WING, tip[1] - along[0] * _WING
        wings = [(foot[0] + side * along[0] * _WING, foot[1] + side * along[1] * _WING) for side in (-1, 1)]
        stroke(ends)
        stroke([middle, tip])
        stroke([wings[0], tip, wings[1]])
        text, state = line.name, view.occupancy
        if state is not None:
            entered, exited = state.lines.get(line.name, (0, 0))
            text += f": {entered} in, {exited} out"
            if not number:
                limit = settings.occupancy.limit
                text += f", {state.inside} inside" + (f" of {limit}" if limit is not None else "")
        label(text, max(ends, key=lambda end: end[1]), state is not None and state.alert is not None)
