"""What was kept: events with their pictures, who acknowledged them, people by hour. Every call may wait for the disk,
so the server makes them in its workers."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import closing

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.export import ALERT_KINDS, HourRow, by_hour
from app.alerts.store_types import EventFilter, Presence
from app.core.types import Event
from app.settings.alerts import AlertSettings

_TABLE = """CREATE TABLE IF NOT EXISTS acknowledged (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, wall_s REAL NOT NULL)"""
_REMEMBERED = 1000
_AT_ONCE = 500  # of SQLite's 999 variables


class History:
    """The event file, or this run's events where nothing is kept. A file that is not there yet is empty history; any
    other fault of it is a StoreError."""

    def __init__(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings = settings
        self._center = center
        self._lock = threading.Lock()
        self._acknowledged: OrderedDict[str, float] = OrderedDict()  # of this run, also where nothing is kept

    def renew(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings, self._center = settings, center

    def _open(self) -> EventStore | None:
        if not self._settings.persist or not self._settings.store.is_file():
            return None
        return EventStore(self._settings.store, create=False)

    def events(self, wanted: EventFilter, newest: int) -> list[Event]:
        """Newest first."""
        store = self._open()
        if store is None:
            found = [event for event in self._center.recent() if _fits(event, wanted)]
            return found[::-1][:newest]
        with closing(store):
            return store.events(wanted, newest)[::-1]

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
        return next((event for event in self.events(at, _REMEMBERED) if event.id == event_id), None)

    def picture(self, event_id: str) -> bytes | None:
        """The JPEG kept with an event."""
        store = self._open()
        if store is None:
            return None
        with closing(store):
            return store.snapshot(event_id)

    def with_picture(self, events: Sequence[Event]) -> frozenset[str]:
        """Ids of those of ``events`` that have a picture."""
        store = self._open()
        if store is None or not events:
            return frozenset()
        with closing(store):
            return frozenset(str(row[0]) for row in _rows(store, "SELECT event_id FROM snapshots", events))

    def acknowledged(self, events: Sequence[Event]) -> dict[str, float]:
        """Of those of ``events`` that were acknowledged: when, as Unix times by id."""
        with self._lock:
            known = {event.id: self._acknowledged[event.id] for event in events if event.id in self._acknowledged}
        store = self._open()
        if store is None or not events:
            return known
        with closing(store):
            with store.transaction() as db:
                db.execute(_TABLE)
            for event_id, wall_s in _rows(store, "SELECT event_id, wall_s FROM acknowledged", events):
                known.setdefault(str(event_id), float(str(wall_s)))
        return known

    def recently_acknowledged(self, event_id: str) -> float | None:
        """As ``acknowledged``, of this run alone: does not wait for the disk."""
        with self._lock:
            return self._acknowledged.get(event_id)

    def acknowledge(self, event_id: str) -> float:
        """Marks an event as seen by someone; the Unix time of it. The first time counts."""
        with self._lock:
            wall_s = self._acknowledged.setdefault(event_id, time.time())
            while len(self._acknowledged) > _REMEMBERED:
                self._acknowledged.popitem(last=False)
        store = self._open()
        if store is not None:
            with closing(store), store.transaction() as db:
                db.execute(_TABLE)
                db.execute(
                    "INSERT OR IGNORE INTO acknowledged SELECT id, ? FROM events WHERE id = ?", (wall_s, event_id)
                )
        return wall_s

    def hours(self, wanted: EventFilter) -> list[HourRow]:
        """People and alerts of the whole hours, oldest first; hours without any are left out."""
        wanted = wanted.whole_hours()
        alerts = EventFilter(wanted.since_s, wanted.until_s, wanted.cameras, tuple(kind.value for kind in ALERT_KINDS))
        store = self._open()
        presence: Iterable[Presence] = ()
        if store is None:
            return by_hour(presence, self.events(alerts, _REMEMBERED))
        with closing(store):
            return by_hour(store.presence(wanted), store.events(alerts))


def _rows(store: EventStore, query: str, events: Sequence[Event]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    ids = [event.id for event in events]
    with store.transaction() as db:
        for at in range(0, len(ids), _AT_ONCE):
            part = ids[at : at + _AT_ONCE]
            rows += db.execute(f"{query} WHERE event_id IN ({','.join('?' * len(part))})", part).fetchall()
    return rows


def _fits(event: Event, wanted: EventFilter) -> bool:
    return (
        (wanted.since_s is None or event.wall_s >= wanted.since_s)
        and (wanted.until_s is None or event.wall_s < wanted.until_s)
        and (not wanted.cameras or event.camera in wanted.cameras)
        and (not wanted.kinds or event.kind.value in wanted.kinds)
    )
