"""The queue of one channel's pending alerts. No clock, no lock, no disk; ``now_s`` is monotonic time."""

import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from app.alerts.hook import idempotency_key
from app.core.types import Event
from app.settings.alerts import RateLimit


class Status(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert for one channel. ``created_s`` and ``updated_s`` are Unix times. ``owner`` is the id of the program
    that sends it; empty means any program."""

    event: Event
    channel: str
    created_s: float
    updated_s: float
    status: Status = Status.PENDING
    attempts: int = 0
    error: str = ""
    owner: str = ""

    @property
    def key(self) -> str:
        return idempotency_key(self.event, self.channel)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: the pause starts at ``first_s`` and doubles up to ``max_s``. Up to half of it is removed
    at random (jitter), so that many programs do not retry at the same moment."""

    first_s: float
    max_s: float

    def pause_s(self, failures: int, rng: random.Random) -> float:
        full = min(self.first_s * 2.0 ** min(failures - 1, 60), self.max_s)
        return full * rng.uniform(0.5, 1.0)


@dataclass(slots=True)
class _QueueEntry:
    delivery: Delivery
    created_monotonic_s: float  # monotonic, so that a clock correction expires no alert
    sequence: int


class ChannelQueue:
    """First in, first out. The head is retried until it is delivered or older than ``give_up_s``. With
    ``useless_when_late`` an alert of that age is not sent at all."""

    def __init__(
        self, give_up_s: float, size: int, rate: RateLimit | None, backoff: Backoff, useless_when_late: bool = False
    ) -> None:
        self._give_up_s = give_up_s
        self._useless_when_late = useless_when_late
        self._size = size
        self._rate = rate
        self._backoff = backoff
        self._waiting: deque[_QueueEntry] = deque()
        self._keys: set[str] = set()
        self._sent_s: deque[float] = deque()
        self._failures = 0
        self._next_s = 0.0
        self._sending: str | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def failures(self) -> int:
        """The number of consecutive failures."""
        return self._failures

    @property
    def waiting(self) -> list[Delivery]:
        return [each.delivery for each in self._waiting]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._keys)

    def stored_keys(self, stored_sequence: int) -> set[str]:
        """The keys of pending alerts that are on disk: those up to ``stored_sequence``."""
        return {each.delivery.key for each in self._waiting if each.sequence <= stored_sequence}

    def exceeds_rate_limit(self, now_s: float) -> bool:
        """Whether a new alert exceeds a rate limit with ``excess = "skip"``."""
        if self._rate is None or self._rate.excess != "skip":
            return False
        return self._rate_allows_at_s(now_s, len(self._waiting)) > now_s

    def _rate_allows_at_s(self, now_s: float, ahead: int = 0) -> float:
        """When the rate limit allows the next alert, if ``ahead`` others are sent before it."""
        if self._rate is None:
            return now_s
        while self._sent_s and self._sent_s[0] <= now_s - self._rate.per_s:
            self._sent_s.popleft()
        if len(self._sent_s) + ahead < self._rate.count:
            return now_s
        return (self._sent_s[0] if self._sent_s else now_s) + self._rate.per_s

    def add(self, delivery: Delivery, now_s: float, sequence: int = 0) -> list[Delivery]:
        """Appends ``delivery``, once. Returns the oldest ones dropped from a full queue, never the one being sent."""
        if delivery.key in self._keys:
            return []
        self._waiting.append(_QueueEntry(delivery, now_s, sequence))
        self._keys.add(delivery.key)
        dropped: list[Delivery] = []
        while len(self._waiting) > self._size:
            sending = self._sending is not None and self._waiting[0].delivery.key == self._sending
            at = 1 if sending and len(self._waiting) > 1 else 0
            dropped.append(self._waiting[at].delivery)
            del self._waiting[at]
            self._keys.discard(dropped[-1].key)
        return dropped

    def prepend(self, older: Iterable[tuple[Delivery, float]], now_s: float, sequence: int = 0) -> None:
        """Inserts deliveries of an earlier run, each with its age in seconds, before all others in the same order."""
        entries = [_QueueEntry(each, now_s - age_s, sequence) for each, age_s in older if each.key not in self._keys]
        self._waiting.extendleft(reversed(entries))
        self._keys.update(each.delivery.key for each in entries)

    def discard(self, keys: set[str]) -> None:
        """Removes deliveries that another program deleted. A running attempt is not interrupted."""
        self._waiting = deque(each for each in self._waiting if each.delivery.key not in keys)
        self._keys -= keys

    def remove_expired(self, now_s: float, wall_s: float) -> list[Delivery]:
        """Removes and returns the alerts that are too late to send, as undelivered. Not to be called during a send."""
        expired: list[Delivery] = []
        while self._waiting and now_s >= self._expires_at_s(self._waiting[0]):
            delivery = self._waiting.popleft().delivery
            self._keys.discard(delivery.key)
            error = delivery.error or "too late to be sent"
            expired.append(replace(delivery, status=Status.UNDELIVERED, error=error, updated_s=wall_s))
        return expired

    def _expires_at_s(self, waiting: _QueueEntry) -> float:
        return waiting.created_monotonic_s + self._give_up_s if self._useless_when_late else math.inf

    def due(self, now_s: float, stored_sequence: int) -> Delivery | None:
        """The head, marked as being sent, if it is due and stored (its sequence number is at most that); else None."""
        if not self._waiting or self._waiting[0].sequence > stored_sequence or self._wait_until_s(now_s) > now_s:
            return None
        head = self._waiting[0].delivery
        self._sending = head.key
        return head

    def _wait_until_s(self, now_s: float) -> float:
        return max(self._next_s, self._rate_allows_at_s(now_s))

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the head is due or expires; ``None`` for an empty queue."""
        if not self._waiting:
            return None
        return max(min(self._wait_until_s(now_s), self._expires_at_s(self._waiting[0])) - now_s, 0.0)

    def _find(self, key: str) -> _QueueEntry | None:
        """Usually finds the head; older deliveries may have been inserted before it."""
        return next((each for each in self._waiting if each.delivery.key == key), None)

    def _remove(self, key: str) -> None:
        found = self._find(key)
        if found is not None:
            self._waiting.remove(found)
            self._keys.discard(key)

    def delivered(self, delivery: Delivery, now_s: float, wall_s: float) -> Delivery:
        self._sending = None
        self._remove(delivery.key)
        self._failures, self._next_s = 0, 0.0
        if self._rate is not None:
            self._sent_s.append(now_s)
        return replace(delivery, status=Status.DELIVERED, attempts=delivery.attempts + 1, error="", updated_s=wall_s)

    def failed(
        self, delivery: Delivery, error: str, now_s: float, wall_s: float, rng: random.Random, pause_s: float = 0.0
    ) -> Delivery:
        """Records a failed attempt. The pause applies to the channel, so many pending alerts cause no extra requests.
        An alert older than ``give_up_s`` becomes undelivered."""
        self._sending = None
        self._failures += 1
        self._next_s = now_s + max(self._backoff.pause_s(self._failures, rng), pause_s)
        updated = replace(delivery, attempts=delivery.attempts + 1, error=error, updated_s=wall_s)
        waiting = self._find(delivery.key)
        if waiting is None:
            return updated  # purged during the attempt
        if now_s - waiting.created_monotonic_s >= self._give_up_s:
            self._remove(delivery.key)
            return replace(updated, status=Status.UNDELIVERED)
        waiting.delivery = updated
        return updated
