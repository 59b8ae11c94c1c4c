"""One suite over every AlertHook: it delivers, raises HookError without secrets, and respects its time limit."""

import logging
import socket
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from fakes_alerts import HANG_S, LIMIT_S, HttpPeer, make_event, silent_tcp, wait_until
from fakes_nats import nats_server, server_program, stored_messages
from fakes_net import free_port
from pydantic import TypeAdapter

from app.alerts.hook import Alert, AlertHook, idempotency_key
from app.alerts.hooks import plugin_hook
from app.alerts.push_store import Device, PushStore
from app.alerts.timeout_hook import TimeoutHook, build_hook
from app.core import sound
from app.core.errors import HookError
from app.settings.alerts import AlertSettings, Channel, PushChannel

# Apprise imports imghdr, which Python 3.13 removed, and has a replacement.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
SECRET = "s3cr3t-token"
TIMEOUT_S = LIMIT_S
"""The hook's own limit. No test may reach it, even on a slow machine."""
CHANNEL: TypeAdapter[Any] = TypeAdapter(Channel)


def make_alert(jpeg: bytes | None = None) -> Alert:
    event = make_event()
    return Alert(event, "c", idempotency_key(event, "c"), 1, jpeg)


def make_hook(**values: object) -> AlertHook:
    return build_hook(CHANNEL.validate_python({"name": "c", "timeout_s": TIMEOUT_S, **values}))


def short_wav(folder: Path) -> Path:
    """A sound of 20 ms, so that a player that is a script is as slow as a real one."""
    path = folder / "short.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 160))
    return path


class Mailbox:
    """The mails that an SMTP server received."""

    def __init__(self) -> None:
        self.mails: list[str] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:  # noqa: N802
        self.mails.append(envelope.content.decode())
        return "250 accepted"


@dataclass
class HookSetup:
    """A hook whose peer works, fails or hangs, and the number of alerts that the peer received."""

    hook: AlertHook
    received: Callable[[], int]


Opener = Callable[[str, Path, int], Any]


@contextmanager
def webhook(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    plan: dict[str, int | str] = {"works": 200, "fails": 500, "hangs": "hang"}
    with HttpPeer(rest=plan[mode]).running() as peer:
        yield HookSetup(make_hook(kind="webhook", url=f"{peer.url}/{SECRET}"), lambda: len(peer.requests))


@contextmanager
def command(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    script = {"works": 'cat >> "$0"; echo >> "$0"', "fails": "exit 3", "hangs": f"sleep {HANG_S:g}"}[mode]
    out = folder / "received"
    hook = make_hook(kind="command", argv=["sh", "-c", script, str(out), SECRET])
    yield HookSetup(hook, lambda: len(out.read_text().split("\n\n")) - 1 if out.exists() else 0)


@contextmanager
def mqtt(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    with ExitStack() as stack:
        port = {"works": broker_port, "fails": free_port()}.get(mode) or stack.enter_context(silent_tcp())
        received: list[str] = []
        if mode == "works":
            stack.enter_context(subscriber(broker_port, received))
        values = {"kind": "mqtt", "host": "127.0.0.1", "port": port, "topic": f"conformance-{mode}", "discovery": False}
        yield HookSetup(make_hook(**values, username=SECRET), lambda: len(received))


@contextmanager
def subscriber(port: int, received: list[str], topic: str = "conformance-works/events") -> Iterator[None]:
    from paho.mqtt.client import Client, topic_matches_sub
    from paho.mqtt.enums import CallbackAPIVersion

    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.on_subscribe = lambda *_: ready.set()

    def take(_client: object, _data: object, message: Any) -> None:
        if topic_matches_sub(topic, message.topic):  # this broker mixes up the subscriptions of anonymous clients
            received.append(message.payload.decode())

    client.on_message = take
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        assert ready.wait(LIMIT_S)
        yield
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def mail(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    box = Mailbox()
    with ExitStack() as stack:
        port = free_port()
        if mode == "works":
            server = Controller(box, hostname="127.0.0.1", port=port)
            server.start()
            stack.callback(server.stop)
        elif mode == "hangs":
            port = stack.enter_context(silent_tcp())
        from apprise.plugins.email import NotifyEmail

        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(NotifyEmail, "request_rate_per_sec", 0)  # its default pause between two mails is 5.5 s
        url = f"mailto://127.0.0.1:{port}/?from=a@example.org&to=b@example.org&mode=insecure&name={SECRET}"
        yield HookSetup(make_hook(kind="apprise", url=f"{url}&rto={LIMIT_S:g}&cto={LIMIT_S:g}"), lambda: len(box.mails))


@contextmanager
def loudspeaker(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    """The player is a script, because test machines have no loudspeaker."""
    script = {"works": f'wc -c < "$1" >> {folder}/played; sleep 0.02', "fails": "exit 1", "hangs": f"sleep {HANG_S:g}"}[
        mode
    ]
    player = folder / f"player-{SECRET}"
    player.write_text(f"#!/bin/sh\n{script}\n")
    player.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setattr(sound, "PLAYERS", ((str(player),),))
    patch.setattr(sound, "output_fault", lambda: "")
    try:
        yield HookSetup(make_hook(kind="sound", file=short_wav(folder)), lambda: len(_lines(folder / "played")))
    finally:
        patch.undo()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@contextmanager
def nats_stream(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    server_program()
    from app.fleet.keys import credentials_text, new_key

    credentials = folder / "site.creds"
    credentials.write_text(credentials_text(SECRET, new_key("user"), ""))
    with ExitStack() as stack:
        port = free_port()
        if mode == "works":
            port = stack.enter_context(nats_server(folder))
        elif mode == "hangs":
            port = stack.enter_context(silent_tcp())
        hook = make_hook(kind="nats", url=f"nats://127.0.0.1:{port}", site="hall", creds_file=credentials)
        yield HookSetup(hook, lambda: stored_messages(port))


@contextmanager
def browsers(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    pytest.importorskip("cryptography")
    from fakes_push import Browser

    plan: dict[str, int | str] = {"works": 201, "fails": 500, "hangs": "hang"}
    with HttpPeer(rest=plan[mode]).running() as peer:
        values = {"kind": "push", "name": "c", "contact": "mailto:a@b.example", "allow_private": True}
        values |= {"timeout_s": TIMEOUT_S}
        settings = AlertSettings.model_validate({"store": folder / "events.db", "channels": [values]})
        (channel,) = settings.channels
        assert isinstance(channel, PushChannel)
        PushStore(channel.store).save(Device(f"{peer.url}/{SECRET}", **Browser().keys))
        yield HookSetup(build_hook(channel), lambda: len(peer.requests))


@contextmanager
def plugin(mode: str, folder: Path, broker_port: int) -> Iterator[HookSetup]:
    received: list[Alert] = []
    go = threading.Event()

    def factory(token: str) -> Callable[[Alert], None]:
        assert token == SECRET

        def notify(alert: Alert) -> None:
            if mode == "fails":
                raise ConnectionError("no connection")
            if mode == "hangs":
                assert go.wait(HANG_S)
            received.append(alert)

        return notify

    point = EntryPoint("mine", "test:factory", plugin_hook.GROUP)
    patch = pytest.MonkeyPatch()
    patch.setattr(plugin_hook, "entry_points", lambda group: [point] if group == plugin_hook.GROUP else [])
    patch.setattr(EntryPoint, "load", lambda _: factory)
    try:
        yield HookSetup(make_hook(kind="plugin", plugin="mine", options={"token": SECRET}), lambda: len(received))
    finally:
        go.set()
        patch.undo()


OPENERS: list[Opener] = [webhook, command, mqtt, mail, loudspeaker, nats_stream, browsers, plugin]
each_hook = pytest.mark.parametrize("opener", OPENERS, ids=lambda opener: str(opener.__name__))


@each_hook
def test_hook_delivers_each_alert_once(opener: Opener, tmp_path: Path, broker_port: int) -> None:
    with opener("works", tmp_path, broker_port) as setup:
        for number in range(1, 4):
            TimeoutHook(setup.hook, LIMIT_S).send(make_alert(b"\xff\xd8\xff\xd9jpeg" if number == 3 else None))
            wait_until(lambda number=number: setup.received() == number)  # type: ignore[misc]


@each_hook
def test_failure_raises_hook_error_in_one_line_without_secrets(
    opener: Opener, tmp_path: Path, broker_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with opener("fails", tmp_path, broker_port) as setup:
        timeout_hook = TimeoutHook(setup.hook, LIMIT_S)
        for _ in range(2):
            with pytest.raises(HookError) as caught:
                timeout_hook.send(make_alert())
            message = str(caught.value)
            assert message
            assert "\n" not in message
            if opener is not loudspeaker:  # the name of its player contains the secret
                assert SECRET not in message
    assert timeout_hook.stuck is None
    assert SECRET not in caplog.text


@each_hook
def test_hanging_peer_raises_at_the_time_limit(opener: Opener, tmp_path: Path, broker_port: int) -> None:
    with opener("hangs", tmp_path, broker_port) as setup:
        timeout_hook = TimeoutHook(setup.hook, 0.3)
        began_s = time.monotonic()
        with pytest.raises(HookError, match=r"0\.3 s|longer"):
            timeout_hook.send(make_alert())
        assert time.monotonic() - began_s < LIMIT_S / 2  # far from the hook's own limit
    wait_until(lambda: timeout_hook.stuck is None)


@each_hook
def test_abort_ends_send_from_another_thread(opener: Opener, tmp_path: Path, broker_port: int) -> None:
    with opener("hangs", tmp_path, broker_port) as setup:
        timeout_hook = TimeoutHook(setup.hook, HANG_S)
        errors: list[HookError] = []

        def send() -> None:
            try:
                timeout_hook.send(make_alert())
            except HookError as error:
                errors.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        wait_until(lambda: timeout_hook.stuck is not None)
        timeout_hook.abort()
        thread.join(LIMIT_S / 2)
        assert not thread.is_alive()
        assert len(errors) == 1


def test_refused_connection_names_the_peer() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(HookError, match=f"127.0.0.1:{port}"):
            make_hook(kind="mqtt", host="127.0.0.1", port=port).send(make_alert())
