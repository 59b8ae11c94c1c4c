"""Subjects and credentials of a fleet, and a connection that is lost. Needs no server."""

import socket
import threading
import time
from pathlib import Path

import pytest
from fakes_alerts import LIMIT_S, make_event
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.hook import Alert, idempotency_key
from app.alerts.hooks.nats_hook import NatsHook
from app.alerts.nats_client import name_in, read_credentials, subject_of
from app.core.errors import HookError, SettingsError
from app.settings.alerts import AlertSettings, NatsChannel
from app.settings.load import load_settings

TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=80)


@given(TEXT)
def test_a_subject_keeps_every_name_in_one_token(name: str) -> None:
    subject = subject_of("event", "hall", name)
    assert name_in(subject) == ("event", "hall", name)
    assert len(subject.split(".")) == 4
    assert subject.isascii()
    assert not set(subject) & set(" *>\r\n\t\0")


def test_different_names_have_different_subjects() -> None:
    names = ["door 1", "door_1", "door.1", "door%201", "Door 1", "дверь", "*", ">"]
    assert len({subject_of("event", "hall", name) for name in names}) == len(names)
    assert subject_of("event", "hall", "door 1.a") == "mw.event.hall.door%201%2Ea"


@pytest.mark.parametrize("subject", ["mw.event.hall", "mw.event.hall.a.b", "x.event.hall.a", "mw.event.hall.%FF", ""])
def test_another_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"subject|decode"):
        name_in(subject)


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN USER NKEY SEED-----\nSUAA\n-----END USER NKEY SEED-----"])
def test_a_file_that_is_no_credentials_is_refused_without_its_content(content: str, tmp_path: Path) -> None:
    path = tmp_path / "site.creds"
    path.write_text(content)
    with pytest.raises(SettingsError) as caught:
        read_credentials(path)
    assert str(path) in str(caught.value)
    assert "SUAA" not in str(caught.value)


CHANNEL = {"kind": "nats", "name": "hub", "url": "tls://hub:7422", "site": "hall"}


def test_a_picture_leaves_the_site_only_if_asked_for_and_blurred() -> None:
    assert not AlertSettings.model_validate({"channels": [CHANNEL], "snapshots": "blur_all"}).channels[0].snapshot
    asked = {"channels": [{**CHANNEL, "snapshot": True}]}
    for snapshots in ("off", "blur_others"):
        with pytest.raises(ValueError, match="set snapshots to"):
            AlertSettings.model_validate({**asked, "snapshots": snapshots})
    assert AlertSettings.model_validate({**asked, "snapshots": "blur_all"}).channels[0].snapshot


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "http://hub"}, "url"),
        ({"url": "tls://user:word@hub"}, "url"),
        ({"site": "a.b"}, "site"),
        ({"site": ">"}, "site"),
        ({"site": ""}, "site"),
    ],
)
def test_a_channel_with_an_unusable_address_or_site_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(None, {"alerts": {"channels": [{**CHANNEL, **change}]}})


FLEET = {"hub": "tls://hub:7422", "site": "hall", "creds_file": "/hall.creds"}


def test_a_fleet_adds_its_channel_unless_there_is_one() -> None:
    assert load_settings(None, {}).alerts.channels == ()
    (added,) = load_settings(None, {"fleet": FLEET}).alerts.channels
    assert (added.name, added.snapshot) == ("fleet", False)
    own = load_settings(None, {"fleet": FLEET, "alerts": {"channels": [CHANNEL]}})
    assert [channel.name for channel in own.alerts.channels] == ["hub"]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"fleet": {"hub": "tls://hub:7422"}}, "needs creds_file"),
        ({"fleet": {**FLEET, "hub": "nats://hub:7422"}}, "fleet.hub"),
        ({"fleet": {**FLEET, "node": "a b"}}, "fleet.node"),
        ({"fleet": FLEET, "alerts": {"channels": [{"kind": "sound", "name": "fleet"}]}}, "called 'fleet'"),
    ],
)
def test_a_fleet_that_cannot_work_is_refused(tables: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(None, tables)


def test_a_connection_that_is_lost_ends_the_attempt() -> None:
    """The server takes the alert and ends the connection, as at its restart."""
    pytest.importorskip("nats", reason="needs maskwatch[fleet]")
    event = make_event()

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer, peer.makefile("rwb", buffering=0) as stream:
            stream.write(b'INFO {"server_id":"x","max_payload":1048576,"headers":true}\r\n')
            while not (line := stream.readline()).startswith(b"HPUB"):
                if line.startswith(b"PING"):
                    stream.write(b"PONG\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
        hook = NatsHook(NatsChannel(kind="nats", name="hub", url=url, site="hall", timeout_s=LIMIT_S))
        start_s = time.monotonic()
        with pytest.raises(HookError, match="NATS server"):
            hook.send(Alert(event, "hub", idempotency_key(event, "hub"), 1, None))
        assert time.monotonic() - start_s < 0.5 * LIMIT_S
        server.join()
