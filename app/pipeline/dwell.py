"""How long a condition of a track has held: the dwell rule that the alert policy and the people counter share."""

from dataclasses import dataclass

_LONGEST_STEP_S = 60.0
"""A condition that holds in two consecutive analysed frames also holds in between, up to this distance."""


@dataclass(frozen=True, slots=True)
class Dwell:
    """A period in which a condition holds: stream times of its first and its last observation."""

    since_s: float
    seen_s: float

    @property
    def lasted_s(self) -> float:
        return self.seen_s - self.since_s


def observe(dwell: Dwell | None, time_s: float, previous_frame_s: float | None, grace_s: float) -> Dwell:
    """Returns the period after an observation at ``time_s``; it starts anew after a gap.

    ``previous_frame_s``: stream time of the previous analysed frame. If frames without an observation lie in between,
    the gap may be at most ``grace_s``.
    """
    if dwell is not None:
        max_step_s = _LONGEST_STEP_S if dwell.seen_s == previous_frame_s else grace_s
        if time_s - dwell.seen_s <= max_step_s:
            return Dwell(dwell.since_s, time_s)
    return Dwell(time_s, time_s)
