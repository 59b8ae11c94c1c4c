"""Threads under one guard: the first exception is kept and stops all, and none is left running unnoticed."""

import logging
import threading
import time
from collections.abc import Callable

from app.capture.process_exit import READER_PREFIX

log = logging.getLogger(__name__)

_LAST_CHANCE_S = 0.05
"""What a thread that was given up is waited for in the end."""


class ThreadGroup:
    """A group of threads that live and die together, but for those that are given up because they hang."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        """``on_stop`` wakes whoever waits; it is called once, from the thread that stops first."""
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self.failed = ""
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._given_up: set[threading.Thread] = set()

    def spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(name, body), name=name, daemon=True)
        with self._lock:
            # Forgets those that have ended: over months of restarts the list must not grow.
            self._threads = [each for each in self._threads if each.ident is None or each.is_alive()]
            self._given_up.intersection_update(self._threads)
            self._threads.append(thread)
        thread.start()
        return thread

    def give_up(self, thread: threading.Thread) -> None:
        """``thread`` hangs: whatever becomes of it does not concern the others any more."""
        with self._lock:
            self._given_up.add(thread)
        thread.name = READER_PREFIX + thread.name  # so that the process's end does not trip over it

    def _guarded(self, name: str, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # the guard: whatever it was, it must not die unseen in a thread
            if threading.current_thread() in self._given_up:
                log.debug("thread %s, given up before, failed", name, exc_info=error)
            else:
                self.fail(name, error)

    def fail(self, name: str, error: BaseException) -> None:
        """Keep the first error and stop; what the others raise while stopping is only logged."""
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
        """Wait for all; returns the names of those still running after ``timeout_s``, the given up included."""
        deadline_s = time.monotonic() + timeout_s
        joined: set[threading.Thread] = set()
        while waiting := [thread for thread in self._threads if thread not in joined]:  # one may spawn another yet
            for thread in waiting:
                limit_s = _LAST_CHANCE_S if thread in self._given_up else deadline_s - time.monotonic()
                thread.join(max(0.0, limit_s))
            joined.update(waiting)
        return [thread.name for thread in self._threads if thread.is_alive()]
