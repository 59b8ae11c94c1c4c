"""The lock of the watching program."""

import subprocess
import sys
from pathlib import Path

import pytest
from fakes_alerts import FakeClock

from app.alerts.event_queue import EventQueue
from app.alerts.file_lock import StoreLock
from app.alerts.store_types import StoreError, StoreInUseError
from app.settings.alerts import AlertSettings

ROOT = Path(__file__).resolve().parents[2]


HOLDER = """
import sys
from pathlib import Path
from app.alerts.file_lock import StoreLock
lock = StoreLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
sys.stdin.read()
"""


def test_lock_is_held_by_one_program_and_released_when_it_is_killed(store_path: Path, clock: FakeClock) -> None:
    argv = [sys.executable, "-c", HOLDER, str(store_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        refused = EventQueue(AlertSettings(store=store_path), clock)
        with pytest.raises(StoreInUseError, match="another maskwatch watches"):
            refused.open()
        holder.kill()
        holder.wait()
    refused.open()
    refused.close()


def test_lock_file_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot create"):
        StoreLock(tmp_path / "file" / "events.db").take()
