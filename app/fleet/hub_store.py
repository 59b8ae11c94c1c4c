"""The event file of a hub: an ordinary event file, whose cameras are called SITE/CAMERA, with two more tables."""

import base64
import json
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from pydantic import TypeAdapter

from app.alerts.day_counts import day_start_s
from app.alerts.event_records import event_from_record
from app.alerts.event_store import EventStore, add_rows
from app.alerts.store_types import EventFilter, WriteBatch
from app.core.camera_hours import COUNTED_FIELDS, CameraHour
from app.core.text import MOVED
from app.core.types import Event, EventKind
from app.fleet.messages import HourTotals, NodeHealth
from app.fleet.node_watch import NODE_KINDS

_TABLES = f"""
CREATE TABLE IF NOT EXISTS nodes (name TEXT PRIMARY KEY, seen_s REAL NOT NULL, health TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS node_hours (
  camera TEXT NOT NULL, hour_s INTEGER NOT NULL, node TEXT NOT NULL,
  {", ".join(f"{name} REAL NOT NULL" for name in COUNTED_FIELDS)}, PRIMARY KEY (camera, hour_s, node));
CREATE TABLE IF NOT EXISTS shared_alerts (
  id TEXT PRIMARY KEY, node TEXT NOT NULL, alert TEXT NOT NULL, wall_s REAL NOT NULL, end_id TEXT NOT NULL,
  end_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS shared_alerts_wall ON shared_alerts (wall_s)
"""
_FACE_KINDS = (EventKind.NO_MASK.value, EventKind.INCORRECT.value)
_NEAR = (
    "SELECT record FROM shared_alerts JOIN events USING (id) WHERE shared_alerts.wall_s BETWEEN ? AND ? AND camera = ? "
    "AND node != ? AND end_s >= ?"
)
SAME_ALERT_S = 30.0
"""Twice the time for which two nodes can watch a camera, so long can both report one person."""
_COLUMNS = ", ".join(COUNTED_FIELDS)
STANDBY, OFFLINE = "standby", "node offline"
_KEEP_TOTALS_S = 60 * 86_400
SAVE_NODES_S = 5.0
"""How often the hub writes what it heard from the nodes."""
_MAX_AHEAD_S = 86_400
"""Hours that begin later than this are refused: they would keep old hours from being deleted."""
_EVENT = TypeAdapter(Event)
_RECORD: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])


@dataclass(frozen=True, slots=True)
class SiteEvent:
    """``node``: the sender, if it shares its cameras with other nodes."""

    event: Event
    snapshot_jpeg: bytes | None
    node: str = ""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node and its last message, which came at Unix time ``seen_s``."""

    name: str
    seen_s: float
    health: NodeHealth

    @property
    def site(self) -> str:
        return self.name.partition("/")[0]

    @property
    def node(self) -> str:
        return self.name.partition("/")[2]

    def is_online(self, now_s: float) -> bool:
        """``now_s``: Unix time. The hub writes what it heard every few seconds."""
        return now_s - self.seen_s <= self.health.offline_after_s + SAVE_NODES_S


@dataclass(frozen=True, slots=True)
class CameraRow:
    """A camera, or all of a site (``camera`` is ''): the state that its node reports, people and seconds of today."""

    site: str
    camera: str
    state: str
    today: CameraHour


def read_event(site: str, camera: str, content: bytes) -> SiteEvent | None:
    """The event of a message; None for a test alert. Its id is the idempotency key with the site, so that no site can
    replace the event of another one. Raises ValueError, KeyError or TypeError if it is not an event."""
    record = _RECORD.validate_json(content)
    if record.get("is_test"):
        return None
    event, key = event_from_record(record), str(record["idempotency_key"])
    event = _EVENT.validate_python({each.name: getattr(event, each.name) for each in fields(event)})
    json.dumps(astuple(event), allow_nan=False)  # raises ValueError for times that are no numbers
    if not key.startswith(event.id):
        raise ValueError("the key is not that of the event")
    channel = key[len(event.id) :]
    resolves = f"{site}/{event.resolves}{channel}" if event.resolves else ""
    jpeg = base64.b64decode(str(record["snapshot_jpeg"]), validate=True) if "snapshot_jpeg" in record else None
    return SiteEvent(replace(event, id=f"{site}/{key}", camera=f"{site}/{camera}", resolves=resolves), jpeg)


class HubStore:
    """Raises StoreError like ``EventStore``. A hub must have run before it is opened without ``create``."""

    def __init__(self, path: Path, create: bool = True) -> None:
        self.events = EventStore(path, create, busy_s=10.0)
        if not create:
            return
        with self.events.transaction() as db:
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute("DELETE FROM node_hours WHERE hour_s < ?", (time.time() - _KEEP_TOTALS_S,))
            db.execute("DELETE FROM shared_alerts WHERE wall_s < ?", (time.time() - _KEEP_TOTALS_S,))

    def write(self, events: Iterable[SiteEvent], totals: Iterable[tuple[str, HourTotals]], wall_s: float) -> None:
        """Writes all in one transaction. What is already there changes nothing. ``totals``: by camera."""
        with self.events.transaction() as db:
            hours: list[CameraHour] = []
            for camera, message in totals:
                for total in message.hours:
                    if total.hour_s > wall_s + _MAX_AHEAD_S:
                        continue
                    key = (camera, total.hour_s, message.node)
                    where = "camera = ? AND hour_s = ? AND node = ?"
                    row = db.execute(f"SELECT {_COLUMNS} FROM node_hours WHERE {where}", key).fetchone()
                    old = row or (0,) * len(COUNTED_FIELDS)
                    new = [max(before, getattr(total, name)) for name, before in zip(COUNTED_FIELDS, old, strict=True)]
                    added = dict(zip(COUNTED_FIELDS, map(float.__sub__, map(float, new), map(float, old)), strict=True))
                    if any(added.values()):
                        db.execute(
                            f"INSERT OR REPLACE INTO node_hours VALUES (?,?,?{',?' * len(COUNTED_FIELDS)})",
                            (*key, *new),
                        )
                        hours.append(replace(CameraHour(camera, total.hour_s), **added))  # type: ignore[arg-type]
            listed = list(events)
            pairs = tuple((each.event, each.snapshot_jpeg) for each in listed if not each.node)
            add_rows(db, WriteBatch(pairs, hours=tuple(hours)), wall_s)
            for each in listed:
                if each.node and (event := _merged(db, each.event, each.node)) is not None:
                    add_rows(db, WriteBatch(((event, each.snapshot_jpeg),)), wall_s)

    def save_nodes(self, seen: Mapping[str, tuple[float, NodeHealth]]) -> None:
        with self.events.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO nodes VALUES (?,?,?)",
                [(name, seen_s, health.model_dump_json()) for name, (seen_s, health) in seen.items()],
            )

    def nodes(self) -> list[SeenNode]:
        with self.events.transaction() as db:
            rows = db.execute("SELECT name, seen_s, health FROM nodes ORDER BY name").fetchall()
        return [SeenNode(name, seen_s, NodeHealth.model_validate_json(health)) for name, seen_s, health in rows]

    def last_node_event(self, name: str) -> Event | None:
        return next(iter(self.events.events(EventFilter(cameras=(name,), kinds=NODE_KINDS), 1)), None)

    def delays_s(self, since_s: float, sites: Sequence[str] = ()) -> list[float]:
        """The seconds from each event to its commit here, sorted, since ``since_s``; of ``sites``, or of all."""
        query = "SELECT camera, stored_s - wall_s FROM events WHERE wall_s >= ? AND kind NOT IN (?,?,?) ORDER BY 2"
        with self.events.transaction() as db:
            rows = db.execute(query, (since_s, *NODE_KINDS, EventKind.REPORT.value)).fetchall()
        return [delay_s for camera, delay_s in rows if not sites or camera.partition("/")[0] in sites]

    def close(self) -> None:
        self.events.close()


def _merged(db: sqlite3.Connection, event: Event, node: str) -> Event | None:
    """``event`` as it is stored, or None: of two alerts of one camera that overlap in time and place, sent by two
    nodes, the first that arrives stands. It ends once; a handover to a node that sees it too is no end."""
    if event.kind is EventKind.RESOLVED:
        row = db.execute("SELECT alert, wall_s FROM shared_alerts WHERE id = ?", (event.resolves,)).fetchone()
        alert, began_s = (event.resolves, math.inf) if row is None else row
        later = "SELECT 1 FROM shared_alerts WHERE alert = ? AND wall_s > ?"
        is_seen_by_other = db.execute(later, (alert, began_s)).fetchone()
        ended = db.execute("SELECT 1 FROM shared_alerts WHERE id = ? AND end_id NOT IN ('', ?)", (alert, event.id))
        if (event.reason == MOVED and is_seen_by_other) or ended.fetchone():
            return None
        end = event.id, math.inf if event.reason == MOVED else event.wall_s, alert
        db.execute("UPDATE shared_alerts SET end_id = ?, end_s = ? WHERE id = ?", end)
        return replace(event, resolves=alert)
    if event.kind.value not in _FACE_KINDS or event.box is None:
        return event
    known = db.execute("SELECT alert FROM shared_alerts WHERE id = ?", (event.id,)).fetchone()
    if known is not None:  # it is delivered again
        return event if known[0] == event.id else None
    alert, began_s = event.id, event.wall_s - event.duration_s
    near = event.wall_s - SAME_ALERT_S, event.wall_s + SAME_ALERT_S, event.camera, node, began_s
    for (record,) in db.execute(_NEAR, near).fetchall():
        other = event_from_record(json.loads(record))
        if other.box is not None and other.box.iou(event.box) > 0:
            alert = other.id
    db.execute("INSERT INTO shared_alerts VALUES (?,?,?,?,'',?)", (event.id, node, alert, event.wall_s, math.inf))
    if alert == event.id:
        return event
    moved = "SELECT end_id FROM shared_alerts WHERE id = ? AND end_s = ?"
    db.execute(f"DELETE FROM events WHERE id IN ({moved})", (alert, math.inf))
    db.execute("UPDATE shared_alerts SET end_id = '' WHERE id = ? AND end_s = ?", (alert, math.inf))
    return None


def camera_rows(store: HubStore, now_s: float, sites: Sequence[str] = ()) -> list[CameraRow]:
    """All cameras of ``sites``, or of all sites, by name. ``now_s``: Unix time."""
    states: dict[str, str] = {}
    for node in sorted(store.nodes(), key=lambda node: node.is_online(now_s)):  # of two nodes, the one that watches
        for camera, state in node.health.cameras.items():
            name = f"{node.site}/{camera}"
            if state != STANDBY or states.get(name, OFFLINE) == OFFLINE:
                states[name] = state if node.is_online(now_s) else OFFLINE
    sums: dict[str, CameraHour] = {name: CameraHour(name, 0) for name in states}
    for hour in store.events.hours(EventFilter(since_s=day_start_s(now_s))):
        sums[hour.camera] = sums.get(hour.camera, CameraHour(hour.camera, 0)).plus(hour)
    rows = []
    for name, today in sorted(sums.items()):
        site, _, camera = name.partition("/")
        if not sites or site in sites:
            rows.append(CameraRow(site, camera, states.get(name, "not reported"), today))
    return rows


def site_rows(rows: Sequence[CameraRow]) -> list[CameraRow]:
    """The sums of each site."""
    sums: dict[str, CameraHour] = {}
    for row in rows:
        sums[row.site] = sums.get(row.site, CameraHour(row.site, 0)).plus(row.today)
    return [CameraRow(site, "", "", today) for site, today in sums.items()]
