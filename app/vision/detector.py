"""Finding faces: the seam every detector stands behind, and the classic detector of the paper."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from app.core.types import Box, Detection, Image


class FaceDetector(Protocol):
    """One detector serves one thread: most hold buffers."""

    def detect(self, image: Image) -> list[Detection]:
        """Faces of ``image`` ((H, W, 3) uint8 BGR), boxes in its pixels; ``[]`` where there are none."""


@runtime_checkable
class RoiDetector(FaceDetector, Protocol):
    """A detector that is quicker where only faces like known ones are sought."""

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        """Like ``detect``, but may leave out faces that are clearly smaller than all of ``known`` (one box at least,
        source pixels) or farther from each than its own size."""
