"""One alert channel: its filters, its hook with a time limit, its pauses and its health. No disk, no clock, no lock."""

import logging
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.alerts.health import ChannelHealth
from app.alerts.hook import AlertHook, RetryLater
from app.alerts.store_types import Delivery, Status
from app.alerts.timeout_hook import LazyHook, TimeoutHook
from app.core.errors import HookError
from app.core.schedule import is_open
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings, Channel, matches_camera

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: the pause starts at ``first_s`` and doubles up to ``max_s``. Up to half of it is removed
    at random (jitter), so that many programs do not retry at the same moment."""

    first_s: float
    max_s: float

    def pause_s(self, failures: int, rng: random.Random) -> float:
        full = min(self.first_s * 2.0 ** min(failures - 1, 60), self.max_s)
        return full * rng.uniform(0.5, 1.0)


class DeliveryChannel:
    """``now_s`` is monotonic time. ``AlertCenter`` holds its lock for every method."""

    def __init__(self, config: Channel, hook: AlertHook, settings: AlertSettings) -> None:
        self.configure(config, settings)
        self.hook = TimeoutHook(hook, config.timeout_s)
        self.sending = ""  # the key of the alert that is being sent
        self.is_removed = False
        self._failures = 0
        self._next_s = float("-inf")
        self._sent_s: deque[float] = deque()
        self._delivered = 0
        self._undelivered = 0
        self._error = ""

    def configure(self, config: Channel, settings: AlertSettings) -> None:
        self.config = config
        self._sends_reports = config.name in settings.report.channels
        self._backoff = Backoff(settings.retry_first_s, settings.retry_max_s)
        self._hours = config.hours

    def replace_hook(self, hook: AlertHook) -> None:
        """Aborts the old hook: an alert that it is sending is sent again by the new one. The thread of the channel
        closes it."""
        old, self.hook = self.hook, TimeoutHook(hook, self.config.timeout_s)
        old.abort()
        self._next_s = float("-inf")

    @property
    def name(self) -> str:
        return self.config.name

    def health(self, waiting: int) -> ChannelHealth:
        state = "retrying" if self._failures else "sending" if self.sending else "ok"
        return ChannelHealth(self.name, state, waiting, self._delivered, self._undelivered, self._error)

    def matches(self, event: Event) -> bool:
        """Whether ``event`` passes the filters by kind and camera; a report has its own list of channels."""
        if event.kind is EventKind.REPORT:
            return self._sends_reports
        return event.kind in self.config.events and self.is_for_camera(event.camera)

    def is_for_camera(self, camera: str) -> bool:
        return not self.config.cameras or any(matches_camera(pattern, camera) for pattern in self.config.cameras)

    def is_in_schedule(self, event: Event) -> bool:
        return event.kind is EventKind.REPORT or is_open(self._hours, event.wall_s)

    def exceeds_rate_limit(self, now_s: float, waiting: int) -> bool:
        """Whether a new alert exceeds a rate limit with ``excess = "skip"``."""
        rate = self.config.rate_limit
        return rate is not None and rate.excess == "skip" and self._rate_pause_s(now_s, waiting) > 0

    def _rate_pause_s(self, now_s: float, waiting: int = 0) -> float:
        """Seconds until the rate limit allows an alert, after ``waiting`` others."""
        rate = self.config.rate_limit
        if rate is None:
            return 0.0
        while self._sent_s and self._sent_s[0] <= now_s - rate.per_s:
            self._sent_s.popleft()
        if len(self._sent_s) + waiting < rate.count:
            return 0.0
        return (self._sent_s[0] if self._sent_s else now_s) + rate.per_s - now_s

    def pause_s(self, now_s: float) -> float:
        """Seconds until the next attempt. The pause applies to the channel, so many alerts cause no extra requests."""
        return max(self._next_s - now_s, self._rate_pause_s(now_s), 0.0)

    def expires_in_s(self, age_s: float) -> float:
        """Seconds until an alert of that age is too late to be sent at all."""
        return max(self.config.give_up_after_s - age_s, 0.0) if self.config.useless_when_late else math.inf

    def delivered(self, delivery: Delivery, now_s: float, wall_s: float) -> Delivery:
        if self._failures:
            log.warning("channel %s works again", self.name)
        self._failures, self._next_s, self._error = 0, float("-inf"), ""
        self._delivered += 1
        if self.config.rate_limit is not None:
            self._sent_s.append(now_s)
        return replace(delivery, status=Status.DELIVERED, attempts=delivery.attempts + 1, error="", updated_s=wall_s)

    def failed(
        self, delivery: Delivery, error: HookError, now_s: float, wall_s: float, age_s: float, rng: random.Random
    ) -> Delivery:
        """Returns the updated delivery: pending for a retry, or undelivered."""
        if not self._failures:
            log.warning("channel %s failed and will be retried: %s", self.name, error)
        self._failures += 1
        self._error = str(error)
        asked_s = error.pause_s if isinstance(error, RetryLater) else 0.0
        self._next_s = now_s + max(self._backoff.pause_s(self._failures, rng), asked_s)
        failed = replace(delivery, attempts=delivery.attempts + 1, error=str(error), updated_s=wall_s)
        if age_s < self.config.give_up_after_s:
            return failed
        log.error("channel %s: gave up alert %s after %d attempts", self.name, failed.event.id, failed.attempts)
        return self.give_up(failed, wall_s, str(error))

    def give_up(self, delivery: Delivery, wall_s: float, reason: str) -> Delivery:
        """The undelivered ``delivery``; its last error is kept."""
        self._undelivered += 1
        return replace(delivery, status=Status.UNDELIVERED, error=delivery.error or reason, updated_s=wall_s)


def make_hooks(channels: tuple[Channel, ...], given: Mapping[str, AlertHook]) -> dict[str, AlertHook]:
    """The hooks by channel; ``given`` replaces the hooks of the channels it names. A missing package, secret or plugin
    is logged and delays only its own channel."""
    hooks: dict[str, AlertHook] = {}
    for channel in channels:
        if channel.name in given:
            hooks[channel.name] = given[channel.name]
            continue
        hooks[channel.name] = lazy = LazyHook(channel)
        try:
            lazy.build()
        except HookError as error:
            log.warning("%s; its alerts wait until this is fixed", error)
    return hooks
