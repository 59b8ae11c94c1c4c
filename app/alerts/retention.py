"""Deletes old events and limits the file size. Deleted content is also removed from the file, not only hidden."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path

from app.alerts.event_store import EventStore
from app.alerts.store_types import PurgeResult, StoreError

NOT_PENDING = "id NOT IN (SELECT event_id FROM outbox WHERE status = 'pending')"
REMOVABLE = f"{NOT_PENDING} AND kind != 'report'"
"""A stored report is not sent again, so it is only deleted by age, together with the hours of its period."""
BYTES_PER_MB = 1_000_000
STEP_S = 1.0
"""For about how long the retention deletes at once: nobody can store events meanwhile."""
_STEP_EVENTS = 100


def size_bytes(store: EventStore) -> int:
    """The used size of the file, without its free pages."""
    pages = store.query_int("PRAGMA page_count") - store.query_int("PRAGMA freelist_count")
    return pages * store.query_int("PRAGMA page_size")


def _compact(store: EventStore) -> None:
    store.execute("PRAGMA incremental_vacuum")
    with suppress(StoreError):  # another reader blocks it; the next deletion repeats it
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _delete_damaged(path: Path, before_s: float) -> int:
    count = 0
    for file in path.parent.glob(f"{escape(path.name)}.damaged-*"):
        with suppress(OSError):  # already deleted, or open in another program; retried next time
            if file.stat().st_mtime < before_s:
                file.unlink()
                count += 1
    return count


def _delete_old(store: EventStore, now_s: float, keep_s: float) -> PurgeResult:
    """Deletes a part of what is older than ``keep_s`` and has no pending alert. What was written after something newer
    is not old: the clock was wrong when it was written."""
    limits = {"before": now_s - keep_s, "now": now_s}
    old = "{0} < :before AND {1} < ifnull((SELECT min({1}) FROM {2} WHERE {0} BETWEEN :before AND :now), 9e18)"
    events = f"{old.format('stored_s', 'seq', 'events')} AND {NOT_PENDING}"
    part = f"seq IN (SELECT seq FROM events WHERE {events} ORDER BY seq LIMIT {_STEP_EVENTS})"
    return _delete(store, limits["before"], part, old.format("hour_s + 3600", "rowid", "presence"), limits)


def _delete(
    store: EventStore, before_s: float, of_events: str, of_hours: str, limits: Mapping[str, float]
) -> PurgeResult:
    with store.transaction() as db:
        snapshots = db.execute(
            f"SELECT count(*) FROM snapshots JOIN events ON id = event_id WHERE {of_events}", limits
        ).fetchone()[0]
        events = db.execute(f"DELETE FROM events WHERE {of_events}", limits).rowcount
        hours = db.execute(f"DELETE FROM presence WHERE {of_hours}", limits).rowcount
        db.execute("DELETE FROM occupancy WHERE since_s < :before - 86400", limits)
    return PurgeResult(events, snapshots, hours, _delete_damaged(store.path, before_s))


def _delete_oldest(store: EventStore) -> int:
    """Deletes a twentieth of the events that are no report and have no pending alerts, at least 20, at most 100."""
    with store.transaction() as db:
        removable = db.execute(f"SELECT count(*) FROM events WHERE {REMOVABLE}").fetchone()[0]
        return db.execute(
            f"DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE {REMOVABLE} ORDER BY seq LIMIT ?)",
            (min(max(removable // 20, 20), _STEP_EVENTS),),
        ).rowcount


def limit_size(store: EventStore, max_bytes: int, end_s: float = math.inf) -> PurgeResult:
    """Deletes the oldest events until the file has at most ``max_bytes``, or ``time.monotonic()`` is ``end_s``. Events
    with pending alerts stay; only their snapshots are deleted."""
    events = snapshots = 0
    while size_bytes(store) > max_bytes and time.monotonic() < end_s:
        deleted = _delete_oldest(store)
        events += deleted
        if not deleted:
            with store.transaction() as db:
                deleted = db.execute(
                    "DELETE FROM snapshots WHERE event_id IN (SELECT event_id FROM snapshots "
                    "JOIN events ON id = event_id ORDER BY seq LIMIT 20)"
                ).rowcount
            snapshots += deleted
            if not deleted:
                break
    return PurgeResult(events, snapshots)


def enforce_retention(store: EventStore, now_s: float, keep_s: float, max_bytes: int) -> PurgeResult:
    """Deletes by age and size, but no event with a pending alert, for about ``STEP_S`` at most: call it again as long
    as it deletes something. ``now_s``: Unix time, of a clock that is right."""
    end_s, done = time.monotonic() + STEP_S, PurgeResult()
    while (old := _delete_old(store, now_s, keep_s)) != PurgeResult() and time.monotonic() < end_s:
        done = done.plus(old)
    done = done.plus(old).plus(limit_size(store, max_bytes, end_s))
    if done.events or done.pictures or done.hours:
        _compact(store)
    return done


def purge(store: EventStore, before_s: float | None, pictures_only: bool = False) -> PurgeResult:
    """Deletes what was stored before ``before_s`` (``None``: all), pending alerts too, and shrinks the file."""
    limit_s = float("inf") if before_s is None else before_s
    if pictures_only:
        with store.transaction() as db:
            snapshots = db.execute(
                "DELETE FROM snapshots WHERE event_id IN (SELECT id FROM events WHERE stored_s < ?)", (limit_s,)
            ).rowcount
        done = PurgeResult(pictures=snapshots, files=_delete_damaged(store.path, limit_s))
    else:
        done = _delete(store, limit_s, "stored_s < :before", "hour_s < :before - 3600", {"before": limit_s})
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.execute("VACUUM")
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return done
