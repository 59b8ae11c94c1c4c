"""systemd's word: ready, alive, stopping. A datagram to the socket that it names (sd_notify(3)), else nothing."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class SystemdNotifier:
    """What the service manager is told. Without one (``NOTIFY_SOCKET`` not set) every call does nothing."""

    def __init__(self, environ: Mapping[str, str] = os.environ, now_s: Callable[[], float] = time.monotonic) -> None:
        address = environ.get("NOTIFY_SOCKET", "") if hasattr(socket, "AF_UNIX") else ""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._every_s = _watchdog_s(environ) / 3  # systemd advises half of its limit or less
        self._now_s = now_s
        self._told_s = float("-inf")

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        """To be called often while all is well; tells as often as the manager's watchdog needs it."""
        now_s = self._now_s()
        if self._every_s > 0 and now_s - self._told_s >= self._every_s:
            self._told_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.setblocking(False)
                end.sendto(message.encode(), self._address)
        except OSError as error:  # it is there to help: no reason to stop watching
            log.debug("cannot tell the service manager %s: %s", message, error)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """The manager's limit in seconds; 0 where it has none for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
