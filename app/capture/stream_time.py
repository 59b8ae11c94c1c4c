"""Stream times: of recorded frames from their stamps, of live frames from stamps that agree with their arrival.

Nothing here reads a clock, so a recording gives the same times at any speed.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from app.core.burst_spreader import USUAL_STEP_S, BurstSpreader
from app.core.types import Image

_JUMP_S = 1.0
"""A longer step in a recording is a gap, or a wild stamp if one of the next frames is earlier."""
_LOOK_AHEAD = 5
_BACK_S = 0.5
"""Stamps that go back by less than this are out of order; by more, they begin again."""
_REPEATS = 10
"""After so many equal stamps in a row, a recording has none."""

_LIVE_JUMP_S = 2.0
"""A stamp that leads its arrival by this much more than any before is wrong."""
_STANDSTILL_S = 1.0
_CORRECTIONS, _CORRECTED_FRAMES = 3, 250
"""So many corrections within so many frames, and the stamps are no longer used."""
_DISORDERED = 10
"""Also after so many small steps back within these frames: the stamps are not those of their frames."""
_WINDOW_S, _SLOWEST, _FASTEST = 10.0, 0.75, 1.33
"""Stamps run at the wrong rate if they do so in two windows in a row."""
_MAX_LEAD_S, _MAX_LEAD = 45.0, 0.25
"""Largest lead over arrival: three segments of 15 s at the start. A longer one means stamps that run too fast."""
_ARRIVAL_LEAD_S, _STAMP_LEAD_S = 0.5, 10.0
_SILENCE_S = 0.03
"""A frame that comes later than expected by this much ends a silence; the frames after it were held back."""
_CATCH_UP = 0.1
"""The delay after a silence shrinks at this share of real time, until the newest frame is shown again."""
_HOLD_S = 30.0
"""Without another silence for this time, frames are no longer held."""
_MAX_HOLD_S = 5.0


def recorded_times(frames: Iterable[tuple[Image, float | None]], step_s: float | None) -> Iterator[tuple[Image, float]]:
    """Replaces the stamp (s) of each frame of a recording by its stream time, which always increases.

    A gap is kept. A lone wild stamp is replaced, stamps that begin again are continued, and frames with almost the same
    stamp are spread. ``step_s``: the nominal time between frames.
    """
    source = iter(frames)
    ahead = deque(islice(source, 1))
    spreader = BurstSpreader(step_s or USUAL_STEP_S)
    last_s: float | None = None
    shift_s, repeats = 0.0, 0
    while ahead:
        image, stamp_s = ahead.popleft()
        if stamp_s is not None and last_s is None and abs(stamp_s) > _JUMP_S:
            shift_s = -stamp_s
        given_s = None if stamp_s is None else stamp_s + shift_s
        if given_s is not None and last_s is not None and not -_BACK_S < given_s - last_s < _JUMP_S:
            ahead.extend(islice(source, _LOOK_AHEAD - len(ahead)))
            if any(stamp is not None and 0 < stamp + shift_s - last_s < _JUMP_S for _, stamp in ahead):
                given_s = None
            elif given_s < last_s:
                shift_s += last_s + spreader.step_s - given_s
                given_s = last_s + spreader.step_s
        if given_s is not None:
            repeats = repeats + 1 if given_s == last_s else 0
            last_s = given_s
        yield image, spreader.spread(given_s if repeats < _REPEATS else None)
        if not ahead:
            ahead.extend(islice(source, 1))


class LiveTimes:
    """The stream times of one connection to a live source.

    Stamps are used while they increase and run at about the speed of time; otherwise the smoothed times of arrival.
    ``start_s``: the last stream time of the connection before. ``fault``: why the stamps are not used, or empty.
    All ``arrival_s`` are seconds since the start of the source, measured when a read returns.
    """

    def __init__(self, start_s: float = -math.inf, step_s: float | None = None, fault: str = "") -> None:
        self.fault = fault
        self._spreader = BurstSpreader(step_s or USUAL_STEP_S, _ARRIVAL_LEAD_S if fault else _STAMP_LEAD_S)
        self._time_s = start_s
        self._shift_s: float | None = None  # from arrival or stamp to stream time
        self._stamp_s = self._arrival_s = self._lead_s = 0.0
        self._advanced_s, self._repeats = 0.0, 0
        self._frames = 0
        self._corrected: deque[int] = deque(maxlen=_CORRECTIONS)
        self._disordered: deque[int] = deque(maxlen=_DISORDERED)
        self._window_s, self._began_s = (0.0, 0.0), 0.0
        self._rate = 1.0

    def next(self, stamp_s: float | None, arrival_s: float) -> float:
        """The stream time of the next frame, which is greater than that of the frame before."""
        self._frames += 1
        if not self.fault:
            self.fault = self._follow(self._stamp_s if stamp_s is None else stamp_s, arrival_s)
            if self.fault:
                self._shift_s, self._spreader.lead_s = None, _ARRIVAL_LEAD_S
        if self.fault and self._shift_s is None:
            self._shift_s = max(self._time_s + self._spreader.step_s - arrival_s, 0.0)
        base_s = arrival_s if self.fault else self._stamp_s
        self._time_s = self._spreader.spread(base_s + (self._shift_s or 0.0))
        return self._time_s

    def _follow(self, stamp_s: float, arrival_s: float) -> str:
        """Sets the shift for a frame with ``stamp_s``. Returns why the stamps cannot be used, or an empty text."""
        if self._shift_s is None:
            self._shift_s = max(arrival_s, self._time_s + self._spreader.step_s) - stamp_s
            self._window_s, self._began_s = (arrival_s, arrival_s), arrival_s
            self._stamp_s, self._arrival_s, self._advanced_s = stamp_s, arrival_s, arrival_s
            return ""
        step_s, elapsed_s = stamp_s - self._stamp_s, arrival_s - self._arrival_s
        lead_s = stamp_s + self._shift_s - arrival_s
        self._stamp_s, self._arrival_s = stamp_s, arrival_s
        is_ahead = step_s > elapsed_s + _LIVE_JUMP_S and lead_s > self._lead_s + _LIVE_JUMP_S
        if is_ahead or step_s < -_BACK_S:
            self._shift_s += max(elapsed_s, self._spreader.step_s) - step_s
            if self._is_frequent(self._corrected):
                return "jump"
        elif step_s < 0 and self._is_frequent(self._disordered):
            return "are out of order"
        self._lead_s = max(self._lead_s, stamp_s + self._shift_s - arrival_s)
        if step_s != 0:
            self._advanced_s, self._repeats = arrival_s, 0
        else:
            self._repeats += 1
            if self._repeats > 1 and arrival_s - self._advanced_s > _STANDSTILL_S:
                return "stand still"
        return self._check_rate(stamp_s + self._shift_s, arrival_s)

    def _is_frequent(self, faults: deque[int]) -> bool:
        """Adds this frame to ``faults``; returns whether they are full of frames that are not long ago."""
        faults.append(self._frames)
        return len(faults) == faults.maxlen and self._frames - faults[0] < _CORRECTED_FRAMES

    def _check_rate(self, given_s: float, arrival_s: float) -> str:
        if self._lead_s > _MAX_LEAD_S and self._lead_s > _MAX_LEAD * (arrival_s - self._began_s):
            return "run faster than time"
        window_s = arrival_s - self._window_s[1]
        if window_s < _WINDOW_S:
            return ""
        before, self._rate = self._rate, (given_s - self._window_s[0]) / window_s
        self._window_s = (given_s, arrival_s)
        if max(before, self._rate) < _SLOWEST or min(before, self._rate) > _FASTEST:
            return f"run {self._rate:.1f} times as fast as time"
        return ""


class Hold:
    """How long each frame is held, so that frames which a silence held back are released at their own speed.

    HLS delivers some seconds at once, and all frames of them should be analysed. The delay shrinks later.
    ``from_start``: hold also the first frames, because segments come before any silence.
    """

    def __init__(self, from_start: bool = False) -> None:
        self._from_start = from_start
        self._delay_s: float | None = None
        self._set_s = 0.0
        self._behind_s = math.inf

    def wait_s(self, time_s: float, arrival_s: float) -> float:
        """Seconds from now (``arrival_s``) until the frame with stream time ``time_s`` is due."""
        behind_s = arrival_s - time_s
        later_s, self._behind_s = behind_s - self._behind_s, behind_s
        since_s = arrival_s - self._set_s
        delay_s = -math.inf if self._delay_s is None else self._delay_s - _CATCH_UP * since_s
        is_first = self._from_start and self._delay_s is None
        if is_first or (later_s > _SILENCE_S and behind_s >= delay_s):
            self._delay_s, self._set_s = behind_s, arrival_s
            return 0.0
        if since_s > _HOLD_S and not self._from_start:
            self._delay_s = None
            return 0.0
        return min(max(time_s + delay_s - arrival_s, 0.0), _MAX_HOLD_S)
