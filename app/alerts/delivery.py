"""Stores each alert, then sends it in one thread per channel until it is delivered or given up."""

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

SUBMIT_LIMIT_S = 0.05  # how long ``submit`` waits for the disk at most
UNSTORED_LIMIT_S = 1.0  # after a longer write the disk counts as broken, and alerts are sent unstored
STORE_RETRY_S = 5.0
STORE_POLL_S = 2.0  # how often to check for changes by other programs (retry, purge) and for retention
RECENT_EVENTS = 200


class AlertCenter:
    """Delivers events. ``submit`` may be called from any thread, also before ``start``. One thread writes the event
    file; one thread per channel sends. Pending alerts are kept in memory and copied to the file. So alerts are also
    sent while the disk is full or the file is locked or damaged."""

    def __init__(
        self,
        settings: AlertSettings,
        clock: Clock | None = None,
        hooks: Mapping[str, AlertHook] | None = None,
        rng: random.Random | None = None,
        hold_back: Callable[[Event], str] | None = None,
        earlier: Iterable[Delivery] = (),
    ) -> None:
        """``hooks`` replaces the hooks of the channels it names. ``hold_back`` is called once per event: it returns a
        reason to store the event and skip its alerts, or '' to send them. ``earlier``: deliveries of alerts from
        earlier runs that may still be resolved."""
        self._settings = settings
        self._clock: Clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._hold_back = hold_back
        self._changed = threading.Condition()
        self._writer = StoreWriter(settings) if settings.persist else None
        self._buffer = WriteBuffer()
        self._snapshots: dict[str, bytes] = {}  # event id to JPEG of pending alerts; only without an event file
        self._recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._sequence = 0  # of the newest event
        self._stored_sequence = 0  # of the newest event on disk
        self._unstored_since_s: float | None = None
        self._store_fault = ""
        self._stopping = False
        self._stopping_writer = False
        self._store_was_read = False
        self._writer_thread: threading.Thread | None = None
        self._crash: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._channels = make_channels(settings, hooks or {})
        for delivery in earlier:
            if delivery.channel in self._channels:
                accepted = delivery.status is not Status.SKIPPED
                self._channels[delivery.channel].remember({delivery.event.id: accepted})
        self._unsent = UnsentAlerts(self._channels, self._buffer, settings.keep_days * SECONDS_PER_DAY)

    # -- public methods ------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._threads:
            return
        if self._writer is not None:
            self._writer_thread = threading.Thread(
                target=self._guard(self._run_writer), name="alert-store", daemon=True
            )
            self._threads.append(self._writer_thread)
        for channel in self._channels.values():
            body = self._guard(partial(self._run_channel, channel))
            self._threads.append(threading.Thread(target=body, name=f"alert:{channel.name}", daemon=True))
        for thread in self._threads:
            thread.start()

    def follow(self, old: "AlertCenter") -> None:
        """Replaces ``old`` between two events: each channel also resolves the alerts that it sent there."""
        with old._changed, self._changed:
            for name, channel in self._channels.items():
                if name in old._channels:
                    channel.remember(old._channels[name].accepted)

    def submit(self, event: Event, snapshot_jpeg: bytes | None = None) -> None:
        """Stores ``event`` and queues it for every channel that accepts it. Waits for the disk at most 50 ms, and not
        at all while the disk is slow or broken: the event then stays in memory and is written later.
        """
        jpeg = snapshot_jpeg if self._settings.snapshots != "off" else None
        held = self._hold_back(event) if self._hold_back is not None else ""
        with self._changed:
            now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
            sequence = self._sequence = self._sequence + 1
            self._recent.append(event)
            if self._writer is None:
                self._stored_sequence = sequence
            else:
                self._buffer.add_event(event, jpeg)
            for channel in self._channels.values():
                if not channel.accepts(event):
                    channel.reject(event)
                elif held:
                    self._skip(channel, event, held, wall_s)
                else:
                    self._enqueue(channel, event, jpeg, sequence, now_s, wall_s)
            since_s = self._unstored_since_s
            slow = self._store_fault != "" or (since_s is not None and now_s - since_s > SUBMIT_LIMIT_S)
            if self._stored_sequence < sequence and self._unstored_since_s is None:
                self._unstored_since_s = now_s
            self._changed.notify_all()
            if self._threads and not slow:
                self._changed.wait_for(lambda: self._stored_sequence >= sequence, SUBMIT_LIMIT_S)

    def _enqueue(
        self, channel: DeliveryChannel, event: Event, jpeg: bytes | None, sequence: int, now_s: float, wall_s: float
    ) -> None:
        if channel.exceeds_rate_limit(event, now_s):
            channel.reject(event)
            self._skip(channel, event, "over the rate limit", wall_s)
            return
        owner = self._writer.owner if self._writer else ""
        delivery = Delivery(event, channel.name, wall_s, wall_s, owner=owner)
        self._save(delivery)
        if self._writer is None and channel.config.snapshot and jpeg is not None:
            self._snapshots[event.id] = jpeg
        for dropped in channel.add(delivery, now_s, sequence):
            self._discard_snapshot(dropped.event.id)
            self._save(replace(dropped, status=Status.UNDELIVERED, error="the outbox was full", updated_s=wall_s))

    def _skip(self, channel: DeliveryChannel, event: Event, reason: str, wall_s: float) -> None:
        self._save(Delivery(event, channel.name, wall_s, wall_s, Status.SKIPPED, error=reason))

    def record_presence(self, camera: str, wall_s: float, masked: int = 0, bare: int = 0, incorrect: int = 0) -> None:
        """Adds people to the hour of ``wall_s``. Each person is counted once, when last seen. Never blocks."""
        if self._writer is not None:
            with self._changed:
                self._buffer.add_presence(Presence(camera, hour_of(wall_s), masked, bare, incorrect))
                self._changed.notify_all()

    def health(self) -> AlertHealth:
        with self._changed:
            crash = "" if self._crash is None else f"{type(self._crash).__name__}: {self._crash}"
            channels = tuple(channel.health for channel in self._channels.values())
            return AlertHealth(self._store_fault, channels, self._buffer.lost_events, crash)

    def recent(self) -> tuple[Event, ...]:
        """The latest events of this run, oldest first."""
        with self._changed:
            return tuple(self._recent)

    @property
    def failure(self) -> BaseException | None:
        """The first exception that ended a delivery thread, if any."""
        return self._crash

    def close(self, timeout_s: float = 1.0, successor: "AlertCenter | None" = None) -> list[str]:
        """Sends what is due, then stops within ``timeout_s`` even if a hook hangs. ``successor``, which must not have
        started, takes over what the event file does not hold. Returns what is unfinished, as text: pending alerts,
        which the next start sends, and threads that hang in a hook."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            if self._threads:
                self._changed.wait_for(self._is_idle, timeout_s * 0.6)
            self._stopping = True
            self._changed.notify_all()
        for channel in self._channels.values():
            channel.hook.abort()
        for thread in self._threads:
            if thread is not self._writer_thread:
                thread.join(max(end_s - time.monotonic(), 0.0))
        with self._changed:  # the writer stops last: it writes the last states of the channels
            self._stopping_writer = True
            self._changed.notify_all()
        if self._writer_thread is not None and self._writer_thread.is_alive():
            self._writer_thread.join(max(end_s - time.monotonic(), 0.0))
        stuck = [each for each in self._threads if each.is_alive()]
        is_stored = self._writer is not None and self._writer_thread not in stuck and not self._buffer
        if successor is not None:
            with self._changed, successor._changed:
                successor._take_over(self, is_stored)
        return [f"thread {each.name} is stuck" for each in stuck] + self._shutdown_report(is_stored)

    def _take_over(self, old: "AlertCenter", is_stored: bool) -> None:
        """Takes over the latest events of ``old`` and, unless ``is_stored``, its pending and unwritten alerts. Called
        with both locks held."""
        self._recent = deque([*old._recent, *self._recent], RECENT_EVENTS)
        if is_stored:
            return
        batch = old._unsent.take_unsent(old._channels if self._writer else self._channels, old._snapshots)
        now_s = self._clock.monotonic_s()
        sequence = self._sequence = max(self._sequence, 1)
        owner = self._writer.owner if self._writer else ""
        waiting = self._unsent.requeue_unsent(batch.deliveries, owner, now_s, self._clock.wall_s())
        wanted = self._settings.snapshots != "off"
        events = tuple((event, jpeg if wanted else None) for event, jpeg in batch.events)
        if self._writer is None:
            self._stored_sequence = sequence
            self._snapshots.update((event.id, jpeg) for event, jpeg in events if jpeg is not None)
        else:
            self._unstored_since_s = now_s
            self._buffer.put_back(WriteBatch(events, waiting, batch.presence))

    def _shutdown_report(self, is_stored: bool) -> list[str]:
        with self._changed:
            left = [line for channel in self._channels.values() for line in channel.shutdown_report(is_stored)]
            if self._buffer:
                left.append(f"events not written: {self._store_fault or 'the disk is too slow'}")
        return left

    def _is_idle(self) -> bool:
        if self._writer_thread is not None and not self._store_was_read:
            return False  # the pending alerts of earlier runs are not read yet
        now_s = self._clock.monotonic_s()
        busy = any(channel.sending or channel.queue.wait_s(now_s) == 0.0 for channel in self._channels.values())
        return not busy and (not self._buffer or self._store_fault != "")

    # -- threads -------------------------------------------------------------------------------------------------

    def _guard(self, body: Callable[[], None]) -> Callable[[], None]:
        """Wraps a thread's function: its exception is logged, and the first one is kept for ``failure``."""

        def run() -> None:
            try:
                body()
            except BaseException as error:
                log.exception("a delivery thread crashed")
                with self._changed:
                    self._crash = self._crash or error
                    if threading.current_thread().name == "alert-store":
                        self._store_fault = f"the writer thread crashed: {error}"
                    self._changed.notify_all()

        return run

    def _save(self, delivery: Delivery) -> None:
        if self._writer is not None:
            self._buffer.add_delivery(delivery)

    def _run_channel(self, channel: DeliveryChannel) -> None:
        """The loop of a channel's thread."""
        while True:
            with self._changed:
                delivery = self._await_due(channel)
                if delivery is None:
                    return
                channel.sending = True
            jpeg = self._load_snapshot(delivery.event.id) if channel.config.snapshot else None
            error = channel.send(delivery, jpeg)
            with self._changed:
                channel.sending = False
                if error is not None and self._stopping:
                    return  # we aborted it: the receiver did not fail
                self._record_attempt(channel, delivery, error)
                self._changed.notify_all()

    def _await_due(self, channel: DeliveryChannel) -> Delivery | None:
        """Waits for the next delivery to send; returns ``None`` to stop. Called with the lock held."""
        while not self._stopping:
            now_s = self._clock.monotonic_s()
            for late in channel.remove_expired(now_s, self._clock.wall_s()):
                self._discard_snapshot(late.event.id)
                self._save(late)
                self._changed.notify_all()
            since_s = self._unstored_since_s
            send_unstored = self._store_fault != "" or (since_s is not None and now_s - since_s > UNSTORED_LIMIT_S)
            delivery = channel.queue.due(now_s, self._sequence if send_unstored else self._stored_sequence)
            if delivery is not None:
                return delivery
            # If the head is due but not stored yet, the writer notifies, or the limit passes.
            self._changed.wait(channel.queue.wait_s(now_s) or (UNSTORED_LIMIT_S if len(channel.queue) else None))
        return None

    def _load_snapshot(self, event_id: str) -> bytes | None:
        with self._changed:
            jpeg = self._snapshots.get(event_id) or self._buffer.snapshot(event_id)
        if jpeg is None and self._writer is not None:
            try:
                with EventStore(self._settings.store, create=False) as store:
                    jpeg = store.snapshot(event_id)
            except StoreError as error:
                log.debug("cannot read the snapshot of event %s: %s", event_id, error)
        return jpeg

    def _record_attempt(self, channel: DeliveryChannel, delivery: Delivery, error: HookError | None) -> None:
        """Saves the result of an attempt. Called with the lock held."""
        now_s, wall_s = self._clock.monotonic_s(), self._clock.wall_s()
        if error is None:
            done = channel.delivered(delivery, now_s, wall_s)
        else:
            done = channel.failed(delivery, error, now_s, wall_s, self._rng)
        if done.status is not Status.PENDING:
            self._discard_snapshot(done.event.id)
        self._save(done)

    def _discard_snapshot(self, event_id: str) -> None:
        if event_id in self._snapshots and not any(
            f"{event_id}:{name}" in channel.queue.keys for name, channel in self._channels.items()
        ):
            del self._snapshots[event_id]

    def _run_writer(self) -> None:
        """The loop of the thread that writes the event file."""
        writer = self._writer
        assert writer is not None
        try:
            while True:
                with self._changed:
                    stopping, batch, sequence = self._stopping_writer, self._buffer.take(), self._sequence
                wall_s = self._clock.wall_s()
                changes = writer.write(batch, wall_s)
                with self._changed:
                    self._store_fault = writer.fault
                    self._store_was_read = True
                    if changes is None:
                        self._buffer.put_back(batch)
                    else:
                        self._stored_sequence = sequence
                        self._unstored_since_s = None if sequence == self._sequence else self._clock.monotonic_s()
                        self._unsent.merge_store_changes(
                            changes, self._stored_sequence, self._clock.monotonic_s(), wall_s
                        )
                    self._changed.notify_all()
                    if stopping and (changes is None or not self._buffer):
                        return
                if changes is not None:
                    writer.enforce_limits(self._clock.monotonic_s(), self._clock.wall_s())
                with self._changed:
                    if changes is None:
                        self._changed.wait_for(lambda: self._stopping_writer, STORE_RETRY_S)
                    else:
                        self._changed.wait_for(lambda: self._stopping_writer or bool(self._buffer), STORE_POLL_S)
        finally:
            writer.close()
