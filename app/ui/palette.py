"""Colours and words of the overlay. The palette is Okabe and Ito's (2008), told apart with any colour vision; line
styles differ too, so that nothing rests on colour alone. Colours are BGR."""

from dataclasses import dataclass

from app.core.types import Label

Colour = tuple[int, int, int]

INK: Colour = (24, 24, 24)
PAPER: Colour = (245, 245, 245)
DIM: Colour = (170, 170, 170)
ALARM: Colour = (0, 94, 213)  # vermillion
WARN: Colour = (0, 159, 230)  # orange
GOOD: Colour = (233, 180, 86)  # sky blue


@dataclass(frozen=True, slots=True)
class Style:
    """How a label looks: its word, colour, line width (relative), and whether its box is whole or only corners."""

    word: str
    colour: Colour
    weight: float
    whole: bool


STYLES: dict[Label, Style] = {
    Label.MASK: Style("Mask", GOOD, 1.0, whole=False),
    Label.NO_MASK: Style("No mask", ALARM, 1.6, whole=True),
    Label.INCORRECT: Style("Worn wrong", (66, 228, 240), 1.3, whole=True),  # yellow
    Label.UNSURE: Style("Unsure", (205, 205, 205), 0.8, whole=False),
}
