"""Event files of earlier versions keep their events, marks, counts and alerts that wait."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fakes_alerts import alert, make_event

from app.alerts.event_queue import EventQueue
from app.alerts.event_store import EventStore
from app.alerts.health import SystemClock
from app.alerts.marks import Marks, read_marks, write_marks
from app.alerts.store_schema import SCHEMA_VERSION, SECONDS
from app.alerts.store_types import Status, WriteBatch
from app.cli.main import main
from app.core.camera_hours import CameraHour, Occupancy
from app.core.types import Box, EventKind
from app.settings.alerts import AlertSettings

SQL = Path(__file__).with_name("events_0.1.0.sql")
ALERT, END = "6b09ea418fa9ac-door-1", "6b09ea418fa9ac-door-2"


@pytest.fixture
def old_file(store_path: Path) -> Path:
    store_path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(store_path)) as db:
        db.executescript(SQL.read_text("utf-8"))
    return store_path


def test_it_is_upgraded_with_all_that_it_holds(old_file: Path) -> None:
    with EventStore(old_file) as store:
        assert store.query_int("PRAGMA user_version") == SCHEMA_VERSION
        alert, end = store.events()
        assert (alert.id, alert.kind, alert.camera, alert.box) == (
            *(ALERT, EventKind.NO_MASK, "door"),
            Box(132.7, 132.2, 79.5, 97.8),
        )
        assert (end.id, end.kind, end.resolves) == (END, EventKind.RESOLVED, ALERT)
        assert store.status(ALERT, "bell") is Status.DELIVERED
        assert store.hours() == [CameraHour("door", 1795809600, masked=2)]
        assert read_marks(store, [ALERT])[ALERT].acknowledged_s == 1795811950.5


def test_its_alerts_that_wait_are_sent(old_file: Path) -> None:
    queue = EventQueue(AlertSettings(store=old_file), SystemClock())
    queue.open()
    assert [each.event.id for each in queue.pending("desk", 9)] == [ALERT, END]
    assert not queue.pending("bell")
    assert not queue.close()


def test_the_commands_read_it(old_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "list", "--store", str(old_file)]) == 0
    assert main(["alerts", "list", "--store", str(old_file)]) == 0
    out = capsys.readouterr().out
    assert "no_mask" in out
    assert "desk" in out


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_file_of_an_earlier_version_is_upgraded(store_path: Path, version: int) -> None:
    event, hour = make_event(), CameraHour("door", 3600, masked=4)
    with EventStore(store_path) as store:
        store.write(alert(event), 0.0)
        store.write(WriteBatch(hours=(hour,)), 0.0)
        if version == 1:
            store.execute("ALTER TABLE outbox ADD COLUMN owner TEXT NOT NULL DEFAULT 'program'")
        for name in SECONDS if version < 3 else ():
            store.execute(f"ALTER TABLE presence DROP COLUMN {name}")
        store.execute("DROP TABLE occupancy")
        for table in ("verdicts", "acknowledged") if version < 4 else ():
            store.execute(f"DROP TABLE {table}")
        if version == 3:  # the web view created it when the first alert was acknowledged
            store.execute(
                "CREATE TABLE acknowledged (event_id TEXT PRIMARY KEY REFERENCES events (id), wall_s REAL NOT NULL)"
            )
            store.execute(f"INSERT INTO acknowledged VALUES ('{event.id}', 7.0)")
        store.execute(f"PRAGMA user_version = {version}")
    with EventStore(store_path) as store:
        assert store.query_int("PRAGMA user_version") == SCHEMA_VERSION
        assert [each.event for each in store.deliveries()] == [event]
        assert store.hours() == [hour]
        marks = Marks(7.0) if version == 3 else Marks()
        assert read_marks(store, [event.id]).get(event.id, Marks()) == marks
        store.write(WriteBatch(occupancy=(Occupancy("door", 1.0, {"main": (3, 1)}, 2, event),)), 0.0)
        assert store.occupancy() == [Occupancy("door", 1.0, {"main": (3, 1)}, 2, event)]
        write_marks(store, event.id, marks.judged("no_face", "", 8.0, "browser"))
        assert read_marks(store, [event.id])[event.id].verdict_by == "browser"
