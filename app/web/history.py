"""Stored events, their snapshots and acknowledgements, and people by hour.

Every call may wait for the disk, so the server runs it in a worker thread.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import closing

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.export import ALERT_KINDS, HourRow, by_hour
from app.alerts.store_types import EventFilter
from app.core.files import is_file
from app.core.types import Event
from app.settings.alerts import AlertSettings

_TABLE = """CREATE TABLE IF NOT EXISTS acknowledged (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, wall_s REAL NOT NULL)"""
_MAX_RECENT = 1000
_IDS_PER_QUERY = 500  # SQLite allows 999 variables


class History:
    """Reads the event store, or the events of this run if ``alerts.persist`` is off.

    A missing store counts as empty. Methods raise StoreError if the store cannot be read.
    """

    def __init__(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings = settings
        self._center = center
        self._lock = threading.Lock()
        self._acknowledged: OrderedDict[str, float] = OrderedDict()  # of this run, also without a store

    def reload(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings, self._center = settings, center

    def _open(self) -> EventStore | None:
        if not self._settings.persist or not is_file(self._settings.store):
            return None
        return EventStore(self._settings.store, create=False)

    def events(self, query: EventFilter, limit: int) -> list[Event]:
        """At most ``limit`` matching events, newest first: those stored, and those of files in this run."""
        store = self._open()
        recent = self._center.recent(counted=None if store is None else False)
        events = [event for event in recent if _matches(event, query)]
        if store is not None:
            with closing(store):
                events += store.events(query, limit)
        events.sort(key=lambda event: event.wall_s)
        return events[::-1][:limit]

    def event(self, event_id: str) -> Event | None:
        recent = next((event for event in self._center.recent() if event.id == event_id), None)
        store = None if recent is not None else self._open()
        if store is None:
            return recent
        with closing(store), store.transaction() as db:
            row = db.execute("SELECT wall_s FROM events WHERE id = ?", (event_id,)).fetchone()
        if row is None:
            return None
        at = EventFilter(row[0], row[0] + 1e-3)
        return next((event for event in self.events(at, _MAX_RECENT) if event.id == event_id), None)

    def snapshot(self, event_id: str) -> bytes | None:
        """The JPEG of an event, or None."""
        store = self._open()
        if store is not None:
            with closing(store):
                if (jpeg := store.snapshot(event_id)) is not None:
                    return jpeg
        return self._center.snapshot(event_id)

    def ids_with_snapshot(self, events: Sequence[Event]) -> frozenset[str]:
        """Ids of the ``events`` that have a snapshot."""
        store = self._open()
        unstored = {event.id for event in self._center.recent(counted=None if store is None else False)}
        wanted = [event.id for event in events if event.id in unstored]
        found = frozenset(event_id for event_id in wanted if self._center.snapshot(event_id) is not None)
        if store is None or not events:
            return found
        with closing(store):
            return found | {str(row[0]) for row in _rows(store, "SELECT event_id FROM snapshots", events)}

    def acknowledged(self, events: Sequence[Event]) -> dict[str, float]:
        """Unix times of acknowledgement by event id, for the acknowledged ones among ``events``."""
        with self._lock:
            times = {event.id: self._acknowledged[event.id] for event in events if event.id in self._acknowledged}
        store = self._open()
        if store is None or not events:
            return times
        with closing(store):
            with store.transaction() as db:
                db.execute(_TABLE)
            for event_id, wall_s in _rows(store, "SELECT event_id, wall_s FROM acknowledged", events):
                times.setdefault(str(event_id), float(str(wall_s)))
        return times

    def recently_acknowledged(self, event_id: str) -> float | None:
        """Unix time of an acknowledgement in this run, or None; does not wait for the disk."""
        with self._lock:
            return self._acknowledged.get(event_id)

    def acknowledge(self, event_id: str) -> float:
        """Acknowledges an event and returns the Unix time; a second call returns the first time."""
        with self._lock:
            wall_s = self._acknowledged.setdefault(event_id, time.time())
            while len(self._acknowledged) > _MAX_RECENT:
                self._acknowledged.popitem(last=False)
        store = self._open()
        if store is not None:
            with closing(store), store.transaction() as db:
                db.execute(_TABLE)
                db.execute(
                    "INSERT OR IGNORE INTO acknowledged SELECT id, ? FROM events WHERE id = ?", (wall_s, event_id)
                )
        return wall_s

    def hours(self, query: EventFilter) -> list[HourRow]:
        """People, alerts and watched time by whole hours, oldest first; empty hours are omitted. Files do not count.
        Who is in view counts already."""
        query = query.whole_hours()
        until_s = min(time.time(), query.until_s or math.inf)
        alerts = EventFilter(query.since_s, query.until_s, query.cameras, tuple(kind.value for kind in ALERT_KINDS))
        store = self._open()
        if store is None:
            events = [event for event in self._center.recent(counted=True) if _matches(event, alerts)]
        else:
            with closing(store):
                events = store.events(alerts)
        return by_hour(self._center.hours(query), events, until_s)


def _rows(store: EventStore, select: str, events: Sequence[Event]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    ids = [event.id for event in events]
    with store.transaction() as db:
        for at in range(0, len(ids), _IDS_PER_QUERY):
            part = ids[at : at + _IDS_PER_QUERY]
            rows += db.execute(f"{select} WHERE event_id IN ({','.join('?' * len(part))})", part).fetchall()
    return rows


def _matches(event: Event, query: EventFilter) -> bool:
    return (
        (query.since_s is None or event.wall_s >= query.since_s)
        and (query.until_s is None or event.wall_s < query.until_s)
        and (not query.cameras or event.camera in query.cameras)
        and (not query.kinds or event.kind.value in query.kinds)
    )
