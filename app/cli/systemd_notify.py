"""Notifies systemd (ready, alive, stopping) with datagrams to ``NOTIFY_SOCKET``, see sd_notify(3)."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class SystemdNotifier:
    """Notifies the service manager. Without ``NOTIFY_SOCKET`` every call has no effect."""

    def __init__(self, environ: Mapping[str, str] = os.environ, now_s: Callable[[], float] = time.monotonic) -> None:
        address = environ.get("NOTIFY_SOCKET", "") if hasattr(socket, "AF_UNIX") else ""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval_s = _watchdog_s(environ) / 3  # systemd recommends at most half of its limit
        self._now_s = now_s
        self._last_alive_s = float("-inf")

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        """Resets the manager's watchdog. Call it often while the monitor is healthy; it limits its own rate."""
        now_s = self._now_s()
        if self._interval_s > 0 and now_s - self._last_alive_s >= self._interval_s:
            self._last_alive_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError as error:  # notification is optional: watching continues
            log.debug("cannot send %s to the service manager: %s", message, error)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """The watchdog limit in seconds; 0 if there is none for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environ.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
