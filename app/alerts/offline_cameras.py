"""Reads which cameras earlier runs reported as offline and not as recovered, and to which channels."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from app.alerts.event_store import EventStore
from app.alerts.outbox import Delivery
from app.alerts.store_types import EventFilter, StoreError
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
_KINDS = (EventKind.CAMERA_OFFLINE.value, EventKind.CAMERA_RECOVERED.value)


def cameras_left_offline(settings: AlertSettings, cameras: Iterable[str]) -> list[Event]:
    """The latest ``camera_offline`` event of each camera that has not recovered. Empty if events are not stored or the
    event file cannot be read."""

    def latest(store: EventStore) -> list[Event]:
        return [event for name in cameras for event in store.events(EventFilter(cameras=(name,), kinds=_KINDS), 1)]

    return [event for event in _read(settings, latest) if event.kind is EventKind.CAMERA_OFFLINE]


def deliveries_of(settings: AlertSettings, events: Iterable[Event]) -> list[Delivery]:
    """The deliveries of ``events`` on all channels. Empty if events are not stored or the file cannot be read."""
    ids = tuple(event.id for event in events)
    return _read(settings, lambda store: store.deliveries(event_ids=ids)) if ids else []


def _read(settings: AlertSettings, query: Callable[[EventStore], list[T]]) -> list[T]:
    if not settings.persist:
        return []
    try:
        if not settings.store.exists():
            return []
        with EventStore(settings.store, create=False) as store:
            return query(store)
    except (StoreError, OSError) as error:
        log.info("cannot read which cameras were offline: %s", error)
        return []
