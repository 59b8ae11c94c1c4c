"""Reports to an MQTT broker which cameras are online. A last will reports that maskwatch has ended."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.core.errors import MaskwatchError
from app.core.text import slug
from app.core.types import EventKind
from app.settings.alerts import MqttChannel

if TYPE_CHECKING:
    from paho.mqtt.client import Client, MQTTMessageInfo

log = logging.getLogger(__name__)

QOS_AT_LEAST_ONCE = 1
ALERT_KINDS = (EventKind.NO_MASK, EventKind.INCORRECT, EventKind.RESOLVED)
CONNECT_TIMEOUT_S = 2.0
CONNECT_EVERY_S = 10.0
KEEPALIVE_S = 60
STATE_EVERY_S = 60.0
EXPIRE_AFTER_S = 180
"""After this time without a state, Home Assistant shows a camera as unavailable."""
CLOSE_S = 0.5
LOOP_S = 0.02


def discovery(topic: str, camera: str, prefix: str) -> dict[str, str]:
    """Home Assistant's discovery messages for one camera, by topic: an event entity for alerts and a connectivity
    sensor. https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery"""
    site = slug(topic.strip("/").replace("/", "_"))  # join the levels, so that ``slug`` adds no hash for the slashes
    base, unique = f"{topic}/{slug(camera)}", f"{site}_{slug(camera)}"
    common: dict[str, object] = {
        "availability_topic": status_topic(topic),
        "device": {"identifiers": [unique], "name": f"maskwatch {camera}", "manufacturer": "maskwatch"},
    }
    alert = {
        "name": "Mask alert",
        "unique_id": f"{unique}_alert",
        "state_topic": f"{base}/alert",
        "event_types": [kind.value for kind in ALERT_KINDS],
        "icon": "mdi:face-mask",
        **common,
    }
    online = {
        "name": "Camera",
        "unique_id": f"{unique}_camera",
        "state_topic": f"{base}/camera",
        "device_class": "connectivity",
        "expire_after": EXPIRE_AFTER_S,
        **common,
    }
    return {
        f"{prefix}/event/{unique}/alert/config": json.dumps(alert),
        f"{prefix}/binary_sensor/{unique}/camera/config": json.dumps(online),
    }


def status_topic(topic: str) -> str:
    """``online`` or ``offline``, retained: whether maskwatch watches. The payloads are Home Assistant's defaults."""
    return f"{topic}/status"


class MqttSession:
    """A connection with a last will. It announces the cameras when it connects, also after a restart of the broker, and
    when Home Assistant starts. Camera states are not retained: a program that is killed leaves none behind. Has no
    thread: ``refresh`` sends and receives."""

    def __init__(self, channel: MqttChannel, make_client: Callable[[], "Client"]) -> None:
        self._channel = channel
        self._make_client = make_client
        self._client: Client | None = None
        self._sent: list[MQTTMessageInfo] = []  # not acknowledged yet
        self._states: dict[str, str] = {}
        self._is_closed = self._announce_due = False
        self._announced: set[str] = set()
        self._next_connect_s = self._next_state_s = float("-inf")

    def refresh(self, cameras: Mapping[str, bool]) -> None:
        """``cameras``: whether each watched camera is online. Takes a few times ``CONNECT_TIMEOUT_S`` at most."""
        try:
            self._refresh({camera: "ON" if online else "OFF" for camera, online in cameras.items()})
        except (OSError, ValueError, RuntimeError, MaskwatchError) as error:
            log.debug("MQTT session: %s", error)  # alerts report the same fault
            self._drop()

    def _refresh(self, states: dict[str, str]) -> None:
        now_s = time.monotonic()
        if self._client is None:
            if self._is_closed or now_s < self._next_connect_s:
                return
            self._next_connect_s = now_s + CONNECT_EVERY_S
            self._client = self._connect()
        client = self._client
        self._loop(client, lambda: not client.is_connected(), CONNECT_TIMEOUT_S)
        if not client.is_connected():
            self._drop()
            return
        if self._announce_due or set(states) - self._announced:
            self._announce(client, states)
        if states != self._states or now_s >= self._next_state_s:
            self._states, self._next_state_s = states, now_s + STATE_EVERY_S
            for camera, state in states.items():
                self._publish(client, f"{self._channel.topic}/{slug(camera)}/camera", state)
        self._loop(client, lambda: not all(each.is_published() for each in self._sent), CONNECT_TIMEOUT_S)
        self._sent.clear()

    def _connect(self) -> "Client":
        client = self._make_client()
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.will_set(status_topic(self._channel.topic), "offline", QOS_AT_LEAST_ONCE, retain=True)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.connect(self._channel.host, self._channel.port, KEEPALIVE_S)
        return client

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ARG002
        if not reason.is_failure:
            self._announce_due = True
            self._publish(client, status_topic(self._channel.topic), "online", retain=True)
            client.subscribe(f"{self._channel.discovery_prefix}/status", QOS_AT_LEAST_ONCE)

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:  # noqa: ARG002
        if message.payload == b"online":  # Home Assistant has started
            self._announce_due = True

    def _announce(self, client: "Client", states: dict[str, str]) -> None:
        self._announce_due, self._announced, self._states = False, set(states), {}
        for camera in states:
            self._publish(client, f"{self._channel.topic}/{slug(camera)}/camera", "", retain=True)  # of old versions
            if self._channel.discovery:
                for topic, payload in discovery(self._channel.topic, camera, self._channel.discovery_prefix).items():
                    self._publish(client, topic, payload, retain=True)

    def _publish(self, client: "Client", topic: str, payload: str, retain: bool = False) -> None:
        self._sent.append(client.publish(topic, payload, QOS_AT_LEAST_ONCE, retain))

    @staticmethod
    def _loop(client: "Client", is_busy: Callable[[], bool], limit_s: float) -> None:
        """Sends and receives what is there, and at most ``limit_s`` until it is not busy. Raises OSError."""
        end_s = time.monotonic() + limit_s
        code = client.loop(LOOP_S)
        while not code and is_busy() and time.monotonic() < end_s:
            code = client.loop(LOOP_S)
        if code:
            raise OSError(f"the connection was lost (code {code})")

    def _drop(self) -> None:
        client, self._client = self._client, None
        self._sent.clear()
        connection = client.socket() if client is not None else None
        if connection is not None:
            with suppress(OSError):
                connection.close()

    def close(self) -> None:
        """A broker publishes no last will after a regular end, so ``offline`` is published here."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(OSError, ValueError, RuntimeError):
            if client.is_connected():
                sent = client.publish(status_topic(self._channel.topic), "offline", QOS_AT_LEAST_ONCE, retain=True)
                self._loop(client, lambda: not sent.is_published(), CLOSE_S)
            client.disconnect()
