"""Reads which cameras earlier runs reported as offline and not as recovered."""

import logging
from collections.abc import Iterable

from app.alerts.event_store import EventStore
from app.alerts.store_types import EventFilter, StoreError
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

_KINDS = (EventKind.CAMERA_OFFLINE.value, EventKind.CAMERA_RECOVERED.value)


def cameras_left_offline(settings: AlertSettings, cameras: Iterable[str]) -> list[Event]:
    """The latest ``camera_offline`` event of each camera that has not recovered. Empty if events are not stored or the
    event file cannot be read."""
    latest: list[Event] = []
    if settings.persist:
        try:
            if settings.store.exists():
                with EventStore(settings.store, create=False) as store:
                    for name in cameras:
                        latest += store.events(EventFilter(cameras=(name,), kinds=_KINDS), 1)
        except (StoreError, OSError) as error:
            log.info("cannot read which cameras were offline: %s", error)
    return [event for event in latest if event.kind is EventKind.CAMERA_OFFLINE]
