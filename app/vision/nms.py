"""When two boxes are one face: what several looks at a picture found, without counting a face twice."""

from collections.abc import Iterable, Sequence

from app.core.types import Box, Detection

SAME_IOU = 0.3
PART_INSIDE = 0.7
"""A box of which so much lies in a larger one is a part of that face, seen in another look."""


def same_face(box: Box, other: Box) -> bool:
    """Whether two looks that found ``box`` and ``other`` saw the same face, or one a part of it."""
    width = min(box.x2, other.x2) - max(box.x, other.x)
    height = min(box.y2, other.y2) - max(box.y, other.y)
    if width <= 0 or height <= 0:
        return False
    shared = width * height
    smaller = min(box.area, other.area)
    return shared >= SAME_IOU * (box.area + other.area - shared) or shared >= PART_INSIDE * smaller


def merge_passes(looks: Iterable[Sequence[Detection]]) -> list[Detection]:
    """What the looks found, earlier ones first; a later look adds only faces that no earlier one has. What one look
    found is never held against itself: its detector has chosen already."""
    kept: list[Detection] = []
    for found in looks:
        earlier = tuple(kept)
        kept += [one for one in found if not any(same_face(one.box, other.box) for other in earlier)]
    return kept
