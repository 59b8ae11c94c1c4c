"""What people do about alerts: mute a camera for a time, and acknowledge. Safe to use from any thread."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from app.alerts.channel import ServedChannel
from app.alerts.delivery import AlertCenter
from app.alerts.outbox import Delivery, Status
from app.alerts.settings import AlertSettings
from app.domain import Event

MAX_MUTE_S = 24 * 3600.0
_KEPT = 1000
"""Muted alerts remembered, so that their ends are muted too."""


class Mutes:
    """Which cameras are muted, until when. Forgotten when the program ends: a restart is never silent."""

    def __init__(self, wall_s: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._wall_s = wall_s
        self._until_s: dict[str, float] = {}
        self._muted: OrderedDict[str, None] = OrderedDict()  # ids of alerts that were not sent

    def mute(self, camera: str, for_s: float) -> float:
        """Nothing of ``camera`` is sent for so long; the Unix time of its end."""
        with self._lock:
            self._until_s[camera] = self._wall_s() + min(for_s, MAX_MUTE_S)
            return self._until_s[camera]

    def unmute(self, camera: str) -> None:
        with self._lock:
            self._until_s.pop(camera, None)

    def until_s(self, camera: str) -> float | None:
        """Unix time until which ``camera`` is muted; None where it is not."""
        with self._lock:
            end_s = self._until_s.get(camera)
            if end_s is not None and end_s <= self._wall_s():
                del self._until_s[camera]
                return None
            return end_s

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


class QuietCenter(AlertCenter):
    """An alert center that stores the events of muted cameras but sends none of them; they are kept as skipped."""

    def __init__(self, settings: AlertSettings, mutes: Mutes) -> None:
        super().__init__(settings)
        self._mutes = mutes
        self._held: OrderedDict[str, bool] = OrderedDict()

    def submit(self, event: Event, snapshot_jpeg: bytes | None = None) -> None:
        held = self._mutes.holds_back(event)  # asked once per event, not once per channel
        if held:
            self._held[event.id] = True
        try:
            super().submit(event, snapshot_jpeg)
        finally:
            self._held.pop(event.id, None)

    def _enqueue(
        self, served: ServedChannel, event: Event, jpeg: bytes | None, ticket: int, now_s: float, wall_s: float
    ) -> None:
        if event.id not in self._held:
            super()._enqueue(served, event, jpeg, ticket, now_s, wall_s)
            return
        owner = self._journal.owner if self._journal else ""
        skipped = Delivery(event, served.channel.name, wall_s, wall_s, Status.SKIPPED, error="muted", owner=owner)
        self._save(skipped)
