"""One alert channel: its filters, its hook with a time limit, its queue and its health."""

import logging
import random
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from app.alerts.hook import Alert, AlertHook, RetryLater
from app.alerts.outbox import Backoff, ChannelQueue, Delivery, Status
from app.alerts.timeout_hook import LazyHook, TimeoutHook
from app.core.errors import HookError
from app.core.schedule import is_open
from app.core.text import counted
from app.core.types import Event
from app.settings.alerts import AlertSettings, Channel, matches_camera

log = logging.getLogger(__name__)

_MAX_REMEMBERED_ALERTS = 1000
"""How many alerts a channel remembers, so that it also sends the events that resolve them."""


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """``state`` is ``ok``, ``sending`` or ``retrying``: the last attempt failed, and ``error`` says why."""

    name: str
    state: str
    waiting: int
    delivered: int
    undelivered: int
    error: str = ""


class DeliveryChannel:
    """Not thread-safe: ``AlertCenter`` calls every method but ``send`` while it holds its lock."""

    def __init__(self, channel: Channel, hook: AlertHook, settings: AlertSettings) -> None:
        self.config = channel
        self.hook = TimeoutHook(hook, channel.timeout_s)
        backoff = Backoff(settings.retry_first_s, settings.retry_max_s)
        self.queue = ChannelQueue(
            channel.give_up_after_s, settings.max_outbox, channel.rate_limit, backoff, channel.useless_when_late
        )
        self.sending = False
        self._hours = channel.hours
        self._delivered = 0
        self._undelivered = 0
        self._error = ""
        self._accepted: OrderedDict[str, bool] = OrderedDict()  # alert id to whether it passed the filters

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def health(self) -> ChannelHealth:
        state = "retrying" if self.queue.failures else "sending" if self.sending else "ok"
        return ChannelHealth(self.name, state, len(self.queue), self._delivered, self._undelivered, self._error)

    def send(self, delivery: Delivery, jpeg: bytes | None) -> HookError | None:
        """Makes one attempt and returns its error. Called without the lock, because it may take long."""
        try:
            self.hook.send(Alert(delivery.event, delivery.channel, delivery.key, delivery.attempts + 1, jpeg))
        except HookError as error:
            return error
        except Exception as error:  # the hook loop: a hook may raise anything, and the alert is retried
            return HookError(f"{type(error).__name__}: {error}")
        return None

    def shutdown_report(self, is_stored: bool) -> list[str]:
        """What is unfinished at shutdown, as text. ``is_stored``: the pending alerts are in the event file."""
        left = [f"channel {self.name}: its hook hangs"] if self.hook.stuck is not None else []
        if len(self.queue):
            kept = "kept for the next start" if is_stored else "lost because it is not stored"
            left.append(f"channel {self.name}: {len(self.queue)} not delivered yet, {kept}")
        return left

    def accepts(self, event: Event) -> bool:
        """Whether the channel sends ``event``. It resolves every alert that it has sent, even outside its schedule."""
        accepted = self._accepted.get(event.resolves)
        return self._matches_filters(event) and (is_open(self._hours, event.wall_s) if accepted is None else accepted)

    def _matches_filters(self, event: Event) -> bool:
        channel = self.config
        is_camera = not channel.cameras or any(matches_camera(pattern, event.camera) for pattern in channel.cameras)
        return is_camera and event.kind in channel.events

    def exceeds_rate_limit(self, event: Event, now_s: float) -> bool:
        """Whether a rate limit with ``excess = "skip"`` drops ``event``. An event that resolves a sent alert waits."""
        return not self._accepted.get(event.resolves) and self.queue.exceeds_rate_limit(now_s)

    def reject(self, event: Event) -> None:
        """Remembers that ``event`` is not sent, so that the event which resolves it is not sent either."""
        if self._matches_filters(event):
            self.remember({event.id: False})

    @property
    def accepted(self) -> Mapping[str, bool]:
        """The latest alerts by id, and whether the channel accepted each."""
        return self._accepted

    def remember(self, accepted: Mapping[str, bool]) -> None:
        """Adds decisions, including those of an earlier run or of this channel before a reload."""
        self._accepted.update(accepted)
        while len(self._accepted) > _MAX_REMEMBERED_ALERTS:
            self._accepted.popitem(last=False)

    def add(self, delivery: Delivery, now_s: float, sequence: int) -> list[Delivery]:
        """Appends ``delivery``. Returns the deliveries that a full outbox dropped."""
        self.remember({delivery.event.id: True})
        dropped = self.queue.add(delivery, now_s, sequence)
        if dropped:
            self._undelivered += len(dropped)
            log.warning("the outbox of channel %s is full; its oldest alert is undelivered", self.name)
        return dropped

    def remove_expired(self, now_s: float, wall_s: float) -> list[Delivery]:
        """Removes and returns the alerts that are too late to send, as undelivered. Not to be called during a send."""
        expired = self.queue.remove_expired(now_s, wall_s)
        if expired:
            self._undelivered += len(expired)
            log.warning("channel %s: %s given up, too late to be sent", self.name, counted(len(expired), "alert"))
        return expired

    def delivered(self, delivery: Delivery, now_s: float, wall_s: float) -> Delivery:
        if self.queue.failures:
            log.warning("channel %s works again", self.name)
        self._delivered += 1
        self._error = ""
        return self.queue.delivered(delivery, now_s, wall_s)

    def failed(self, delivery: Delivery, error: HookError, now_s: float, wall_s: float, rng: random.Random) -> Delivery:
        """Returns the updated delivery: pending for a retry, or undelivered."""
        if not self.queue.failures:
            log.warning("channel %s failed and will be retried: %s", self.name, error)
        self._error = str(error)
        pause_s = error.pause_s if isinstance(error, RetryLater) else 0.0
        updated = self.queue.failed(delivery, str(error), now_s, wall_s, rng, pause_s)
        if updated.status is Status.UNDELIVERED:
            self._undelivered += 1
            log.error("channel %s: gave up alert %s after %d attempts", self.name, delivery.event.id, updated.attempts)
        return updated


def make_channels(settings: AlertSettings, hooks: Mapping[str, AlertHook]) -> dict[str, DeliveryChannel]:
    """The channels of ``settings`` by name. ``hooks`` replaces the hooks of the channels it names."""
    channels: dict[str, DeliveryChannel] = {}
    for channel in settings.channels:
        hook = hooks.get(channel.name)
        if hook is None:
            hook = lazy = LazyHook(channel)
            try:
                lazy.build()
            except HookError as error:
                log.warning("%s; its alerts wait until this is fixed", error)
        channels[channel.name] = DeliveryChannel(channel, hook, settings)
    return channels
