"""Alerts on their way: stored first, then sent by one thread per channel, until taken or given up."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

from app.alerts.channel import DeliveryChannel, make_channels
from app.alerts.event_store import EventStore
from app.alerts.health import AlertHealth, Clock, SystemClock
from app.alerts.hook import AlertHook
from app.alerts.outbox import Delivery, Status
from app.alerts.store_types import Presence, StoreError, WriteBatch, hour_of
from app.alerts.store_writer import SECONDS_PER_DAY, StoreWriter, WriteBuffer
from app.alerts.unsent_alerts import UnsentAlerts
from app.core.errors import HookError
from app.core.types import Event
from app.settings.alerts import AlertSettings

log = logging.getLogger(__name__)

SUBMIT_LIMIT_S = 0.05  # the longest that ``submit`` waits for the disk
UNSTORED_LIMIT_S = 1.0  # a disk that takes longer is treated as broken: alerts go out unstored
STORE_RETRY_S = 5.0
STORE_POLL_S = 2.0  # for changes by other programs (retry, purge) and for retention
RECENT_EVENTS = 200


class AlertCenter:
    """Takes events and delivers them. ``submit`` may be called from any thread, before ``start`` too.

    Of its threads, one writes the event file, and one per channel sends. Waiting alerts live in memory, and the file
    follows: with a full disk, a locked or a damaged file alerts go out all the same.
    """

    def __init__(
        self,
        settings: AlertSettings,
        clock: Clock | None = None,
        hooks: Mapping[str, AlertHook] | None = None,
        rng: random.Random | None = None,
        hold_back: Callable[[Event], str] | None = None,
        earlier: Iterable[Delivery] = (),
    ) -> None:
        """``hooks``: in place of those of the channels so named. ``hold_back`` is asked once per event: a reason, say
        ``muted``, keeps the event and notes its alerts as skipped; '' lets them go. ``earlier``: what became of alerts
        of earlier runs whose ends may still come."""
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._hold_back = hold_back
        self._changed = threading.Condition()
        self._writer = StoreWriter(settings) if settings.persist else None
        self._buffer = WriteBuffer()
        self._pictures: dict[str, bytes] = {}  # without a file only: event id to JPEG, while an alert waits
        self._recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._ticket = 0  # of the newest event
        self._stored_ticket = 0  # of the newest event on disk
        self._unstored_since_s: float | None = None
        self._store_fault = ""
        self._stopping = False
        self._stopping_file = False
        self._looked = False  # into the event file
        self._keeper: threading.Thread | None = None
        self._crash: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._served = make_channels(settings, hooks or {})
        for delivery in earlier:
            if delivery.channel in self._served:
                took = delivery.status is not Status.SKIPPED
                self._served[delivery.channel].remember({delivery.event.id: took})
        self._waiting = UnsentAlerts(self._served, self._buffer, settings.keep_days * SECONDS_PER_DAY)

    # -- what the monitor calls ----------------------------------------------------------------------------------

    def start(self) -> None:
        if self._threads:
            return
        if self._writer is not None:
            self._keeper = threading.Thread(target=self._guard(self._keep), name="alert-store", daemon=True)
            self._threads.append(self._keeper)
        for served in self._served.values():
            body = self._guard(partial(self._serve, served))
            self._threads.append(threading.Thread(target=body, name=f"alert:{served.name}", daemon=True))
        for thread in self._threads:
            thread.start()

    def follow(self, old: "AlertCenter") -> None:
        """Takes the place of ``old``, between two events: the ends of its alerts go where these went."""
        with old._changed, self._changed:
            for name, served in self._served.items():
                if name in old._served:
                    served.remember(old._served[name].took)

    def submit(self, event: Event, snapshot_jpeg: bytes | None = None) -> None:
        """Stores ``event`` and lets every channel that wants it send it. Waits for the disk at most 50 ms, and not at
        all while the disk is known to be slow or broken; then the event is in memory and written as soon as possible.
        """
        jpeg = snapshot_jpeg if self._settings.snapshots != "off" else None
        held = self._hold_back(event) if self._hold_back is not None else ""
        with self._changed:
            now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
            ticket = self._ticket = self._ticket + 1
            self._recent.append(event)
            if self._writer is None:
                self._stored_ticket = ticket
            else:
                self._buffer.add_event(event, jpeg)
            for served in self._served.values():
                if not served.wants(event):
                    served.skip(event)
                elif held:
                    self._skip(served, event, held, wall_s)
                else:
                    self._enqueue(served, event, jpeg, ticket, now_s, wall_s)
            since_s = self._unstored_since_s
            slow = self._store_fault != "" or (since_s is not None and now_s - since_s > SUBMIT_LIMIT_S)
            if self._stored_ticket < ticket and self._unstored_since_s is None:
                self._unstored_since_s = now_s
            self._changed.notify_all()
            if self._threads and not slow:
                self._changed.wait_for(lambda: self._stored_ticket >= ticket, SUBMIT_LIMIT_S)

    def _enqueue(
        self, served: DeliveryChannel, event: Event, jpeg: bytes | None, ticket: int, now_s: float, wall_s: float
    ) -> None:
        if served.refuses(event, now_s):
            served.skip(event)
            self._skip(served, event, "over the rate limit", wall_s)
            return
        owner = self._writer.owner if self._writer else ""
        delivery = Delivery(event, served.name, wall_s, wall_s, owner=owner)
        self._save(delivery)
        if self._writer is None and served.channel.snapshot and jpeg is not None:
            self._pictures[event.id] = jpeg
        for dropped in served.add(delivery, now_s, ticket):
            self._forget_picture(dropped.event.id)
            self._save(replace(dropped, status=Status.UNDELIVERED, error="the outbox was full", updated_s=wall_s))

    def _skip(self, served: DeliveryChannel, event: Event, reason: str, wall_s: float) -> None:
        self._save(Delivery(event, served.name, wall_s, wall_s, Status.SKIPPED, error=reason))

    def record_presence(self, camera: str, wall_s: float, masked: int = 0, bare: int = 0, incorrect: int = 0) -> None:
        """Adds people, each counted once when last seen, to the hour of ``wall_s``. Never waits."""
        if self._writer is not None:
            with self._changed:
                self._buffer.add_presence(Presence(camera, hour_of(wall_s), masked, bare, incorrect))
                self._changed.notify_all()

    def health(self) -> AlertHealth:
        with self._changed:
            crash = "" if self._crash is None else f"{type(self._crash).__name__}: {self._crash}"
            channels = tuple(served.health for served in self._served.values())
            return AlertHealth(self._store_fault, channels, self._buffer.lost_events, crash)

    def recent(self) -> tuple[Event, ...]:
        """The last events of this run, oldest first."""
        with self._changed:
            return tuple(self._recent)

    @property
    def failure(self) -> BaseException | None:
        """What crashed a thread of the delivery, if anything did."""
        return self._crash

    def close(self, timeout_s: float = 1.0, heir: "AlertCenter | None" = None) -> list[str]:
        """Sends what can be sent at once, then stops within ``timeout_s`` whatever a hook does. ``heir``, not started
        yet, goes on with what the event file does not hold. Names what is left: waiting alerts (the next start sends
        them) and threads that are stuck in a hook."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            if self._threads:
                self._changed.wait_for(self._is_idle, timeout_s * 0.6)
            self._stopping = True
            self._changed.notify_all()
        for served in self._served.values():
            served.hook.abort()
        for thread in self._threads:
            if thread is not self._keeper:
                thread.join(max(end_s - time.monotonic(), 0.0))
        with self._changed:  # the event file last: it writes what the channels ended with
            self._stopping_file = True
            self._changed.notify_all()
        if self._keeper is not None and self._keeper.is_alive():
            self._keeper.join(max(end_s - time.monotonic(), 0.0))
        stuck = [each for each in self._threads if each.is_alive()]
        is_kept = self._writer is not None and self._keeper not in stuck and not self._buffer
        if heir is not None:
            with self._changed, heir._changed:
                heir._inherit(self, is_kept)
        return [f"thread {each.name} is stuck" for each in stuck] + self._left_behind(is_kept)

    def _inherit(self, old: "AlertCenter", is_kept: bool) -> None:
        """Goes on with the last events of ``old``, and unless its file holds them with what waits there and is not
        written. Called with both locks held."""
        self._recent = deque([*old._recent, *self._recent], RECENT_EVENTS)
        if is_kept:
            return
        batch = old._waiting.take_unsent(old._served if self._writer else self._served, old._pictures)
        now_s = self._clock.monotonic_s()
        ticket = self._ticket = max(self._ticket, 1)
        owner = self._writer.owner if self._writer else ""
        waiting = self._waiting.adopt_unsent(batch.deliveries, owner, now_s, self._clock.wall_s())
        wanted = self._settings.snapshots != "off"
        events = tuple((event, jpeg if wanted else None) for event, jpeg in batch.events)
        if self._writer is None:
            self._stored_ticket = ticket
            self._pictures.update((event.id, jpeg) for event, jpeg in events if jpeg is not None)
        else:
            self._unstored_since_s = now_s
            self._buffer.put_back(WriteBatch(events, waiting, batch.presence))

    def _left_behind(self, is_kept: bool) -> list[str]:
        with self._changed:
            left = [line for served in self._served.values() for line in served.left_behind(is_kept)]
            if self._buffer:
                left.append(f"events not written: {self._store_fault or 'the disk is too slow'}")
        return left

    def _is_idle(self) -> bool:
        if self._keeper is not None and not self._looked:
            return False  # what earlier runs left is not read yet
        now_s = self._clock.monotonic_s()
        busy = any(served.sending or served.queue.wait_s(now_s) == 0.0 for served in self._served.values())
        return not busy and (not self._buffer or self._store_fault != "")

    # -- threads -------------------------------------------------------------------------------------------------

    def _guard(self, body: Callable[[], None]) -> Callable[[], None]:
        """Never a silent dead thread: the first crash is kept for ``failure`` and told."""

        def run() -> None:
            try:
                body()
            except BaseException as error:
                log.exception("a delivery thread crashed")
                with self._changed:
                    self._crash = self._crash or error
                    if threading.current_thread().name == "alert-store":
                        self._store_fault = f"its thread crashed: {error}"
                    self._changed.notify_all()

        return run

    def _save(self, delivery: Delivery) -> None:
        if self._writer is not None:
            self._buffer.add_delivery(delivery)

    def _serve(self, served: DeliveryChannel) -> None:
        """The life of a channel's thread."""
        while True:
            with self._changed:
                delivery = self._await_due(served)
                if delivery is None:
                    return
                served.sending = True
            error = served.send(delivery, self._picture(delivery.event.id) if served.channel.snapshot else None)
            with self._changed:
                served.sending = False
                if error is not None and self._stopping:
                    return  # ended by us: not the receiver's failure
                self._note(served, delivery, error)
                self._changed.notify_all()

    def _await_due(self, served: DeliveryChannel) -> Delivery | None:
        """The next delivery to send; ``None`` to stop. Called with the lock held."""
        while not self._stopping:
            now_s = self._clock.monotonic_s()
            for late in served.take_late(now_s, self._clock.wall_s()):
                self._forget_picture(late.event.id)
                self._save(late)
                self._changed.notify_all()
            since_s = self._unstored_since_s
            give_way = self._store_fault != "" or (since_s is not None and now_s - since_s > UNSTORED_LIMIT_S)
            delivery = served.queue.due(now_s, self._ticket if give_way else self._stored_ticket)
            if delivery is not None:
                return delivery
            # A head that is due but not stored yet is woken by the writer, or after its limit.
            self._changed.wait(served.queue.wait_s(now_s) or (UNSTORED_LIMIT_S if len(served.queue) else None))
        return None

    def _picture(self, event_id: str) -> bytes | None:
        with self._changed:
            jpeg = self._pictures.get(event_id) or self._buffer.picture(event_id)
        if jpeg is None and self._writer is not None:
            try:
                with EventStore(self._settings.store, create=False) as store:
                    jpeg = store.snapshot(event_id)
            except StoreError as error:
                log.debug("the picture of %s cannot be read: %s", event_id, error)
        return jpeg

    def _note(self, served: DeliveryChannel, delivery: Delivery, error: HookError | None) -> None:
        """Takes down how an attempt went. Called with the lock held."""
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        if error is None:
            done = served.delivered(delivery, now_s, wall_s)
        else:
            done = served.failed(delivery, error, now_s, wall_s, self._rng)
        if done.status is not Status.PENDING:
            self._forget_picture(done.event.id)
        self._save(done)

    def _forget_picture(self, event_id: str) -> None:
        if event_id in self._pictures and not any(
            f"{event_id}:{name}" in served.queue.keys for name, served in self._served.items()
        ):
            del self._pictures[event_id]

    def _keep(self) -> None:
        """The life of the event file's thread."""
        writer = self._writer
        assert writer is not None
        try:
            while True:
                with self._changed:
                    stopping, batch, ticket = self._stopping_file, self._buffer.take(), self._ticket
                wall_s = self._clock.wall_s()
                found = writer.write(batch, wall_s)
                with self._changed:
                    self._store_fault = writer.fault
                    self._looked = True
                    if found is None:
                        self._buffer.put_back(batch)
                    else:
                        self._stored_ticket = ticket
                        self._unstored_since_s = None if ticket == self._ticket else self._clock.monotonic_s()
                        self._waiting.merge_store_changes(found, self._stored_ticket, self._clock.monotonic_s(), wall_s)
                    self._changed.notify_all()
                    if stopping and (found is None or not self._buffer):
                        return
                if found is not None:
                    writer.keep_bounds(self._clock.monotonic_s(), self._clock.wall_s())
                with self._changed:
                    if found is None:
                        self._changed.wait_for(lambda: self._stopping_file, STORE_RETRY_S)
                    else:
                        self._changed.wait_for(lambda: self._stopping_file or bool(self._buffer), STORE_POLL_S)
        finally:
            writer.close()
