"""Events, pending alerts and people counts in one SQLite file. Only one thread uses an ``EventStore``; other programs
may use the same file. Every error of the file is raised as ``StoreError``."""

import json
import logging
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from app.alerts.event_records import event_from_record, event_record
from app.alerts.file_lock import lock_path
from app.alerts.retention_clock import DAY_S, StoredTimes
from app.alerts.store_connection import connect, create_private, transaction
from app.alerts.store_schema import SCHEMA, SCHEMA_VERSION, UPGRADES, check_version
from app.alerts.store_types import Delivery, EventFilter, Status, StoreError, WriteBatch
from app.core.camera_hours import COUNTED_FIELDS, CameraHour, Occupancy
from app.core.files import is_file
from app.core.types import Event

log = logging.getLogger(__name__)

HOUR_COLUMNS = ", ".join(("camera", "hour_s", *COUNTED_FIELDS))
ADD_HOUR = (
    f"INSERT INTO presence ({HOUR_COLUMNS}) VALUES (?,?{',?' * len(COUNTED_FIELDS)}) ON CONFLICT (camera, hour_s) "
    f"DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in COUNTED_FIELDS)}"
)
DELIVERY_COLUMNS = "record, channel, created_s, updated_s, status, attempts, error"
SELECT_DELIVERIES = f"SELECT {DELIVERY_COLUMNS} FROM outbox JOIN events ON events.id = event_id"
EACH_ID = "(SELECT value FROM json_each(?))"
"""Any number of ids as one value of a query, a JSON array: the number of values is limited."""
MAGIC = b"SQLite format 3\0"
STATUSES = frozenset(status.value for status in Status)
BUSY_CODES = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED))
DAMAGE_CODES = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def _events(records: Iterable[tuple[str]]) -> Iterator[Event]:
    """Skips records that this version cannot read, because another version wrote them."""
    for (record,) in records:
        try:
            yield event_from_record(json.loads(record))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("skipped an event that cannot be read: %s", error)


def _deliveries(rows: Iterable[tuple[str, str, float, float, str, int, str]]) -> Iterator[Delivery]:
    for record, channel, created_s, updated_s, status, attempts, error in rows:
        for event in _events([(record,)]):
            if status in STATUSES:
                yield Delivery(event, channel, created_s, updated_s, Status(status), attempts, error)


class EventStore:
    """The open event file, or with ``path`` None the same tables in memory. Raises StoreError if the file is missing
    and ``create`` is false. ``limits`` says what its disk lacks, '' for nothing."""

    def __init__(self, path: Path | None, create: bool = True, busy_s: float = 1.0) -> None:
        self.path = path or Path(":memory:")
        self.limits = ""
        with self._store_errors():
            if path is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
                weakref.finalize(self, self._db.close)  # it lives as long as its owner
            else:
                if create:
                    create_private(path)
                elif not is_file(path):
                    with suppress(FileNotFoundError):
                        path.stat()  # says why, if it may not be searched for
                    raise StoreError(f"no event file {path}: watch a camera first, or name the file: --store PATH")
                self._db, self.limits = connect(path, busy_s, create)
            try:
                self._prepare()
                self._inode = None if path is None else path.stat().st_ino
                self._version = self._data_version()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        version = self._query_int("PRAGMA user_version")
        check_version(self._db, self.path, version)
        if not version and self._query_int("SELECT count(*) FROM sqlite_master"):
            raise StoreError(f"{self.path} is a database of another program; choose another store")
        self._db.execute("PRAGMA journal_size_limit = 1000000")
        self._db.execute("PRAGMA synchronous = FULL")  # a stored alert survives a power failure
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")
        if version == SCHEMA_VERSION:
            return
        with transaction(self._db):
            version = self._query_int("PRAGMA user_version")  # another program may have been first
            scripts = [UPGRADES[old] for old in range(version, SCHEMA_VERSION)] if version else [SCHEMA]
            for statement in ";".join(scripts).split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raises every error of the file as StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE_CODES
            advice = "it is damaged" if damaged else "check the free disk space and the permissions"
            if self.limits:
                advice = f"{self.limits}; choose a store on a local disk"
            elif getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY_CODES:
                advice = "another program uses it, such as a purge or an export; wait until it ends"
            raise StoreError(f"event file {self.path}: {error}; {advice}", damaged) from error
        except OSError as error:
            raise StoreError(f"event file {self.path}: {error.strerror or error}; check its folder") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection inside one transaction. Raises StoreError."""
        with self._store_errors(), transaction(self._db):
            yield self._db

    def execute(self, statement: str) -> None:
        """Runs a statement to its end, outside any transaction. Raises StoreError."""
        with self._store_errors():
            # ``execute`` would run only one step of incremental_vacuum and free a single page.
            self._db.executescript(statement)

    def query_int(self, query: str) -> int:
        with self._store_errors():
            return self._query_int(query)

    def _query_int(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)

    def _data_version(self) -> int:
        return self._query_int("PRAGMA data_version")

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, batch: WriteBatch, wall_s: float) -> None:
        """Writes all of ``batch`` in one transaction. Existing rows are updated; a delivery whose event was purged is
        skipped. Raises StoreError."""
        with self.transaction() as db:
            add_rows(db, batch, wall_s)

    def retry(self, channels: tuple[str, ...], wall_s: float) -> int:
        """Makes undelivered alerts pending again, with age 0. Returns their number."""
        where = f" AND channel IN ({','.join('?' * len(channels))})" if channels else ""
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE outbox SET status = ?, attempts = 0, created_s = ? WHERE status = ?" + where,
                (Status.PENDING.value, wall_s, Status.UNDELIVERED.value, *channels),
            )
            return changed.rowcount

    # -- reading -------------------------------------------------------------------------------------------------

    def deliveries(self, status: Status | None = None) -> list[Delivery]:
        """Oldest first."""
        where, values = ("status = ?", [status.value]) if status is not None else ("1", [])
        with self._store_errors():
            return list(_deliveries(self._db.execute(f"{SELECT_DELIVERIES} WHERE {where} ORDER BY events.seq", values)))

    def channels(self) -> list[str]:
        """All that have deliveries."""
        return self._names("SELECT DISTINCT channel FROM outbox ORDER BY 1")

    def cameras(self) -> list[str]:
        """All that have events or counts. A part of the program that failed is in the place of a camera too."""
        return self._names("SELECT camera FROM events UNION SELECT camera FROM presence ORDER BY 1")

    def _names(self, query: str) -> list[str]:
        with self._store_errors():
            return [name for (name,) in self._db.execute(query)]

    def pending(self, channel: str) -> Iterator[Delivery]:
        """The pending alerts of ``channel``, oldest first."""
        query = f"{SELECT_DELIVERIES} WHERE status = 'pending' AND channel = ? ORDER BY outbox.rowid"
        with self._store_errors():
            yield from _deliveries(self._db.execute(query, (channel,)))

    def delivery_keys(self) -> dict[tuple[str, str], Status]:
        """The status of each pending or, in memory, each delivery by (event id, channel)."""
        where = "1" if self._inode is None else "status = 'pending'"
        with self._store_errors():
            rows = self._db.execute(f"SELECT event_id, channel, status FROM outbox WHERE {where}")
            return {(event_id, channel): Status(status) for event_id, channel, status in rows}

    def event(self, event_id: str) -> Event | None:
        with self._store_errors():
            rows = self._db.execute("SELECT record FROM events WHERE id = ?", (event_id,)).fetchall()
            return next(_events(rows), None)

    def status(self, event_id: str, channel: str) -> Status | None:
        """The status of one delivery; None if there is none."""
        query = "SELECT status FROM outbox WHERE event_id = ? AND channel = ?"
        with self._store_errors():
            row = self._db.execute(query, (event_id, channel)).fetchone()
            return None if row is None else Status(row[0])

    def newest_seq(self) -> int:
        return self.query_int("SELECT max(seq) FROM events")

    def stored_times(self, now_s: float, file_s: float) -> StoredTimes:
        """``file_s``: when the file was last changed."""
        times = "(SELECT stored_s AS at FROM events UNION ALL SELECT hour_s FROM presence UNION ALL SELECT ?)"
        with self._store_errors():
            (before_s,) = self._db.execute(
                f"SELECT max(at) FROM {times} WHERE at <= ?", (file_s, now_s - DAY_S)
            ).fetchone()
            query = f"SELECT min(at) FROM {times} WHERE at > ? AND at <= ?"
            (since_s,) = self._db.execute(query, (file_s, now_s - DAY_S, now_s)).fetchone()
            (newest_s,) = self._db.execute(f"SELECT max(at) FROM {times}", (file_s,)).fetchone()
            return StoredTimes(before_s, since_s, newest_s)

    def shift_times(self, after_seq: int, seconds: float) -> None:
        """Corrects when the events after ``after_seq`` were stored: the wall clock was set meanwhile."""
        with self.transaction() as db:
            db.execute("UPDATE events SET stored_s = stored_s + ? WHERE seq > ?", (seconds, after_seq))
            db.execute(
                "UPDATE outbox SET created_s = created_s + ? WHERE event_id IN (SELECT id FROM events WHERE seq > ?)",
                (seconds, after_seq),
            )

    @property
    def is_empty(self) -> bool:
        found = (f"EXISTS (SELECT 1 FROM {table})" for table in ("events", "presence", "occupancy"))
        return not self.query_int(f"SELECT {' OR '.join(found)}")

    def contents(self) -> WriteBatch:
        """Everything, to be written to another store."""
        with self._store_errors():
            query = "SELECT record, jpeg FROM events LEFT JOIN snapshots ON id = event_id ORDER BY seq"
            events = [(next(_events([(record,)])), jpeg) for record, jpeg in self._db.execute(query)]
        return WriteBatch(tuple(events), tuple(self.deliveries()), tuple(self.hours()), tuple(self.occupancy()))

    def clear(self, but_pending: bool = False) -> None:
        """Deletes everything, or all but the events with pending alerts."""
        kept = "SELECT event_id FROM outbox WHERE status = 'pending'" if but_pending else ""
        with self.transaction() as db:
            db.execute(f"DELETE FROM events WHERE id NOT IN ({kept})")
            db.execute("DELETE FROM presence")
            db.execute("DELETE FROM occupancy")

    def give_up_removed_channels(self, channels: list[str], before_s: float) -> None:
        """Makes pending alerts from before ``before_s`` undelivered, unless their channel is one of ``channels``."""
        with self.transaction() as db:
            db.execute(
                "UPDATE outbox SET status = 'undelivered', error = 'its channel is no longer configured' "
                f"WHERE status = 'pending' AND created_s < ? AND channel NOT IN ({','.join('?' * len(channels))})",
                (before_s, *channels),
            )

    def events(self, wanted: EventFilter = EventFilter(), newest: int | None = None) -> list[Event]:  # noqa: B008
        """In order of time. ``newest`` limits the result to that many of the latest events."""
        where, values = wanted.where("wall_s")
        query = f"SELECT record FROM events WHERE {where} ORDER BY wall_s DESC, seq DESC LIMIT ?"
        with self._store_errors():
            rows = self._db.execute(query, [*values, -1 if newest is None else newest]).fetchall()
            return list(_events(reversed(rows)))

    def event_times(self, wanted: EventFilter = EventFilter()) -> list[float]:  # noqa: B008
        """The Unix times of the events, in order."""
        where, values = wanted.where("wall_s")
        with self._store_errors():
            rows = self._db.execute(f"SELECT wall_s FROM events WHERE {where} ORDER BY wall_s", values)
            return [float(wall_s) for (wall_s,) in rows]

    def hours(self, wanted: EventFilter = EventFilter()) -> list[CameraHour]:  # noqa: B008
        """People and watched time by hour and camera, oldest first. An hour belongs to the range if it starts in it."""
        where, values = wanted.where("hour_s", with_kinds=False)
        query = f"SELECT {HOUR_COLUMNS} FROM presence WHERE {where} ORDER BY hour_s, camera"
        with self._store_errors():
            return [CameraHour(*row) for row in self._db.execute(query, values)]

    def occupancy(self) -> list[Occupancy]:
        """The counts of the lines of each camera."""
        with self._store_errors():
            rows = self._db.execute("SELECT camera, since_s, lines, inside, alert FROM occupancy").fetchall()
        return [
            Occupancy(
                camera, since_s, {name: (entered, exited) for name, (entered, exited) in json.loads(lines).items()},
                inside, next(_events([(alert,)] if alert else []), None),
            )
            for camera, since_s, lines, inside, alert in rows
        ]  # fmt: skip

    def snapshot(self, event_id: str) -> bytes | None:
        with self._store_errors():
            row = self._db.execute("SELECT jpeg FROM snapshots WHERE event_id = ?", (event_id,)).fetchone()
            return None if row is None else bytes(row[0])

    @property
    def is_current(self) -> bool:
        """Whether the file still has its name (it may have been deleted or replaced)."""
        try:
            return self._inode is None or self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def changed_by_others(self) -> bool:
        """Whether another program wrote to the file since the last call."""
        with self._store_errors():
            before, self._version = self._version, self._data_version()
            return before != self._version

    def close(self) -> None:
        with self._store_errors():
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def add_rows(db: sqlite3.Connection, batch: WriteBatch, wall_s: float) -> None:
    """``EventStore.write`` inside a transaction of the caller."""
    for event, jpeg in batch.events:
        record = json.dumps(event_record(event), ensure_ascii=False)
        db.execute(
            "INSERT OR IGNORE INTO events (id, kind, camera, wall_s, stored_s, record) VALUES (?,?,?,?,?,?)",
            (event.id, event.kind.value, event.camera, event.wall_s, wall_s, record),
        )
        if jpeg is not None:
            db.execute("INSERT OR IGNORE INTO snapshots VALUES (?,?)", (event.id, jpeg))
    for each in batch.deliveries:
        db.execute(
            "INSERT INTO outbox SELECT id,?,?,?,?,?,? FROM events WHERE id = ? "
            "ON CONFLICT (event_id, channel) DO UPDATE SET updated_s = excluded.updated_s, created_s = "
            "CASE status WHEN 'skipped' THEN excluded.created_s ELSE created_s END, "
            "status = excluded.status, attempts = excluded.attempts, error = excluded.error",
            (
                *(each.channel, each.created_s, each.updated_s, each.status.value, each.attempts),
                *(each.error, each.event.id),
            ),
        )
    for seen in batch.hours:
        db.execute(ADD_HOUR, astuple(seen))
    for state in batch.occupancy:
        alert = "" if state.alert is None else json.dumps(event_record(state.alert), ensure_ascii=False)
        lines = json.dumps(dict(state.lines), ensure_ascii=False)
        row = (state.camera, state.since_s, lines, state.inside, alert)
        db.execute("INSERT OR REPLACE INTO occupancy VALUES (?,?,?,?,?)", row)


def check_is_event_file(path: Path) -> None:
    """Protects a file of another program that the settings name by mistake. Raises StoreError."""
    with suppress(OSError):  # a missing file is created; any other error is reported when it is opened
        if lock_path(path).exists() or not path.stat().st_size:
            return
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise StoreError(f"{path} is not an event file and was left unchanged; choose another store")


def rename_damaged(path: Path, wall_s: float) -> tuple[Path, list[Delivery]]:
    """Renames a damaged event file. Returns its new path and the pending deliveries that are still readable.

    Raises StoreError if it cannot be renamed or does not look like an event file.
    """
    check_is_event_file(path)
    stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%d-%H%M%S")
    renamed = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(renamed.with_name(renamed.name + suffix))
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"cannot rename the damaged event file {path}: {reason}; move it away") from error
    pending: list[Delivery] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(renamed)) as db:
        for each in _deliveries(db.execute(f"{SELECT_DELIVERIES} WHERE status = 'pending'")):
            pending.append(each)  # one by one, to keep what was read before the damage
    return renamed, pending
