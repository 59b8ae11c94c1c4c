"""The ``Alert`` that a channel sends, and the ``AlertHook`` protocol of the code that sends it."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from app.alerts.event_records import event_record
from app.core.errors import HookError
from app.core.text import reason_text, translated_reason
from app.core.translation import gettext, marked
from app.core.types import Event, EventKind

TITLES = {
    EventKind.NO_MASK: marked("No mask"),
    EventKind.INCORRECT: marked("Mask worn incorrectly"),
    EventKind.RESOLVED: marked("Resolved"),
    EventKind.CAMERA_OFFLINE: marked("Camera offline"),
    EventKind.CAMERA_RECOVERED: marked("Camera back"),
    EventKind.CAMERA_CHANGED: marked("Camera changed"),
    EventKind.NODE_OFFLINE: marked("Node offline"),
    EventKind.NODE_ONLINE: marked("Node back"),
    EventKind.PART_FAILED: marked("Part failed"),
    EventKind.PART_RECOVERED: marked("Part works again"),
    EventKind.REPORT: marked("Report"),
    EventKind.OCCUPANCY_REACHED: marked("Occupancy limit reached"),
    EventKind.OCCUPANCY_BELOW: marked("Below the occupancy limit again"),
}

ENDS = (
    EventKind.RESOLVED,
    EventKind.CAMERA_RECOVERED,
    EventKind.NODE_ONLINE,
    EventKind.PART_RECOVERED,
    EventKind.OCCUPANCY_BELOW,
)
OCCUPANCY_KINDS = (EventKind.OCCUPANCY_REACHED, EventKind.OCCUPANCY_BELOW)
PART_KINDS = (EventKind.PART_FAILED, EventKind.PART_RECOVERED)
OF_NO_CAMERA = (EventKind.NODE_OFFLINE, EventKind.NODE_ONLINE, *PART_KINDS, EventKind.REPORT)


def idempotency_key(event: Event, channel: str) -> str:
    """The same for every attempt, also after a restart, so that receivers can ignore duplicates."""
    return f"{event.id}:{channel}"


class RetryLater(HookError):  # noqa: N818  a request of the receiver
    """The receiver requested a pause of ``pause_s`` before the next attempt."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


def require(module: str, package: str, user: str, extra: str) -> None:
    """Raises HookError if the ``package`` with ``module``, which is part of the ``extra``, is not installed."""
    try:
        import_module(module)
    except ImportError as error:
        raise HookError(f"{user} needs the package {package}; install it: pip install 'maskwatch[{extra}]'") from error


@dataclass(frozen=True, slots=True)
class Alert:
    """One event for one channel. ``attempt`` counts from 1. ``snapshot_jpeg`` is set if the channel sends snapshots.
    ``is_test``: a user tests the channel, and the event did not happen."""

    event: Event
    channel: str
    idempotency_key: str
    attempt: int = 1
    snapshot_jpeg: bytes | None = None
    is_test: bool = False

    @property
    def title(self) -> str:
        if self.is_test:
            return gettext("Test alert")
        if self.event.kind is EventKind.REPORT:
            return reason_text(self.event.reason)
        return gettext(TITLES[self.event.kind])

    @property
    def text(self) -> str:
        """The alert in one line; a report in several."""
        event = self.event
        if event.kind is EventKind.REPORT:
            return event.reason.replace("\t", ": ")
        if self.is_test:
            return gettext("Test alert through channel %(channel)s: no real event", channel=self.channel)
        is_part = event.kind in PART_KINDS
        place = f"{event.camera}, {event.zone}" if event.zone else event.camera
        at_place = gettext("%(title)s at %(place)s", title=self.title, place=place)
        parts = [f"{self.title}: {event.camera}" if is_part else at_place]
        seconds = f"{event.duration_s:.0f}"
        is_of_faces = event.kind not in OCCUPANCY_KINDS  # their reason says how many
        if is_of_faces and event.people > 1:
            parts.append(gettext("(%(count)s people, for %(seconds)s s)", count=event.people, seconds=seconds))
        elif is_of_faces and event.track_id:
            sure = f"{100 * event.confidence:.0f}"
            text = gettext(
                "(person %(number)s, %(share)s%% sure, for %(seconds)s s)",
                number=event.track_id,
                share=sure,
                seconds=seconds,
            )
            parts.append(text)
        if event.reason:
            parts.append(f"- {translated_reason(event.reason)}")
        return " ".join(parts)

    def record(self) -> dict[str, Any]:
        """The event's record with channel, key and attempt, and the snapshot in base64 as ``snapshot_jpeg``."""
        record = event_record(self.event)
        own = ("channel", "idempotency_key", "attempt", "is_test", "title", "text")
        record |= {name: getattr(self, name) for name in own}
        if self.snapshot_jpeg is not None:
            record["snapshot_jpeg"] = base64.b64encode(self.snapshot_jpeg).decode("ascii")
        return record

    def to_json(self) -> str:
        return json.dumps(self.record(), ensure_ascii=False)


def make_test_alert(channel: str) -> Alert:
    """An alert to test ``channel``. Its event is not stored."""
    event = Event(uuid.uuid4().hex, EventKind.NO_MASK, "test", 0.0, time.time(), reason="a test of the channel")
    return Alert(event, channel, idempotency_key(event, channel), is_test=True)


class AlertHook(Protocol):
    """The code of a channel that sends. ``send`` runs in its own thread; ``TimeoutHook`` limits its time."""

    def send(self, alert: Alert) -> None:
        """Returns after the receiver has accepted ``alert``. Raises HookError if the alert must be retried."""

    def abort(self) -> None:
        """Makes a running ``send`` raise HookError soon. Called from another thread; must not block."""


@runtime_checkable
class SessionHook(AlertHook, Protocol):
    """A hook that stays connected while maskwatch watches, so that the receiver notices when it ends."""

    def refresh(self, cameras: Mapping[str, bool]) -> None:
        """Opens the session or keeps it alive. Called every few seconds with the watched cameras and whether each is
        online; may take a few seconds."""

    def close(self) -> None:
        """Ends the session. May block for a second."""
