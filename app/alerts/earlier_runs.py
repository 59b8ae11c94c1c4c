"""What the event file says of earlier runs: cameras that are still offline, parts that failed, people inside."""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

from app.alerts.event_store import EventStore
from app.alerts.store_types import EventFilter, StoreError
from app.core.camera_hours import Occupancy
from app.core.files import exists
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

T = TypeVar("T")
_OF_CAMERAS = (EventKind.CAMERA_OFFLINE.value, EventKind.CAMERA_RECOVERED.value)
_OF_PARTS = (EventKind.PART_FAILED.value, EventKind.PART_RECOVERED.value)


def cameras_left_offline(settings: AlertSettings, cameras: Iterable[str]) -> list[Event]:
    """The latest ``camera_offline`` event of each camera that has not recovered."""
    wanted = [EventFilter(cameras=(name,), kinds=_OF_CAMERAS) for name in cameras]
    latest = _read(settings, lambda store: [event for each in wanted for event in store.events(each, 1)])
    return [event for event in latest if event.kind is EventKind.CAMERA_OFFLINE]


def latest_of_parts(settings: AlertSettings) -> list[Event]:
    """The latest event of each part."""
    events = _read(settings, lambda store: store.events(EventFilter(kinds=_OF_PARTS)))
    return list({event.camera: event for event in events}.values())


def stored_occupancy(settings: AlertSettings) -> dict[str, Occupancy]:
    """What was counted at the lines of each camera."""
    fault = "cannot read how many people are inside: %s; they are counted from 0"
    return {each.camera: each for each in _read(settings, EventStore.occupancy, fault)}


def _read(settings: AlertSettings, read: Callable[[EventStore], list[T]], fault: str = "") -> list[T]:
    """Empty if nothing is stored or the file cannot be read: the store itself will be reported."""
    try:
        if settings.persist and exists(settings.store):
            with EventStore(settings.store, create=False) as store:
                return read(store)
    except (StoreError, OSError) as error:
        if fault:
            log.warning(fault, error)
    return []
