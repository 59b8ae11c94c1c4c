"""One channel with all that belongs to it: its filters, its hook under a limit, what waits, how it fares."""

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

_KEPT = 1000
"""Alerts remembered, so that their ends go the same way."""


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """``state`` is ``ok``, ``sending`` or ``retrying`` (the last attempt failed, by ``error``)."""

    name: str
    state: str
    waiting: int
    delivered: int
    undelivered: int
    error: str = ""


class DeliveryChannel:
    """Pure but for its hook; the delivery calls it under its lock, but for ``send``."""

    def __init__(self, channel: Channel, hook: AlertHook, settings: AlertSettings) -> None:
        self.channel = channel
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
        self._took: OrderedDict[str, bool] = OrderedDict()  # by id of an alert: whether it was let through

    @property
    def name(self) -> str:
        return self.channel.name

    @property
    def health(self) -> ChannelHealth:
        state = "retrying" if self.queue.failures else "sending" if self.sending else "ok"
        return ChannelHealth(self.name, state, len(self.queue), self._delivered, self._undelivered, self._error)

    def send(self, delivery: Delivery, jpeg: bytes | None) -> HookError | None:
        """One attempt, without the lock: it takes its time. What went wrong is given back."""
        try:
            self.hook.send(Alert(delivery.event, delivery.channel, delivery.key, delivery.attempts + 1, jpeg))
        except HookError as error:
            return error
        except Exception as error:  # the hook loop: whatever it is, the alert is tried again
            return HookError(f"{type(error).__name__}: {error}")
        return None

    def left_behind(self, is_kept: bool) -> list[str]:
        """What an end leaves, for people. ``is_kept``: what waits is in the event file."""
        left = [f"channel {self.name}: its hook hangs"] if self.hook.stuck is not None else []
        if len(self.queue):
            kept = "kept for the next start" if is_kept else "lost, for nothing is stored"
            left.append(f"channel {self.name}: {len(self.queue)} not delivered yet, {kept}")
        return left

    def wants(self, event: Event) -> bool:
        """What ends an alert goes where the alert went, whatever the hour: nobody is left with an alarm that never
        ends."""
        took = self._took.get(event.resolves)
        return self._is_for(event) and (is_open(self._hours, event.wall_s) if took is None else took)

    def _is_for(self, event: Event) -> bool:
        channel = self.channel
        here = not channel.cameras or any(matches_camera(pattern, event.camera) for pattern in channel.cameras)
        return here and event.kind in channel.events

    def refuses(self, event: Event, now_s: float) -> bool:
        """Whether ``event`` is over a rate limit that skips; the end of an alert waits its turn."""
        return not self._took.get(event.resolves) and self.queue.refuses(now_s)

    def skip(self, event: Event) -> None:
        """Nor is its end sent then."""
        if self._is_for(event):
            self.remember({event.id: False})

    @property
    def took(self) -> Mapping[str, bool]:
        """Of the last alerts, by id, whether each was let through."""
        return self._took

    def remember(self, took: Mapping[str, bool]) -> None:
        """Also alerts of an earlier run, or of the same channel before its settings changed."""
        self._took.update(took)
        while len(self._took) > _KEPT:
            self._took.popitem(last=False)

    def add(self, delivery: Delivery, now_s: float, ticket: int) -> list[Delivery]:
        """Puts ``delivery`` last. Gives back what a full outbox had to let go."""
        self.remember({delivery.event.id: True})
        dropped = self.queue.add(delivery, now_s, ticket)
        if dropped:
            self._undelivered += len(dropped)
            log.warning("outbox of channel %s is full; its oldest alert is undelivered", self.name)
        return dropped

    def take_late(self, now_s: float, wall_s: float) -> list[Delivery]:
        """Takes out, as undelivered, what is too late to be sent. Not to be called while one is being sent."""
        late = self.queue.take_late(now_s, wall_s)
        if late:
            self._undelivered += len(late)
            log.warning("channel %s: %s given up, too late to be sent", self.name, counted(len(late), "alert"))
        return late

    def delivered(self, delivery: Delivery, now_s: float, wall_s: float) -> Delivery:
        if self.queue.failures:
            log.warning("channel %s works again", self.name)
        self._delivered += 1
        self._error = ""
        return self.queue.delivered(delivery, now_s, wall_s)

    def failed(self, delivery: Delivery, error: HookError, now_s: float, wall_s: float, rng: random.Random) -> Delivery:
        """The delivery as it stands then: to be tried again, or given up."""
        if not self.queue.failures:
            log.warning("channel %s failed and is tried again: %s", self.name, error)
        self._error = str(error)
        pause_s = error.pause_s if isinstance(error, RetryLater) else 0.0
        tried = self.queue.failed(delivery, str(error), now_s, wall_s, rng, pause_s)
        if tried.status is Status.UNDELIVERED:
            self._undelivered += 1
            log.error(
                "channel %s: alert %s is given up after %d attempts", self.name, delivery.event.id, tried.attempts
            )
        return tried


def make_channels(settings: AlertSettings, hooks: Mapping[str, AlertHook]) -> dict[str, DeliveryChannel]:
    """The channels of ``settings`` by name; ``hooks`` takes the place of the hooks of the channels so named."""
    served: dict[str, DeliveryChannel] = {}
    for channel in settings.channels:
        hook = hooks.get(channel.name)
        if hook is None:
            hook = lazy = LazyHook(channel)
            try:
                lazy.build()
            except HookError as error:
                log.warning("%s; its alerts wait until that is mended", error)
        served[channel.name] = DeliveryChannel(channel, hook, settings)
    return served
