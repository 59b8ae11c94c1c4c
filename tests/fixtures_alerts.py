"""Fixtures for the alert tests: servers and paths."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_alerts import HttpPeer, mqtt_broker


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
