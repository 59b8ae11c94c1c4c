"""Fixtures for all alert tests. One of them checks that no thread survives a test."""

from fixtures_alerts import broker_port, clock, http_peer, queue, short_store_intervals, store_path  # noqa: F401
from fixtures_threads import no_thread_survives  # noqa: F401
