"""The commands on alerts are tested with the peers that the alerts are."""

from fixtures_alerts import broker_port, http_peer, store_path  # noqa: F401
