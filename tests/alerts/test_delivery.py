"""Delivery of alerts: order, failures, limits and event file errors, with real files and threads."""

import threading
import time
from pathlib import Path

import pytest
from fakes_alerts import (
    HANG_S,
    LIMIT_S,
    RecordingHook,
    channel,
    make_event,
    resolving_event,
    running,
    settings,
    statuses,
    wait_until,
)

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.hook import Alert, RetryLater
from app.alerts.store_types import Delivery, Status, WriteBatch
from app.core.errors import HookError
from app.core.types import Event, EventKind

pytestmark = pytest.mark.usefixtures("short_store_intervals")


class HangingHook:
    """Hangs until ``go`` is set; ``abort`` has no effect."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls = 0
        self.done = 0

    def send(self, alert: Alert) -> None:
        self.calls += 1
        assert self.go.wait(HANG_S)
        self.done += 1

    def abort(self) -> None:
        """Has no effect."""


def test_alerts_are_stored_and_delivered_in_order(store_path: Path) -> None:
    hook, events = RecordingHook(), [make_event() for _ in range(20)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        assert center.recent() == tuple(events)
    assert hook.ids == [event.id for event in events]
    assert [alert.idempotency_key for alert in hook.alerts] == [f"{event.id}:a" for event in events]
    assert statuses(store_path) == [(event.id, "delivered") for event in events]
    assert center.failure is None


def test_failed_alert_is_retried_with_the_same_key_and_in_order(store_path: Path) -> None:
    failing = [3]

    def fault(_: Alert) -> None:
        failing[0] -= 1
        if failing[0] >= 0:
            raise [HookError("no"), ZeroDivisionError("bug"), RetryLater("wait", 0.01)][failing[0]]

    hook, events = RecordingHook(fault), [make_event() for _ in range(3)]
    center = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(center):
        for event in events:
            center.submit(event)
        wait_until(lambda: len(hook.alerts) == 3)
        assert center.health().ok
    assert hook.ids == [event.id for event in events]
    assert hook.alerts[0].attempt == 4


def test_hanging_channel_blocks_neither_other_channels_nor_submit_nor_close(store_path: Path) -> None:
    hanging, hook = HangingHook(), RecordingHook()
    center = AlertCenter(
        settings(store_path, channel("slow", timeout_s=0.1), channel("fast")), hooks={"slow": hanging, "fast": hook}
    )
    center.start()
    events = [make_event() for _ in range(5)]
    for event in events:
        center.submit(event)
    wait_until(lambda: len(hook.alerts) == 5)
    wait_until(lambda: center.health().channels[0].state == "retrying")
    began_s = time.monotonic()
    unfinished = center.close(LIMIT_S)  # returns much earlier, because no alert is due
    assert time.monotonic() - began_s < HANG_S / 2  # does not wait for the hook
    assert unfinished == [
        "channel slow: its hook hangs",
        "channel slow: 5 not delivered yet, kept for the next start",
    ]
    assert hanging.calls == 1  # no second attempt runs in parallel
    hanging.go.set()


def test_success_of_a_late_attempt_counts(store_path: Path) -> None:
    hanging = HangingHook()
    center = AlertCenter(settings(store_path, channel(timeout_s=0.05)), hooks={"a": hanging})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: center.health().channels[0].state == "retrying")
        hanging.go.set()
        wait_until(lambda: center.health().channels[0].delivered == 1)
    assert (hanging.calls, hanging.done) == (1, 1)


def test_next_start_sends_pending_alerts(store_path: Path) -> None:
    def fault(_: Alert) -> None:
        raise HookError("down")

    events = [make_event() for _ in range(4)]
    first = AlertCenter(settings(store_path), hooks={"a": RecordingHook(fault)})
    first.start()
    for event in events:
        first.submit(event)
    assert first.close(LIMIT_S) == ["channel a: 4 not delivered yet, kept for the next start"]
    hook, last = RecordingHook(), make_event()
    second = AlertCenter(settings(store_path), hooks={"a": hook})
    with running(second):
        wait_until(lambda: len(hook.alerts) == 4)
        second.submit(last)
        wait_until(lambda: len(hook.alerts) == 5)
    assert hook.ids == [event.id for event in [*events, last]]


def test_expired_alert_is_undelivered_until_a_retry(store_path: Path) -> None:
    down = [True]

    def fault(_: Alert) -> None:
        if down[0]:
            raise HookError("down")

    hook, event = RecordingHook(fault), make_event()
    center = AlertCenter(settings(store_path, channel(give_up_after_s=0.05)), hooks={"a": hook})
    with running(center):
        center.submit(event)
        wait_until(lambda: statuses(store_path) == [(event.id, "undelivered")])
        assert center.health().channels[0].undelivered == 1
        down[0] = False
        with EventStore(store_path) as store:  # as ``maskwatch alerts retry`` does from another process
            assert store.retry((), time.time()) == 1
        wait_until(lambda: hook.ids == [event.id])
        wait_until(lambda: statuses(store_path) == [(event.id, "delivered")])


def test_late_sound_is_not_played_but_other_alerts_are_sent(store_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = make_event()
    pending = [Delivery(old, name, time.time() - 36_000, 0.0) for name in ("chime", "a")]
    with EventStore(store_path) as store:
        store.write(WriteBatch(((old, None),), tuple(pending)), time.time())
    chime, hook, new = RecordingHook(), RecordingHook(), make_event()
    sound = {"kind": "sound", "name": "chime", "give_up_after_s": 600.0}  # long enough for a slow machine
    center = AlertCenter(settings(store_path, sound, channel(give_up_after_s=600.0)), hooks={"chime": chime, "a": hook})
    with running(center):
        wait_until(lambda: hook.ids == [old.id])
        wait_until(lambda: center.health().channels[0].undelivered == 1)
        center.submit(new)
        wait_until(lambda: chime.ids == [new.id])
    assert "channel chime: 1 alert given up, too late to be sent" in caplog.text
    with EventStore(store_path) as store:
        (given_up,) = store.deliveries(Status.UNDELIVERED)
        assert (given_up.key, given_up.attempts) == (pending[0].key, 0)
        assert store.retry((), time.time()) == 1
    with running(AlertCenter(settings(store_path, sound), hooks={"chime": chime})):
        wait_until(lambda: chime.ids == [new.id, old.id])


def test_full_outbox_makes_its_oldest_alert_undelivered(store_path: Path) -> None:
    hanging, events = HangingHook(), [make_event() for _ in range(5)]
    center = AlertCenter(settings(store_path, max_outbox=2), hooks={"a": hanging})
    with running(center):
        center.submit(events[0])
        wait_until(lambda: hanging.calls == 1)
        for event in events[1:]:
            center.submit(event)
        hanging.go.set()
        wait_until(lambda: hanging.done == 2)
    expected = ["delivered", "undelivered", "undelivered", "undelivered", "delivered"]
    assert [status for _, status in statuses(store_path)] == expected


def test_resolving_event_goes_to_the_channels_that_sent_the_alert(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))  # a Wednesday
    morning_s = time.mktime((2026, 3, 5, 7, 59, 50, 0, 0, -1))
    hooks = {name: RecordingHook() for name in ("hours", "ends", "gate", "once")}
    channels = (
        channel("hours", schedule=["mon-fri 08:00-18:00"]),
        channel("ends", schedule=["mon-fri 08:00-18:00"], events=["resolved", "camera_recovered"]),
        channel("gate", cameras=["gate"]),
        channel("once", rate_limit={"count": 1, "per_s": 0.5, "excess": "skip"}),
    )
    late, early = make_event(wall_s=evening_s), make_event(wall_s=morning_s)
    offline = make_event(EventKind.CAMERA_OFFLINE, wall_s=evening_s)
    late_end, offline_end = resolving_event(late, evening_s + 20), resolving_event(offline, evening_s + 20)
    early_end, unknown_end = resolving_event(early, morning_s + 20), resolving_event(make_event(), morning_s + 20)
    center = AlertCenter(settings(store_path, *channels), hooks=hooks)
    events = [late, offline, late_end, offline_end, early, early_end, unknown_end]
    for event in events:
        center.submit(event)
    with running(center):
        wait_until(lambda: hooks["once"].ids == [late.id, late_end.id])
    assert hooks["hours"].ids == [late.id, offline.id, late_end.id, offline_end.id, unknown_end.id]
    assert hooks["ends"].ids == [early_end.id, unknown_end.id]
    assert hooks["gate"].ids == []
    with EventStore(store_path) as store:
        assert [each.event.id for each in store.deliveries(Status.SKIPPED)] == [offline.id, early.id, unknown_end.id]


def test_resolving_event_is_sent_after_reload_and_restart(store_path: Path) -> None:
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))
    alert, skipped = make_event(wall_s=evening_s), make_event(wall_s=evening_s)
    hours = channel(schedule=["mon-fri 08:00-18:00"], rate_limit={"count": 1, "per_s": 0.1, "excess": "skip"})
    hook = RecordingHook()
    center = AlertCenter(settings(store_path, hours), hooks={"a": hook})
    center.submit(alert)
    center.submit(skipped)
    end = resolving_event(alert, evening_s + 20)
    with running(center):
        center.reload(settings(store_path, {**hours, "give_up_after_s": 3600.0}))
        center.submit(end)
        wait_until(lambda: hook.ids == [alert.id, end.id])
    again = AlertCenter(settings(store_path, hours), hooks={"a": hook})
    second_end = resolving_event(alert, evening_s + 40)
    with running(again):
        again.submit(second_end)
        again.submit(resolving_event(skipped, evening_s - 5))
    assert hook.ids == [alert.id, end.id, second_end.id]


def test_held_back_event_is_stored_but_not_sent(store_path: Path) -> None:
    hook, muted, sent = RecordingHook(), make_event(camera="muted"), make_event()
    seen: list[str] = []

    def hold_back(event: Event) -> str:
        seen.append(event.id)
        return "muted" if event.camera == "muted" else ""

    channels = (channel("a"), channel("b", cameras=["nowhere"]))
    center = AlertCenter(settings(store_path, *channels), hooks={"a": hook, "b": hook}, hold_back=hold_back)
    with running(center):
        center.submit(muted)
        center.submit(sent)
    assert seen == [muted.id, sent.id]
    assert hook.ids == [sent.id]
    with EventStore(store_path) as store:
        assert store.events() == [muted, sent]
        assert [(each.event.id, each.channel, each.error) for each in store.deliveries(Status.SKIPPED)] == [
            (muted.id, "a", "muted")
        ]


@pytest.mark.parametrize("snapshots", ["off", "blur_all"])
def test_snapshot_is_stored_and_sent_only_if_configured(store_path: Path, snapshots: str) -> None:
    hooks = {"with": RecordingHook(), "without": RecordingHook()}
    is_stored = snapshots != "off"
    center = AlertCenter(
        settings(store_path, channel("with", snapshot=is_stored), channel("without"), snapshots=snapshots), hooks=hooks
    )
    event = make_event()
    with running(center):
        center.submit(event, b"SECRET-JPEG")
    assert [alert.snapshot_jpeg for alert in hooks["with"].alerts] == [b"SECRET-JPEG" if is_stored else None]
    assert [alert.snapshot_jpeg for alert in hooks["without"].alerts] == [None]
    kept = b"".join(file.read_bytes() for file in store_path.parent.iterdir())
    assert (b"SECRET-JPEG" in kept) is is_stored
