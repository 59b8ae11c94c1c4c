"""Free ports for servers in tests."""

import random
import socket

_FIRST, _END = 10_000, 32_000
"""Below the ephemeral ports: no outgoing connection can take the port before its use or connect to itself."""


def free_port() -> int:
    """A TCP port of the loopback interface on which no program listens."""
    while True:
        port = random.SystemRandom().randrange(_FIRST, _END)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
