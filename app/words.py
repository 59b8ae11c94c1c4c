"""Counts, lists and reasons in words."""

from collections.abc import Sequence

TOLD = 5
"""So many names of a list are told: a line stays a line."""
REASONS = {"mask": "mask on", "left": "left the picture"}
"""Of an event's reasons, those that are no words for people."""


def counted(count: int, noun: str) -> str:
    """'1 picture', '2 pictures'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def reason_words(reason: str) -> str:
    """An event's ``reason`` as people read it."""
    return REASONS.get(reason, reason)


def listed(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - TOLD
    if more < 2:  # ', 1 more' is hardly shorter than the name
        return ", ".join(map(str, names))
    return f"{', '.join(map(str, names[:TOLD]))} and {more} more"
