"""A camera that leaves and returns, from its last picture to the channel that tells people and the file of events."""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest
from fakes import BoxesDetector, BrightnessClassifier
from fakes_monitor import BOX, LiveCamera
from fakes_video import LIMIT_S, wait_until

from app.alerts.event_store import EventStore
from app.alerts.offline_cameras import cameras_left_offline
from app.alerts.outbox import Delivery, Status
from app.alerts.store_types import EventFilter, WriteBatch
from app.cli.watch_session import WatchSession
from app.core.types import Box, Event, EventKind
from app.pipeline import monitor
from app.settings.alerts import AlertSettings
from app.settings.root import Settings, load_settings


def test_offline_and_recovered_reach_a_channel_the_file_and_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    door = LiveCamera("door")
    monkeypatch.setattr(monitor, "make_source", lambda _: door)
    monkeypatch.setattr(monitor, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor, "load_detector", lambda _: BoxesDetector(lambda _: []))
    heard = tmp_path / "heard"
    code = f"import sys; open({str(heard)!r}, 'a').write(sys.argv[1] + chr(10))"
    command = shlex.split(shlex.join([sys.executable, "-c", code, "{kind}"]))
    channel = {"kind": "command", "name": "bell", "argv": command, "events": ["camera_offline", "camera_recovered"]}
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door", "reconnect_s": [0.1], "stale_after_s": 60}],
            "monitor": {"offline_after_s": 0.2, "recovered_after_s": 0.1},
            "alerts": {"channels": [channel], "store": tmp_path / "events.db"},
            "view": {"headless": True},
        },
    )

    def told(kind: str) -> bool:
        return heard.exists() and kind in heard.read_text().split()

    def steps() -> bool:
        """Looked at by the main loop; the camera goes, and comes again once that was told."""
        if told("camera_offline"):
            door.away.clear()
        elif session._frames > 3:
            door.away.set()
        return told("camera_recovered")

    events = tmp_path / "events.jsonl"
    with WatchSession(settings, None, events) as session:
        session.run_headless(steps)
    assert heard.read_text().split() == ["camera_offline", "camera_recovered"]
    written = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["kind"] for event in written] == ["camera_offline", "camera_recovered"]
    assert "camera_offline (" in capsys.readouterr().err
    wait_until(lambda: (tmp_path / "events.db").exists(), "the store is there")
    with EventStore(tmp_path / "events.db") as kept:
        assert len(kept.events()) == 2


def test_a_camera_that_an_earlier_run_left_offline_is_told_as_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "make_source", lambda _: LiveCamera("door"))
    monkeypatch.setattr(monitor, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor, "load_detector", lambda _: BoxesDetector(lambda _: []))
    now_s, told = time.time(), tmp_path / "told"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.argv[1])"
    closed_hours = [time.localtime(now_s + 3600 * k).tm_hour for k in (2, 3)]  # it was told in its hours
    light = {
        "kind": "command",
        "name": "light",
        "argv": [sys.executable, "-c", code, "{id}"],
        "schedule": ["{:02}:00-{:02}:00".format(*closed_hours)],
    }
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door", "stale_after_s": 60}],
            "monitor": {"recovered_after_s": 0},
            "alerts": {"store": tmp_path / "events.db", "channels": [light]},
            "view": {"headless": True},
        },
    )
    gone = [
        Event(f"old-{name}-c1", EventKind.CAMERA_OFFLINE, name, 9.0, now_s - 3600, duration_s=10.0, reason="lost")
        for name in ("door", "hall")
    ]
    with EventStore(tmp_path / "events.db") as store:
        delivery = Delivery(gone[0], "light", now_s, now_s, Status.DELIVERED)
        store.write(WriteBatch(tuple((event, None) for event in gone), (delivery,)), now_s)
    with WatchSession(settings, None, None) as session:
        wait_until(lambda: session._alerts.recent() != (), "it is told")
        wait_until(lambda: told.exists() and told.read_text() == session._alerts.recent()[0].id, "where its loss was")
    (back,) = session._alerts.recent()
    assert (back.kind, back.camera, back.resolves) == (EventKind.CAMERA_RECOVERED, "door", "old-door-c1")
    assert back.duration_s == pytest.approx(3610, abs=LIMIT_S)
    assert cameras_left_offline(settings.alerts, ["door"]) == []
    assert cameras_left_offline(settings.alerts, ["door", "hall"]) == gone[1:]


def test_without_a_readable_event_file_no_camera_counts_as_left_offline(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no event file")
    for place in (tmp_path / "none.db", tmp_path / "text", tmp_path):
        assert cameras_left_offline(AlertSettings(store=place), ["door"]) == []
    assert (tmp_path / "text").read_text() == "no event file"


@pytest.mark.parametrize("web", [False, True])
@pytest.mark.parametrize("persist", [False, True])
def test_channels_change_while_it_runs_and_no_alert_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: bool, persist: bool
) -> None:
    door = LiveCamera("door")
    monkeypatch.setattr(monitor, "make_source", lambda _: door)
    monkeypatch.setattr(monitor, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor, "load_detector", lambda _: BoxesDetector(lambda _: []))

    def settings_with(*names: str) -> Settings:
        code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + chr(10))"
        channels = [
            {"kind": "command", "name": name, "argv": [sys.executable, "-c", code, str(tmp_path / name), "{id}"]}
            for name in names
        ]
        camera = {"uri": "rtsp://127.0.0.1:1/door", "name": "door", "reconnect_s": [0.1], "stale_after_s": 60}
        return load_settings(
            None,
            {
                "camera": [camera],
                "monitor": {"offline_after_s": 0, "recovered_after_s": 0},
                "alerts": {"channels": channels, "store": tmp_path / "events.db", "persist": persist},
                "view": {"headless": True},
                "web": {"enabled": web, "port": 0},
            },
        )

    def told(name: str) -> int:
        path = tmp_path / name
        return len(path.read_text().split()) if path.exists() else 0

    with WatchSession(settings_with("first"), None, None) as session:
        wait_until(lambda: session._monitor.views()[0].frame is not None, "a picture")
        door.away.set()
        wait_until(lambda: told("first") == 1, "the first channel tells")
        assert session.reload(settings_with("second")) == []
        door.away.clear()
        wait_until(lambda: told("second") == 1, "the second channel tells")
        assert len(session._alerts.recent()) == 2
        if session._web is not None:
            site = session._web._site
            assert [result.channel for result in site.test_channels() or ()] == ["second"]
            assert [channel.name for channel in site.status().delivery.channels] == ["second"]
            wait_until(lambda: len(site.history.events(EventFilter(), 10)) == 2, "the page shows both")
    assert told("first") == 1
    if persist:
        with EventStore(tmp_path / "events.db") as store:
            assert len(store.events()) == 2


def test_what_a_muted_camera_raised_holds_up_nothing_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, there = LiveCamera("door"), list[Box]()
    monkeypatch.setattr(monitor, "make_source", lambda _: door)
    monkeypatch.setattr(monitor, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor, "load_detector", lambda _: BoxesDetector(lambda _: tuple(there)))
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door", "stale_after_s": 60}],
            "policy": {"dwell_s": 0.1, "min_observations": 2, "cooldown_s": 3600},
            "alerts": {"store": tmp_path / "events.db"},
            "view": {"headless": True},
            "web": {"enabled": True, "port": 0},
        },
    )

    def alerts() -> int:
        return sum(event.kind == "no_mask" for event in session._alerts.recent())

    with WatchSession(settings, None, None) as session:
        assert session._web is not None
        mutes = session._web._site.mutes
        mutes.mute("door", 60)
        there.append(BOX)
        wait_until(lambda: alerts() == 1, "an alert that is kept and told to nobody")
        mutes.unmute("door")
        door.colour = 30  # something moved: the detector looks again
        there.append(Box(90, 20, 60, 60))
        wait_until(lambda: alerts() == 2, "the alert of the next person, within the cooldown")
