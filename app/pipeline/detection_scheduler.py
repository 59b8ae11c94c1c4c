"""Chooses the detection pass for each frame: the detector costs most of the time, and most frames show no change.

The choice depends on the frame, its stream time and the tracked faces, never on a clock: a video gives the same
passes at any speed.
"""

import math
from collections.abc import Sequence
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from app.core.types import Box, Image
from app.settings.vision import DetectorSettings
from app.vision.preprocess import parts, thumbnail

_CHANGE, _NOISE_FACTOR, _LARGEST_CHANGE = 6.0, 6.0, 12.0
"""Grey levels by which a cell may differ in a still scene: more if all cells differ (sensor noise, flicker), but less
than the difference between a face and a wall."""
_CUT_CORRELATION, _CUT_CHANGE, _CUT_SHARE = 0.5, 12.0, 0.4
"""Another scene: the cells of the two frames correlate less, and more than ``_CUT_SHARE`` of them differ by more grey
levels, apart from a change of the light. 99 % of pairs of unrelated photographs meet this; consecutive frames of a
camera correlate above 0.8."""
_LEAST_CONTRAST = 4.0
"""Frames whose cells have a lower standard deviation in grey levels, for example black ones, are not compared."""
_MOVED_PASS_S = 0.2
"""Time between searches of the parts of the image that moved: a new face is detected that late."""
_RESTING_S = 2.0
"""A scene without movement for this time is at rest."""
_RESTING_FACTOR = 2
"""A scene at rest without faces is searched so many times less often."""


class DetectionPass(Enum):
    """``SKIP``: no pass, faces stay in place. ``TRACKED``: only around tracked faces and where something moved.
    ``FULL``: the whole image. ``NEW_SCENE``: the whole image after a cut or a jump of the camera; no face is where it
    was."""

    SKIP = auto()
    TRACKED = auto()
    FULL = auto()
    NEW_SCENE = auto()


class DetectionScheduler:
    """Serves one camera; ``choose`` must be called for each frame, in order. ``moved``: where something moved, in
    pixels of the image, if the pass must search there."""

    def __init__(self, settings: DetectorSettings) -> None:
        self.moved: tuple[Box, ...] = ()
        self._settings = settings
        self._full_s = self._searched_s = -math.inf
        self._searched: NDArray[np.int16] | None = None
        """The cells when the moved parts were searched last."""
        self._tracked: NDArray[np.int16] | None = None
        """The cells at the last pass: it may have found the faces in other places."""
        self._shape: tuple[int, ...] = ()
        self._scene: NDArray[np.int16] | None = None
        self._time_s, self._moved_s = -math.inf, 0.0

    @property
    def is_resting(self) -> bool:
        """Whether nothing has moved for some time, so that most frames are not needed."""
        return self._settings.still_look_s > 0 and self._time_s - self._moved_s >= _RESTING_S

    def choose(
        self, image: Image, time_s: float, faces: Sequence[Box], is_steady: bool, has_missed_face: bool = False
    ) -> DetectionPass:
        """``image``: (H, W, 3) uint8 BGR. ``time_s``: stream time. ``faces``: boxes of the tracked faces.

        ``is_steady``: no face requires a full pass. ``has_missed_face``: the last pass missed a tracked face, so the
        search continues even in a still scene.
        """
        settings = self._settings
        cells = thumbnail(image)
        since_s = time_s - self._full_s
        self.moved = ()
        self._time_s, rested_from_s, self._moved_s = time_s, self._moved_s, time_s
        if self._is_new_scene(cells):
            self._full(image, cells, time_s)
            return DetectionPass.NEW_SCENE
        if (
            since_s < 0
            or not is_steady
            or image.shape != self._shape
            or (settings.full_look_s <= 0 and settings.still_look_s <= 0)
        ):
            return self._full(image, cells, time_s)
        is_still = not has_missed_face and self._is_still(cells)
        if is_still:
            self._moved_s = rested_from_s
        still_s = settings.still_look_s * (1 if faces or not self.is_resting else _RESTING_FACTOR)
        if is_still and since_s < still_s - 1e-6:
            return DetectionPass.SKIP
        if since_s >= settings.full_look_s - 1e-6:
            return self._full(image, cells, time_s)
        if time_s - self._searched_s >= _MOVED_PASS_S - 1e-6 and self._searched is not None:
            height, width = image.shape[:2]
            self.moved = parts(_moved(self._searched, cells), width, height)
            if self.moved:
                self._searched, self._searched_s = cells, time_s
        if not faces and not self.moved:
            return DetectionPass.SKIP
        self._tracked = cells
        return DetectionPass.TRACKED

    def _full(self, image: Image, cells: NDArray[np.int16], time_s: float) -> DetectionPass:
        self.moved = ()
        self._full_s = self._searched_s = time_s
        self._searched = self._tracked = cells
        self._shape = image.shape
        return DetectionPass.FULL

    def _is_new_scene(self, cells: NDArray[np.int16]) -> bool:
        """Whether the frame shows another scene than the last frame with contrast."""
        if cells.std() < _LEAST_CONTRAST:
            return False
        previous, self._scene = self._scene, cells
        if previous is None:
            return False
        change = cells - previous
        # As usual: then the median is as small as these cells, and too few others differ from it.
        if np.count_nonzero(np.abs(change) > _CUT_CHANGE / 2) <= _CUT_SHARE * change.size:
            return False
        changed = np.abs(change - _median(change)) > _CUT_CHANGE
        return bool(changed.mean() > _CUT_SHARE and np.corrcoef(previous.flat, cells.flat)[0, 1] < _CUT_CORRELATION)

    def _is_still(self, cells: NDArray[np.int16]) -> bool:
        """Whether nothing moved since the moved parts were searched, and since the last pass."""
        references = (self._searched, self._tracked)
        return not any(each is not None and _moved(each, cells).any() for each in references)


def _median(cells: NDArray[np.int16]) -> float:
    """Of an even number of cells, in half the time of ``np.median``."""
    middle = cells.size // 2
    low, high = np.partition(cells, (middle - 1, middle), axis=None)[middle - 1 : middle + 1].tolist()
    return float((low + high) / 2)


def _moved(reference: NDArray[np.int16], current: NDArray[np.int16]) -> NDArray[np.bool_]:
    """(48, 64) bool: the cells that changed by more than noise and flicker."""
    difference = np.abs(current - reference)
    if difference.max() <= _CHANGE:  # as usual in a still scene
        return np.zeros(difference.shape, np.bool_)
    limit = _CHANGE
    if 2 * np.count_nonzero(difference > _CHANGE / _NOISE_FACTOR) >= difference.size:  # else the median is too small
        limit = min(max(_CHANGE, _NOISE_FACTOR * _median(difference)), _LARGEST_CHANGE)
    moved: NDArray[np.bool_] = difference > limit
    return moved
