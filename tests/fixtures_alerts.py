"""Fixtures for the tests of alerts and their commands."""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes_alerts import FakeClock, HttpPeer, make_event, mqtt_broker

from app.alerts.event_queue import EventQueue
from app.alerts.event_store import EventStore
from app.alerts.store_types import Delivery, Status, WriteBatch
from app.cli import alerts as alerts_module
from app.core.camera_hours import CameraHour, hour_of
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def http_peer() -> Iterator[HttpPeer]:
    with HttpPeer().running() as peer:
        yield peer


@pytest.fixture(scope="session")
def broker_port() -> Iterator[int]:
    with mqtt_broker() as port:
        yield port


@pytest.fixture
def short_store_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.event_queue.RETRY_S", 0.2)
    monkeypatch.setattr("app.alerts.delivery.STORE_POLL_S", 0.2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
def queue(store_path: Path, clock: FakeClock) -> Iterator[EventQueue]:
    opened = EventQueue(AlertSettings(store=store_path), clock)
    opened.open()
    yield opened
    opened.close()


Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    parser = argparse.ArgumentParser()
    alerts_module.register(parser.add_subparsers())

    def run_command(*arguments: object) -> int:
        args = parser.parse_args([str(argument) for argument in arguments])
        return int(args.run(args))

    return run_command


@pytest.fixture
def filled(store_path: Path) -> list[Event]:
    """Four events in the last three hours, the first undelivered, and an older event with a snapshot."""
    now_s = time.time()  # not at import, which may be long ago in a large suite
    kinds = (EventKind.NO_MASK, EventKind.RESOLVED, EventKind.CAMERA_OFFLINE, EventKind.INCORRECT)
    events = [make_event(kind, f"cam-{i % 2}", now_s - 3600 * (3 - i)) for i, kind in enumerate(kinds)]
    with EventStore(store_path) as store:
        delivery = Delivery(events[0], "web", now_s, now_s, Status.UNDELIVERED, 9, "was down")
        seen = CameraHour("cam-0", hour_of(now_s), masked=3, bare=1)
        store.write(WriteBatch(tuple((event, None) for event in events), (delivery,), (seen,)), now_s)
        store.write(WriteBatch(((make_event(wall_s=now_s - 9 * 86_400), b"JPEG"),)), now_s - 9 * 86_400)
    return events
