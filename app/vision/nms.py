"""Merges the detections of several passes over one image, so that each face is reported once."""

from collections.abc import Iterable, Sequence

from app.core.types import Box, Detection

SAME_IOU = 0.3
PART_INSIDE = 0.7
"""If this share of a box lies inside a larger box, the box is part of the same face."""


def shared_area(box: Box, other: Box) -> float:
    """The area that lies in both boxes, in square pixels."""
    width = min(box.x2, other.x2) - max(box.x, other.x)
    height = min(box.y2, other.y2) - max(box.y, other.y)
    return max(width, 0.0) * max(height, 0.0)


def same_face(box: Box, other: Box) -> bool:
    """Whether ``box`` and ``other``, from different passes, show the same face or a part of it."""
    shared, smaller = shared_area(box, other), min(box.area, other.area)
    if not shared:
        return False
    return shared >= SAME_IOU * (box.area + other.area - shared) or shared >= PART_INSIDE * smaller


def merge_passes(passes: Iterable[Sequence[Detection]]) -> list[Detection]:
    """Returns the detections of all passes, in order; a pass adds only faces that no earlier pass has found.

    Detections of the same pass are not compared: the detector has already applied its own NMS.
    """
    kept: list[Detection] = []
    for detections in passes:
        earlier = tuple(kept)
        kept += [new for new in detections if not any(same_face(new.box, old.box) for old in earlier)]
    return kept
