"""The interface of every face detector."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from app.core.types import Box, Detection, Image


class FaceDetector(Protocol):
    """A detector must be used by one thread only: most detectors hold buffers."""

    def detect(self, image: Image) -> list[Detection]:
        """``image``: (H, W, 3) uint8 BGR. Returns bounding boxes in its pixels, ``[]`` if it shows no face."""


@runtime_checkable
class RoiDetector(FaceDetector, Protocol):
    """A detector that is faster if it searches only for tracked faces and where something moved."""

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        """Like ``detect``, for the faces ``tracked`` and the parts ``moved`` (at least one of both, source pixels). May
        omit faces outside ``moved`` that are clearly smaller than all tracked ones, or farther from every tracked box
        than the size of that box."""
