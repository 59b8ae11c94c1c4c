"""The queue of alerts: events and deliveries in the event file or, while it cannot be written, in memory."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

from app.alerts.event_store import EventStore, check_is_event_file, rename_damaged
from app.alerts.file_lock import StoreLock
from app.alerts.health import Clock
from app.alerts.retention import BYTES_PER_MB, enforce_retention, limit_size
from app.alerts.retention_clock import DAY_S, JUMP_S, RetentionClock, StoredTimes
from app.alerts.store_types import Delivery, EventFilter, Status, StoreError, StoreInUseError, WriteBatch
from app.core.camera_hours import CameraHour
from app.core.files import exists
from app.core.text import counted
from app.core.types import Event
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")
RETRY_S = 5.0
MAX_MEMORY_BYTES = 32_000_000
ENFORCE_EVERY_S = 60.0
MOST_BYTES = 1 << 62
ENFORCE_EVERY_SHARE = 0.1  # of the size limit, counted in bytes of written snapshots


class EventQueue:
    """What is in memory replaces what the file says about the same alert, until it is written. Not thread-safe:
    ``AlertCenter`` holds the lock. No method but ``open`` and ``move`` raises StoreError: an error of the file sets
    ``fault`` and is logged once, and the file is tried again every ``RETRY_S``."""

    def __init__(self, settings: AlertSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._memory = EventStore(None)
        self._unstored = EventStore(None)  # events that are sent, but never written to the file
        self._file: EventStore | None = None
        self._lock = StoreLock(settings.store)
        self._is_open = False
        self._retry_at_s = 0.0
        self.fault = ""
        self.lost_events = 0
        self._new_clock(StoredTimes())
        self._enforced_s = float("-inf")
        self._bytes_since = 0

    # -- opening and closing ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Opens the event file and writes what is in memory. Raises StoreInUseError."""
        self._is_open = True
        if self.settings.persist:
            try:
                self._open_file()
            except StoreInUseError:
                self._is_open = False
                raise
            except StoreError as error:
                self._fail(error)
        self.write()

    def _open_file(self) -> EventStore:
        """Raises StoreError."""
        path = self.settings.store
        if self._file is None:
            check_is_event_file(path)
            self._take(self._lock)
            wall_s = self._clock.wall_s()
            changed_s = path.stat().st_mtime if exists(path) else wall_s
            self._file = EventStore(path)
            if self._file.limits:
                log.warning("event file %s: %s; a store on a local disk is faster and safer", path, self._file.limits)
            self._new_clock(self._file.stored_times(wall_s, changed_s))
        return self._file

    def _take(self, lock: StoreLock) -> None:
        if not lock.take():
            raise StoreInUseError(
                f"another maskwatch watches with the event file {lock.store}; stop it, or give this one its own file: "
                "--store FILE, or store in [alerts]"
            )

    def _new_clock(self, stored: StoredTimes) -> None:
        self._first_seq = self._file.newest_seq() if self._file is not None else 0
        self._opened_s = self._clock.wall_s()
        self._retention_clock = RetentionClock(self._opened_s, self._clock.monotonic_s(), stored)
        clock, path = self._retention_clock, self.settings.store
        if not clock.is_trusted:
            log.warning(
                "no event was stored in %s for %.1f days; if the clock is wrong, set it", path, clock.gap_s / DAY_S
            )
        if clock.behind_s > JUMP_S:
            log.warning("%s has events of %.1f days later; if the clock is wrong, set it", path, clock.behind_s / DAY_S)

    def move(self, settings: AlertSettings) -> None:
        """Uses new settings. With another event file, alerts that are not written yet move there; pending alerts of the
        old file stay in it. Raises StoreError and changes nothing if the new file cannot be locked, which is a
        StoreInUseError if another program uses it."""
        old = self.settings
        if (old.persist, old.store) == (settings.persist, settings.store):
            self.settings = settings
            return
        lock = StoreLock(settings.store)
        if settings.persist and (settings.store != old.store or not old.persist):
            self._take(lock)
        self.write()
        left = sum(self.waiting().values())
        if left and self._memory.is_empty:
            log.warning("%s stay in %s until a maskwatch uses that file", counted(left, "pending alert"), old.store)
        if settings.persist and not old.persist:
            self._memory.clear(but_pending=True)  # events that were not to be stored
        self._close_file()
        self._lock.release()
        self.settings, self._lock, self.fault = settings, lock, ""
        if self._is_open:
            self.open()

    def close(self) -> str:
        """Writes the rest. Returns what was lost as a sentence, or ''."""
        self._retry_at_s = 0.0
        self.write()
        if self.settings.persist:
            for event, _ in self._memory.contents().events:
                self.lost_events += self._read(partial(EventStore.event, event_id=event.id), None) is None
        self._is_open = False  # the result of a hook that hangs stays in memory
        self._close_file()
        self._lock.release()
        if not self.lost_events:
            return ""
        return f"{counted(self.lost_events, 'event')} could not be written and will be missing: {self.fault}"

    def _close_file(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except StoreError:
                log.debug("cannot close the event file", exc_info=True)
            self._file = None

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, batch: WriteBatch = WriteBatch(), stored: bool = True) -> None:  # noqa: B008
        """Writes what is in memory and ``batch`` in one transaction, or keeps both in memory. Unless ``stored``, the
        events of ``batch`` and their later deliveries stay in memory until the end of the run."""
        unstored, batch = batch.divided(lambda event_id: not stored or self._unstored.event(event_id) is not None)
        if unstored != WriteBatch():
            self._unstored.write(unstored, self.wall_s())
            limit_size(self._unstored, MAX_MEMORY_BYTES)
        is_lost = self._file is not None and not self._file.is_current
        has_work = batch != WriteBatch() or not self._memory.is_empty or self.fault or is_lost
        if has_work and not self._write_file(batch) and batch != WriteBatch():
            self.keep(batch)

    def keep(self, batch: WriteBatch) -> None:
        """Keeps ``batch`` in memory until the next ``write``."""
        events = tuple((each.event, None) for each in batch.deliveries)  # a delivery is not written without its event
        self._memory.write(replace(batch, events=batch.events + events), self.wall_s())
        lost = limit_size(self._memory, MAX_MEMORY_BYTES)
        if self.settings.persist:
            self.lost_events += lost.events

    def _write_file(self, batch: WriteBatch) -> bool:
        is_due = not self.fault or self._clock.monotonic_s() >= self._retry_at_s
        if not (self._is_open and self.settings.persist and is_due):
            return False
        try:
            self._recover_lost_file()
            self._open_file().write(self._memory.contents().plus(batch), self.wall_s())
        except StoreError as error:
            self._fail(error)
            return False
        self._memory.clear()
        if self.fault:
            log.warning("event file %s works again; the events kept in memory are written", self.settings.store)
            self.fault = ""
        self._bytes_since += sum(len(jpeg or b"") for _, jpeg in batch.events)
        return True

    def _recover_lost_file(self) -> None:
        """Takes the pending alerts out of a file that was deleted or replaced while it was open."""
        if self._file is not None and not self._file.is_current:
            log.warning("event file %s was deleted or replaced; pending alerts are written again", self.settings.store)
            lost, self._file = self._file, None
            try:
                self._restore(lost.deliveries(Status.PENDING))
            finally:
                lost.close()

    def _restore(self, pending: list[Delivery]) -> None:
        known = self._memory.delivery_keys()
        missing = [each for each in pending if (each.event.id, each.channel) not in known]
        if missing:
            self.keep(WriteBatch(deliveries=tuple(missing)))

    def _fail(self, error: StoreError) -> None:
        """Logs the first error. A damaged file is renamed, and a new one is created."""
        if not self.fault:
            log.warning("%s; alerts are still sent, events are kept in memory until it works again", error)
        first, self.fault = not self.fault, str(error)
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        if not error.damaged:
            return
        self._close_file()
        try:
            renamed, pending = rename_damaged(self.settings.store, self._clock.wall_s())
        except StoreError as second:
            self.fault = str(second)
            if first:
                log.warning("%s", second)
            return
        log.warning("the damaged event file was renamed to %s; a new one is created", renamed)
        self._restore(pending)
        if first:
            self._retry_at_s = 0.0

    # -- reading ---------------------------------------------------------------------------------------------------

    def _read(self, query: Callable[[EventStore], T], default: S) -> T | S:
        """``query`` on the file; ``default`` if it cannot be read."""
        if self._file is None:
            return default
        try:
            return query(self._file)
        except StoreError as error:
            self._fail(error)
            return default

    def pending(self, channel: str, count: int = 1) -> list[Delivery]:
        """The oldest pending alerts of ``channel``. Those that are not on disk count only while the disk is broken."""
        known = self._memory.delivery_keys()

        def oldest(store: EventStore) -> list[Delivery]:
            return list(
                islice((each for each in store.pending(channel) if (each.event.id, channel) not in known), count)
            )

        found: list[Delivery] = self._read(oldest, [])
        if known and (self.fault or not self.settings.persist):
            found += islice(self._memory.pending(channel), count - len(found))
        found += islice(self._unstored.pending(channel), count - len(found))
        return found

    def waiting(self) -> Counter[str]:
        """The number of pending alerts by channel."""
        keys: dict[tuple[str, str], Status] = self._read(EventStore.delivery_keys, {})
        keys |= self._memory.delivery_keys()
        return _pending_by_channel(keys) + self.waiting_unstored()

    def waiting_unstored(self) -> Counter[str]:
        """The same for the events that are never written to the file."""
        return _pending_by_channel(self._unstored.delivery_keys())

    def _find(self, query: Callable[[EventStore], T | None]) -> T | None:
        """The first result of ``query`` on what is in memory and in the file."""
        found = query(self._memory)
        if found is None:
            found = query(self._unstored)
        return self._read(query, None) if found is None else found

    def status(self, event_id: str, channel: str) -> Status | None:
        return self._find(lambda store: store.status(event_id, channel))

    def event(self, event_id: str) -> Event | None:
        return self._find(lambda store: store.event(event_id))

    def snapshot(self, event_id: str) -> bytes | None:
        return self._find(lambda store: store.snapshot(event_id))

    def hours(self, wanted: EventFilter) -> list[CameraHour]:
        """What is in the file and what is not written yet, so an hour of a camera may occur twice."""
        return [*self._read(lambda store: store.hours(wanted), []), *self._memory.hours(wanted)]

    # -- time ------------------------------------------------------------------------------------------------------

    def wall_s(self) -> float:
        """Unix time. If the clock was set, the times of what this run stored are corrected first."""
        wall_s = self._clock.wall_s()
        jump_s = self._retention_clock.step(wall_s, self._clock.monotonic_s())
        if jump_s:
            how = "forward" if jump_s > 0 else "back"
            log.warning("the clock was set %s by %.1f h; no event is deleted by age for a day", how, abs(jump_s) / 3600)
            self._opened_s += jump_s
            self._memory.shift_times(0, jump_s)
            self._unstored.shift_times(0, jump_s)
            self._read(lambda store: store.shift_times(self._first_seq, jump_s), None)
        return wall_s

    @property
    def retention_now_s(self) -> float:
        """Unix time of a clock that is right: it waits while the clock cannot be trusted."""
        return self._retention_clock.now_s

    def age_s(self, delivery: Delivery) -> float:
        """The age of an alert; that of an earlier run does not depend on a clock that may be wrong."""
        wall_s = self.wall_s()
        now_s = wall_s if delivery.created_s >= self._opened_s else self._retention_clock.now_s
        return max(now_s - delivery.created_s, 0.0)

    def maintain(self) -> bool:
        """Writes what is in memory, and deletes old events from time to time. Returns whether another program changed
        the file."""
        self.wall_s()
        self.write()
        changed = self._read(EventStore.changed_by_others, False)
        now_s = self._clock.monotonic_s()
        if now_s - self._enforced_s >= ENFORCE_EVERY_S or self.has_grown:
            max_bytes = int(min(self.settings.max_store_mb * BYTES_PER_MB, MOST_BYTES))  # inf: no limit
            self._enforced_s, self._bytes_since = now_s, 0
            clock_s, keep_s = self._retention_clock.now_s, self.settings.keep_days * DAY_S
            names = [channel.name for channel in self.settings.channels]
            self._read(lambda store: store.give_up_removed_channels(names, clock_s - keep_s), None)
            deleted = self._read(lambda store: enforce_retention(store, clock_s, keep_s, max_bytes), None)
            if deleted is not None and (deleted.events or deleted.pictures):
                self._enforced_s = float("-inf")  # there may be more
                log.info("retention: deleted %d events and %d snapshots", deleted.events, deleted.pictures)
        return changed

    @property
    def has_grown(self) -> bool:
        """Whether so much was written that ``maintain`` should limit the size of the file now."""
        return self._bytes_since >= self.settings.max_store_mb * BYTES_PER_MB * ENFORCE_EVERY_SHARE

    @property
    def has_unwritten(self) -> bool:
        """Whether ``write`` should be called now."""
        is_due = not self.fault or self._clock.monotonic_s() >= self._retry_at_s
        return is_due and self.settings.persist and self._is_open and (self.fault != "" or not self._memory.is_empty)


def _pending_by_channel(keys: Mapping[tuple[str, str], Status]) -> Counter[str]:
    return Counter(channel for (_, channel), status in keys.items() if status is Status.PENDING)
