"""Ports for servers that the tests start."""

import random
import socket

_FIRST, _BEHIND = 10_000, 32_000
"""Below what systems hand out to outgoing connections: no client takes such a port between its choice and its use, and
none that tries to reach a server that is away can connect to itself."""


def free_port() -> int:
    """A TCP port of the loopback that nobody listens at just now."""
    while True:
        port = random.SystemRandom().randrange(_FIRST, _BEHIND)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
