"""The tables of an event file, and the check that a file has them."""

import re
import sqlite3
from collections.abc import Set
from pathlib import Path

from app.alerts.store_types import StoreError

SCHEMA_VERSION = 5
SCHEMA = """
CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, camera TEXT NOT NULL,
  wall_s REAL NOT NULL, stored_s REAL NOT NULL, record TEXT NOT NULL);
CREATE INDEX events_wall ON events (wall_s);
CREATE TABLE snapshots (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, jpeg BLOB NOT NULL);
CREATE TABLE outbox (
  event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE, channel TEXT NOT NULL, created_s REAL NOT NULL,
  updated_s REAL NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT NOT NULL,
  PRIMARY KEY (event_id, channel));
CREATE INDEX outbox_status ON outbox (status);
CREATE TABLE presence (
  camera TEXT NOT NULL, hour_s INTEGER NOT NULL, masked INTEGER NOT NULL, bare INTEGER NOT NULL,
  incorrect INTEGER NOT NULL, watched_s REAL NOT NULL DEFAULT 0, offline_s REAL NOT NULL DEFAULT 0,
  paused_s REAL NOT NULL DEFAULT 0, behind_s REAL NOT NULL DEFAULT 0, quiet_s REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (camera, hour_s));
CREATE TABLE acknowledged (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, wall_s REAL NOT NULL,
  actor TEXT NOT NULL DEFAULT '');
CREATE TABLE verdicts (
  event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, verdict TEXT NOT NULL, label TEXT NOT NULL,
  wall_s REAL NOT NULL, actor TEXT NOT NULL);
CREATE TABLE occupancy (
  camera TEXT PRIMARY KEY, since_s REAL NOT NULL, lines TEXT NOT NULL, inside INTEGER NOT NULL, alert TEXT NOT NULL);
"""
SECONDS = ("watched_s", "offline_s", "paused_s", "behind_s", "quiet_s")
"""The columns of ``presence`` that version 3 added."""
UPGRADES = {
    1: "ALTER TABLE outbox DROP COLUMN owner",
    2: ";".join(f"ALTER TABLE presence ADD COLUMN {name} REAL NOT NULL DEFAULT 0" for name in SECONDS),
    3: "CREATE TABLE IF NOT EXISTS acknowledged (event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, "
    "wall_s REAL NOT NULL);ALTER TABLE acknowledged ADD COLUMN actor TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE verdicts (event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, verdict TEXT NOT NULL, "
    "label TEXT NOT NULL, wall_s REAL NOT NULL, actor TEXT NOT NULL)",
    4: "CREATE TABLE occupancy (camera TEXT PRIMARY KEY, since_s REAL NOT NULL, lines TEXT NOT NULL, "
    "inside INTEGER NOT NULL, alert TEXT NOT NULL)",
}
"""The statements that make a file of this version one of the next version."""
COLUMNS = {
    table: set(re.findall(r"(\w+) (?:TEXT|INTEGER|REAL|BLOB)", fields))
    for table, fields in re.findall(r"CREATE TABLE (\w+) \((.*?)\);\n", SCHEMA, re.DOTALL)
}


def check_version(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Raises StoreError if a file of schema ``version`` (0: new) does not have these tables."""
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer maskwatch; update this one or choose another store")
    added = {"acknowledged": 4, "verdicts": 4, "occupancy": 5}
    tables = {table for table in COLUMNS if version >= added.get(table, 0)}
    if version and not _has_all_columns(db, tables, set(SECONDS) if version < 3 else set()):
        raise StoreError(
            f"{path} was written by another version of maskwatch, whose tables differ; move it away or choose another "
            "store, and read the old file with the version that wrote it"
        )


def _has_all_columns(db: sqlite3.Connection, tables: Set[str], added: set[str]) -> bool:
    """Whether all columns of ``tables`` exist, apart from those that will be ``added``: early versions changed the
    tables without a new version number."""
    return all(
        COLUMNS[table] - added
        <= {str(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        for table in tables
    )
