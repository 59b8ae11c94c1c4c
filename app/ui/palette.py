"""Colours (BGR), words and shapes of the overlay. Colour belongs to the labels; everything else is neutral.

The palette of Okabe and Ito (2008) is safe for colour-blind people; icons and shapes differ too.
"""

from dataclasses import dataclass

from app.core.types import Label

Colour = tuple[int, int, int]

INK: Colour = (24, 24, 24)
PAPER: Colour = (245, 245, 245)


@dataclass(frozen=True, slots=True)
class Style:
    """How a label is shown: its word, icon, colour and text colour, the relative line width of its box, and how much of
    each side of the box is drawn from each corner; 0: the box is closed."""

    word: str
    icon: str
    colour: Colour
    ink: Colour
    weight: float
    arms: float


STYLES: dict[Label, Style] = {
    Label.MASK: Style("Mask", "check", (233, 180, 86), INK, 1.0, 0.24),  # sky blue
    Label.NO_MASK: Style("No mask", "cross", (0, 94, 213), PAPER, 1.5, 0.0),  # vermilion
    Label.INCORRECT: Style("Worn wrong", "exclamation", (66, 228, 240), INK, 1.3, 0.38),  # yellow
    Label.UNSURE: Style("Unsure", "dots", (190, 190, 190), INK, 0.7, 0.14),  # grey
}


@dataclass(frozen=True, slots=True)
class Chrome:
    """The neutral colours around the labels. ``backdrop``: the grey beside the image."""

    card: Colour
    text: Colour
    dim: Colour
    opacity: float
    backdrop: int


CHROMES = {
    "dark": Chrome((26, 26, 26), PAPER, (178, 178, 178), 0.76, 16),
    "light": Chrome((250, 250, 250), (28, 28, 28), (92, 92, 92), 0.86, 226),
}
