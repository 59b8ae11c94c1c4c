"""Fixtures for all alert tests. One of them checks that no thread survives a test."""

from fixtures_alerts import no_thread_survives, broker_port, http_peer, store_path  # noqa: F401
