"""Colours (BGR) and label texts of the overlay.

The palette of Okabe and Ito (2008) is safe for colour-blind people; the line styles differ too.
"""

from dataclasses import dataclass

from app.core.types import Label

Colour = tuple[int, int, int]

INK: Colour = (24, 24, 24)
PAPER: Colour = (245, 245, 245)
DIM: Colour = (170, 170, 170)
ALERT: Colour = (0, 94, 213)  # vermillion
WARN: Colour = (0, 159, 230)  # orange
GOOD: Colour = (233, 180, 86)  # sky blue


@dataclass(frozen=True, slots=True)
class Style:
    """Text, colour, relative line width and box style of a label: a closed rectangle or only corners."""

    word: str
    colour: Colour
    weight: float
    is_closed: bool


STYLES: dict[Label, Style] = {
    Label.MASK: Style("Mask", GOOD, 1.0, is_closed=False),
    Label.NO_MASK: Style("No mask", ALERT, 1.6, is_closed=True),
    Label.INCORRECT: Style("Worn wrong", (66, 228, 240), 1.3, is_closed=True),  # yellow
    Label.UNSURE: Style("Unsure", (205, 205, 205), 0.8, is_closed=False),
}
