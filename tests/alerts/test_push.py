"""Web push: encryption, signature, who gets which alert, devices that are gone, and addresses that are not allowed."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_alerts import HttpPeer, make_event

pytest.importorskip("cryptography", reason="needs cryptography: pip install 'maskwatch[push]'")
from cryptography.hazmat.primitives.asymmetric import ec
from fakes_push import Browser, signed_claims

from app.alerts.hook import Alert, AlertHook, idempotency_key, make_test_alert
from app.alerts.hooks import push_hook
from app.alerts.push_store import Device, PushStore, from_base64url, to_base64url
from app.alerts.store_types import StoreError
from app.alerts.timeout_hook import build_hook
from app.core.errors import HookError
from app.core.types import EventKind
from app.settings.alerts import AlertSettings, PushChannel

CONTACT = "mailto:owner@example.org"


def channel_in(folder: Path, **values: Any) -> PushChannel:
    channel = {"kind": "push", "name": "phones", "contact": CONTACT, "allow_private": True, "timeout_s": 20, **values}
    (found,) = AlertSettings.model_validate({"store": folder / "events.db", "channels": [channel]}).channels
    assert isinstance(found, PushChannel)
    return found


def alert_of(kind: EventKind = EventKind.NO_MASK, attempt: int = 1, jpeg: bytes | None = None, **event: Any) -> Alert:
    made = make_event(kind, **event)
    return Alert(made, "phones", idempotency_key(made, "phones"), attempt, jpeg)


@pytest.fixture
def service() -> Iterator[HttpPeer]:
    with HttpPeer(rest=201).running() as peer:
        yield peer


def subscribe(folder: Path, endpoint: str, browser: Browser | None = None, **more: Any) -> Device:
    device = Device(endpoint, **(browser or Browser()).keys, **more)
    assert PushStore(channel_in(folder).store).save(device)
    return device


def endpoints(folder: Path) -> list[str]:
    return [device.endpoint for device in PushStore(channel_in(folder).store).devices()]


def test_a_message_is_encrypted_as_the_standard_says() -> None:
    """The example of RFC 8291, section 5."""
    number = int.from_bytes(from_base64url("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
    text = b"When I grow up, I want to be a watermelon"
    encrypted = push_hook.encrypt(
        text,
        from_base64url("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
        from_base64url("BTBZMqHH6r4Tts7J_aSIgg"),
        ec.derive_private_key(number, ec.SECP256R1()),
        from_base64url("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert to_base64url(encrypted) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    number = int.from_bytes(from_base64url("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big")
    browser = Browser(ec.derive_private_key(number, ec.SECP256R1()), from_base64url("BTBZMqHH6r4Tts7J_aSIgg"))
    assert browser.decrypt(encrypted) == text


def test_an_alert_reaches_the_browser_and_is_signed(tmp_path: Path, service: HttpPeer) -> None:
    browser, channel = Browser(), channel_in(tmp_path)
    subscribe(tmp_path, service.url, browser)
    hook = build_hook(channel)
    alert = alert_of(camera="Tür 1", jpeg=b"\xff\xd8")
    hook.send(alert)
    (request,) = service.requests
    message = browser.read(request)
    assert message["title"] == "No mask"
    assert message["text"] == alert.text
    assert (message["camera"], message["event"], message["tag"]) == ("Tür 1", alert.event.id, alert.event.id)
    assert message["at"].endswith("+00:00") or message["at"].endswith("Z")
    assert message["picture"] is True
    assert request.headers["urgency"] == "high"
    assert int(request.headers["ttl"]) == 86_400
    key, claims = signed_claims(request)
    assert claims["aud"] == service.url[: service.url.index("/hook")]
    assert claims["sub"] == CONTACT
    assert time.time() < claims["exp"] <= time.time() + 86_400
    build_hook(channel_in(tmp_path)).send(alert_of(EventKind.RESOLVED))
    assert signed_claims(service.requests[1])[0] == key, "the key is made once"
    resolved = browser.read(service.requests[1])
    assert resolved["picture"] is False
    assert service.requests[1].headers["urgency"] == "normal"


def test_each_device_gets_its_language(tmp_path: Path, service: HttpPeer) -> None:
    browser = Browser()
    for language in ("de", "en", "tlh"):
        subscribe(tmp_path, f"{service.url}/{language}", browser, language=language)
    build_hook(channel_in(tmp_path)).send(alert_of())
    titles = [browser.read(request)["title"] for request in service.requests]
    assert sorted(titles) == ["Keine Maske", "No mask", "No mask"], "an unknown language is English"


def test_the_longest_alert_fits_into_a_message(tmp_path: Path, service: HttpPeer) -> None:
    from dataclasses import replace

    browser = Browser()
    subscribe(tmp_path, service.url, browser)
    event = replace(make_event(camera="\U0001f6aa" * 80), reason="\U0001f6aa" * 2000)
    build_hook(channel_in(tmp_path)).send(Alert(event, "phones", idempotency_key(event, "phones")))
    assert browser.read(service.requests[0])["camera"] == event.camera


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_the_owner_can_read_the_key_and_the_devices(tmp_path: Path) -> None:
    subscribe(tmp_path, "https://push.example/1")
    path = channel_in(tmp_path).store
    assert path == tmp_path / "events.push.db"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_store_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "events.push.db").mkdir()
    with pytest.raises(StoreError, match=r"events\.push\.db"):
        PushStore(channel_in(tmp_path).store).devices()


def test_devices_are_kept_replaced_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.alerts.push_store.MAX_DEVICES", 2)
    store = PushStore(channel_in(tmp_path).store)
    first = subscribe(tmp_path, "https://push.example/1", user="ann", cameras=("door",), quiet=("22:00-06:00",))
    second = subscribe(tmp_path, "https://push.example/2", user="bob", urgent=True, timezone="Europe/Berlin")
    assert store.devices() == [first, second]
    assert not store.save(Device("https://push.example/3", "", ""))
    changed = subscribe(tmp_path, first.endpoint, user="cleo")
    assert store.devices() == [second, changed]
    store.remove_user("bob")
    assert store.devices() == [changed]
    assert [store.remove(first.endpoint), store.remove(first.endpoint)] == [True, False]


def test_a_device_that_unsubscribed_is_removed(tmp_path: Path) -> None:
    with HttpPeer(410, 404, rest=201).running() as gone:
        for number in range(3):
            subscribe(tmp_path, f"{gone.url}/{number}")
        build_hook(channel_in(tmp_path)).send(alert_of())
        assert len(endpoints(tmp_path)) == 1
        build_hook(channel_in(tmp_path)).send(alert_of())
        assert len(gone.requests) == 4


def send(hook: AlertHook, attempt: int, event: Any) -> str:
    """The error of one attempt, '' if it was accepted."""
    try:
        hook.send(Alert(event, "phones", idempotency_key(event, "phones"), attempt))
    except HookError as error:
        return str(error)
    return ""


def test_a_push_service_that_fails_is_retried_alone_and_not_for_ever(tmp_path: Path, service: HttpPeer) -> None:
    """It must not hold back the next alerts of the other devices, and these must not get an alert twice."""
    with HttpPeer(rest=500).running() as broken:
        subscribe(tmp_path, service.url)
        subscribe(tmp_path, broken.url)
        hook, event = build_hook(channel_in(tmp_path)), make_event()
        answers = [send(hook, attempt, event) for attempt in (1, 2, 3)]
        assert [bool(answer) for answer in answers] == [True, True, False]
        assert "1 of 2 devices" in answers[0]
        assert "500" in answers[0]
        assert "token-in-path" not in answers[0], "the endpoint is a secret"
        assert (len(service.requests), len(broken.requests)) == (1, 3)


def test_while_no_device_gets_an_alert_it_is_retried(tmp_path: Path) -> None:
    with HttpPeer(rest=500).running() as broken:
        subscribe(tmp_path, broken.url)
        hook, event = build_hook(channel_in(tmp_path)), make_event()
        assert all(send(hook, attempt, event) for attempt in (1, 2, 3, 4, 9))


def test_a_refused_message_is_not_sent_again(tmp_path: Path, service: HttpPeer) -> None:
    with HttpPeer(rest=403).running() as refusing:
        subscribe(tmp_path, service.url)
        subscribe(tmp_path, refusing.url)
        assert send(build_hook(channel_in(tmp_path)), 1, make_event()) == ""
        assert len(endpoints(tmp_path)) == 2


def test_an_alert_that_all_devices_refuse_does_not_hold_back_the_next_one(tmp_path: Path) -> None:
    with HttpPeer(rest=403).running() as refusing:
        subscribe(tmp_path, refusing.url)
        hook, event = build_hook(channel_in(tmp_path)), make_event()
        assert ["403" in send(hook, attempt, event) for attempt in (1, 2, 3)] == [True, True, False]


def test_a_hanging_push_service_does_not_delay_the_others(tmp_path: Path, service: HttpPeer) -> None:
    with HttpPeer(rest="hang").running() as hanging:
        subscribe(tmp_path, hanging.url)
        subscribe(tmp_path, service.url)
        answer = send(build_hook(channel_in(tmp_path, timeout_s=1)), 1, make_event())
        assert "1 of 2 devices" in answer
        assert "Timeout" in answer
        assert len(service.requests) == 1


NIGHT_S = 1_790_000_000.0 - 1_790_000_000.0 % 86_400 + 3600  # 01:00 UTC


@pytest.mark.parametrize(
    ("device", "kind", "wall_s", "is_sent"),
    [
        ({}, EventKind.NO_MASK, NIGHT_S, True),
        ({"quiet": ("22:00-06:00",)}, EventKind.NO_MASK, NIGHT_S, False),
        ({"quiet": ("22:00-06:00",)}, EventKind.NO_MASK, NIGHT_S + 8 * 3600, True),
        ({"quiet": ("22:00-06:00",), "timezone": "Asia/Tokyo"}, EventKind.NO_MASK, NIGHT_S, True),
        ({"quiet": ("22:00-06:00",)}, EventKind.CAMERA_OFFLINE, NIGHT_S, False),
        ({"quiet": ("22:00-06:00",), "urgent": True}, EventKind.CAMERA_OFFLINE, NIGHT_S, True),
        ({"quiet": ("22:00-06:00",), "urgent": True}, EventKind.NO_MASK, NIGHT_S, False),
        ({"cameras": ("door",)}, EventKind.NO_MASK, NIGHT_S, True),
        ({"cameras": ("hall",)}, EventKind.NO_MASK, NIGHT_S, False),
        ({"cameras": ()}, EventKind.PART_FAILED, NIGHT_S, False),
    ],
)
def test_who_gets_an_alert(
    tmp_path: Path, service: HttpPeer, device: dict[str, Any], kind: EventKind, wall_s: float, is_sent: bool
) -> None:
    subscribe(tmp_path, service.url, **{"timezone": "UTC", **device})
    build_hook(channel_in(tmp_path)).send(alert_of(kind, wall_s=wall_s))
    assert len(service.requests) == int(is_sent)


def test_the_test_alert_tells_the_truth(tmp_path: Path, service: HttpPeer) -> None:
    hook = build_hook(channel_in(tmp_path))
    with pytest.raises(HookError, match="no device is subscribed"):
        hook.send(make_test_alert("phones"))
    browser = Browser()
    subscribe(tmp_path, service.url, browser, quiet=("00:00-24:00",), cameras=("hall",))
    hook.send(make_test_alert("phones"))
    assert browser.read(service.requests[0])["title"] == "Test alert"
    with HttpPeer(rest=403).running() as refusing:
        subscribe(tmp_path, refusing.url)
        with pytest.raises(HookError, match="1 of 2 devices"):
            hook.send(make_test_alert("phones"))


@pytest.mark.parametrize(
    ("endpoint", "address", "reason"),
    [
        ("http://push.example/x", "93.184.216.34", "https"),
        ("https://push.example:8443/x", "93.184.216.34", "without a port"),
        ("https://a:b@push.example/x", "93.184.216.34", "user name"),
        ("https://[::1/x", "::1", "no URL"),
        ("https://push.example/x", "127.0.0.1", "private"),
        ("https://push.example/x", "10.0.0.7", "private"),
        ("https://push.example/x", "169.254.169.254", "private"),
        ("https://push.example/x", "100.64.0.1", "private"),
        ("https://push.example/x", "224.0.0.1", "private"),
        ("https://push.example/x", "::1", "private"),
        ("https://push.example/x", "fe80::1%eth0", "private"),
        ("https://push.example/x", "::ffff:192.168.1.1", "private"),
        ("https://push.example/x", "", "cannot be resolved"),
        ("https://push.example/x", "93.184.216.34", ""),
        ("https://push.example/x", "2606:4700::1111", ""),
    ],
)
def test_an_endpoint_must_not_lead_into_the_own_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, endpoint: str, address: str,
    reason: str,
) -> None:  # fmt: skip
    """Asked for again before each message: the name server could answer otherwise by then."""

    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        if not address:
            raise socket.gaierror("no such name")
        return [(0, 0, 0, "", (address, 443))]

    monkeypatch.setattr(push_hook.socket, "getaddrinfo", resolve)
    if not reason:
        assert push_hook.push_address(endpoint, False) == address
        return
    with pytest.raises(ValueError, match=reason):
        push_hook.push_address(endpoint, False)
    subscribe(tmp_path, endpoint)
    caplog.set_level(logging.DEBUG)
    assert reason in send(build_hook(channel_in(tmp_path, allow_private=False)), 1, make_event())


def test_a_renamed_camera_keeps_its_devices(tmp_path: Path) -> None:
    subscribe(tmp_path, "https://push.example.org/1", cameras=("door", "hall"))
    subscribe(tmp_path, "https://push.example.org/2", cameras=("hall",))
    subscribe(tmp_path, "https://push.example.org/3")
    store = PushStore(channel_in(tmp_path).store)
    before = store.devices()
    store.rename_cameras({"door": "gate"})
    first, *rest = store.devices()
    assert (first.endpoint, first.cameras, first.p256dh) == (before[0].endpoint, ("gate", "hall"), before[0].p256dh)
    assert rest == before[1:]
