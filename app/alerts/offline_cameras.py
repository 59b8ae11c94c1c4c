"""Which cameras earlier runs told as offline and never as back, and whom they told."""

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
    """The last ``camera_offline`` of each of ``cameras`` that no recovery followed; none where nothing is stored or
    the event file cannot be read."""

    def last(store: EventStore) -> list[Event]:
        return [event for name in cameras for event in store.events(EventFilter(cameras=(name,), kinds=_KINDS), 1)]

    return [event for event in _read(settings, last) if event.kind is EventKind.CAMERA_OFFLINE]


def deliveries_of(settings: AlertSettings, events: Iterable[Event]) -> list[Delivery]:
    """What became of ``events`` on each channel; none where nothing is stored or the event file cannot be read."""
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
        log.info("which cameras were offline is not known: %s", error)
        return []
