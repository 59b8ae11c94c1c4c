"""Events, waiting alerts and counts of people in one SQLite file. One thread uses one ``EventStore``; other programs
may use the same file at the same time. Every fault of the file is a ``StoreError``."""

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
DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


def _events(records: Iterable[tuple[str]]) -> Iterator[Event]:
    """Leaves out what this version cannot read: another one may have written it."""
    for (record,) in records:
        try:
            yield event_from_record(json.loads(record))
        except (ValueError, KeyError, TypeError) as error:
            log.warning("an event cannot be read and is left out: %s", error)


def _deliveries(rows: Iterable[tuple[str, str, float, float, str, int, str, str]]) -> Iterator[Delivery]:
    for record, channel, created_s, updated_s, status, attempts, error, owner in rows:
        for event in _events([(record,)]):
            if status in STATUSES:
                yield Delivery(event, channel, created_s, updated_s, Status(status), attempts, error, owner)


class EventStore:
    """The open file. Without ``create`` a missing file is a StoreError. ``identity`` tells it from any other file that
    ever had its name (the numbers of files are used again)."""

    def __init__(self, path: Path, create: bool = True, busy_s: float = 1.0) -> None:
        self.path = path
        with self._faults():
            if create:
                path.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):  # readable by this user alone, before anything is in it
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            elif not path.is_file():
                raise StoreError(f"no event file {path}; nothing was recorded there yet, or give --store PATH")
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
        version = self._number("PRAGMA user_version")
        check_version(self._db, self.path, version)
        tables = self._number("SELECT count(*) FROM sqlite_master")
        if tables and not self._number("PRAGMA user_version"):
            raise StoreError(f"{self.path} is the database of another program; give another store")
        if version == 0:
            # Space of deleted rows is given back, and what was in them is overwritten.
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA journal_size_limit = 1000000")
        self._db.execute("PRAGMA synchronous = FULL")  # a stored alert outlives a power cut, not only a kill
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")
        if version == 0:
            with self._transaction():
                if self._number("PRAGMA user_version") == 0:  # another program may have been first
                    for statement in SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.execute("INSERT INTO file VALUES (?)", (uuid.uuid4().hex,))
                    self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Every fault of the file as a StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
            advice = "it is damaged" if damaged else "check the disk's space and rights"
            raise StoreError(f"event file {self.path}: {error}; {advice}", damaged) from error
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            message = f"event file {self.path}: {error.strerror or error}; check its folder"
            raise StoreError(message, gone=gone) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):  # the first fault is the one to tell; a full disk ends it by itself
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection inside one transaction, faults told as StoreError."""
        with self._faults(), self._transaction():
            yield self._db

    def execute(self, statement: str) -> None:
        """Runs a statement to its end, outside of any transaction."""
        with self._faults():
            # Not ``execute``, which takes one step of a statement without columns: incremental_vacuum frees one page.
            self._db.executescript(statement)

    def number(self, query: str) -> int:
        with self._faults():
            return self._number(query)

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)

    def _data_version(self) -> int:
        return self._number("PRAGMA data_version")

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, batch: WriteBatch, wall_s: float) -> None:
        """All of ``batch`` or nothing. What is there already is brought up to date; a delivery whose event was purged
        meanwhile is left out."""
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

    def adopt(self, owner: str, gone: Iterable[str]) -> int:
        """Makes ``owner`` the sender of what waits for the programs that are ``gone``, and for any. How much."""
        with self.transaction() as db:
            query = "UPDATE outbox SET owner = ? WHERE status = ? AND owner = ?"
            return sum(db.execute(query, (owner, Status.PENDING.value, each)).rowcount for each in {"", *gone})

    def release(self, owner: str) -> None:
        """Lets any other program send what still waits for ``owner``."""
        with self.transaction() as db:
            db.execute("UPDATE outbox SET owner = '' WHERE owner = ? AND status = ?", (owner, Status.PENDING.value))

    def retry(self, channels: tuple[str, ...], wall_s: float) -> int:
        """Makes undelivered alerts wait again, with a fresh age, for whichever program sends next. How many."""
        where = f" AND channel IN ({','.join('?' * len(channels))})" if channels else ""
        with self.transaction() as db:
            changed = db.execute(
                "UPDATE outbox SET status = ?, attempts = 0, created_s = ?, owner = '' WHERE status = ?" + where,
                (Status.PENDING.value, wall_s, Status.UNDELIVERED.value, *channels),
            )
            return changed.rowcount

    # -- reading -------------------------------------------------------------------------------------------------

    def owners(self) -> set[str]:
        """The programs that something waits for."""
        with self._faults():
            rows = self._db.execute("SELECT DISTINCT owner FROM outbox WHERE status = ?", (Status.PENDING.value,))
            return {str(owner) for (owner,) in rows if owner}

    def deliveries(
        self, status: Status | None = None, owners: tuple[str, ...] = (), event_ids: tuple[str, ...] = ()
    ) -> list[Delivery]:
        """Oldest first; ``owners`` and ``event_ids`` empty mean all."""
        terms, values = ["1"], list[object]()
        if status is not None:
            terms.append("status = ?")
            values.append(status.value)
        for column, wanted in (("owner", owners), ("event_id", event_ids)):
            if wanted:
                terms.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values.extend(wanted)
        query = f"SELECT {DELIVERY_COLUMNS} FROM outbox JOIN events ON events.id = event_id WHERE {' AND '.join(terms)}"
        with self._faults():
            return list(_deliveries(self._db.execute(query + " ORDER BY events.seq", values)))

    def events(self, wanted: EventFilter = EventFilter(), newest: int | None = None) -> list[Event]:  # noqa: B008
        """In order of time; ``newest`` gives only the last so many."""
        where, values = wanted.where("wall_s")
        query = f"SELECT record FROM events WHERE {where} ORDER BY wall_s DESC, seq DESC LIMIT ?"
        with self._faults():
            rows = self._db.execute(query, [*values, -1 if newest is None else newest]).fetchall()
            return list(_events(reversed(rows)))

    def presence(self, wanted: EventFilter = EventFilter()) -> list[Presence]:  # noqa: B008
        """Counts by hour and camera, oldest first; an hour counts where it starts inside the times."""
        where, values = wanted.where("hour_s", with_kinds=False)
        query = f"SELECT camera, hour_s, masked, bare, incorrect FROM presence WHERE {where} ORDER BY hour_s, camera"
        with self._faults():
            return [Presence(*row) for row in self._db.execute(query, values)]

    def snapshot(self, event_id: str) -> bytes | None:
        with self._faults():
            row = self._db.execute("SELECT jpeg FROM snapshots WHERE event_id = ?", (event_id,)).fetchone()
            return None if row is None else bytes(row[0])

    def changed_outside(self) -> bool:
        """Whether another program wrote to the file since the last call. Raises StoreError where it was deleted."""
        with self._faults():
            if self.path.stat().st_ino != self._inode:
                raise FileNotFoundError(2, "it was replaced by another file")
            before, self._version = self._version, self._data_version()
            return before != self._version

    def close(self) -> None:
        with self._faults():
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_path(path: Path) -> Path:
    """Beside the event file ``path``; it is there once a program has written events."""
    return path.with_name(path.name + ".lock")


def _was_ours(path: Path) -> bool:
    """A file that the settings name by mistake must not be touched."""
    if lock_path(path).exists():
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def set_aside(path: Path, wall_s: float) -> tuple[Path, list[Delivery]]:
    """Renames a damaged file, and reads from it what waited as far as it can be read.

    Raises StoreError where it cannot be renamed, and where nothing says that it ever was an event file.
    """
    if not _was_ours(path):
        raise StoreError(f"{path} is no event file; nothing was done to it, give another store")
    stamp = datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    try:
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StoreError(f"cannot set the damaged {path} aside: {error.strerror or error}; move it away") from error
    saved: list[Delivery] = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(aside)) as db:
        query = f"SELECT {DELIVERY_COLUMNS} FROM outbox JOIN events ON events.id = event_id WHERE status = 'pending'"
        for each in _deliveries(db.execute(query)):
            saved.append(each)  # one by one: what was read before the damage is kept
    return aside, saved
