"""The ``Alert`` that a channel sends, and the ``AlertHook`` protocol of the code that sends it."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from app.alerts.event_records import event_record
from app.core.errors import HookError
from app.core.text import reason_text
from app.core.types import Event, EventKind

TITLES = {
    EventKind.NO_MASK: "No mask",
    EventKind.INCORRECT: "Mask worn incorrectly",
    EventKind.RESOLVED: "Resolved",
    EventKind.CAMERA_OFFLINE: "Camera offline",
    EventKind.CAMERA_RECOVERED: "Camera back",
    EventKind.CAMERA_CHANGED: "Camera changed",
    EventKind.NODE_OFFLINE: "Node offline",
    EventKind.NODE_ONLINE: "Node back",
    EventKind.PART_FAILED: "Part failed",
    EventKind.PART_RECOVERED: "Part works again",
    EventKind.REPORT: "Report",
    EventKind.OCCUPANCY_REACHED: "Occupancy limit reached",
    EventKind.OCCUPANCY_BELOW: "Below the occupancy limit again",
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
            return "Test alert"
        if self.event.kind is EventKind.REPORT:
            return reason_text(self.event.reason)
        return TITLES.get(self.event.kind, self.event.kind.value)

    @property
    def text(self) -> str:
        """The alert in one line; a report in several."""
        event = self.event
        if event.kind is EventKind.REPORT:
            return event.reason.replace("\t", ": ")
        if self.is_test:
            return f"Test alert through channel {self.channel}: no real event"
        is_part = event.kind in PART_KINDS
        place = f"{event.camera}, {event.zone}" if event.zone else event.camera
        parts = [f"{self.title}: {event.camera}" if is_part else f"{self.title} at {place}"]
        is_of_faces = event.kind not in OCCUPANCY_KINDS  # their reason says how many
        if is_of_faces and event.people > 1:
            parts.append(f"({event.people} people, for {event.duration_s:.0f} s)")
        elif is_of_faces and event.track_id:
            parts.append(f"(person {event.track_id}, {event.confidence:.0%} sure, for {event.duration_s:.0f} s)")
        if event.reason:
            parts.append(f"- {reason_text(event.reason)}")
        return " ".join(parts)

    def record(self) -> dict[str, Any]:
        """The event's record with channel, key and attempt, and the snapshot in base64 as ``snapshot_jpeg``."""
        record = event_record(self.event)
        record.update(
            channel=self.channel,
            idempotency_key=self.idempotency_key,
            attempt=self.attempt,
            is_test=self.is_test,
            title=self.title,
            text=self.text,
        )
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
