"""Publishes alerts over MQTT, with discovery for Home Assistant."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app.alerts.hook import OF_NO_CAMERA, Alert, require
from app.alerts.hooks.mqtt_session import ALERT_KINDS, QOS_AT_LEAST_ONCE, MqttSession, discovery
from app.core.errors import HookError, SettingsError
from app.core.secrets import read_secret
from app.core.text import slug
from app.core.types import EventKind
from app.settings.alerts import MqttChannel

if TYPE_CHECKING:
    from paho.mqtt.client import Client

LOOP_S = 0.1
CAMERA_STATES = {EventKind.CAMERA_OFFLINE: "OFF", EventKind.CAMERA_RECOVERED: "ON"}


class MqttHook:
    """Connects for each alert, because alerts are rare and an idle connection may be lost unnoticed. Success means that
    the broker acknowledged every message. While maskwatch watches, an ``MqttSession`` is connected beside it."""

    def __init__(self, channel: MqttChannel) -> None:
        """Raises HookError if paho-mqtt is not installed, SettingsError if a secret cannot be read."""
        what = f"channel {channel.name!r}"
        require("paho.mqtt.client", "paho-mqtt", what, "alerts")
        self._channel = channel
        self._password = read_secret(f"{what} password", None, channel.password_env, channel.password_file)
        self._client: Client | None = None
        self._session = MqttSession(channel, self._make_client)
        self._aborted = False
        self._refused = ""

    def _messages(self, alert: Alert) -> list[tuple[str, str | bytes, bool]]:
        """The messages as (topic, payload, retained). A test alert has no real camera, so it is only published to the
        events topic: retained messages would create an entity in Home Assistant."""
        event, channel = alert.event, self._channel
        base = f"{channel.topic}/{slug(event.camera)}"
        if alert.is_test:
            return [(f"{channel.topic}/events", alert.to_json(), False)]
        messages: list[tuple[str, str | bytes, bool]] = []
        if channel.discovery and event.kind not in OF_NO_CAMERA:
            messages += [
                (t, p, True) for t, p in discovery(channel.topic, event.camera, channel.discovery_prefix).items()
            ]
        record = alert.record()
        jpeg = record.pop("snapshot_jpeg", None)
        if jpeg is not None and alert.snapshot_jpeg is not None:
            messages.append(
                (f"{base}/snapshot", alert.snapshot_jpeg, False)
            )  # not retained: the broker must not keep images
        if event.kind in CAMERA_STATES:
            messages.append((f"{base}/camera", CAMERA_STATES[event.kind], False))
        if event.kind in ALERT_KINDS:
            messages.append((f"{base}/alert", json.dumps({"event_type": event.kind.value, **record}), False))
        messages.append((f"{channel.topic}/events", json.dumps(record, ensure_ascii=False), False))
        return messages

    def _make_client(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = self._channel.timeout_s
        if self._channel.username is not None:
            client.username_pw_set(self._channel.username, self._password)
        if self._channel.tls:
            try:
                client.tls_set(ca_certs=str(self._channel.ca_file) if self._channel.ca_file else None)
            except (OSError, ValueError) as error:
                raise SettingsError(f"channel {self._channel.name!r}: cannot use ca_file: {error}") from error
        client.on_connect = self._on_connect
        return client

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:  # noqa: ARG002
        if reason.is_failure:
            self._refused = str(reason)

    def send(self, alert: Alert) -> None:
        self._aborted, self._refused = False, ""
        end_s = time.monotonic() + self._channel.timeout_s
        client = self._client = self._make_client()
        try:
            client.connect(self._channel.host, self._channel.port)
            self._loop_until(client.is_connected, client, end_s)
            sent = [
                client.publish(topic, payload, QOS_AT_LEAST_ONCE, retain)
                for topic, payload, retain in self._messages(alert)
            ]
            self._loop_until(lambda: all(each.is_published() for each in sent), client, end_s)
        except (OSError, ValueError, RuntimeError) as error:
            raise HookError(f"{self._broker}: {error or type(error).__name__}") from error
        finally:
            self._client = None
            with suppress(OSError, ValueError):  # the connection is already lost
                client.disconnect()

    def _loop_until(self, done: Any, client: "Client", end_s: float) -> None:
        from paho.mqtt.client import MQTT_ERR_SUCCESS, error_string

        while not done():
            if self._aborted:
                raise HookError(f"{self._broker}: stopped")
            if self._refused:
                raise HookError(f"{self._broker} refused the connection: {self._refused}; check username and password")
            if time.monotonic() >= end_s:
                raise HookError(f"{self._broker}: no answer within {self._channel.timeout_s:g} s")
            code = client.loop(LOOP_S)
            if code != MQTT_ERR_SUCCESS and not self._refused:
                raise HookError(f"{self._broker}: {error_string(code)}")

    @property
    def _broker(self) -> str:
        return f"MQTT broker {self._channel.host}:{self._channel.port}"

    def refresh(self, cameras: Mapping[str, bool]) -> None:
        self._session.refresh(cameras)

    def close(self) -> None:
        self._session.close()

    def abort(self) -> None:
        self._aborted = True
        client = self._client
        connection = client.socket() if client is not None else None
        if connection is not None:
            with suppress(OSError):  # already closed
                connection.close()
