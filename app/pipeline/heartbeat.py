"""How a thread that hangs is told from one that works or waits. No threads and no locks here."""

import time
from collections.abc import Callable, Hashable

_LONGEST_STEP_S = 1.0
"""What one look at the clock may add at most, however long ago the last one was."""


class Heartbeat:
    """One thread says that it moves on, and with what; another looks. One writer, so no lock."""

    __slots__ = ("count", "doing")

    def __init__(self) -> None:
        self.count = 0
        self.doing = ""

    def beat(self, doing: str) -> None:
        """``doing`` begins now and must not take for ever."""
        self.doing = doing
        self.count += 1

    def rest(self) -> None:
        """What comes now may last: the thread waits for others, which are watched themselves."""
        self.beat("")


class AwakeClock:
    """Seconds for which the process has really run: a machine that was suspended, a process that was stopped and a
    wall clock that was set add nothing, so no limit runs out meanwhile."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._looked_s = now_s()
        self.awake_s = 0.0

    def check(self) -> float:
        """To be called several times a second."""
        now_s = self._now_s()
        self.awake_s += min(max(now_s - self._looked_s, 0.0), _LONGEST_STEP_S)
        self._looked_s = now_s
        return self.awake_s


class StallTimer:
    """For how long something has not changed."""

    def __init__(self) -> None:
        self._mark: Hashable = None
        self._since_s = 0.0

    def of(self, mark: Hashable, awake_s: float) -> float:
        """Seconds since ``mark`` was another one."""
        if mark != self._mark:
            self._mark, self._since_s = mark, awake_s
        return awake_s - self._since_s

    def of_heartbeat(self, heartbeat: Heartbeat, awake_s: float) -> float:
        """Seconds since ``heartbeat`` moved; 0 while its thread rests."""
        return self.of((heartbeat.count, heartbeat.doing or awake_s), awake_s)
