"""Spreads frames that carry almost the same time although they were taken one after the other.

Wi-Fi, fragmented MP4, HLS and some webcams deliver several frames at once, and some recorders stamp them at arrival.
"""

import math
from collections import deque
from statistics import median

USUAL_STEP_S = 0.04
_BURST_STEP_S = 0.015
"""Frames closer than this, and than half of the usual step, came in a burst: few cameras take 66 frames a second."""
_REMEMBERED = 30
_SHARE = 0.95
"""The share of the usual step that lies between the frames of a burst; below 1, so that a lead shrinks."""
_LONGEST_BURST = 300
"""After so many frames this close, the camera really is this fast."""
_LEAST_STEP_S = 0.001


class BurstSpreader:
    """Returns strictly increasing times that depend only on the given ones. Times that are far enough apart are kept.

    ``step_s``: the nominal time between frames. ``lead_s``: how far a frame may be put after its given time.
    """

    def __init__(self, step_s: float = USUAL_STEP_S, lead_s: float = 10.0) -> None:
        self.step_s = step_s
        self._lead_s = lead_s
        self._given_s = self._time_s = -math.inf
        self._moment_s = 0.0
        self._moment_step_s = math.inf
        self._frames = 0
        self._steps_s: deque[float] = deque(maxlen=_REMEMBERED)

    def spread(self, given_s: float) -> float:
        """The time of the next frame, whose given time is ``given_s``."""
        step_s = given_s - self._given_s
        is_burst = step_s < min(_BURST_STEP_S, self.step_s / 2)
        if not is_burst or self._frames >= _LONGEST_BURST:
            self._begin_moment(given_s)
        self._frames += 1
        self._given_s = given_s
        if is_burst or given_s <= self._time_s:
            near_s = self.step_s if is_burst else min(step_s, self.step_s)
            spread_s = min(self._time_s + _SHARE * near_s, given_s + self._lead_s)
            given_s = max(spread_s, given_s, self._time_s + _LEAST_STEP_S)
        self._time_s = given_s
        return given_s

    def _begin_moment(self, given_s: float) -> None:
        """Measures the step from the last pause and the burst that followed it, which the pause held back."""
        burst_s = given_s - self._moment_s
        if self._frames >= _LONGEST_BURST:
            self._steps_s.append(burst_s / self._frames)
        elif self._frames and math.isfinite(self._moment_step_s):
            self._steps_s.append(self._moment_step_s / self._frames)
        if self._steps_s:
            self.step_s = median(self._steps_s)
        self._moment_s, self._moment_step_s, self._frames = given_s, given_s - self._given_s, 0
