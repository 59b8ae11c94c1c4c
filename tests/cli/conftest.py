"""Fixtures of the alert tests, for the commands on alerts."""

from fixtures_alerts import broker_port, http_peer, store_path  # noqa: F401
