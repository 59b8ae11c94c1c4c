"""Buffers unwritten events and writes them to the event file. Not thread-safe: ``AlertCenter`` holds the lock."""

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from app.alerts.event_store import EventStore, rename_damaged
from app.alerts.file_lock import owner_lock, running_owners, store_lock
from app.alerts.outbox import Delivery, Status
from app.alerts.retention import BYTES_PER_MB, enforce_retention
from app.alerts.store_types import Presence, StoreError, WriteBatch
from app.core.files import exists
from app.core.types import Event
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

SECONDS_PER_DAY = 86_400.0
MAX_BUFFERED_EVENTS = 10_000
MAX_BUFFERED_SNAPSHOT_BYTES = 32_000_000
ENFORCE_EVERY_S = 60.0
ENFORCE_EVERY_SHARE = 0.1  # of the size limit, counted in bytes of written snapshots


class WriteBuffer:
    """The content of the next transaction, with bounded memory. Above the limits it drops the oldest snapshots, then
    the oldest events without pending alerts, with their deliveries."""

    def __init__(self) -> None:
        self._events: dict[str, tuple[Event, bytes | None]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._presence: dict[tuple[str, int], Presence] = {}
        self._snapshot_bytes = 0
        self.lost_events = 0
        self.lost_snapshots = 0

    def __bool__(self) -> bool:
        return bool(self._events or self._deliveries or self._presence)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the deliveries whose latest state is not on disk."""
        return frozenset(self._deliveries)

    def add_event(self, event: Event, jpeg: bytes | None) -> None:
        if event.id in self._events:
            return
        self._drop_excess_events(MAX_BUFFERED_EVENTS - 1)  # before adding it, because its deliveries are added later
        self._add_event(event, jpeg)
        self._drop_excess_snapshots()

    def _add_event(self, event: Event, jpeg: bytes | None) -> None:
        if event.id not in self._events:
            self._events[event.id] = (event, jpeg)
            self._snapshot_bytes += len(jpeg or b"")

    def _drop_excess_snapshots(self) -> None:
        if self._snapshot_bytes > MAX_BUFFERED_SNAPSHOT_BYTES:
            for key, (event, jpeg) in list(self._events.items()):
                if jpeg is not None and self._snapshot_bytes > MAX_BUFFERED_SNAPSHOT_BYTES // 2:
                    self._events[key] = (event, None)
                    self._snapshot_bytes -= len(jpeg)
                    self.lost_snapshots += 1

    def _drop_excess_events(self, limit: int) -> None:
        excess = len(self._events) - limit
        if excess <= 0:
            return
        waiting = {each.event.id for each in self._deliveries.values() if each.status is Status.PENDING}
        removable = [key for key in self._events if key not in waiting]
        lost = set(removable[: max(excess, MAX_BUFFERED_EVENTS // 10)])
        if not lost:
            return
        for key in lost:
            self._snapshot_bytes -= len(self._events.pop(key)[1] or b"")
        self.lost_events += len(lost)
        # A delivery cannot be written without its event. Deliveries of events on disk stay.
        self._deliveries = {key: each for key, each in self._deliveries.items() if each.event.id not in lost}

    def add_delivery(self, delivery: Delivery) -> None:
        self._deliveries[delivery.key] = delivery

    def add_presence(self, presence: Presence) -> None:
        key = presence.camera, presence.hour_s
        before = self._presence.get(key)
        self._presence[key] = presence if before is None else before.plus(presence)

    def snapshot(self, event_id: str) -> bytes | None:
        return self._events.get(event_id, (None, None))[1]

    def take(self) -> WriteBatch:
        batch = WriteBatch(
            tuple(self._events.values()), tuple(self._deliveries.values()), tuple(self._presence.values())
        )
        self._events, self._deliveries, self._presence, self._snapshot_bytes = {}, {}, {}, 0
        return batch

    def put_back(self, batch: WriteBatch) -> None:
        """Adds a batch that could not be written. Newer states win."""
        newer = self.take()
        for part in (batch, newer):
            for each in part.deliveries:
                self.add_delivery(each)
            for seen in part.presence:
                self.add_presence(seen)
            for event, jpeg in part.events:
                self._add_event(event, jpeg)
        self._drop_excess_events(MAX_BUFFERED_EVENTS)
        self._drop_excess_snapshots()


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """What was read from the file: ``older`` pending alerts to send and, if another program changed the file, the keys
    of all our pending alerts in it. ``is_new_file``: the file was replaced, so all pending alerts must be written."""

    older: tuple[Delivery, ...] = ()
    waiting_keys: frozenset[str] | None = None
    is_new_file: bool = False


class StoreWriter:
    """Writes the event file for one program. An error closes the file, sets ``fault`` and is logged once; the next call
    opens the file again. ``owner`` is the id of this program: it marks the alerts that the program sends, and it
    names the lock file that shows that the program runs."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._store: EventStore | None = None
        self.owner = uuid.uuid4().hex
        self._owner_lock = owner_lock(settings.store, self.owner)
        self._store_lock = store_lock(settings.store)
        self._holds_lock = False
        self._claim_due = False
        self._logged_other_owner = False
        self._identity: str | None = None
        self._is_new_file = False
        self._reread_due = False  # after a failed read, changes by other programs may be missed
        self._enforced_s = float("-inf")
        self._bytes_since = 0
        self.fault = ""

    def write(self, batch: WriteBatch, wall_s: float) -> StoreChanges | None:
        """Writes ``batch``, then reads what other programs changed. Returns ``None`` if ``batch`` was not written. If
        only the reading fails, ``fault`` is set and the changes are read later."""
        changes = self._write(batch, wall_s)
        if changes is None and not exists(self._settings.store):  # renamed as damaged, or deleted: create a new one
            changes = self._write(batch, wall_s)
        return changes

    def _write(self, batch: WriteBatch, wall_s: float) -> StoreChanges | None:
        written = False
        try:
            opened = self._open()
            store = self._store
            assert store is not None
            self._take_owner_lock()  # before writing, so that no other program claims these alerts
            claimed = self._claim_orphans(store)
            if batch.events or batch.deliveries or batch.presence:
                store.write(batch, wall_s)
                self._bytes_since += sum(len(jpeg or b"") for _, jpeg in batch.events)
            written = True
            changes = self._read_changes(store, opened or claimed)
        except StoreError as error:
            lost = self._handle_error(error, wall_s, written)
            # A written batch must not be written again: its people would be counted twice.
            return StoreChanges() if written and not lost else None
        if self.fault:
            log.warning("event file %s works again; the events kept in memory are written", self._settings.store)
            self.fault = ""
        self._is_new_file = False
        return changes

    def _read_changes(self, store: EventStore, reread: bool) -> StoreChanges:
        """Reads changes by other programs. Called after the write, so that deliveries which the batch completes do not
        return. ``reread``: read the pending alerts even if the file did not change."""
        changed = store.changed_by_others() or self._reread_due
        waiting: tuple[Delivery, ...] = ()
        if reread or changed:
            owners = (self.owner, "") if self._holds_lock else (self.owner,)
            waiting = tuple(store.deliveries(Status.PENDING, owners))
        self._reread_due = False
        can_compare = changed and not self._is_new_file  # a new file does not show what was deleted
        waiting_keys = frozenset(each.key for each in waiting) if can_compare else None
        return StoreChanges(waiting, waiting_keys, self._is_new_file)

    def _open(self) -> bool:
        """Opens the file; returns whether it was closed before."""
        if self._store is not None:
            return False
        self._store = EventStore(self._settings.store)
        self._is_new_file = self._is_new_file or self._identity not in (None, self._store.identity)
        self._identity = self._store.identity
        return True

    def _take_owner_lock(self) -> None:
        if self._owner_lock.is_current:
            return
        self._owner_lock.release()  # a user deleted its file
        try:
            self._owner_lock.take()
        except StoreError as error:  # another program may then claim our alerts, but they are stored
            log.debug("%s", error)

    def _claim_orphans(self, store: EventStore) -> bool:
        """Claims the pending alerts of ended programs; returns whether there may be any. Only the holder of the store
        lock does this: when it gets the lock, and then once a minute."""
        first = not self._holds_lock and self._take_lock()
        if not first and not (self._holds_lock and self._claim_due):
            return False
        owners = store.owners()  # before the locks are checked: an owner locks before it writes
        dead = owners - running_owners(self._settings.store, self.owner)
        claimed = store.claim(self.owner, dead)
        self._claim_due = False
        return first or claimed > 0

    def _take_lock(self) -> bool:
        self._holds_lock = self._store_lock.take()
        self._claim_due = self._holds_lock  # until a claim succeeds
        if not self._holds_lock and not self._logged_other_owner:
            self._logged_other_owner = True
            log.info(
                "another maskwatch uses %s; it also sends the pending alerts of earlier runs", self._settings.store
            )
        return self._holds_lock

    def _handle_error(self, error: StoreError, wall_s: float, written: bool = True) -> bool:
        """Logs the first error and closes the file. Returns whether the file is lost, with its last writes."""
        first = not self.fault
        if first:
            is_read = written and not error.missing and not error.damaged
            consequence = "changes by other programs are not read" if is_read else "events are kept in memory"
            log.warning("%s; alerts are still sent, %s until it works again", error, consequence)
        self.fault = str(error)
        self._close_store()
        self._reread_due = True
        lost = error.missing
        if error.damaged:
            try:
                renamed, pending = rename_damaged(self._settings.store, wall_s)
                lost = True
                log.warning("the damaged event file was renamed to %s; a new one is created", renamed)
                self._restore_pending(pending, wall_s)
            except StoreError as second:
                self.fault = str(second)
                if first:
                    log.warning("%s", second)
        return lost

    def _restore_pending(self, pending: Iterable[Delivery], wall_s: float) -> None:
        pending = tuple(pending)
        with EventStore(self._settings.store) as fresh:
            fresh.write(WriteBatch(tuple((each.event, None) for each in pending), pending), wall_s)

    def _close_store(self) -> None:
        if self._store is not None:
            try:
                self._store.close()
            except StoreError:
                log.debug("cannot close the event file", exc_info=True)
            self._store = None

    def enforce_limits(self, now_s: float, wall_s: float) -> None:
        """Applies the retention by age and size, once a minute or after many snapshots were written."""
        max_bytes = int(self._settings.max_store_mb * BYTES_PER_MB)
        due = now_s - self._enforced_s >= ENFORCE_EVERY_S or self._bytes_since >= max_bytes * ENFORCE_EVERY_SHARE
        if self._store is None or not due:
            return
        self._enforced_s, self._bytes_since = now_s, 0
        self._claim_due = True  # another program may have ended since the last claim
        try:
            keep_s = self._settings.keep_days * SECONDS_PER_DAY
            deleted = enforce_retention(self._store, wall_s, keep_s, max_bytes)
        except StoreError as error:
            self._handle_error(error, wall_s)
            return
        if deleted.events or deleted.pictures:
            log.info("retention: deleted %d events and %d snapshots", deleted.events, deleted.pictures)

    def close(self) -> None:
        if self._store is not None:
            try:
                self._store.release(self.owner)
            except StoreError as error:
                log.debug("%s", error)
        self._close_store()
        self._owner_lock.remove()
        self._store_lock.release()
