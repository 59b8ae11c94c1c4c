"""A group of threads: the first exception is kept and stops all, and a thread that keeps running is reported."""

import logging
import threading
import time
from collections.abc import Callable

from app.capture.process_exit import READER_PREFIX

log = logging.getLogger(__name__)

_GIVEN_UP_WAIT_S = 0.05
"""How long ``join`` waits for a thread that was given up."""


class ThreadGroup:
    """Threads that run and stop together, except those that are given up because they hang."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        """``on_stop`` must wake all waiting threads; it is called once, by the first thread that stops."""
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self.failed = ""
        self._on_stop = on_stop
        self._lock = threading.RLock()  # a signal handler may interrupt a holder and stop the group
        self._threads: list[threading.Thread] = []
        self._given_up: set[threading.Thread] = set()

    def spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(name, body), name=name, daemon=True)
        with self._lock:
            # Remove ended threads: the list must not grow over months of restarts.
            self._threads = [each for each in self._threads if each.ident is None or each.is_alive()]
            self._given_up.intersection_update(self._threads)
            self._threads.append(thread)
        thread.start()
        return thread

    def give_up(self, thread: threading.Thread) -> None:
        """Ignores ``thread``, which hangs: its exception no longer stops the group."""
        with self._lock:
            self._given_up.add(thread)
        thread.name = READER_PREFIX + thread.name  # the process may exit while it runs

    def _guarded(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # the thread guard: no exception may be lost in a thread
            if threading.current_thread() in self._given_up:
                log.debug("thread %s failed after it was given up", name, exc_info=error)
            else:
                self.fail(name, error)

    def fail(self, name: str, error: BaseException) -> None:
        """Keeps the first error and stops all; errors during the stop are only logged."""
        with self._lock:
            first = self.error is None and not self.stopping.is_set()
            if first:
                self.error, self.failed = error, name
        if first:
            log.debug("thread %s failed", name, exc_info=error)
        else:
            log.debug("thread %s failed while stopping: %r", name, error)
        self.stop()

    def stop(self) -> None:
        with self._lock:
            if self.stopping.is_set():
                return
            self.stopping.set()
        self._on_stop()

    def join(self, timeout_s: float) -> list[str]:
        """Waits for all threads; returns the names of those that still run after ``timeout_s``, given up or not."""
        deadline_s = time.monotonic() + timeout_s
        joined: set[threading.Thread] = set()
        while waiting := [
            thread for thread in self._threads if thread not in joined
        ]:  # a thread may still spawn another
            for thread in waiting:
                limit_s = _GIVEN_UP_WAIT_S if thread in self._given_up else deadline_s - time.monotonic()
                thread.join(max(0.0, limit_s))
            joined.update(waiting)
        return [thread.name for thread in self._threads if thread.is_alive()]
