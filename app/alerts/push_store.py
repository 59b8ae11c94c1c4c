"""The devices that get web push messages, and the key that signs these: a SQLite file that only its owner can read."""

import base64
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from app.alerts.store_connection import create_private
from app.alerts.store_types import StoreError

MAX_DEVICES = 500
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS key (private TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS devices (endpoint TEXT PRIMARY KEY, user TEXT NOT NULL, record TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One subscription of a browser. ``p256dh`` and ``auth`` are its keys in base64url. It gets alerts of ``cameras``
    (None: of all), and in its ``quiet`` hours only urgent ones, if ``urgent``."""

    endpoint: str
    p256dh: str
    auth: str
    user: str = ""
    cameras: tuple[str, ...] | None = None
    quiet: tuple[str, ...] = ()
    urgent: bool = False
    timezone: str = ""
    language: str = "en"


class PushStore:
    """Thread-safe, also between programs. All methods raise StoreError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            create_private(self._path)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as db:
                db.executescript(_SCHEMA)
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"cannot use {self._path}: {reason}; check the disk and its permissions") from error

    def private_key(self) -> int:
        """The number of the P-256 key that signs; made at the first call."""
        from cryptography.hazmat.primitives.asymmetric import ec

        with self._open() as db:
            row = db.execute("SELECT private FROM key").fetchone()
            if row is None:
                row = (str(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value),)
                db.execute("INSERT INTO key VALUES (?)", row)
        return int(row[0])

    def devices(self) -> list[Device]:
        with self._open() as db:
            return _devices(db)

    def save(self, device: Device) -> bool:
        """Adds or replaces ``device``; False if there are too many."""
        with self._open() as db:
            db.execute("DELETE FROM devices WHERE endpoint = ?", (device.endpoint,))
            is_full: bool = db.execute("SELECT count(*) FROM devices").fetchone()[0] >= MAX_DEVICES
            if not is_full:
                record = json.dumps(asdict(device))
                db.execute("INSERT INTO devices VALUES (?, ?, ?)", (device.endpoint, device.user, record))
        return not is_full

    def remove(self, endpoint: str) -> bool:
        """Whether there was such a device."""
        with self._open() as db:
            return db.execute("DELETE FROM devices WHERE endpoint = ?", (endpoint,)).rowcount > 0

    def remove_user(self, user: str) -> None:
        """Removes the devices of ``user``, whose account or cameras have changed."""
        with self._open() as db:
            db.execute("DELETE FROM devices WHERE user = ?", (user,))

    def rename_cameras(self, names: Mapping[str, str]) -> None:
        """``names``: the new names of cameras by their old ones."""
        with self._open() as db:  # one transaction, so that a device that is removed meanwhile does not return
            for device in _devices(db):
                if device.cameras is not None and names.keys() & device.cameras:
                    renamed = replace(device, cameras=tuple(names.get(each, each) for each in device.cameras))
                    db.execute(
                        "UPDATE devices SET record = ? WHERE endpoint = ?",
                        (json.dumps(asdict(renamed)), device.endpoint),
                    )


def _devices(db: sqlite3.Connection) -> list[Device]:
    records = [json.loads(record) for (record,) in db.execute("SELECT record FROM devices ORDER BY rowid")]
    return [
        Device(**each | {name: tuple(each[name]) for name in ("cameras", "quiet") if each[name] is not None})
        for each in records
    ]


def from_base64url(text: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def to_base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
