"""Fixtures for the fleet tests. One of them checks that no thread survives a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes_nats import server_program
from fixtures_alerts import no_thread_survives  # noqa: F401

server_program()  # skips the whole folder without maskwatch[fleet]
from fakes_fleet import Fleet  # noqa: E402


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A hub with the sites ``hall`` and ``yard``; it does not run yet."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()
