"""A slot passes frames between threads. It contains at most one item, so that no old frames queue up."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class SlotClosed(Exception):  # noqa: N818 - an end, not an error
    """The slot is closed and empty."""


class Slot(Generic[T]):
    """Passes one item between threads. Any thread may close it, which wakes all waiting threads at once; the last item
    can still be taken.

    For live sources a new item replaces an item that was not taken, and ``put`` never waits. For files (``waits``)
    ``put`` waits until the previous item is taken, so that no frame is lost. ``waits`` may be a function for a source
    that may turn out to be a file. ``dropped`` is the number of items that were replaced.
    """

    def __init__(self, waits: Callable[[], bool] | bool = False) -> None:
        self._waits = waits if callable(waits) else lambda: waits
        self._changed = threading.Condition()
        self._waiting: list[T] = []  # at most one
        self._last: T | None = None
        self.closed = False
        self.dropped = 0

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Store ``item``; False if the slot stayed full for ``timeout_s``. Raises SlotClosed."""
        waits = self._waits()
        with self._changed:
            if waits and not self._wait_for(lambda: not self._waiting, timeout_s):
                return False
            if self.closed:
                raise SlotClosed
            self.dropped += len(self._waiting)
            self._waiting, self._last = [item], item
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> T | None:
        """Take the next item; None if there was none within ``timeout_s``. Raises SlotClosed if closed and empty."""
        with self._changed:
            if not self._wait_for(lambda: bool(self._waiting), timeout_s):
                return None
            if not self._waiting:
                raise SlotClosed
            item = self._waiting.pop()
            self._changed.notify_all()
            return item

    def _wait_for(self, ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """Whether ``ready()`` became true or the slot was closed within ``timeout_s``."""
        end_s = None if timeout_s is None else monotonic() + timeout_s
        while not (ready() or self.closed):
            left_s = None if end_s is None else end_s - monotonic()
            if left_s is not None and left_s <= 0:
                return False
            self._changed.wait(left_s)
        return True

    def peek(self) -> T | None:
        """The last item, also after it was taken; None before the first. Never waits."""
        return self._last

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()
