"""End-to-end tests of camera events: from the camera to channels, event file and store."""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest
from fakes import BoxesDetector
from fakes_monitor import BOX, LiveCamera, fake_parts
from fakes_video import LIMIT_S, wait_until

from app.alerts.earlier_runs import cameras_left_offline
from app.alerts.event_store import EventStore
from app.alerts.store_types import Delivery, EventFilter, Status, WriteBatch
from app.cli.watch_session import WatchSession
from app.core.types import Box, Event, EventKind
from app.settings.alerts import AlertSettings
from app.settings.load import load_settings
from app.settings.root import Settings


def test_offline_and_recovered_are_sent_written_and_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    door = LiveCamera("door")
    sent = tmp_path / "sent"
    code = f"import sys; open({str(sent)!r}, 'a').write(sys.argv[1] + chr(10))"
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

    def is_sent(kind: str) -> bool:
        return sent.exists() and kind in sent.read_text().split()

    def should_stop() -> bool:
        """Called by the main loop; also takes the camera offline, and online again once that was sent."""
        if is_sent("camera_offline"):
            door.offline.clear()
        elif session.frames > 3:
            door.offline.set()
        return is_sent("camera_recovered")

    events = tmp_path / "events.jsonl"
    with WatchSession(settings, None, events, parts=fake_parts(boxes=(), source=door)) as session:
        session.run_headless(should_stop)
    assert sent.read_text().split() == ["camera_offline", "camera_recovered"]
    written = [json.loads(line) for line in events.read_text().splitlines()]
    assert [event["kind"] for event in written] == ["camera_offline", "camera_recovered"]
    assert "camera_offline (" in capsys.readouterr().err
    wait_until(lambda: (tmp_path / "events.db").exists(), "the store exists")
    with EventStore(tmp_path / "events.db") as store:
        assert len(store.events()) == 2


def test_a_camera_that_an_earlier_run_left_offline_is_reported_as_recovered_once(tmp_path: Path) -> None:
    now_s, sent = time.time(), tmp_path / "sent"
    code = f"import sys; open({str(sent)!r}, 'a').write(sys.argv[1])"
    closed_hours = [time.localtime(now_s + 3600 * k).tm_hour for k in (2, 3)]  # the outage was sent within the schedule
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
    outages = [
        Event(f"old-{name}-c1", EventKind.CAMERA_OFFLINE, name, 9.0, now_s - 3600, duration_s=10.0, reason="lost")
        for name in ("door", "hall")
    ]
    with EventStore(tmp_path / "events.db") as store:
        delivery = Delivery(outages[0], "light", now_s, now_s, Status.DELIVERED)
        store.write(WriteBatch(tuple((event, None) for event in outages), (delivery,)), now_s)
    parts = fake_parts(boxes=(), source=LiveCamera("door"))
    with WatchSession(settings, None, None, parts=parts) as session:
        wait_until(lambda: session.alerts.recent() != (), "the event is raised")
        wait_until(lambda: sent.exists() and sent.read_text() == session.alerts.recent()[0].id, "it is sent")
    (recovered,) = session.alerts.recent()
    assert (recovered.kind, recovered.camera, recovered.resolves) == (EventKind.CAMERA_RECOVERED, "door", "old-door-c1")
    assert recovered.duration_s == pytest.approx(3610, abs=LIMIT_S)
    assert cameras_left_offline(settings.alerts, ["door"]) == []
    assert cameras_left_offline(settings.alerts, ["door", "hall"]) == outages[1:]


def test_without_a_readable_store_no_camera_was_left_offline(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no event file")
    for place in (tmp_path / "none.db", tmp_path / "text", tmp_path):
        assert cameras_left_offline(AlertSettings(store=place), ["door"]) == []
    assert (tmp_path / "text").read_text() == "no event file"


@pytest.mark.parametrize("web", [False, True])
@pytest.mark.parametrize("persist", [False, True])
def test_channels_change_at_run_time_without_losing_an_alert(tmp_path: Path, web: bool, persist: bool) -> None:
    door = LiveCamera("door")

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

    def sent_count(name: str) -> int:
        path = tmp_path / name
        return len(path.read_text().split()) if path.exists() else 0

    parts = fake_parts(boxes=(), source=door)
    with WatchSession(settings_with("first"), None, None, parts=parts) as session:
        wait_until(lambda: session.monitor.views()[0].frame is not None, "a frame")
        door.offline.set()
        wait_until(lambda: sent_count("first") == 1, "the first channel sends")
        assert session.reload(settings_with("second")) == []
        door.offline.clear()
        wait_until(lambda: sent_count("second") == 1, "the second channel sends")
        assert len(session.alerts.recent()) == 2
        if session.web is not None:
            site = session.web.site
            assert [result.channel for result in site.test_channels() or ()] == ["second"]
            assert [channel.name for channel in site.status().delivery.channels] == ["second"]
            wait_until(lambda: len(site.history.events(EventFilter(), 10)) == 2, "the page shows both")
    assert sent_count("first") == 1
    if persist:
        with EventStore(tmp_path / "events.db") as store:
            assert len(store.events()) == 2


def test_an_alert_of_a_muted_camera_starts_no_cooldown(tmp_path: Path) -> None:
    door, faces = LiveCamera("door"), list[Box]()
    parts = fake_parts(load_detector=lambda _: BoxesDetector(lambda _: tuple(faces)), source=door)
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

    def alert_count() -> int:
        return sum(event.kind == "no_mask" for event in session.alerts.recent())

    with WatchSession(settings, None, None, parts=parts) as session:
        assert session.web is not None
        mutes = session.web.site.mutes
        mutes.mute("door", 60)
        faces.append(BOX)
        wait_until(lambda: alert_count() == 1, "an alert that is stored but not sent")
        mutes.unmute("door")
        door.colour = 30  # a change, so that the next pass is not skipped
        faces.append(Box(90, 20, 60, 60))
        wait_until(lambda: alert_count() == 2, "the alert of the next person, within the cooldown")
