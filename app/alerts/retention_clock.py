"""The time by which old events are deleted. A pure state machine."""

from dataclasses import dataclass

DAY_S = 86_400.0
JUMP_S = 60.0
"""A larger difference between the wall clock and the monotonic clock means that the wall clock was set."""


@dataclass(frozen=True, slots=True)
class StoredTimes:
    """The Unix times in the file: the newest that is more than a day old, the oldest after it, and the newest."""

    before_s: float | None = None
    since_s: float | None = None
    newest_s: float | None = None


class RetentionClock:
    """Wall time, unless the wall clock may be wrong: after it was set, or after a gap of more than a day in the stored
    times. Then this clock advances with the monotonic clock from the last sure time until the wall clock has run
    undisturbed for a day. It is never ahead of the wall clock."""

    def __init__(self, wall_s: float, monotonic_s: float, stored: StoredTimes) -> None:
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._sure_s, self._trusted_at_s = wall_s, monotonic_s
        since_s = wall_s if stored.since_s is None else min(stored.since_s, wall_s)
        self.behind_s = max((stored.newest_s or 0.0) - wall_s, 0.0)
        self.gap_s = 0.0 if stored.before_s is None else since_s - stored.before_s
        if stored.before_s is not None and self.gap_s > DAY_S:
            self._sure_s = stored.before_s + wall_s - since_s
            self._trusted_at_s = monotonic_s + DAY_S - (wall_s - since_s)

    def step(self, wall_s: float, monotonic_s: float) -> float:
        """Returns by how many seconds the wall clock was set since the last call; 0 if it was not."""
        passed_s = monotonic_s - self._monotonic_s
        jump_s = wall_s - self._wall_s - passed_s
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._sure_s += passed_s
        if abs(jump_s) > JUMP_S:
            self._trusted_at_s = monotonic_s + DAY_S
            return jump_s
        if self.is_trusted:
            self._sure_s = wall_s
        return 0.0

    @property
    def is_trusted(self) -> bool:
        return self._monotonic_s >= self._trusted_at_s

    @property
    def now_s(self) -> float:
        return min(self._sure_s, self._wall_s)
