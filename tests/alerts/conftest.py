"""Fixtures for all alert tests. One of them checks that no thread survives a test."""

from fixtures_alerts import broker_port, http_peer, no_thread_survives, store_path  # noqa: F401
