"""Every test of alerts has these peers and places, and leaves no thread behind."""

from fixtures_alerts import _no_thread_survives, broker_port, http_peer, store_path  # noqa: F401
