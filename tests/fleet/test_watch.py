"""A watching program whose settings file was written by ``fleet join``."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes_nats import server_program

server_program()  # skips this file without maskwatch[fleet]
from fakes_alerts import LIMIT_S, make_event, record_people, wait_until  # noqa: E402
from fakes_fleet import Fleet, node_settings  # noqa: E402
from fakes_monitor import LiveCamera, fake_parts  # noqa: E402

from app.alerts.delivery import AlertCenter  # noqa: E402
from app.cli.watch_session import WatchSession  # noqa: E402
from app.core.camera_hours import CameraHour, hour_of  # noqa: E402
from app.core.types import EventKind  # noqa: E402
from app.fleet.hub_store import HubStore  # noqa: E402


def test_a_watching_program_reports_events_cameras_and_its_end(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start()
    event = make_event()
    parts = fake_parts(boxes=(), source=LiveCamera("door"))
    store = HubStore(fleet.folder.store)
    with WatchSession(node_settings(fleet, tmp_path), None, None, parts=parts) as session:
        session.on_event(event, None)
        record_people(session.alerts, "door", time.time(), masked=2)
        in_view = CameraHour("gate", hour_of(time.time()), bare=1)  # may still be counted otherwise
        session.alerts.add_hours([], [in_view])
        wait_until(lambda: [each.camera for each in fleet.stored()] == ["hall/door"])
    wait_until(lambda: [(hour.camera, hour.masked) for hour in store.events.hours()] == [("hall/door", 2)])
    wait_until(lambda: fleet.stored()[-1].kind is EventKind.NODE_OFFLINE)
    fleet.stop()
    assert [hour.camera for hour in store.events.hours()] == ["hall/door"]
    (node,) = store.nodes()
    store.close()
    assert (node.name, list(node.health.cameras)) == ("hall/box", ["door"])


def test_a_watching_program_does_not_need_the_hub(fleet: Fleet, tmp_path: Path) -> None:
    """The hub is down all the time: the box watches, and its event waits for the next start."""
    parts = fake_parts(boxes=(), source=LiveCamera("door"))
    with WatchSession(node_settings(fleet, tmp_path), None, None, parts=parts) as session:
        session.on_event(make_event(), None)
        session.run_headless(lambda: session.frames > 5)
        wait_until(lambda: session.alerts.health().channels[0].state == "retrying")
    assert session.exit_code == 0
    fleet.start()
    parts = fake_parts(boxes=(), source=LiveCamera("door"))
    with WatchSession(node_settings(fleet, tmp_path), None, None, parts=parts):
        wait_until(lambda: [each.camera for each in fleet.stored()] == ["hall/door"])


def test_a_node_that_ends_at_once_leaves_no_thread(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``close`` may come before the thread has begun to work."""
    settings = node_settings(fleet, tmp_path)
    agent = fleet.agent("hall", AlertCenter(settings.alerts))
    may_begin, run = threading.Event(), asyncio.run

    def run_late(work: Coroutine[Any, Any, None]) -> None:
        assert may_begin.wait(LIMIT_S)
        run(work)

    monkeypatch.setattr(asyncio, "run", run_late)
    timer = threading.Timer(0.2, may_begin.set)
    agent.start()
    timer.start()
    assert agent.close() == []
    timer.join()
