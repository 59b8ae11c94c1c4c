"""Calls the listeners of the monitor in one thread, in the order of the results and events."""

import threading
from collections import deque
from collections.abc import Callable

from app.pipeline.heartbeat import Heartbeat

CALLING = "calling the listeners"
_WAIT_S = 0.5
"""Longest single wait."""
_CAPACITY = 8
"""Each waiting call holds a frame: 8 frames of 1080p are 50 MB."""


class Dispatcher:
    """A bounded queue of calls. Call ``run`` in its own thread; a call that raises ends it."""

    def __init__(self) -> None:
        self.heartbeat = Heartbeat()
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, call: Callable[[], None], *, wait: bool = True) -> None:
        """Adds ``call``. Waits for room unless ``wait`` is false. After ``close`` it does nothing."""
        with self._changed:
            while wait and len(self._calls) >= _CAPACITY and not self._closed:
                self._changed.wait(_WAIT_S)
            if not self._closed:
                self._calls.append(call)
                self._changed.notify_all()

    def run(self) -> None:
        """Makes the calls one by one, until the dispatcher is closed and none is left."""
        while (call := self._next()) is not None:
            self.heartbeat.beat(CALLING)
            call()
            self.heartbeat.rest()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._calls and not self._closed:
                self._changed.wait(_WAIT_S)
            if not self._calls:
                return None
            self._changed.notify_all()
            return self._calls.popleft()

    def close(self) -> None:
        """Accepts no more calls; those in the queue are still made."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
