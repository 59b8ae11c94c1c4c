"""When to look for faces, and for which: the detector is most of a frame's cost, and most frames tell it nothing new.

Decided from the picture, the stream's time and the faces followed, never from a clock: a film gives the same looks at
any speed.
"""

import math
from collections.abc import Sequence
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Image
from app.settings.vision import DetectorSettings
from app.vision.preprocess import thumbnail

_CHANGE, _NOISE_FACTOR, _LARGEST_CHANGE = 6.0, 6.0, 12.0
"""Grey levels by which a cell of a still scene may differ; more where all cells differ (sensor noise, flicker), but no
more than a face against any wall would."""
_EMPTY_LOOK_S = 0.2
"""Nobody is there: a newcomer is found this much later at most."""


class DetectionPass(Enum):
    """``SKIP``: all faces are where they were; ``TRACKED``: only tracked faces are searched for."""

    SKIP = auto()
    TRACKED = auto()
    FULL = auto()


class DetectionScheduler:
    """Serves one camera. ``choose`` is asked for each frame, in order."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        self._full_s = -math.inf
        self._seen: list[NDArray[np.int16]] = []
        self._shape: tuple[int, ...] = ()

    def choose(
        self, image: Image, time_s: float, faces: Sequence[Box], is_steady: bool, misses_one: bool = False
    ) -> DetectionPass:
        """``image``: (H, W, 3) uint8 BGR; ``time_s``: stream time; ``faces``: those followed, ``is_steady`` where none
        of them asks for a closer look; ``misses_one`` where the last look did not find one of them: it is sought on,
        though nothing moves, or luck would decide who is there."""
        settings = self._settings
        now = thumbnail(image) if settings.still_look_s > 0 else None
        since_s = time_s - self._full_s
        if (
            since_s < 0
            or not is_steady
            or image.shape != self._shape
            or (settings.full_look_s <= 0 and settings.still_look_s <= 0)
        ):
            return self._full(image, now, time_s)
        if now is not None and not misses_one and since_s < settings.still_look_s - 1e-6 and self._is_still(now):
            return DetectionPass.SKIP
        if since_s >= settings.full_look_s - 1e-6:
            return self._full(image, now, time_s)
        if not faces:
            return DetectionPass.SKIP if since_s < _EMPTY_LOOK_S - 1e-6 else self._full(image, now, time_s)
        if now is not None:
            self._seen = [self._seen[0], now]
        return DetectionPass.TRACKED

    def _full(self, image: Image, now: NDArray[np.int16] | None, time_s: float) -> DetectionPass:
        self._full_s, self._shape = time_s, image.shape
        self._seen = [] if now is None else [now]
        return DetectionPass.FULL

    def _is_still(self, now: NDArray[np.int16]) -> bool:
        """Whether nothing moved since the last whole look, nor since a look at the known faces after it: that one may
        have found them elsewhere."""
        return not any(_moved(before, now) for before in self._seen)


def _moved(before: NDArray[np.int16], now: NDArray[np.int16]) -> bool:
    apart = np.abs(now - before)
    limit = min(max(_CHANGE, _NOISE_FACTOR * float(np.median(apart))), _LARGEST_CHANGE)
    return bool(apart.max() > limit)
