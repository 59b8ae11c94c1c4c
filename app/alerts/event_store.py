"""Events, pending alerts and people counts in one SQLite file. Only one thread uses an ``EventStore``; other programs
may use the same file. Every error of the file is raised as ``StoreError``."""

import json
import logging
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from app.alerts.event_records import event_from_record, event_record
from app.alerts.outbox import Delivery, Status
from app.alerts.store_schema import SCHEMA, SCHEMA_VERSION, check_version
from app.alerts.store_types import EventFilter, Presence, StoreError, WriteBatch
from app.core.types import Event

log = logging.getLogger(__name__)

DELIVERY_COLUMNS = "record, channel, created_s, updated_s, status, attempts, error, owner"
MAGIC = b"SQLite format 3\0"
STATUSES = frozenset(status.value for status in Status)
DAMAGE_CODES = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def _events(records: Iterable[tuple[str]]) -> Iterator[Event]:
    """Skips records that this version cannot read, because another version wrote them."""
    for (record,) in records:
        try:
            yield event_from_record(json.loads(record))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("skipped an event that cannot be read: %s", error)


def _deliveries(rows: Iterable[tuple[str, str, float, float, str, int, str, str]]) -> Iterator[Delivery]:
    for record, channel, created_s, updated_s, status, attempts, error, owner in rows:
        for event in _events([(record,)]):
            if status in STATUSES:
                yield Delivery(event, channel, created_s, updated_s, Status(status), attempts, error, owner)


class EventStore:
    """The open event file. Raises StoreError if it is missing and ``create`` is false. ``identity`` differs between
    files that had the same name, because the file system reuses inode numbers."""

    def __init__(self, path: Path, create: bool = True, busy_s: float = 1.0) -> None:
        self.path = path
        with self._store_errors():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):  # readable by this user only, before any data is in it
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            elif not path.is_file():
                raise StoreError(f"no event file {path}: no events are recorded there yet; try --store PATH")
            self._db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
                self._inode = path.stat().st_ino
                self.identity = str(self._db.execute("SELECT identity FROM file").fetchone()[0])
                self._version = self._data_version()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        version = self._query_int("PRAGMA user_version")
        check_version(self._db, self.path, version)
        tables = self._query_int("SELECT count(*) FROM sqlite_master")
        if tables and not self._query_int("PRAGMA user_version"):
            raise StoreError(f"{self.path} is a database of another program; choose another store")
        if version == 0:
            # Returns the space of deleted rows to the file system.
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA journal_size_limit = 1000000")
        self._db.execute("PRAGMA synchronous = FULL")  # a stored alert survives a power failure
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")
        if version == 0:
            with self._transaction():
                if self._query_int("PRAGMA user_version") == 0:  # another program may have created the tables first
                    for statement in SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO file VALUES (?)", (uuid.uuid4().hex,))
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raises every error of the file as StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE_CODES
            advice = "it is damaged" if damaged else "check the free disk space and the permissions"
            raise StoreError(f"event file {self.path}: {error}; {advice}", damaged) from error
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            message = f"event file {self.path}: {error.strerror or error}; check its folder"
            raise StoreError(message, missing=missing) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # report the first error; on a full disk SQLite rolls back by itself
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yields the connection inside one transaction. Raises StoreError."""
        with self._store_errors(), self._transaction():
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
                    "INSERT INTO outbox SELECT id,?,?,?,?,?,?,? FROM events WHERE id = ? "
                    "ON CONFLICT (event_id, channel) DO UPDATE SET updated_s = excluded.updated_s, "
                    "status = excluded.status, attempts = excluded.attempts, error = excluded.error, "
                    "owner = excluded.owner",
                    (
                        *(each.channel, each.created_s, each.updated_s, each.status.value, each.attempts),
                        *(each.error, each.owner, each.event.id),
                    ),
                )
            for seen in batch.presence:
                db.execute(
                    "INSERT INTO presence VALUES (?,?,?,?,?) ON CONFLICT (camera, hour_s) DO UPDATE SET "
                    "masked = masked + excluded.masked, bare = bare + excluded.bare, "
                    "incorrect = incorrect + excluded.incorrect",
                    (seen.camera, seen.hour_s, seen.masked, seen.bare, seen.incorrect),
                )

    def claim(self, owner: str, dead_owners: Iterable[str]) -> int:
        """Makes ``owner`` send the pending alerts of ``dead_owners`` and of no owner. Returns their number."""
        with self.transaction() as db:
            query = "UPDATE outbox SET owner = ? WHERE status = ? AND owner = ?"
            return sum(db.execute(query, (owner, Status.PENDING.value, each)).rowcount for each in {"", *dead_owners})

    def release(self, owner: str) -> None:
        """Allows any other program to send the pending alerts of ``owner``."""
        with self.transaction() as db:
            db.execute("UPDATE outbox SET owner = '' WHERE owner = ? AND status = ?", (owner, Status.PENDING.value))

    def retry(self, channels: tuple[str, ...], wall_s: float) -> int:
        """Makes undelivered alerts pending again, with age 0 and no owner. Returns their number."""
        where = f" AND channel IN ({','.join('?' * len(channels))})" if channels else ""
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE outbox SET status = ?, attempts = 0, created_s = ?, owner = '' WHERE status = ?" + where,
                (Status.PENDING.value, wall_s, Status.UNDELIVERED.value, *channels),
            )
            return changed.rowcount

    # -- reading -------------------------------------------------------------------------------------------------

    def owners(self) -> set[str]:
        """The ids of programs that have pending alerts."""
        with self._store_errors():
            rows = self._db.execute("SELECT DISTINCT owner FROM outbox WHERE status = ?", (Status.PENDING.value,))
            return {str(owner) for (owner,) in rows if owner}

    def deliveries(
        self, status: Status | None = None, owners: tuple[str, ...] = (), event_ids: tuple[str, ...] = ()
    ) -> list[Delivery]:
        """Oldest first. Empty ``owners`` or ``event_ids`` mean all."""
        terms, values = ["1"], list[object]()
        if status is not None:
            terms.append("status = ?")
            values.append(status.value)
        for column, wanted in (("owner", owners), ("event_id", event_ids)):
            if wanted:
                terms.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values.extend(wanted)
        query = f"SELECT {DELIVERY_COLUMNS} FROM outbox JOIN events ON events.id = event_id WHERE {' AND '.join(terms)}"
        with self._store_errors():
            return list(_deliveries(self._db.execute(query + " ORDER BY events.seq", values)))

    def events(self, wanted: EventFilter = EventFilter(), newest: int | None = None) -> list[Event]:  # noqa: B008
        """In order of time. ``newest`` limits the result to that many of the latest events."""
        where, values = wanted.where("wall_s")
        query = f"SELECT record FROM events WHERE {where} ORDER BY wall_s DESC, seq DESC LIMIT ?"
        with self._store_errors():
            rows = self._db.execute(query, [*values, -1 if newest is None else newest]).fetchall()
            return list(_events(reversed(rows)))

    def presence(self, wanted: EventFilter = EventFilter()) -> list[Presence]:  # noqa: B008
        """People counts by hour and camera, oldest first. An hour belongs to the range if it starts in it."""
        where, values = wanted.where("hour_s", with_kinds=False)
        query = f"SELECT camera, hour_s, masked, bare, incorrect FROM presence WHERE {where} ORDER BY hour_s, camera"
        with self._store_errors():
            return [Presence(*row) for row in self._db.execute(query, values)]

    def snapshot(self, event_id: str) -> bytes | None:
        with self._store_errors():
            row = self._db.execute("SELECT jpeg FROM snapshots WHERE event_id = ?", (event_id,)).fetchone()
            return None if row is None else bytes(row[0])

    def changed_by_others(self) -> bool:
        """Whether another program wrote to the file since the last call. Raises StoreError if the file was deleted."""
        with self._store_errors():
            if self.path.stat().st_ino != self._inode:
                raise FileNotFoundError(2, "it was replaced by another file")
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


def lock_path(path: Path) -> Path:
    """The lock file beside the event file ``path``. It exists once a program has written events."""
    return path.with_name(path.name + ".lock")


def _is_event_file(path: Path) -> bool:
    """Whether ``path`` is ours. Protects other files that the settings name by mistake."""
    if lock_path(path).exists():
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def rename_damaged(path: Path, wall_s: float) -> tuple[Path, list[Delivery]]:
    """Renames a damaged event file. Returns its new path and the pending deliveries that are still readable.

    Raises StoreError if it cannot be renamed or does not look like an event file.
    """
    if not _is_event_file(path):
        raise StoreError(f"{path} is not an event file and was left unchanged; choose another store")
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
        query = f"SELECT {DELIVERY_COLUMNS} FROM outbox JOIN events ON events.id = event_id WHERE status = 'pending'"
        for each in _deliveries(db.execute(query)):
            pending.append(each)  # one by one, to keep what was read before the damage
    return renamed, pending
