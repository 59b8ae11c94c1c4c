"""The waiting alerts of one channel, in order. Pure: no clock, no lock, no disk; ``now_s`` is monotonic time."""

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
    """One alert for one channel. ``created_s`` and ``updated_s`` are Unix times; ``owner`` is the running program
    that sends it, empty where any may."""

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
    """The pause after ``failures`` failures in a row: ``first_s`` doubled each time up to ``max_s``, of which a
    random half is taken off, so that many programs do not come back to a server at the same moment."""

    first_s: float
    max_s: float

    def pause_s(self, failures: int, rng: random.Random) -> float:
        full = min(self.first_s * 2.0 ** min(failures - 1, 60), self.max_s)
        return full * rng.uniform(0.5, 1.0)


@dataclass(slots=True)
class _Waiting:
    delivery: Delivery
    born_s: float  # monotonic, so that a corrected clock gives nothing up
    ticket: int


class ChannelQueue:
    """First in, first out. The head is tried until it is delivered or older than ``give_up_s``; with
    ``useless_when_late`` it is not tried at all once it is that old."""

    def __init__(
        self, give_up_s: float, size: int, rate: RateLimit | None, backoff: Backoff, useless_when_late: bool = False
    ) -> None:
        self._give_up_s = give_up_s
        self._useless_when_late = useless_when_late
        self._size = size
        self._rate = rate
        self._backoff = backoff
        self._waiting: deque[_Waiting] = deque()
        self._keys: set[str] = set()
        self._sent_s: deque[float] = deque()
        self._failures = 0
        self._next_s = 0.0
        self._sending: str | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def failures(self) -> int:
        """In a row, until now."""
        return self._failures

    @property
    def waiting(self) -> list[Delivery]:
        return [each.delivery for each in self._waiting]

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self._keys)

    def stored_keys(self, stored_ticket: int) -> set[str]:
        """Of what waits and is stored (ticket at most that)."""
        return {each.delivery.key for each in self._waiting if each.ticket <= stored_ticket}

    def refuses(self, now_s: float) -> bool:
        """Whether a new alert is over a rate limit that skips."""
        if self._rate is None or self._rate.excess != "skip":
            return False
        return self._free_at_s(now_s, len(self._waiting)) > now_s

    def _free_at_s(self, now_s: float, ahead: int = 0) -> float:
        """When the rate limit lets one more alert go, with ``ahead`` before it."""
        if self._rate is None:
            return now_s
        while self._sent_s and self._sent_s[0] <= now_s - self._rate.per_s:
            self._sent_s.popleft()
        if len(self._sent_s) + ahead < self._rate.count:
            return now_s
        return (self._sent_s[0] if self._sent_s else now_s) + self._rate.per_s

    def add(self, delivery: Delivery, now_s: float, ticket: int = 0) -> list[Delivery]:
        """Puts ``delivery`` last, once. Gives the oldest back where the queue was full; the one being sent stays."""
        if delivery.key in self._keys:
            return []
        self._waiting.append(_Waiting(delivery, now_s, ticket))
        self._keys.add(delivery.key)
        dropped: list[Delivery] = []
        while len(self._waiting) > self._size:
            sending = self._sending is not None and self._waiting[0].delivery.key == self._sending
            at = 1 if sending and len(self._waiting) > 1 else 0
            dropped.append(self._waiting[at].delivery)
            del self._waiting[at]
            self._keys.discard(dropped[-1].key)
        return dropped

    def put_first(self, older: Iterable[tuple[Delivery, float]], now_s: float, ticket: int = 0) -> None:
        """Puts deliveries of an earlier run, each with its age in seconds, before all others, in their order."""
        fresh = [_Waiting(each, now_s - age_s, ticket) for each, age_s in older if each.key not in self._keys]
        self._waiting.extendleft(reversed(fresh))
        self._keys.update(each.delivery.key for each in fresh)

    def forget(self, keys: set[str]) -> None:
        """Takes out what was deleted by hand; the one being sent ends as it may."""
        self._waiting = deque(each for each in self._waiting if each.delivery.key not in keys)
        self._keys -= keys

    def take_late(self, now_s: float, wall_s: float) -> list[Delivery]:
        """Takes out what is too late to be sent, as undelivered. Not to be called while one is being sent."""
        late: list[Delivery] = []
        while self._waiting and now_s >= self._useless_at_s(self._waiting[0]):
            delivery = self._waiting.popleft().delivery
            self._keys.discard(delivery.key)
            error = delivery.error or "it was too late to send it"
            late.append(replace(delivery, status=Status.UNDELIVERED, error=error, updated_s=wall_s))
        return late

    def _useless_at_s(self, waiting: _Waiting) -> float:
        return waiting.born_s + self._give_up_s if self._useless_when_late else math.inf

    def due(self, now_s: float, stored_ticket: int) -> Delivery | None:
        """The head, marked as being sent, where its time has come and it was stored (ticket at most that)."""
        if not self._waiting or self._waiting[0].ticket > stored_ticket or self._wait_until_s(now_s) > now_s:
            return None
        head = self._waiting[0].delivery
        self._sending = head.key
        return head

    def _wait_until_s(self, now_s: float) -> float:
        return max(self._next_s, self._free_at_s(now_s))

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until the head may be due or is too late, ``None`` with nothing to wait for."""
        if not self._waiting:
            return None
        return max(min(self._wait_until_s(now_s), self._useless_at_s(self._waiting[0])) - now_s, 0.0)

    def _find(self, key: str) -> _Waiting | None:
        """Nearly always the head; older ones may have come before it meanwhile."""
        return next((each for each in self._waiting if each.delivery.key == key), None)

    def _take(self, key: str) -> None:
        found = self._find(key)
        if found is not None:
            self._waiting.remove(found)
            self._keys.discard(key)

    def delivered(self, delivery: Delivery, now_s: float, wall_s: float) -> Delivery:
        self._sending = None
        self._take(delivery.key)
        self._failures, self._next_s = 0, 0.0
        if self._rate is not None:
            self._sent_s.append(now_s)
        return replace(delivery, status=Status.DELIVERED, attempts=delivery.attempts + 1, error="", updated_s=wall_s)

    def failed(
        self, delivery: Delivery, error: str, now_s: float, wall_s: float, rng: random.Random, pause_s: float = 0.0
    ) -> Delivery:
        """Notes a failure. The pause that follows belongs to the channel: a server that is down is not asked more
        often because many alerts wait. Past its age the alert is given up."""
        self._sending = None
        self._failures += 1
        self._next_s = now_s + max(self._backoff.pause_s(self._failures, rng), pause_s)
        tried = replace(delivery, attempts=delivery.attempts + 1, error=error, updated_s=wall_s)
        waiting = self._find(delivery.key)
        if waiting is None:
            return tried  # purged meanwhile
        if now_s - waiting.born_s >= self._give_up_s:
            self._take(delivery.key)
            return replace(tried, status=Status.UNDELIVERED)
        waiting.delivery = tried
        return tried
