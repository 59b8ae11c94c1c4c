"""A short queue of results from the detector threads that ends when all producers are done."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from app.core.types import FrameResult

_WAIT_S = 0.5
"""Longest single wait."""


class ResultQueue:
    """Holds a few results. The producer of a file waits for room; a live one drops the oldest result."""

    def __init__(self, producers: int, capacity: int = 8) -> None:
        self._results: deque[FrameResult] = deque()
        self._capacity = capacity
        self._producers = producers
        self._changed = threading.Condition()
        self._closed = False
        self._wake: Callable[[], None] = lambda: None

    def wake_with(self, wake: Callable[[], None]) -> None:
        """From now on calls ``wake`` after each change for which ``take`` waits."""
        self._wake = wake

    def put(self, result: FrameResult, wait: bool) -> None:
        with self._changed:
            while wait and len(self._results) >= self._capacity and not self._closed:
                self._changed.wait(_WAIT_S)
            if self._closed:
                return
            if len(self._results) >= self._capacity:
                self._results.popleft()
            self._results.append(result)
            self._changed.notify_all()
        self._wake()

    def add_producer(self) -> None:
        with self._changed:
            self._producers += 1

    def producer_done(self) -> None:
        with self._changed:
            self._producers -= 1
            self._changed.notify_all()
        self._wake()

    def close(self) -> None:
        """Accepts no more results; those in the queue can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._wake()

    @property
    def finished(self) -> bool:
        """Whether the queue is empty and no more results can arrive."""
        with self._changed:
            return not self._results and (self._closed or self._producers <= 0)

    def take(self, timeout_s: float) -> list[FrameResult]:
        """Removes and returns all results; waits up to ``timeout_s`` for the first."""
        with self._changed:
            if not self._results and not self._closed and self._producers > 0:
                self._changed.wait(timeout_s)
            results = list(self._results)
            self._results.clear()
            self._changed.notify_all()
            return results

    def __iter__(self) -> Iterator[FrameResult]:
        while not self.finished:
            yield from self.take(_WAIT_S)
