"""What an MQTT broker knows of a watching maskwatch: after a kill, a restart of either side, and a regular end."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes_alerts import LIMIT_S, make_event, mqtt_broker, silent_tcp, wait_until
from fakes_net import free_port
from test_hook_conformance import make_hook

from app.alerts.delivery import AlertCenter
from app.alerts.hook import Alert, AlertHook, SessionHook, make_test_alert
from app.alerts.hooks import mqtt_session
from app.core.types import EventKind
from app.settings.alerts import AlertSettings

ROOT = Path(__file__).resolve().parents[2]
WATCHER = """
import sys, time
sys.path.append("tests")
from fakes_alerts import make_event
from app.alerts.delivery import AlertCenter
from app.settings.alerts import AlertSettings
channel = {"kind": "mqtt", "name": "home", "host": "127.0.0.1", "port": int(sys.argv[2]), "topic": "kill"}
settings = AlertSettings.model_validate({"store": sys.argv[1], "channels": [channel]})
center = AlertCenter(settings, cameras={"door": True})
center.start()
center.submit(make_event())
sys.stdin.read()
"""


@dataclass
class Listener:
    """The messages of a client: (topic, payload, retained)."""

    messages: list[tuple[str, str, bool]] = field(default_factory=list)

    def payloads(self, topic: str) -> list[str]:
        return [payload for name, payload, _ in self.messages if name == topic]


@contextmanager
def listener(port: int, *topics: str) -> Iterator[tuple[Listener, Any]]:
    from paho.mqtt.client import Client, topic_matches_sub
    from paho.mqtt.enums import CallbackAPIVersion

    heard, ready = Listener(), threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)

    def take(_client: object, _data: object, message: Any) -> None:
        if any(topic_matches_sub(each, message.topic) for each in topics):
            heard.messages.append((message.topic, message.payload.decode(), bool(message.retain)))

    client.on_connect = lambda *_: client.subscribe([(topic, 1) for topic in topics])
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(LIMIT_S)
        yield heard, client
    finally:
        client.disconnect()
        client.loop_stop()


def session_hook(**values: object) -> SessionHook:
    hook: AlertHook = make_hook(kind="mqtt", host="127.0.0.1", **values)
    assert isinstance(hook, SessionHook)
    return hook


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_session, "CONNECT_EVERY_S", 0.0)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_after_a_kill_the_broker_says_offline_and_keeps_no_state(store_path: Path, broker_port: int) -> None:
    argv = [sys.executable, "-c", WATCHER, str(store_path), str(broker_port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        listener(broker_port, "kill/#") as (heard, _),
        subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=ROOT, env=environment) as watcher,
    ):
        wait_until(lambda: heard.payloads("kill/events") != [] and "ON" in heard.payloads("kill/door/camera"))
        assert heard.payloads("kill/status") == ["online"]
        watcher.kill()
        wait_until(lambda: heard.payloads("kill/status") == ["online", "offline"])
    with listener(broker_port, "kill/#", "homeassistant/+/kill_door/#") as (later, _):
        wait_until(lambda: len({topic for topic, _, _ in later.messages}) >= 3)
        retained = {topic: payload for topic, payload, _ in later.messages}
    assert retained.pop("kill/status") == "offline"
    assert {topic.split("/")[1] for topic in retained} == {"event", "binary_sensor"}, "no state of a camera or an alert"
    for config in map(json.loads, retained.values()):
        assert config["availability_topic"] == "kill/status"
        assert ("expire_after" in config) is (config["name"] == "Camera")


def test_broker_restart_and_birth_of_home_assistant_announce_everything_again() -> None:
    port = free_port()
    hook = session_hook(port=port, topic="again")
    topics = ("again/#", "homeassistant/+/again_door/#")

    def refresh_until(heard: Listener, topic: str, payload: str, count: int = 1) -> None:
        def is_heard() -> bool:
            hook.refresh({"door": True, "gate": False})
            return heard.payloads(topic).count(payload) >= count

        wait_until(is_heard)

    with mqtt_broker(port), listener(port, *topics) as (heard, _):
        refresh_until(heard, "again/gate/camera", "OFF")
        refresh_until(heard, "again/door/camera", "ON")
    hook.refresh({"door": True, "gate": False})  # the broker is gone
    with mqtt_broker(port), listener(port, *topics) as (heard, client):
        refresh_until(heard, "again/gate/camera", "OFF")
        refresh_until(heard, "again/door/camera", "ON")
        assert heard.payloads("again/status") == ["online"]
        wait_until(lambda: len([topic for topic, _, _ in heard.messages if topic.endswith("/config")]) == 2)
        heard.messages.clear()
        client.publish("homeassistant/status", "online", 1)
        refresh_until(heard, "again/gate/camera", "OFF")
        assert len([topic for topic, _, _ in heard.messages if topic.endswith("/config")]) == 2
        hook.close()
        wait_until(lambda: heard.payloads("again/status") == ["offline"])


def test_state_changes_at_once_and_is_repeated(broker_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = session_hook(port=broker_port, topic="changes")
    with listener(broker_port, "changes/door/camera") as (heard, _):
        for online in (True, True, False, False, True):
            hook.refresh({"door": online})
        wait_until(lambda: [each for each in heard.payloads("changes/door/camera") if each] == ["ON", "OFF", "ON"])
        hook.close()
        monkeypatch.setattr(mqtt_session, "STATE_EVERY_S", 0.0)
        heard.messages.clear()
        hook = session_hook(port=broker_port, topic="changes")
        for _ in range(3):
            hook.refresh({"door": True})
        wait_until(lambda: [each for each in heard.payloads("changes/door/camera") if each] == ["ON"] * 3)
        hook.close()


def test_center_reports_a_camera_that_goes_offline_and_ends_with_offline(store_path: Path, broker_port: int) -> None:
    channel = {"kind": "mqtt", "name": "home", "host": "127.0.0.1", "port": broker_port, "topic": "center"}
    center = AlertCenter(
        AlertSettings.model_validate({"store": store_path, "channels": [channel]}),
        cameras={"door": True, "gate": False},
    )
    with listener(broker_port, "center/#") as (heard, _):
        center.start()
        wait_until(lambda: heard.payloads("center/gate/camera").count("OFF") == 1)
        assert "ON" in heard.payloads("center/door/camera")
        center.submit(make_event(EventKind.CAMERA_OFFLINE))
        wait_until(lambda: "OFF" in heard.payloads("center/door/camera"))
        center.close(LIMIT_S)
        wait_until(lambda: heard.payloads("center/status") == ["online", "offline"])


def test_many_cameras_are_announced_at_once(broker_port: int) -> None:
    """More messages than a client may have in flight."""
    hook, names = session_hook(port=broker_port, topic="many"), [f"cam-{number}" for number in range(40)]
    with listener(broker_port, "many/+/camera", "homeassistant/binary_sensor/+/camera/config") as (heard, _):
        hook.refresh(dict.fromkeys(names, True))
        wait_until(lambda: all(heard.payloads(f"many/{name}/camera")[-1:] == ["ON"] for name in names), 60)
        configs = {topic for topic, _, _ in heard.messages if "/many_cam-" in topic}
        assert len(configs) == 40
        hook.close()


def test_test_alert_does_not_touch_the_status(broker_port: int) -> None:
    hook = make_hook(kind="mqtt", host="127.0.0.1", port=broker_port, topic="untouched")
    with listener(broker_port, "untouched/#") as (heard, _):
        hook.send(make_test_alert("c"))
        hook.send(Alert(make_event(), "c", "key"))
        wait_until(lambda: len(heard.payloads("untouched/events")) == 2)
    assert heard.payloads("untouched/status") == []


def test_session_without_a_broker_neither_raises_nor_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_session, "CONNECT_TIMEOUT_S", 0.2)
    began_s = time.monotonic()
    with silent_tcp() as silent:
        for port in (free_port(), silent):
            hook = session_hook(port=port)
            hook.refresh({"door": True})
            hook.close()
    assert time.monotonic() - began_s < LIMIT_S / 2
