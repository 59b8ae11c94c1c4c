"""Which cameras earlier runs told as offline and never as back."""

import logging
from collections.abc import Iterable

from app.alerts.records import EventFilter, StoreError
from app.alerts.settings import AlertSettings
from app.alerts.store import EventStore
from app.domain import Event, EventKind

log = logging.getLogger(__name__)

_KINDS = (EventKind.CAMERA_OFFLINE.value, EventKind.CAMERA_RECOVERED.value)


def left_offline(settings: AlertSettings, cameras: Iterable[str]) -> list[Event]:
    """The last ``camera_offline`` of each of ``cameras`` that no recovery followed; none where nothing is stored or
    the event file cannot be read."""
    if not settings.persist:
        return []
    try:
        if not settings.store.exists():
            return []
        with EventStore(settings.store, create=False) as store:
            last = [event for name in cameras for event in store.events(EventFilter(cameras=(name,), kinds=_KINDS), 1)]
    except (StoreError, OSError) as error:
        log.info("which cameras were offline is not known: %s", error)
        return []
    return [event for event in last if event.kind is EventKind.CAMERA_OFFLINE]
