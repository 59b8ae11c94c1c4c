"""Distinguishes a thread that hangs from one that works or waits. Needs no threads and no locks."""

import time
from collections.abc import Callable, Hashable

_LONGEST_STEP_S = 1.0
"""Longest time that one call of ``AwakeClock.check`` may add."""


class Heartbeat:
    """One thread reports its progress and its current task; another reads them. One writer, so no lock."""

    __slots__ = ("count", "doing")

    def __init__(self) -> None:
        self.count = 0
        self.doing = ""

    def beat(self, doing: str) -> None:
        """Reports that the task ``doing`` starts now; it must end within the time limit."""
        self.doing = doing
        self.count += 1

    def rest(self) -> None:
        """Reports that the thread now waits for other threads, which is not limited."""
        self.beat("")


class AwakeClock:
    """Counts the seconds for which the process has really run.

    A suspended machine, a stopped process or a changed wall clock adds no time, so no time limit expires meanwhile.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._checked_s = now_s()
        self.awake_s = 0.0

    def check(self) -> float:
        """Returns the awake time in seconds; call it several times a second."""
        now_s = self._now_s()
        self.awake_s += min(max(now_s - self._checked_s, 0.0), _LONGEST_STEP_S)
        self._checked_s = now_s
        return self.awake_s


class StallTimer:
    """Measures for how long a value has not changed."""

    def __init__(self) -> None:
        self._progress: Hashable = None
        self._since_s = 0.0

    def stalled_s(self, progress: Hashable, awake_s: float) -> float:
        """Seconds since ``progress`` changed."""
        if progress != self._progress:
            self._progress, self._since_s = progress, awake_s
        return awake_s - self._since_s

    def heartbeat_stalled_s(self, heartbeat: Heartbeat, awake_s: float) -> float:
        """Seconds since the last beat; 0 while the thread rests."""
        return self.stalled_s((heartbeat.count, heartbeat.doing or awake_s), awake_s)
