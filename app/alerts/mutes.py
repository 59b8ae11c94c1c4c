"""Mutes cameras for some time. Thread-safe."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from app.alerts.health import SystemClock
from app.core.types import Event

_CLOCK = SystemClock()
MAX_MUTE_S = 24 * 3600.0
_MAX_REMEMBERED_ALERTS = 1000
"""How many muted alerts are remembered, so that the events which resolve them are muted too."""


class Mutes:
    """The muted cameras. A restart ends all mutes. Durations use the monotonic clock, so the displayed Unix time moves
    when the wall clock is set. The time for which the machine sleeps counts."""

    def __init__(
        self, now_s: Callable[[], float] = _CLOCK.monotonic_s, wall_s: Callable[[], float] = _CLOCK.wall_s
    ) -> None:
        self._lock = threading.Lock()
        self._now_s, self._wall_s = now_s, wall_s
        self._ends_s: dict[str, float] = {}
        self.muted_alerts: OrderedDict[str, None] = OrderedDict()  # ids of alerts that were not sent

    def mute(self, camera: str, for_s: float) -> float:
        """Mutes ``camera`` for ``for_s`` seconds (at most ``MAX_MUTE_S``). Returns the Unix time of the end."""
        with self._lock:
            for_s = min(for_s, MAX_MUTE_S)
            self._ends_s[camera] = self._now_s() + for_s
            return self._wall_s() + for_s

    def unmute(self, camera: str) -> None:
        with self._lock:
            self._ends_s.pop(camera, None)

    def until_s(self, camera: str) -> float | None:
        """The Unix time until which ``camera`` is muted, or None."""
        with self._lock:
            if camera not in self._ends_s:
                return None
            left_s = self._ends_s[camera] - self._now_s()
            if left_s <= 0:
                del self._ends_s[camera]
                return None
            return self._wall_s() + left_s

    def is_muted(self, camera: str) -> bool:
        return self.until_s(camera) is not None

    def hold_back(self, event: Event) -> str:
        """For ``AlertCenter(hold_back=…)``: "muted" if the alerts of ``event`` must be skipped, else ''. An event that
        resolves an alert is sent if the alert was sent, whether the camera is muted or not."""
        muted = self.is_muted(event.camera)
        with self._lock:
            if event.resolves:
                muted = event.resolves in self.muted_alerts
            elif muted:
                self.muted_alerts[event.id] = None
                while len(self.muted_alerts) > _MAX_REMEMBERED_ALERTS:
                    self.muted_alerts.popitem(last=False)
            return "muted" if muted else ""
