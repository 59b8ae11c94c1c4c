"""Delivery of alerts to several channels: filters, reload, and channels that cannot be set up or crash."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes_alerts import (
    HttpPeer,
    RecordingHook,
    ShiftedClock,
    channel,
    make_event,
    resolving_event,
    running,
    settings,
    wait_until,
)

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.store_types import Status
from app.core.types import EventKind

pytestmark = pytest.mark.usefixtures("short_store_intervals")


def test_each_channel_gets_only_events_that_pass_its_filters(store_path: Path) -> None:
    hooks = {name: RecordingHook() for name in ("offline", "gate", "never", "once", "hall")}
    channels = (
        channel("offline", events=["camera_offline"]),
        channel("gate", cameras=["gate-*"]),
        channel("never", schedule=["mon 00:00-00:01"]),
        channel("hall", cameras=["Hall [north]"]),
        channel("once", rate_limit={"count": 1, "per_s": 3600, "excess": "skip"}),
    )
    tuesday_s = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))
    bare = make_event(wall_s=tuesday_s)
    offline = make_event(EventKind.CAMERA_OFFLINE, "gate-2", tuesday_s)
    hall = make_event(camera="Hall [north]", wall_s=tuesday_s)
    center = AlertCenter(settings(store_path, *channels), hooks=hooks)
    with running(center):
        center.submit(bare)
        center.submit(offline)
        center.submit(hall)
    assert hooks["offline"].ids == [offline.id]
    assert hooks["hall"].ids == [hall.id]
    assert hooks["gate"].ids == [offline.id]
    assert hooks["never"].ids == []
    assert hooks["once"].ids == [bare.id]
    with EventStore(store_path) as store:
        assert [each.event.id for each in store.deliveries(Status.SKIPPED)] == [offline.id, hall.id]
        assert len(store.events()) == 3


def test_only_named_channels_and_the_hub_get_an_event(store_path: Path) -> None:
    hooks = {name: RecordingHook() for name in ("nurse", "office", "hub")}
    hub = {"kind": "nats", "name": "hub", "url": "nats://hub", "site": "s"}
    center = AlertCenter(settings(store_path, channel("nurse"), channel("office"), hub), hooks=hooks)
    alert, other = make_event(), make_event()
    with running(center):
        center.submit(alert, channels=("nurse",))
        center.submit(resolving_event(alert, time.time()), channels=("nurse",))
        center.submit(other)
    assert [len(hook.ids) for hook in hooks.values()] == [3, 1, 3]
    assert hooks["office"].ids == [other.id]


def test_reload_swaps_only_changed_hooks_and_starts_and_stops_channels(store_path: Path, http_peer: HttpPeer) -> None:
    with HttpPeer(rest="hang").running() as hanging:
        web = {"kind": "webhook", "name": "web", "url": hanging.url}
        center, event, second = AlertCenter(settings(store_path, web)), make_event(), make_event()
        with running(center):
            center.submit(event)
            wait_until(lambda: len(hanging.requests) == 1)
            other = {"kind": "webhook", "name": "other", "url": http_peer.url}
            center.reload(settings(store_path, {**web, "url": http_peer.url}, other))
            wait_until(lambda: http_peer.keys() == [f"{event.id}:web"])  # aborted, and sent by the new hook
            center.submit(second)
            wait_until(lambda: len(http_peer.requests) == 3)
            assert [each.name for each in center.health().channels] == ["web", "other"]
            center.reload(settings(store_path, other))
            center.submit(make_event())
            wait_until(lambda: len(http_peer.requests) == 4)
    assert http_peer.keys()[-1].endswith(":other")


def test_missing_plugin_or_secret_delays_only_its_own_channel(
    store_path: Path, http_peer: HttpPeer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = (
        channel("plug"),
        {"kind": "webhook", "name": "web", "url": http_peer.url, "secret_env": "TEST_HOOK_SECRET"},
        {"kind": "webhook", "name": "fine", "url": http_peer.url},
    )
    center = AlertCenter(settings(store_path, *channels))
    assert "no plugin 'replaced-by-the-test'" in caplog.text
    assert "TEST_HOOK_SECRET is not set" in caplog.text
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(http_peer.requests) == 1)
        monkeypatch.setenv("TEST_HOOK_SECRET", "fixed")
        wait_until(lambda: len(http_peer.requests) == 2)
        health = {each.name: each.state for each in center.health().channels}
    assert health["plug"] == "retrying"


@pytest.mark.parametrize(
    ("kind", "url", "environ", "message"),
    [
        ("webhook", "http://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("webhook", "http://me:s3cret@host\u2100/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("apprise", "json://me:s3cret@[::1:8080/t0ken", {}, "channel 'odd': the url cannot be parsed"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"ALL_PROXY": "x://me:s3cret@127.0.0.1:9"}, "Unknown scheme for proxy"),
        ("webhook", "http://127.0.0.1:9/t0ken", {"SSL_CERT_FILE": "/no/such.pem"}, "channel 'odd' cannot be set up"),
    ],
)
def test_hook_that_cannot_be_set_up_delays_only_its_own_channel(
    kind: str,
    url: str,
    environ: dict[str, str],
    message: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"ODD_URL": url, **environ}.items():
        monkeypatch.setenv(name, value)
    fine = RecordingHook()
    odd = {"kind": kind, "name": "odd", "url_env": "ODD_URL"}
    center = AlertCenter(settings(None, odd, channel("fine")), hooks={"fine": fine})
    with running(center):
        center.submit(make_event())
        wait_until(lambda: len(fine.alerts) == 1)
        wait_until(lambda: center.health().channels[0].state == "retrying")
    assert message in caplog.text
    assert message in center.health().channels[0].error
    assert "s3cret" not in caplog.text
    assert "t0ken" not in caplog.text


def test_flapping_camera_is_stored_each_time_but_sent_only_when_it_stays_offline(store_path: Path) -> None:
    clock, hook = ShiftedClock(), RecordingHook()
    center = AlertCenter(settings(store_path), hooks={"a": hook}, clock=clock)
    with running(center):
        for _ in range(8):
            offline = make_event(EventKind.CAMERA_OFFLINE)
            center.submit(offline)
            center.submit(resolving_event(offline, time.time()))
        wait_until(lambda: len(hook.alerts) == 6)
        last = make_event(EventKind.CAMERA_OFFLINE)
        center.submit(last)
        clock.ahead_s = 601.0
        wait_until(lambda: len(hook.alerts) == 7)
        back = resolving_event(last, time.time())
        center.submit(back)
        wait_until(lambda: len(hook.alerts) == 8)
    assert [alert.event.kind for alert in hook.alerts] == [EventKind.CAMERA_OFFLINE, EventKind.CAMERA_RECOVERED] * 4
    assert "outage 3 within an hour; further ones are sent only if they last 10 min" in hook.alerts[4].text
    assert hook.ids[6:] == [last.id, back.id]
    with EventStore(store_path) as store:
        assert len(store.events()) == 18
        assert {each.error for each in store.deliveries(Status.SKIPPED)} == {"the camera is unstable"}


def test_crash_of_a_delivery_thread_is_reported(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("a bug")

    center = AlertCenter(settings(store_path), hooks={"a": RecordingHook()})
    monkeypatch.setattr("app.alerts.delivery.EventQueue.maintain", crash)
    with running(center):
        wait_until(lambda: center.failure is not None)
        assert "a bug" in center.health().crash
        assert not center.health().ok


@dataclass
class Session(RecordingHook):
    """A hook with a session. ``calls`` are its calls with the thread of each."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def refresh(self, cameras: object) -> None:
        self.calls.append(("refresh", threading.current_thread().name))

    def close(self) -> None:
        self.calls.append(("close", threading.current_thread().name))


def test_only_the_thread_of_a_channel_uses_and_closes_its_session() -> None:
    """A session that a reload closed while it connected stayed open, and its last will reported the end later."""
    made: list[Session] = []

    def session(_: object) -> Session:
        made.append(Session())
        return made[-1]

    channel = {"kind": "webhook", "name": "c", "url": "http://127.0.0.1:9/"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.alerts.timeout_hook.build_hook", session)
        center = AlertCenter(settings(None, channel))
        center.start()
        wait_until(lambda: bool(made and made[0].calls))
        center.reload(settings(None, {**channel, "url": "http://127.0.0.1:10/"}))
        wait_until(lambda: len(made) == 2 and bool(made[1].calls))
        assert made[0].calls[-1][0] == "close"
        center.reload(settings(None, {**channel, "name": "d"}))
        wait_until(lambda: made[1].calls[-1][0] == "close")
        center.reload(settings(None, channel))
        wait_until(lambda: len(made) == 4 and bool(made[3].calls))
        assert center.close() == []
    assert all(hook.calls[-1][0] == "close" for hook in made)
    assert [{thread for _, thread in hook.calls} for hook in made] == [{f"alert:{name}"} for name in "ccdc"]
