"""What an alert is, what a hook is, and which hook serves which channel."""

import base64
import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, Protocol

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
}


def idempotency_key(event: Event, channel: str) -> str:
    """The same for every attempt, also after a restart: receivers drop what they have seen."""
    return f"{event.id}:{channel}"


class RetryLater(HookError):  # noqa: N818  it is a request, not a fault
    """The receiver asked for a pause before the next attempt."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Alert:
    """An event on its way through one channel. ``attempt`` counts from 1; the picture is there only if asked for;
    ``is_test``: somebody tries the channel, and the event never happened."""

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
        return TITLES.get(self.event.kind, self.event.kind.value)

    @property
    def text(self) -> str:
        """One line for people."""
        event = self.event
        if self.is_test:
            return f"Test alert through channel {self.channel}: nothing has happened"
        words = [f"{self.title} at {event.camera}"]
        if event.people > 1:
            words.append(f"({event.people} people, for {event.duration_s:.0f} s)")
        elif event.track_id:
            words.append(f"(person {event.track_id}, {event.confidence:.0%} sure, for {event.duration_s:.0f} s)")
        if event.reason:
            words.append(f"- {reason_text(event.reason)}")
        return " ".join(words)

    def record(self) -> dict[str, Any]:
        """The event's record plus channel, key and attempt; the picture as base64 under ``snapshot_jpeg``."""
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
    """An alert by which people try ``channel``; its event is kept nowhere."""
    event = Event(uuid.uuid4().hex, EventKind.NO_MASK, "test", 0.0, time.time(), reason="a test of the channel")
    return Alert(event, channel, idempotency_key(event, channel), is_test=True)


class AlertHook(Protocol):
    """One way to tell people. ``send`` runs in a thread of its own and may take its time: the delivery limits it."""

    def send(self, alert: Alert) -> None:
        """Returns when the receiver has taken ``alert``. Raises HookError to be tried again."""

    def abort(self) -> None:
        """Ends a running ``send`` soon, which then raises HookError. Called from another thread; must not block."""
