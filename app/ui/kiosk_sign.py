"""What a kiosk says to the people in view: chosen from their tracks, and kept long enough to be read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core.types import Label, Track


class Sign(StrEnum):
    """One large state. ``UNSURE``: somebody is there, and nothing is certain yet."""

    IDLE = "idle"
    UNSURE = "unsure"
    THANK_YOU = "thank_you"
    WEAR_MASK = "wear_mask"
    COVER_NOSE = "cover_nose"


_SIGNS = {
    Label.NO_MASK: Sign.WEAR_MASK,
    Label.INCORRECT: Sign.COVER_NOSE,
    Label.UNSURE: Sign.UNSURE,
    Label.MASK: Sign.THANK_YOU,
}
"""The most urgent first: with several people in view, the first of these that applies to one of them."""
_SHARE_OF_NEAREST = 0.5
"""Smaller faces than this share of the largest belong to people who only pass behind."""
_HOLD_S = {Sign.IDLE: 2.0, Sign.UNSURE: 1.5, Sign.THANK_YOU: 0.5, Sign.WEAR_MASK: 0.8, Sign.COVER_NOSE: 0.8}
"""How long a sign must be chosen without interruption before it replaces another."""
_GREET_S = 0.2
"""The same for ``UNSURE`` while the idle picture is shown: somebody who arrives is answered at once."""
_STALE_S = 2.5
"""A sign that no longer applies, while several others alternate, gives way to ``UNSURE`` after this time: later than
the longest hold, so that nobody reads it after the last person has left."""


def choose_sign(tracks: Sequence[Track]) -> Sign:
    """The sign for the people in view at one moment; the nearest people count."""
    if not tracks:
        return Sign.IDLE
    nearest_px = max(track.box.size for track in tracks)
    labels = {track.label.label for track in tracks if track.box.size >= nearest_px * _SHARE_OF_NEAREST}
    return next((sign for label, sign in _SIGNS.items() if label in labels), Sign.UNSURE)


@dataclass(frozen=True, slots=True)
class ShownSign:
    """The sign that is shown and was last chosen at ``chosen_s``; ``next`` was chosen since ``next_s`` and waits."""

    sign: Sign = Sign.IDLE
    chosen_s: float = 0.0
    next: Sign = Sign.IDLE
    next_s: float = 0.0


def updated(shown: ShownSign, chosen: Sign, now_s: float) -> ShownSign:
    """``shown`` after ``chosen`` was chosen at ``now_s``."""
    if chosen is shown.sign:
        return ShownSign(chosen, now_s, chosen, now_s)
    if chosen is not shown.next:
        shown = replace(shown, next=chosen, next_s=now_s)
    hold_s = _GREET_S if shown.sign is Sign.IDLE and chosen is Sign.UNSURE else _HOLD_S[chosen]
    if now_s - shown.next_s >= hold_s:
        return ShownSign(chosen, now_s, chosen, now_s)
    is_stale = now_s - shown.chosen_s >= _STALE_S and shown.sign is not Sign.IDLE
    return replace(shown, sign=Sign.UNSURE, chosen_s=now_s) if is_stale else shown
