"""Stores each alert, then sends it in one thread per channel until it is delivered or given up."""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial

from app.alerts.channel import DeliveryChannel, make_hooks
from app.alerts.day_counts import DayCounts, day_start_s
from app.alerts.event_queue import EventQueue
from app.alerts.health import AlertHealth, Clock, SystemClock
from app.alerts.hook import Alert, AlertHook
from app.alerts.outage_damper import OutageDamper
from app.alerts.report import due_reports
from app.alerts.store_types import Delivery, EventFilter, Status, WriteBatch
from app.alerts.timeout_hook import TimeoutHook
from app.core.camera_hours import CameraHour, Occupancy
from app.core.errors import HookError
from app.core.text import counted
from app.core.types import Event, EventKind
from app.settings.alerts import AlertSettings, NatsChannel

log = logging.getLogger(__name__)

STORE_POLL_S = 2.0
"""How often to look for changes by other programs (retry, purge), for retention and for a lost event file."""
REPORT_CHECK_S = 60.0
REFRESH_S = 10.0
LATE_BATCH = 1000
RECENT_EVENTS = 200


class AlertCenter:
    """Delivers events. The event file is the queue: ``submit`` writes an event with its pending alerts, and the thread
    of each channel selects the oldest one, sends it and writes the result. Public methods may be called from any
    thread, ``submit`` also before ``start``."""

    def __init__(
        self,
        settings: AlertSettings,
        clock: Clock | None = None,
        hooks: Mapping[str, AlertHook] | None = None,
        rng: random.Random | None = None,
        hold_back: Callable[[Event], str] | None = None,
        cameras: Mapping[str, bool] | None = None,
    ) -> None:
        """``hooks`` replaces the hooks of the channels it names. ``hold_back`` is called once per event: it returns a
        reason to store the event and skip its alerts, or '' to send them. ``cameras``: those that are watched, and
        whether each is online as far as is known."""
        self._clock: Clock = clock or SystemClock()
        self._hooks = hooks or {}
        self._rng = rng or random.Random()
        self._hold_back = hold_back
        self._cameras = cameras or {}
        self._changed = threading.Condition()
        self._queue = EventQueue(settings, self._clock)
        self._damper = OutageDamper()
        self._today = DayCounts()
        self._in_view: dict[str, CameraHour] = {}
        self._recent: deque[tuple[Event, bool]] = deque(maxlen=RECENT_EVENTS)
        made = make_hooks(settings.channels, self._hooks)
        self._channels = {
            config.name: DeliveryChannel(config, made[config.name], settings) for config in settings.channels
        }
        self._waiting: Counter[str] = Counter()  # pending alerts by channel
        self._is_started = self._stopping = False
        self._threads: list[threading.Thread] = []
        self.failure: BaseException | None = None
        """The first exception that ended a delivery thread."""

    # -- public methods ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises StoreInUseError if another program watches with the same event file."""
        with self._changed:
            if self._is_started:
                return
            self._queue.open()
            self._is_started = True
            self._load_today()
            self._count_waiting()
            self._start_thread(self._run_store, "alert-store")
            for channel in self._channels.values():
                self._start_thread(partial(self._run_channel, channel), f"alert:{channel.name}")

    def submit(
        self, event: Event, snapshot_jpeg: bytes | None = None, counted: bool = True, channels: Collection[str] = ()
    ) -> None:
        """Writes ``event`` and its alerts to the disk, or to memory while the disk is broken; wakes the channels. An
        event that is not ``counted`` (of a file or the demo) is sent too, but stays in memory. ``channels``: those that
        may send it, and the hub; empty: all."""
        held = self._hold_back(event) if self._hold_back is not None else ""
        with self._changed:
            if not held:
                event, held = self._damper.check(event, self._clock.monotonic_s())
            jpeg = snapshot_jpeg if self._queue.settings.snapshots != "off" else None
            self._recent.append((event, counted))
            if event.kind in (EventKind.CAMERA_OFFLINE, EventKind.CAMERA_RECOVERED):
                self._cameras = {**self._cameras, event.camera: event.kind is EventKind.CAMERA_RECOVERED}
            self._queue.write(WriteBatch(((event, jpeg),), tuple(self._deliveries(event, held, channels))), counted)
            self._count_waiting()
            for channel in self._channels.values():
                self._limit_outbox(channel)
            self._changed.notify_all()

    def add_hours(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        """Adds people and watched time. ``in_view``: who is in view of a camera now; they are counted too, but stored
        only when they have left."""
        with self._changed:
            self._in_view |= {each.camera: each for each in in_view}
            if hours:
                self._queue.keep(WriteBatch(hours=tuple(hours)))
                if self._today.is_of(wall_s := self._queue.wall_s()):
                    self._today.add(hours, wall_s)
                else:  # after midnight, or the clock was set to a day with counts
                    self._load_today()
                self._changed.notify_all()

    def keep_occupancy(self, state: Occupancy) -> None:
        """Stores the newest counts of a camera's lines."""
        with self._changed:
            self._queue.keep(WriteBatch(occupancy=(state,)))
            self._changed.notify_all()

    def hours(self, wanted: EventFilter) -> list[CameraHour]:
        """People and watched time, stored or not yet stored, also who is in view; an hour of a camera may occur more
        than once. May wait for the disk."""
        with self._changed:
            in_view = [each for each in self._in_view.values() if each.people and wanted.takes_hour(each)]
            return self._queue.hours(wanted) + in_view

    def final_hours(self, wanted: EventFilter) -> list[CameraHour]:
        """As ``hours``, without who is in view: their label and their hour may still change, so these sums never become
        less."""
        with self._changed:
            return self._queue.hours(wanted)

    def today(self, camera: str) -> CameraHour:
        """The people, also those in view, and the watched time of ``camera`` since midnight, also of earlier runs.
        Does not wait."""
        wall_s = self._clock.wall_s()
        today, in_view = self._today.of(camera, wall_s), self._in_view.get(camera)
        return today if in_view is None or in_view.hour_s < day_start_s(wall_s) else today.plus(in_view)

    def _load_today(self) -> None:
        wall_s = self._queue.wall_s()
        today = DayCounts()
        today.add(self._queue.hours(EventFilter(since_s=day_start_s(wall_s))), wall_s)
        self._today = today

    def watch(self, cameras: Iterable[str]) -> None:
        """The live cameras from now on; a new one counts as online until it is known to be offline."""
        with self._changed:
            self._cameras = {name: self._cameras.get(name, True) for name in cameras}

    def reload(self, settings: AlertSettings) -> None:
        """Uses new settings from the next event on; alerts that are not sent yet stay. Channels that did not change
        and read no files keep their hook. Raises StoreError and changes nothing if the new event file cannot be
        locked, as by another program."""
        old = {config.name: config for config in self._queue.settings.channels}
        changed = tuple(each for each in settings.channels if each.reads_files or old.get(each.name) != each)
        made = make_hooks(changed, self._hooks)  # without the lock: to load a plugin can be slow
        with self._changed:
            self._queue.move(settings)
            self._load_today()
            channels: dict[str, DeliveryChannel] = {}
            for config in settings.channels:
                channel = self._channels.get(config.name)
                if channel is None:
                    channel = DeliveryChannel(config, made[config.name], settings)
                    if self._is_started:
                        self._start_thread(partial(self._run_channel, channel), f"alert:{config.name}")
                else:
                    channel.configure(config, settings)
                    if config.name in made:
                        channel.replace_hook(made[config.name])
                channels[config.name] = channel
            for name in self._channels.keys() - channels.keys():
                self._remove(self._channels[name])
            self._channels = channels
            self._count_waiting()
            self._changed.notify_all()

    def health(self) -> AlertHealth:
        """Does not wait for the disk."""
        crash = "" if self.failure is None else f"{type(self.failure).__name__}: {self.failure}"
        channels = tuple(channel.health(self._waiting[name]) for name, channel in self._channels.items())
        return AlertHealth(self._queue.fault, channels, self._queue.lost_events, crash)

    def recent(self, counted: bool | None = None) -> tuple[Event, ...]:
        """The latest events of this run, oldest first: all, those that are ``counted``, or those that are not."""
        with self._changed:
            return tuple(event for event, is_counted in self._recent if counted in (None, is_counted))

    def snapshot(self, event_id: str) -> bytes | None:
        """The JPEG of an event, also of one that is not in the event file. May wait for the disk."""
        with self._changed:
            return self._queue.snapshot(event_id)

    @property
    def settings(self) -> AlertSettings:
        return self._queue.settings

    @property
    def retention_now_s(self) -> float:
        """Unix time of a clock that is right, for deletion by age."""
        return self._queue.retention_now_s

    def close(self, timeout_s: float = 1.0) -> list[str]:
        """Sends what is due, then stops within ``timeout_s`` even if a hook hangs. Returns what is unfinished, as text:
        pending alerts, which the next start sends, lost events, and threads that hang in a hook."""
        end_s = time.monotonic() + timeout_s
        hanging_disk = [f"the disk of {self._queue.settings.store} does not answer; the last events may be lost"]
        if not self._changed.acquire(timeout=timeout_s):
            return hanging_disk
        try:
            if self._is_started:
                self._changed.wait_for(self._is_idle, timeout_s * 0.6)
            self._stopping = True
            self._changed.notify_all()
        finally:
            self._changed.release()
        for channel in self._channels.values():
            channel.hook.abort()
        for thread in self._threads:
            thread.join(max(end_s - time.monotonic(), 0.0))
        left = [f"thread {each.name} is stuck" for each in self._threads if each.is_alive()]
        if not self._changed.acquire(timeout=timeout_s):
            return left + hanging_disk
        try:
            self._count_waiting()
            lost = self._queue.close()
            is_stored = self._queue.settings.persist and not lost
            for each in self._channels.values():
                left += self._unfinished(each, is_stored)
        finally:
            self._changed.release()
        return [*left, lost] if lost else left

    def _unfinished(self, channel: DeliveryChannel, is_stored: bool) -> Iterator[str]:
        if channel.hook.stuck is not None:
            yield f"channel {channel.name}: its hook hangs"
        waiting = self._waiting[channel.name]
        kept = waiting - self._queue.waiting_unstored()[channel.name] if is_stored else 0
        for count, fate in ((kept, "kept for the next start"), (waiting - kept, "lost because it is not stored")):
            if count:
                yield f"channel {channel.name}: {count} not delivered yet, {fate}"

    def _is_idle(self) -> bool:
        now_s = self._clock.monotonic_s()
        busy = any(
            each.sending or (self._waiting[name] and not each.pause_s(now_s)) for name, each in self._channels.items()
        )
        return not busy and not self._queue.has_unwritten

    # -- the outbox; called with the lock held ----------------------------------------------------------------------

    def _deliveries(self, event: Event, held: str, channels: Collection[str] = ()) -> Iterator[Delivery]:
        """The alerts of ``event``. A channel also sends the end of each alert that it sent, and of no other alert."""
        wall_s, now_s = self._queue.wall_s(), self._clock.monotonic_s()
        for name, channel in self._channels.items():
            is_named = not channels or name in channels or isinstance(channel.config, NatsChannel)
            if not is_named or not channel.matches(event):
                continue
            was_sent = self._was_sent(event.resolves, channel) if event.resolves else None
            if not held and (was_sent is False or (was_sent is None and not channel.is_in_schedule(event))):
                continue
            reason = held
            may_skip = event.kind is not EventKind.REPORT and not was_sent
            if not reason and may_skip and channel.exceeds_rate_limit(now_s, self._waiting[name]):
                reason = "over the rate limit"
            yield Delivery(event, name, wall_s, wall_s, Status.SKIPPED if reason else Status.PENDING, error=reason)

    def _was_sent(self, event_id: str, channel: DeliveryChannel) -> bool | None:
        """Whether ``channel`` sends or sent an alert; None if it did not exist then, or does not know the alert."""
        status = self._queue.status(event_id, channel.name)
        if status is not None:
            return status is not Status.SKIPPED
        alert = self._queue.event(event_id)
        return None if alert is None or not channel.matches(alert) or channel.is_in_schedule(alert) else False

    def _limit_outbox(self, channel: DeliveryChannel) -> None:
        """Makes the oldest alerts of a full outbox undelivered, but not the one that is being sent."""
        excess = self._waiting[channel.name] - self._queue.settings.max_outbox
        if excess <= 0:
            return
        log.warning("the outbox of channel %s is full; its oldest alert is undelivered", channel.name)
        oldest = self._queue.pending(channel.name, excess + 1)
        self._give_up(channel, [each for each in oldest if each.key != channel.sending][:excess], "the outbox was full")

    def _give_up(self, channel: DeliveryChannel, deliveries: list[Delivery], reason: str) -> None:
        wall_s = self._queue.wall_s()
        given_up = tuple(channel.give_up(each, wall_s, reason) for each in deliveries)
        self._queue.write(WriteBatch(deliveries=given_up))
        self._count_waiting()

    def _remove(self, channel: DeliveryChannel) -> None:
        channel.is_removed = True
        channel.hook.abort()
        if self._waiting[channel.name]:
            waiting = counted(self._waiting[channel.name], "pending alert")
            log.warning("channel %s is removed; %s will not be sent without it", channel.name, waiting)

    def _count_waiting(self) -> None:
        self._waiting = self._queue.waiting()

    # -- threads -------------------------------------------------------------------------------------------------

    def _start_thread(self, body: Callable[[], None], name: str) -> None:
        """The exception of a thread is logged, and the first one is kept for ``failure``."""

        def run() -> None:
            try:
                body()
            except BaseException as error:
                log.exception("a delivery thread crashed")
                with self._changed:
                    self.failure = self.failure or error
                    self._changed.notify_all()

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _run_channel(self, channel: DeliveryChannel) -> None:
        """The loop of a channel's thread. Only this thread uses and closes the session of a hook."""
        hook = channel.hook
        try:
            while not (self._stopping or channel.is_removed):
                if hook is not channel.hook:
                    hook.close()
                    hook = channel.hook
                hook.refresh({name: up for name, up in self._cameras.items() if channel.is_for_camera(name)})
                self._send_next(channel, hook)
        finally:
            hook.close()

    def _send_next(self, channel: DeliveryChannel, hook: TimeoutHook) -> None:
        """Sends the next alert, or waits for one."""
        with self._changed:
            delivery = self._await_due(channel) if hook is channel.hook else None
            if delivery is None:
                return
            channel.sending, age_s = delivery.key, self._queue.age_s(delivery)
            jpeg = self._queue.snapshot(delivery.event.id) if channel.config.snapshot else None
        error: HookError | None = None
        try:
            hook.send(Alert(delivery.event, delivery.channel, delivery.key, delivery.attempts + 1, jpeg))
        except HookError as caught:
            error = caught
        with self._changed:
            channel.sending = ""
            aborted = self._stopping or channel.is_removed or hook is not channel.hook
            if error is None or not aborted:  # an aborted attempt is no failure of the receiver
                self._record_attempt(channel, delivery, error, age_s)
            self._changed.notify_all()

    def _await_due(self, channel: DeliveryChannel) -> Delivery | None:
        """The next alert to send; ``None`` after a wait."""
        oldest = self._queue.pending(channel.name, LATE_BATCH if channel.config.useless_when_late else 1)
        late = [each for each in oldest if not channel.expires_in_s(self._queue.age_s(each))]
        if late:
            log.warning("channel %s: %s given up, too late to be sent", channel.name, counted(len(late), "alert"))
            self._give_up(channel, late, "too late to be sent")
            self._changed.notify_all()
            return None
        pause_s = channel.pause_s(self._clock.monotonic_s()) if oldest else REFRESH_S
        if self._stopping or channel.is_removed:
            return None
        if not pause_s:
            return oldest[0]
        if oldest:
            pause_s = min(pause_s, channel.expires_in_s(self._queue.age_s(oldest[0])))
        self._changed.wait(min(pause_s, REFRESH_S))
        return None

    def _record_attempt(
        self, channel: DeliveryChannel, delivery: Delivery, error: HookError | None, age_s: float
    ) -> None:
        now_s, wall_s = self._clock.monotonic_s(), self._queue.wall_s()
        if error is None:
            done = channel.delivered(delivery, now_s, wall_s)
        else:
            done = channel.failed(delivery, error, now_s, wall_s, age_s, self._rng)
        self._queue.write(WriteBatch(deliveries=(done,)))
        self._count_waiting()

    def _run_store(self) -> None:
        """The loop of the thread that looks after the event file."""
        next_report_s = float("-inf")
        while not self._stopping:
            if self._clock.monotonic_s() >= next_report_s:
                next_report_s = self._clock.monotonic_s() + REPORT_CHECK_S
                for event in due_reports(self._queue.settings, self._clock.wall_s()):
                    with self._changed:
                        if self._queue.event(event.id) is None:  # else it could not be written to the file yet
                            self.submit(event)
            with self._changed:
                had_work = self._queue.has_unwritten
                changed = self._queue.maintain()
                due = self._damper.due(self._clock.monotonic_s())
                for event in due:
                    log.warning("%s still does not work; it is reported now", event.camera)
                    self._queue.write(WriteBatch(deliveries=tuple(self._deliveries(event, ""))))
                if had_work or changed or due:
                    self._count_waiting()
                    self._changed.notify_all()
                self._changed.wait_for(self._has_store_work, STORE_POLL_S)

    def _has_store_work(self) -> bool:
        return self._stopping or self._queue.has_unwritten or self._queue.has_grown
