"""Stored events, their snapshots and marks, and people by hour.

Every call may wait for the disk, so the server runs it in a worker thread.
"""

import json
import math
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EACH_ID, EventStore
from app.alerts.export import ALERT_KINDS, HourRow, by_hour
from app.alerts.marks import Marks, read_marks, write_marks
from app.alerts.numbers import Numbers
from app.alerts.store_types import EventFilter
from app.core.camera_hours import CameraHour
from app.core.files import is_file
from app.core.types import Event
from app.settings.alerts import AlertSettings

_MAX_RECENT = 1000


class History:
    """Reads the event store, or the events of this run if ``alerts.persist`` is off.

    A missing store counts as empty. Methods raise StoreError if the store cannot be read.
    """

    def __init__(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings = settings
        self._center = center
        self.marking = threading.RLock()
        """Held while a mark changes: of two at the same moment, one is the last for memory, file and collected face."""
        self._lock = threading.Lock()
        self._marks: OrderedDict[str, Marks] = OrderedDict()  # of this run, also without a store

    def reload(self, settings: AlertSettings, center: AlertCenter) -> None:
        self._settings, self._center = settings, center

    @contextmanager
    def _opened(self) -> Iterator[EventStore | None]:
        if not self._settings.persist or not is_file(self._settings.store):
            yield None
            return
        with EventStore(self._settings.store, create=False) as store:
            yield store

    def events(self, query: EventFilter, limit: int) -> list[Event]:
        """At most ``limit`` matching events, newest first: those stored, and those of files in this run."""
        with self._opened() as store:
            recent = self._center.recent(counted=None if store is None else False)
            events = [event for event in recent if _matches(event, query)]
            if store is not None:
                events += store.events(query, limit)
        events.sort(key=lambda event: event.wall_s)
        return events[::-1][:limit]

    def parts(self, query: EventFilter, size: int) -> Iterator[list[Event]]:
        """All matching events, oldest first, about ``size`` at once: all together may not fit into memory."""
        with self._opened() as store:
            times = [] if store is None else store.event_times(query)
        since_s = query.since_s
        for until_s in (*dict.fromkeys(times[size::size]), query.until_s):
            yield self.events(replace(query, since_s=since_s, until_s=until_s), sys.maxsize)[::-1]
            since_s = until_s

    def event(self, event_id: str) -> Event | None:
        recent = next((event for event in self._center.recent() if event.id == event_id), None)
        if recent is not None:
            return recent
        with self._opened() as store:
            if store is None:
                return None
            with store.transaction() as db:
                row = db.execute("SELECT wall_s FROM events WHERE id = ?", (event_id,)).fetchone()
        if row is None:
            return None
        at = EventFilter(row[0], row[0] + 1e-3)
        return next((event for event in self.events(at, _MAX_RECENT) if event.id == event_id), None)

    def snapshot(self, event_id: str) -> bytes | None:
        """The JPEG of an event, or None."""
        with self._opened() as store:
            if store is not None and (jpeg := store.snapshot(event_id)) is not None:
                return jpeg
        return self._center.snapshot(event_id)

    def ids_with_snapshot(self, events: Sequence[Event]) -> frozenset[str]:
        """Ids of the ``events`` that have a snapshot."""
        with self._opened() as store:
            unstored = {event.id for event in self._center.recent(counted=None if store is None else False)}
            wanted = [event.id for event in events if event.id in unstored]
            found = frozenset(event_id for event_id in wanted if self._center.snapshot(event_id) is not None)
            if store is None or not events:
                return found
            ids = json.dumps([event.id for event in events])
            with store.transaction() as db:
                rows = db.execute(f"SELECT event_id FROM snapshots WHERE event_id IN {EACH_ID}", (ids,))
                return found.union(str(row[0]) for row in rows)

    def marks(self, events: Sequence[Event]) -> dict[str, Marks]:
        """Acknowledgements and verdicts by event id; events without any are left out."""
        with self._lock:
            marks = {event.id: self._marks[event.id] for event in events if event.id in self._marks}
        with self._opened() as store:
            if store is None or not events:
                return marks
            return {**read_marks(store, [event.id for event in events]), **marks}

    def recently_acknowledged(self, event_id: str) -> float | None:
        """Unix time of an acknowledgement in this run, or None; does not wait for the disk."""
        with self._lock:
            return self._marks.get(event_id, Marks()).acknowledged_s

    def acknowledge(self, event_id: str, actor: str = "") -> float:
        """Acknowledges an event and returns the Unix time; a second call returns the first time."""
        marks = self._mark(event_id, lambda old: old.acknowledged(time.time(), actor))
        assert marks.acknowledged_s is not None
        return marks.acknowledged_s

    def judge(self, event_id: str, verdict: str, label: str, actor: str) -> Marks:
        """Stores a verdict on an event; a later one replaces it."""
        return self._mark(event_id, lambda old: old.judged(verdict, label, time.time(), actor))

    def _mark(self, event_id: str, change: Callable[[Marks], Marks]) -> Marks:
        with self._opened() as store, self.marking:
            stored = {} if store is None else read_marks(store, [event_id])
            with self._lock:
                old = self._marks.pop(event_id, None) or stored.get(event_id, Marks())
                self._marks[event_id] = marks = change(old)
                while len(self._marks) > _MAX_RECENT:
                    self._marks.popitem(last=False)
            if store is not None:
                write_marks(store, event_id, marks)
        return marks

    def hours(self, query: EventFilter) -> list[HourRow]:
        """People, alerts and watched time by whole hours, oldest first; empty hours are omitted. Files do not count.
        Who is in view counts already."""
        return by_hour(*self._counted(query))

    def numbers(self, query: EventFilter) -> Numbers:
        """The same by camera."""
        return Numbers(*self._counted(query))

    def _counted(self, query: EventFilter) -> tuple[list[CameraHour], list[Event], float]:
        query = query.whole_hours()
        until_s = min(time.time(), query.until_s or math.inf)
        alerts = EventFilter(query.since_s, query.until_s, query.cameras, tuple(kind.value for kind in ALERT_KINDS))
        with self._opened() as store:
            if store is None:
                events = [event for event in self._center.recent(counted=True) if _matches(event, alerts)]
            else:
                events = store.events(alerts)
        return self._center.hours(query), events, until_s


def _matches(event: Event, query: EventFilter) -> bool:
    return (
        (query.since_s is None or event.wall_s >= query.since_s)
        and (query.until_s is None or event.wall_s < query.until_s)
        and (not query.cameras or event.camera in query.cameras)
        and (not query.kinds or event.kind.value in query.kinds)
    )
