"""Counts, lists and reasons in words."""

import hashlib
import re
from collections.abc import Sequence

MAX_LISTED = 5
"""So many names of a list are told: a line stays a line."""
REASONS = {"mask": "mask on", "left": "left the picture"}
"""Of an event's reasons, those that are no words for people."""


def counted(count: int, noun: str) -> str:
    """'1 picture', '2 pictures'."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def reason_text(reason: str) -> str:
    """An event's ``reason`` as people read it."""
    return REASONS.get(reason, reason)


def listed(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MAX_LISTED
    if more < 2:  # ', 1 more' is hardly shorter than the name
        return ", ".join(map(str, names))
    return f"{', '.join(map(str, names[:MAX_LISTED]))} and {more} more"


def slug(name: str) -> str:
    """``name`` as a part of a topic and of an entity id. Where more is lost than single blanks and dots between words,
    six digits of its hash keep it apart from other names: two doors may be called in letters that all are lost."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")
    if plain and plain == re.sub("[ .]", "_", name):
        return plain
    return f"{plain or 'camera'}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
