"""Spreads frames that carry almost the same time although they were taken one after the other.

Wi-Fi, fragmented MP4, HLS and some webcams deliver several frames at once, and some recorders stamp them at arrival.
"""

import math
from collections import deque
from statistics import median

USUAL_STEP_S = 0.04
_BURST_STEP_S = 0.03
"""Frames are in a burst if their step is below this and below half of the usual step."""
_REMEMBERED = 40
_RARE_STEP_S, _RARE = 1.5, 5.0
"""A longer step, which is also this many times the median, is a loss and does not count as usual."""
_ENOUGH = 2
"""Pauses that must be measured before they replace the nominal step."""
_CATCH_UP = 0.9
"""While a frame is put after its given time, a step is this much shorter, so that the lead shrinks."""
_HELD_BACK_AT_START_S = 6.0
_FORGETTING = 0.8
"""The share of the time held back that a further pause leaves."""
_LEAST_STEP_S = 0.001


class BurstSpreader:
    """Returns strictly increasing times that depend only on the given ones. Times that are far enough apart are kept.

    The frames after a pause were held back by it, so at most as many frames are spread as fit into the pause.
    ``step_s``: the nominal time between frames, later the usual one. ``lead_s``: how far a frame may be put after its
    given time.
    """

    def __init__(self, step_s: float = USUAL_STEP_S, lead_s: float = 10.0) -> None:
        self.step_s = step_s
        self.lead_s = lead_s
        self._given_s = self._time_s = -math.inf
        self._held_back_s = _HELD_BACK_AT_START_S
        self._pause_s = math.inf
        self._frames = 0
        self._usual: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)

    def spread(self, given_s: float | None) -> float:
        """The time of the next frame, whose given time is ``given_s``; None if it has none."""
        if given_s is None:
            self._time_s = 0.0 if math.isinf(self._time_s) else self._time_s + max(self.step_s, _LEAST_STEP_S)
            return self._time_s
        pause_s = given_s - self._given_s
        is_burst = pause_s < min(_BURST_STEP_S, self.step_s / 2) and self._held_back_s > self.step_s / 4
        if is_burst:
            self._held_back_s -= self.step_s - max(pause_s, 0.0)
            self._pause_s += pause_s  # negative if the given times are out of order
            self._frames += 1
        else:
            self._learn()
            self._pause_s, self._frames = pause_s if pause_s > 0 else math.inf, 1
            if math.isfinite(pause_s):
                self._held_back_s = _FORGETTING * max(self._held_back_s, 0.0) + max(pause_s - self.step_s, 0.0)
        self._given_s = given_s
        near_s = self.step_s if is_burst else _CATCH_UP * min(pause_s, self.step_s)
        least_s = max(min(self._time_s + near_s, given_s + self.lead_s), self._time_s + _LEAST_STEP_S)
        self._time_s = max(given_s, least_s)
        return self._time_s

    def _learn(self) -> None:
        """Measures the usual step from the last pause and the frames that it held back, up to the next pause."""
        if not 0 < self._pause_s < math.inf:
            return
        self._usual.append((self._pause_s, self._frames))
        if len(self._usual) < _ENOUGH:
            return
        usual, steps_s = [*self._usual], [pause_s / frames for pause_s, frames in self._usual]
        if max(steps_s) > _RARE_STEP_S:
            limit_s = max(_RARE_STEP_S, _RARE * median(steps_s))
            usual = [each for each, step_s in zip(usual, steps_s, strict=True) if step_s <= limit_s]
        pauses_s, frames = zip(*usual, strict=True)
        self.step_s = sum(pauses_s) / sum(frames)
