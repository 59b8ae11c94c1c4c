"""Fixtures for the alert tests: servers and paths."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_alerts import HttpPeer, mqtt_broker, wait_until


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until(lambda: not {thread.name for thread in threading.enumerate() if thread not in before})


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
