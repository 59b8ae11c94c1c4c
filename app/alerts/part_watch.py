"""Decides when a part of the program is reported as failed and as working again: a pure state machine. Parts are the
event store, the channels, the threads and the model; cameras and nodes have events of their own."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.alerts.health import AlertHealth
from app.core.types import Event, EventKind

FAILED_AFTER_S = 10.0
"""A shorter fault is not reported: most end with the next attempt."""
CLASSIFIER = "classifier"


@dataclass(slots=True)
class _Fault:
    since_s: float
    event: Event | None = None  # once it is reported


class PartWatch:
    """``prefix`` is put before the names of parts, such as that of the node. ``left``: the latest events of the parts
    in earlier runs; those that failed and do not fail now have recovered."""

    def __init__(self, prefix: str = "", left: Iterable[Event] = ()) -> None:
        self._prefix = prefix
        self._faults = {
            event.camera: _Fault(0.0, event)
            for event in left
            if event.kind is EventKind.PART_FAILED and event.camera.startswith(prefix)
        }

    def check(
        self, faults: Mapping[str, str], now_s: float, wall_s: float, lasting: Iterable[str] = ()
    ) -> Iterator[Event]:
        """``faults``: why each part that does not work fails. ``now_s``: monotonic time. ``lasting``: the parts whose
        fault is reported at once."""
        named = {f"{self._prefix}{part}": reason for part, reason in faults.items()}
        at_once = {f"{self._prefix}{part}" for part in lasting}
        for part in [part for part in self._faults if part not in named]:
            failed = self._faults.pop(part).event
            if failed is not None:
                lasted_s = max(wall_s - failed.wall_s, 0.0)
                yield _event(EventKind.PART_RECOVERED, part, wall_s, lasted_s, resolves=failed.id)
        for part, reason in named.items():
            fault = self._faults.setdefault(part, _Fault(now_s))
            lasted_s = now_s - fault.since_s
            if fault.event is None and (part in at_once or lasted_s >= FAILED_AFTER_S):
                fault.event = _event(EventKind.PART_FAILED, part, wall_s, lasted_s, reason=reason)
                yield fault.event


def faults_of_alerts(health: AlertHealth) -> dict[str, str]:
    """The parts of the delivery that do not work."""
    faults = {f"channel {each.name}": each.error for each in health.channels if each.state == "retrying"}
    faults |= {"event store": health.store_fault} if health.store_fault else {}
    return faults | ({"delivery": health.crash} if health.crash else {})


def _event(kind: EventKind, part: str, wall_s: float, lasted_s: float, reason: str = "", resolves: str = "") -> Event:
    digest = hashlib.sha256(f"{kind.value}\n{part}\n{wall_s * 1000:.0f}".encode()).hexdigest()[:16]
    return Event(digest, kind, part, 0.0, wall_s, duration_s=lasted_s, reason=reason, resolves=resolves)
