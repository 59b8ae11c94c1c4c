"""The file of the users, and in it the audit log: who did what, when and from where."""

import hashlib
import json
import sqlite3
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.alerts.retention_clock import DAY_S
from app.alerts.store_connection import connect, create_private, transaction
from app.alerts.store_types import StoreError

SAME_VIEW_S = 300.0
"""A repeated view of the same thing by the same user within this time is recorded once."""
MAX_VIEWS = 1000
_ROWS_AT_ONCE = 1000
DELETED = "deleted old entries"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, role TEXT NOT NULL, cameras TEXT, password TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0, secret TEXT NOT NULL DEFAULT '', used_step INTEGER NOT NULL DEFAULT 0,
    recovery TEXT NOT NULL DEFAULT '[]', subject TEXT NOT NULL DEFAULT '', by_groups INTEGER NOT NULL DEFAULT 0,
    signed_in_s REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT UNIQUE NOT NULL,
    name TEXT NOT NULL, is_program INTEGER NOT NULL, label TEXT NOT NULL, address TEXT NOT NULL,
    created_s REAL NOT NULL, seen_s REAL NOT NULL, end_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, who TEXT NOT NULL,
    address TEXT NOT NULL, what TEXT NOT NULL, target TEXT NOT NULL, previous TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class UsersFile:
    """The open SQLite file; without ``path`` it is in memory. Methods raise StoreError."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        with self._errors():
            if path is None:
                self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            else:
                create_private(path)
                self._db = connect(path, 2.0, write=True)[0]
            self._close = weakref.finalize(self, self._db.close)
            self._db.execute("PRAGMA synchronous = NORMAL")  # the event loop does not wait for the disk
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"file of the users {self.path}: {reason}; check the disk and the permissions") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors(), transaction(self._db):
            yield self._db

    def execute(self, statement: str, *values: object) -> None:
        with self.transaction() as db:
            db.execute(statement, values)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with self._errors():
            return self._db.execute(query, values).fetchall()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    number: int
    at_s: float
    who: str
    address: str
    what: str
    target: str
    previous: str
    digest: str

    @property
    def is_unchanged(self) -> bool:
        content = [self.number, self.at_s, self.who, self.address, self.what, self.target, self.previous]
        return self.digest == digest_of(json.dumps(content))


class AuditLog:
    """Entries are only appended, and deleted after ``keep_days``."""

    def __init__(self, file: UsersFile, keep_days: float) -> None:
        self._file = file
        self._keep_s = keep_days * DAY_S
        self._purged_s = 0.0
        self._views: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._checked: tuple[object, int, str] | None = None  # by ``fault``: version of the file, newest entry, digest

    def view(self, who: str, address: str, what: str, target: str = "") -> None:
        """Records what somebody looked at, once within SAME_VIEW_S."""
        key, now_s = (who, address, what, target), time.monotonic()
        if now_s - self._views.get(key, -SAME_VIEW_S) >= SAME_VIEW_S:
            self._views[key] = now_s  # before it is recorded: a full disk must not fill the log
            self._views.move_to_end(key)
            while len(self._views) > MAX_VIEWS:
                self._views.popitem(last=False)
            self.record(*key)

    def record(self, who: str, address: str, what: str, target: str = "") -> None:
        """Appends an entry. Each contains the hash of the one before, so that a changed or removed one shows."""
        now_s = time.time()
        with self._file.transaction() as db:
            if now_s - self._purged_s > DAY_S / 24:
                self._purged_s = now_s
                old = db.execute("SELECT max(number) FROM audit WHERE at_s < ?", (now_s - self._keep_s,)).fetchone()[0]
                if old is not None:
                    _append(db, now_s, ("(maskwatch)", "", DELETED, str(old)))
                    db.execute("DELETE FROM audit WHERE number <= ?", (old,))
            _append(db, now_s, (who, address, what, target[:300]))

    def entries(
        self, who: str = "", what: str = "", since_s: float = 0.0, until_s: float = 1e12, before: int = 1 << 62
    ) -> Iterator[AuditEntry]:
        """Those with a number below ``before``, newest first. ``who`` and ``what`` empty: all."""
        wanted = "number < ? AND ? IN ('', who) AND ? IN ('', what) AND at_s >= ? AND at_s < ?"
        query = f"SELECT * FROM audit WHERE {wanted} ORDER BY number DESC LIMIT {_ROWS_AT_ONCE}"
        while rows := self._file.rows(query, before, who, what, since_s, until_s):
            found = [AuditEntry(*row) for row in rows]  # type: ignore[arg-type]
            yield from found
            before = found[-1].number

    def choices(self, column: str) -> list[str]:
        """The values of ``who`` or ``what`` that occur."""
        assert column in ("who", "what")
        return [str(row[0]) for row in self._file.rows(f"SELECT DISTINCT {column} FROM audit ORDER BY 1")]

    def fault(self) -> str:
        """Which entry was changed or removed; '' if none was. While no other program writes to the file, only the
        entries that are new since the last call are checked: there may be a million."""
        version = self._file.rows("PRAGMA data_version")
        checked = self._checked if self._checked is not None and self._checked[0] == version else None
        newest = self._file.rows("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")
        expected, later, first = int(str(newest[0][0])) if newest else 0, "", None
        for entry in self.entries(before=expected + 1):  # later ones are written meanwhile
            if entry.number != expected:
                return f"entry {expected} was removed"
            if not entry.is_unchanged or later not in ("", entry.digest):
                return f"entry {entry.number} was changed"
            first = first or (version, entry.number, entry.digest)
            if checked is not None and checked[1:] == (entry.number, entry.digest):
                self._checked = first
                return ""
            expected, later = entry.number - 1, entry.previous
        deleted = max(
            (int(entry.target) for entry in self.entries(what=DELETED) if entry.target.isdecimal()), default=0
        )
        if expected > deleted:
            return f"entry {expected} was removed"
        self._checked = first
        return ""


def _append(db: sqlite3.Connection, now_s: float, content: tuple[str, str, str, str]) -> None:
    last = db.execute("SELECT digest FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    number = int((db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone() or (0,))[0]) + 1
    previous = last[0] if last else ""
    digest = digest_of(json.dumps([number, now_s, *content, previous]))
    db.execute("INSERT INTO audit VALUES (?,?,?,?,?,?,?,?)", (number, now_s, *content, previous, digest))


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
