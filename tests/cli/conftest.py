"""Fixtures of the alert tests, for the commands on alerts."""

from fixtures_alerts import broker_port, filled, http_peer, run, store_path  # noqa: F401
