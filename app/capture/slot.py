"""Slots that pass frames between threads. A slot contains at most one item, so that no old frames queue up."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class SlotClosed(Exception):  # noqa: N818 - an end, not an error
    """The slot is closed and empty."""


class Slot(Protocol[T]):
    """Passes one item between threads. Any thread may close it, which wakes all waiting threads at once."""

    @property
    def dropped(self) -> int:
        """Number of items that were replaced before they were taken."""

    @property
    def closed(self) -> bool: ...

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Store ``item``; False if the slot stayed full for ``timeout_s``. Raises SlotClosed."""

    def get(self, timeout_s: float) -> T | None:
        """Take the next item; None if there was none within ``timeout_s``. Raises SlotClosed if closed and empty."""

    def peek(self) -> T | None:
        """The last item, also after it was taken; None before the first. Never waits."""

    def close(self) -> None: ...


class _OneItem(Generic[T]):
    """The state of both slots: a condition, the waiting item, and the last item."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: list[T] = []  # at most one
        self.last: T | None = None
        self.closed = False
        self.dropped = 0

    def wait_for(self, ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """Whether ``ready()`` became true within ``timeout_s``; the caller holds the lock."""
        end_s = None if timeout_s is None else monotonic() + timeout_s
        while not ready():
            left_s = None if end_s is None else end_s - monotonic()
            if left_s is not None and left_s <= 0:
                return False
            self.changed.wait(left_s)
        return True

    def store(self, item: T) -> None:
        self.waiting, self.last = [item], item
        self.changed.notify_all()

    def put_waiting(self, item: T, timeout_s: float | None) -> bool:
        """See ``Slot.put``; waits until the previous item is taken."""
        with self.changed:
            if not self.wait_for(lambda: not self.waiting or self.closed, timeout_s):
                return False
            if self.closed:
                raise SlotClosed
            self.store(item)
            return True

    def get(self, timeout_s: float) -> T | None:
        with self.changed:
            if not self.wait_for(lambda: bool(self.waiting) or self.closed, timeout_s):
                return None
            if not self.waiting:
                raise SlotClosed
            item = self.waiting.pop()
            self.changed.notify_all()
            return item

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()


class LatestSlot(Generic[T]):
    """For live sources: a new item replaces an item that was not taken, and ``put`` never waits."""

    def __init__(self) -> None:
        self._one: _OneItem[T] = _OneItem()

    @property
    def dropped(self) -> int:
        return self._one.dropped

    @property
    def closed(self) -> bool:
        return self._one.closed

    def put(self, item: T, timeout_s: float | None = None) -> bool:  # noqa: ARG002 - part of Slot
        with self._one.changed:
            if self._one.closed:
                raise SlotClosed
            self._one.dropped += len(self._one.waiting)
            self._one.store(item)
            return True

    def get(self, timeout_s: float) -> T | None:
        return self._one.get(timeout_s)

    def peek(self) -> T | None:
        return self._one.last

    def close(self) -> None:
        self._one.close()


class WaitingSlot(Generic[T]):
    """For files: ``put`` waits until the previous item is taken, so that no frame is lost. The last item can still
    be taken after the slot is closed."""

    def __init__(self) -> None:
        self._one: _OneItem[T] = _OneItem()

    @property
    def dropped(self) -> int:
        return 0

    @property
    def closed(self) -> bool:
        return self._one.closed

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        return self._one.put_waiting(item, timeout_s)

    def get(self, timeout_s: float) -> T | None:
        return self._one.get(timeout_s)

    def peek(self) -> T | None:
        return self._one.last

    def close(self) -> None:
        self._one.close()


class SourceSlot(LatestSlot[T]):
    """For a source that may turn out to be a video: while ``waits()``, it is a ``WaitingSlot``."""

    def __init__(self, waits: Callable[[], bool]) -> None:
        super().__init__()
        self._waits = waits

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        return self._one.put_waiting(item, timeout_s) if self._waits() else super().put(item, timeout_s)
