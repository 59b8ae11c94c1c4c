"""From the detector threads to whoever watches: a short queue that knows when nothing more can come."""

import threading
from collections import deque
from collections.abc import Iterator

from app.core.types import FrameResult

_LIMIT_S = 0.5
"""Longest single wait."""


class ResultQueue:
    """Holds a few results. A producer of files waits for room, a live one pushes the oldest out."""

    def __init__(self, producers: int, capacity: int = 8) -> None:
        self._results: deque[FrameResult] = deque()
        self._capacity = capacity
        self._producers = producers
        self._changed = threading.Condition()
        self._closed = False

    def put(self, result: FrameResult, wait: bool) -> None:
        with self._changed:
            while wait and len(self._results) >= self._capacity and not self._closed:
                self._changed.wait(_LIMIT_S)
            if self._closed:
                return
            if len(self._results) >= self._capacity:
                self._results.popleft()
            self._results.append(result)
            self._changed.notify_all()

    def producer_done(self) -> None:
        with self._changed:
            self._producers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """No more results go in; those inside can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def finished(self) -> bool:
        """Nothing is inside and nothing can come."""
        with self._changed:
            return not self._results and (self._closed or self._producers <= 0)

    def take(self, timeout_s: float) -> list[FrameResult]:
        """All results inside, after waiting up to ``timeout_s`` for the first."""
        with self._changed:
            if not self._results and not self._closed and self._producers > 0:
                self._changed.wait(timeout_s)
            results = list(self._results)
            self._results.clear()
            self._changed.notify_all()
            return results

    def __iter__(self) -> Iterator[FrameResult]:
        while not self.finished:
            yield from self.take(_LIMIT_S)
