"""Event files on disks without file locks or shared memory, as network disks are."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fakes_alerts import make_event

from app.alerts.event_store import EventStore
from app.alerts.store_connection import disk_of
from app.alerts.store_types import StoreError, WriteBatch

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT.parent / "shared" / "field" / "nolock.c"
PROGRAM = """
import logging, sys, time
from pathlib import Path
sys.path.append("tests")
from fakes_alerts import make_event
from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.retention import purge
from app.alerts.store_types import StoreError
from app.cli.main import main
from app.settings.alerts import AlertSettings

logging.basicConfig(format="%(message)s", stream=sys.stdout)
path = Path(sys.argv[1])

class Hook:
    count = 0
    def send(self, alert):
        Hook.count += 1
    def abort(self):
        pass

channel = {"kind": "plugin", "plugin": "none", "name": "a"}
center = AlertCenter(AlertSettings.model_validate({"store": path, "channels": [channel]}), hooks={"a": Hook()})
center.start()
for _ in range(3):
    center.submit(make_event())
with EventStore(path, create=False) as store:
    print("beside", len(store.events()))
print("left", center.close(60.0), "sent", Hook.count, "fault", repr(center.health().store_fault))
print("code", main(["events", "list", "--store", str(path)]))
with EventStore(path, create=False) as store:
    print("stored", [each.status.value for each in store.deliveries()], "limits", store.limits)
    try:
        print("purged", purge(store, None).events)
    except StoreError as error:
        print(error)
"""
LEFT_OVER = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
sys.path.append("tests")
from fakes_alerts import make_event
from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
event = replace(make_event(), id="old")
EventStore(Path(sys.argv[1])).write(WriteBatch(((event, None),)), time.time())
os._exit(0)  # as a kill: the write-ahead log stays
"""


def test_a_reader_that_delays_a_write_stops_no_later_one(tmp_path: Path) -> None:
    """With the journal of a disk without shared memory, the end of a transaction waits for readers."""
    path = tmp_path / "events.db"
    with EventStore(path, busy_s=0.05) as store, closing(sqlite3.connect(path)) as reader:
        store.execute("PRAGMA journal_mode = DELETE")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        with pytest.raises(StoreError, match="another program uses it"):
            store.write(WriteBatch(((make_event(), None),)), 0.0)
        reader.rollback()
        store.write(WriteBatch(((make_event(), None),)), 0.0)
        assert len(store.events()) == 1


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or not LIBRARY.exists() or shutil.which("cc") is None:
        pytest.skip("needs Linux, cc and ../shared/field")
    built = tmp_path_factory.mktemp("library") / "nolock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built, LIBRARY, "-ldl"], check=True, capture_output=True)
    return built


@pytest.mark.parametrize(
    ("mode", "lacks", "has_old_file"),
    [("lock", "file locks", False), ("lock", "file locks", True), ("mmap", "shared memory", True)],
)
def test_events_are_kept_on_a_disk_without(
    library: Path, store_path: Path, mode: str, lacks: str, has_old_file: bool
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if has_old_file:  # written on a local disk, and copied here with its write-ahead log
        subprocess.run([sys.executable, "-c", LEFT_OVER, store_path], check=True, cwd=ROOT, env=environment)
        assert store_path.with_name("events.db-wal").exists()
    environment |= {"LD_PRELOAD": str(library), "NOLOCK": mode}
    argv = [sys.executable, "-c", PROGRAM, str(store_path)]
    process = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=100, check=False)
    lines = process.stdout.splitlines()
    assert process.returncode == 0, process.stdout + process.stderr
    count = 4 if has_old_file else 3
    (notice,) = [line for line in lines if "local disk is faster and safer" in line]
    assert f"has no {lacks}" in notice
    assert f"beside {count}" in lines
    assert "left [] sent 3 fault ''" in lines
    assert "code 0" in lines
    assert any(line.startswith(f"stored {['delivered'] * 3}") for line in lines)
    if mode == "lock":  # only the watching program may write
        assert f"has no {lacks}; choose a store on a local disk" in lines[-1]
    else:
        assert lines[-1] == f"purged {count}"


def test_disk_of_a_path_is_named(tmp_path: Path) -> None:
    assert disk_of(tmp_path / "events.db").startswith(("the disk", "the network disk", "its disk"))
    assert disk_of(Path(r"\\nas\share\events.db")).startswith("the network disk") is (os.name == "nt")
