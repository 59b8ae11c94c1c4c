"""What people do about alerts: mute a camera for a time, and acknowledge. Safe to use from any thread."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from app.core.types import Event

MAX_MUTE_S = 24 * 3600.0
_KEPT = 1000
"""Muted alerts remembered, so that their ends are muted too."""


class Mutes:
    """Which cameras are muted, until when. Forgotten when the program ends: a restart is never silent. The ends are of
    a clock that never goes back; the Unix time shown follows from them, and moves when the wall clock is set."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic, wall_s: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._now_s, self._wall_s = now_s, wall_s
        self._ends_s: dict[str, float] = {}
        self._muted: OrderedDict[str, None] = OrderedDict()  # ids of alerts that were not sent

    def mute(self, camera: str, for_s: float) -> float:
        """Nothing of ``camera`` is sent for so long; the Unix time of its end."""
        with self._lock:
            for_s = min(for_s, MAX_MUTE_S)
            self._ends_s[camera] = self._now_s() + for_s
            return self._wall_s() + for_s

    def unmute(self, camera: str) -> None:
        with self._lock:
            self._ends_s.pop(camera, None)

    def until_s(self, camera: str) -> float | None:
        """Unix time until which ``camera`` is muted; None where it is not."""
        with self._lock:
            if camera not in self._ends_s:
                return None
            left_s = self._ends_s[camera] - self._now_s()
            if left_s <= 0:
                del self._ends_s[camera]
                return None
            return self._wall_s() + left_s

    def hold_back(self, event: Event) -> str:
        """The ``hold_back`` of an alert center, which keeps the events of muted cameras and notes them as skipped."""
        return "muted" if self.holds_back(event) else ""

    def holds_back(self, event: Event) -> bool:
        """Whether ``event`` is not to be sent. What ends an alert goes where the alert went, muted or
        not: nobody is left with an alarm that never ends."""
        muted = self.until_s(event.camera) is not None
        with self._lock:
            if event.resolves:
                return event.resolves in self._muted
            if muted:
                self._muted[event.id] = None
                while len(self._muted) > _KEPT:
                    self._muted.popitem(last=False)
            return muted
