"""The only places where frames wait between threads: one item at most, so that nothing can grow old in a queue."""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class SlotClosed(Exception):  # noqa: N818 - an end, not an error
    """The slot was closed, and its last item was taken."""


class Slot(Protocol[T]):
    """A hand-over of one item between threads. Any thread may close it; whoever waits then wakes at once."""

    @property
    def dropped(self) -> int:
        """Items replaced before anyone took them."""

    @property
    def closed(self) -> bool: ...

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Hand ``item`` over; False where no room came within ``timeout_s``. Raises SlotClosed."""

    def get(self, timeout_s: float) -> T | None:
        """The next item, or None where none came in time. Raises SlotClosed once closed and empty."""

    def peek(self) -> T | None:
        """The item last put, taken or not; None before the first. Never waits."""

    def close(self) -> None: ...


class _OneItem(Generic[T]):
    """The state both slots share: a lock with its condition, one place, and what was seen last."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: list[T] = []  # none or one
        self.last: T | None = None
        self.closed = False
        self.dropped = 0

    def wait_for(self, ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """Whether ``ready()`` came true in time; the lock is held."""
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
    """For live pictures: a new item replaces the one nobody took, and ``put`` never waits."""

    def __init__(self) -> None:
        self._one: _OneItem[T] = _OneItem()

    @property
    def dropped(self) -> int:
        return self._one.dropped

    @property
    def closed(self) -> bool:
        return self._one.closed

    def put(self, item: T, timeout_s: float | None = None) -> bool:  # noqa: ARG002 - one interface
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
    """For files: ``put`` waits until the item before was taken, so that nothing is lost; what lies in it when it is
    closed can still be taken."""

    def __init__(self) -> None:
        self._one: _OneItem[T] = _OneItem()

    @property
    def dropped(self) -> int:
        return 0

    @property
    def closed(self) -> bool:
        return self._one.closed

    def put(self, item: T, timeout_s: float | None = None) -> bool:
        with self._one.changed:
            if not self._one.wait_for(lambda: not self._one.waiting or self._one.closed, timeout_s):
                return False
            if self._one.closed:
                raise SlotClosed
            self._one.store(item)
            return True

    def get(self, timeout_s: float) -> T | None:
        return self._one.get(timeout_s)

    def peek(self) -> T | None:
        return self._one.last

    def close(self) -> None:
        self._one.close()
