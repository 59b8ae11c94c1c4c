"""Fixtures for the fleet tests. One of them checks that no thread survives a test."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fixtures_threads import no_thread_survives  # noqa: F401

if TYPE_CHECKING:
    from fakes_fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> "Iterator[Fleet]":
    """A hub with the sites ``hall`` and ``yard``; it does not run yet."""
    from fakes_fleet import Fleet  # needs maskwatch[fleet]

    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()
