"""What is not yet on disk, and the event file with its faults. No threads and no locks: the delivery has those."""

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from app.alerts.event_store import EventStore, set_aside
from app.alerts.file_lock import lock_of, owner_lock, running_owners
from app.alerts.outbox import Delivery, Status
from app.alerts.retention import BYTES_PER_MB, enforce_retention
from app.alerts.store_types import Presence, StoreError, WriteBatch
from app.core.types import Event
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

SECONDS_PER_DAY = 86_400.0
MAX_BUFFERED_EVENTS = 10_000
MAX_BUFFERED_PICTURES_BYTES = 32_000_000
ENFORCE_EVERY_S = 60.0
ENFORCE_EVERY_SHARE = 0.1  # of the size limit, in pictures written


class WriteBuffer:
    """What the next transaction has to write. Bounded: above the bounds the oldest pictures go first, then the oldest
    events that no alert waits for, with what became of their alerts."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[Event, bytes | None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._presence: dict[tuple[str, int], Presence] = {}
        self._pictures_bytes = 0
        self.lost_events = 0
        self.lost_pictures = 0

    def __bool__(self) -> bool:
        return bool(self._events or self._deliveries or self._presence)

    @property
    def keys(self) -> frozenset[str]:
        """Of the deliveries whose newest state is not on disk."""
        return frozenset(self._deliveries)

    def add_event(self, event: Event, jpeg: bytes | None) -> None:
        if event.id in self._events:
            return
        self._bound_events(MAX_BUFFERED_EVENTS - 1)  # before it is added: its own alerts come after it
        self._add_event(event, jpeg)
        self._bound_pictures()

    def _add_event(self, event: Event, jpeg: bytes | None) -> None:
        if event.id not in self._events:
            self._events[event.id] = (event, jpeg)
            self._pictures_bytes += len(jpeg or b"")

    def _bound_pictures(self) -> None:
        if self._pictures_bytes > MAX_BUFFERED_PICTURES_BYTES:
            for key, (event, jpeg) in list(self._events.items()):
                if jpeg is not None and self._pictures_bytes > MAX_BUFFERED_PICTURES_BYTES // 2:
                    self._events[key] = (event, None)
                    self._pictures_bytes -= len(jpeg)
                    self.lost_pictures += 1

    def _bound_events(self, limit: int) -> None:
        excess = len(self._events) - limit
        if excess <= 0:
            return
        waiting = {each.event.id for each in self._deliveries.values() if each.status is Status.PENDING}
        finished = [key for key in self._events if key not in waiting]
        lost = set(finished[: max(excess, MAX_BUFFERED_EVENTS // 10)])
        if not lost:
            return
        for key in lost:
            self._pictures_bytes -= len(self._events.pop(key)[1] or b"")
        self.lost_events += len(lost)
        # Without its event a delivery cannot be written; those of events that are on disk stay.
        self._deliveries = {key: each for key, each in self._deliveries.items() if each.event.id not in lost}

    def add_delivery(self, delivery: Delivery) -> None:
        self._deliveries[delivery.key] = delivery

    def add_presence(self, presence: Presence) -> None:
        key = presence.camera, presence.hour_s
        before = self._presence.get(key)
        self._presence[key] = presence if before is None else before.plus(presence)

    def picture(self, event_id: str) -> bytes | None:
        return self._events.get(event_id, (None, None))[1]

    def take(self) -> WriteBatch:
        batch = WriteBatch(
            tuple(self._events.values()), tuple(self._deliveries.values()), tuple(self._presence.values())
        )
        self._events, self._deliveries, self._presence, self._pictures_bytes = {}, {}, {}, 0
        return batch

    def put_back(self, batch: WriteBatch) -> None:
        """What could not be written, under what came since."""
        newer = self.take()
        for part in (batch, newer):
            for each in part.deliveries:
                self.add_delivery(each)
            for seen in part.presence:
                self.add_presence(seen)
            for event, jpeg in part.events:
                self._add_event(event, jpeg)
        self._bound_events(MAX_BUFFERED_EVENTS)
        self._bound_pictures()


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """What the file told: alerts of earlier runs to send, and, where another program changed the file, the keys of
    everything of ours that still waits in it. ``renewed``: it is not the file we wrote to before, so all that waits
    must be written."""

    older: tuple[Delivery, ...] = ()
    waiting_keys: frozenset[str] | None = None
    renewed: bool = False


class StoreWriter:
    """The event file as one running program uses it. A fault closes it, is kept in ``fault`` and told once in the
    log; the next call opens it again. ``owner`` marks the alerts that this program sends, and names the file beside
    the event file by whose lock other programs know that it runs."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._store: EventStore | None = None
        self.owner = uuid.uuid4().hex
        self._own = owner_lock(settings.store, self.owner)
        self._lock = lock_of(settings.store)
        self._holds_lock = False
        self._adoption_due = False
        self._told_of_other = False
        self._identity: str | None = None
        self._renewed = False
        self._unread = False  # others may have changed what could not be read
        self._enforced_s = float("-inf")
        self._bytes_since = 0
        self.fault = ""

    def write(self, batch: WriteBatch, wall_s: float) -> StoreChanges | None:
        """Writes ``batch``, then looks for what is new in the file. ``None`` where nothing of ``batch`` is written; a
        fault of the look alone is in ``fault``, and what is new is found later."""
        found = self._write(batch, wall_s)
        if (
            found is None and not self._settings.store.exists()
        ):  # set aside by us or deleted by hand: a new one is made at once
            found = self._write(batch, wall_s)
        return found

    def _write(self, batch: WriteBatch, wall_s: float) -> StoreChanges | None:
        written = False
        try:
            opened = self._open()
            store = self._store
            assert store is not None
            self._hold_own_lock()  # before anything is written that others could take for left behind
            adopted = self._adopt(store)
            if batch.events or batch.deliveries or batch.presence:
                store.write(batch, wall_s)
                self._bytes_since += sum(len(jpeg or b"") for _, jpeg in batch.events)
            written = True
            found = self._look(store, opened or adopted)
        except StoreError as error:
            lost = self._failed(error, wall_s, written)
            return (
                StoreChanges() if written and not lost else None
            )  # never twice into one file: people would count twice
        if self.fault:
            log.warning("event file %s works again; what was kept in memory is written", self._settings.store)
            self.fault = ""
        self._renewed = False
        return found

    def _look(self, store: EventStore, anew: bool) -> StoreChanges:
        """What is new in the file, read after the write: what the batch ended does not come back. ``anew`` reads what
        waits whether others changed the file or not."""
        changed = store.changed_outside() or self._unread
        waiting: tuple[Delivery, ...] = ()
        if anew or changed:
            owners = (self.owner, "") if self._holds_lock else (self.owner,)
            waiting = tuple(store.deliveries(Status.PENDING, owners))
        self._unread = False
        tells = changed and not self._renewed  # a new file cannot tell what was taken out of the old one
        return StoreChanges(waiting, frozenset(each.key for each in waiting) if tells else None, self._renewed)

    def _open(self) -> bool:
        """Whether the file had to be opened."""
        if self._store is not None:
            return False
        self._store = EventStore(self._settings.store)
        self._renewed = self._renewed or self._identity not in (None, self._store.identity)
        self._identity = self._store.identity
        return True

    def _hold_own_lock(self) -> None:
        if self._own.in_place:
            return
        self._own.release()  # its file was deleted by hand
        try:
            self._own.take()
        except StoreError as error:  # then others may send what waits here; better than not to store it
            log.debug("%s", error)

    def _adopt(self, store: EventStore) -> bool:
        """Whether there may be alerts of others to send: those of programs that are gone, for the one that holds the
        lock. It looks when it gets the lock, and again each minute."""
        first = not self._holds_lock and self._take_lock()
        if not first and not (self._holds_lock and self._adoption_due):
            return False
        owners = store.owners()  # before the locks are looked at: who waits here has taken one
        gone = owners - running_owners(self._settings.store, self.owner)
        adopted = store.adopt(self.owner, gone)
        self._adoption_due = False
        return first or adopted > 0

    def _take_lock(self) -> bool:
        self._holds_lock = self._lock.take()
        self._adoption_due = self._holds_lock  # until it has succeeded
        if not self._holds_lock and not self._told_of_other:
            self._told_of_other = True
            log.info("another maskwatch uses %s; it sends what older runs left", self._settings.store)
        return self._holds_lock

    def _failed(self, error: StoreError, wall_s: float, written: bool = True) -> bool:
        """Whether the file is lost, with what was written to it last: another one takes its place."""
        first = not self.fault
        if first:
            is_read = written and not error.gone and not error.damaged
            so_far = "what others change in it is not seen" if is_read else "events are kept in memory"
            log.warning("%s; alerts go on, %s until it works again", error, so_far)
        self.fault = str(error)
        self._drop_store()
        self._unread = True
        lost = error.gone
        if error.damaged:
            try:
                aside, saved = set_aside(self._settings.store, wall_s)
                lost = True
                log.warning("the damaged event file is now %s; a new one is begun", aside)
                self._rescue(saved, wall_s)
            except StoreError as second:
                self.fault = str(second)
                if first:
                    log.warning("%s", second)
        return lost

    def _rescue(self, saved: Iterable[Delivery], wall_s: float) -> None:
        saved = tuple(saved)
        with EventStore(self._settings.store) as fresh:
            fresh.write(WriteBatch(tuple((each.event, None) for each in saved), saved), wall_s)

    def _drop_store(self) -> None:
        if self._store is not None:
            try:
                self._store.close()
            except StoreError:
                log.debug("closing the event file failed", exc_info=True)
            self._store = None

    def keep_bounds(self, now_s: float, wall_s: float) -> None:
        """Retention by age and size, once a minute or after much was written."""
        max_bytes = int(self._settings.max_store_mb * BYTES_PER_MB)
        due = now_s - self._enforced_s >= ENFORCE_EVERY_S or self._bytes_since >= max_bytes * ENFORCE_EVERY_SHARE
        if self._store is None or not due:
            return
        self._enforced_s, self._bytes_since = now_s, 0
        self._adoption_due = True  # a program may have ended meanwhile
        try:
            keep_s = self._settings.keep_days * SECONDS_PER_DAY
            gone = enforce_retention(self._store, wall_s, keep_s, max_bytes)
        except StoreError as error:
            self._failed(error, wall_s)
            return
        if gone.events or gone.pictures:
            log.info("retention: deleted %d events and %d pictures", gone.events, gone.pictures)

    def close(self) -> None:
        if self._store is not None:
            try:
                self._store.release(self.owner)
            except StoreError as error:
                log.debug("%s", error)
        self._drop_store()
        self._own.remove()
        self._lock.release()
