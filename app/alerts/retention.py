"""Deleting what is too old or too much, so that it is gone from the file and not only from its index."""

from contextlib import suppress
from pathlib import Path

from app.alerts.event_store import EventStore
from app.alerts.store_types import PurgeResult, StoreError

FINISHED = "id NOT IN (SELECT event_id FROM outbox WHERE status = 'pending')"
BYTES_PER_MB = 1_000_000


def size_bytes(store: EventStore) -> int:
    """What the events take in the file, without the space that is free in it."""
    pages = store.number("PRAGMA page_count") - store.number("PRAGMA freelist_count")
    return pages * store.number("PRAGMA page_size")


def _compact(store: EventStore) -> None:
    store.execute("PRAGMA incremental_vacuum")
    with suppress(StoreError):  # another reader is in the way; the next round that deletes does it
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _damaged_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))


def _delete_damaged(path: Path, before_s: float) -> int:
    count = 0
    for file in _damaged_files(path):
        with suppress(OSError):  # gone already, or held open by another program; the next round tries again
            if file.stat().st_mtime < before_s:
                file.unlink()
                count += 1
    return count


def _delete_before(store: EventStore, before_s: float, also_waiting: bool) -> PurgeResult:
    condition = "stored_s < ?" + ("" if also_waiting else f" AND {FINISHED}")
    with store.transaction() as db:
        pictures = db.execute(
            f"SELECT count(*) FROM snapshots JOIN events ON id = event_id WHERE {condition}", (before_s,)
        ).fetchone()[0]
        events = db.execute(f"DELETE FROM events WHERE {condition}", (before_s,)).rowcount
        hours = db.execute("DELETE FROM presence WHERE hour_s < ?", (before_s - 3600,)).rowcount
    return PurgeResult(events, pictures, hours, _delete_damaged(store.path, before_s))


def _delete_oldest(store: EventStore) -> int:
    """A twentieth of the finished events, at least 20."""
    with store.transaction() as db:
        finished = db.execute(f"SELECT count(*) FROM events WHERE {FINISHED}").fetchone()[0]
        return db.execute(
            f"DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE {FINISHED} ORDER BY seq LIMIT ?)",
            (max(finished // 20, 20),),
        ).rowcount


def enforce_retention(store: EventStore, wall_s: float, keep_s: float, max_bytes: int) -> PurgeResult:
    """Retention by age and size. An alert that waits is never deleted for its age, and only its picture for size."""
    done = _delete_before(store, wall_s - keep_s, also_waiting=False)
    events, pictures = done.events, done.pictures
    while size_bytes(store) > max_bytes:
        gone = _delete_oldest(store)
        events += gone
        if not gone:
            with store.transaction() as db:
                pictures += db.execute(
                    "DELETE FROM snapshots WHERE event_id IN (SELECT event_id FROM snapshots "
                    "JOIN events ON id = event_id ORDER BY seq LIMIT 20)"
                ).rowcount
                if not db.execute("SELECT changes()").fetchone()[0]:
                    break
    if events or pictures or done.hours:
        _compact(store)
    return PurgeResult(events, pictures, done.hours, done.files)


def purge(store: EventStore, before_s: float | None, pictures_only: bool = False) -> PurgeResult:
    """Deletes what was stored before ``before_s`` (all with ``None``), waiting alerts too, and packs the file."""
    limit_s = float("inf") if before_s is None else before_s
    if pictures_only:
        with store.transaction() as db:
            pictures = db.execute(
                "DELETE FROM snapshots WHERE event_id IN (SELECT id FROM events WHERE stored_s < ?)", (limit_s,)
            ).rowcount
        done = PurgeResult(pictures=pictures, files=_delete_damaged(store.path, limit_s))
    else:
        done = _delete_before(store, limit_s, also_waiting=True)
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.execute("VACUUM")
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return done
