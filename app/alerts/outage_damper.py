"""Damps the alerts of a camera or a part that fails again and again. A pure state machine."""

from collections import deque
from dataclasses import dataclass, field, replace

from app.core.text import reason_text
from app.core.types import Event, EventKind

WINDOW_S = 3600.0
OUTAGES_SENT = 3
HOLD_S = 600.0
HELD_REASON = "the camera is unstable"
PART_HELD_REASON = "the part is unstable"


@dataclass(slots=True)
class _Camera:
    outages_s: deque[float] = field(default_factory=deque)
    held: Event | None = None  # offline, not sent yet
    held_since_s: float = 0.0


class OutageDamper:
    """Within an hour, ``OUTAGES_SENT`` outages of a camera are sent; the last of them says that others follow. A
    further outage is sent only if it lasts ``HOLD_S``, until the camera had no outage for an hour. ``now_s`` is
    monotonic time."""

    def __init__(self) -> None:
        self._cameras: dict[str, _Camera] = {}

    def check(self, event: Event, now_s: float) -> tuple[Event, str]:
        """``event``, with a new reason if it is the last one sent, and why it is held back ('' to send it)."""
        if event.kind in (EventKind.CAMERA_RECOVERED, EventKind.PART_RECOVERED):
            self._cameras.setdefault(event.camera, _Camera()).held = None
        if event.kind not in (EventKind.CAMERA_OFFLINE, EventKind.PART_FAILED):
            return event, ""
        camera = self._cameras.setdefault(event.camera, _Camera())
        if camera.outages_s and now_s - camera.outages_s[-1] >= WINDOW_S:
            camera.outages_s.clear()
        while len(camera.outages_s) < OUTAGES_SENT and camera.outages_s and now_s - camera.outages_s[0] >= WINDOW_S:
            camera.outages_s.popleft()
        camera.outages_s.append(now_s)
        count = len(camera.outages_s)
        if count > OUTAGES_SENT:
            camera.outages_s.popleft()
            camera.held, camera.held_since_s = event, now_s
            return event, HELD_REASON if event.kind is EventKind.CAMERA_OFFLINE else PART_HELD_REASON
        if count < OUTAGES_SENT:
            return event, ""
        note = f"outage {count} within an hour; further ones are sent only if they last {HOLD_S / 60:.0f} min"
        return replace(event, reason=f"{reason_text(event.reason)}; {note}" if event.reason else note), ""

    def due(self, now_s: float) -> list[Event]:
        """The outages that were held back and have lasted long enough to be sent now."""
        due = []
        for camera in self._cameras.values():
            if camera.held is not None and now_s - camera.held_since_s >= HOLD_S:
                due.append(camera.held)
                camera.held = None
        return due
