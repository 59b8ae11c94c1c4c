"""A browser subscribes to alerts, and gets a test alert."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes_alerts import HttpPeer
from fakes_web import Running, serving

pytest.importorskip("cryptography", reason="needs cryptography: pip install 'maskwatch[push]'")
from fakes_push import Browser, signed_claims

from app.alerts.push_store import PushStore
from app.settings.alerts import PushChannel
from app.web import push

CHANNEL = {"kind": "push", "name": "phones", "contact": "mailto:owner@example.org", "allow_private": True}


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path, alerts={"channels": [CHANNEL]}) as running:
        yield running


def channel_of(running: Running) -> PushChannel:
    channel = running.settings.alerts.channels[0]
    assert isinstance(channel, PushChannel)
    return channel


def subscription(endpoint: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": endpoint, "keys": Browser().keys, **more}


def test_a_device_subscribes_gets_a_test_alert_and_unsubscribes(pushing: Running) -> None:
    browser = Browser()
    with HttpPeer(rest=201).running() as service, pushing.browser() as (client, headers):
        key = client.get("/api/v1/push").json()["key"]
        body = {"endpoint": service.url, "keys": browser.keys, "quiet": ["22:00-06:00"], "urgent": True}
        more = {"timezone": "Europe/Berlin", "language": "de"}
        answer = client.post("/api/v1/push/subscribe", json={**body, **more}, headers=headers)
        assert answer.json() == {"quiet": ["22:00-06:00"], "urgent": True}
        results = client.post("/api/v1/alerts/test", headers=headers).json()["results"]
        assert results == [{"channel": "phones", "ok": True, "error": ""}]
        assert browser.read(service.requests[0])["title"] == "Probealarm"
        assert signed_claims(service.requests[0])[0] == key
        again = client.post("/api/v1/push/subscribe", json={**body, "quiet": None, "urgent": None}, headers=headers)
        assert again.json() == {"quiet": ["22:00-06:00"], "urgent": True}, "what is not given stays"
        device = PushStore(channel_of(pushing).store).devices()[0]
        assert (device.timezone, device.language) == ("Europe/Berlin", "de")
        for removed in (True, False):
            answer = client.post("/api/v1/push/unsubscribe", json={"endpoint": service.url}, headers=headers)
            assert answer.json() == {"removed": removed}
        (result,) = client.post("/api/v1/alerts/test", headers=headers).json()["results"]
        assert "no device is subscribed" in result["error"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, "keys"),
        ({"keys": {**Browser().keys, "auth": "AAAA"}}, "16 bytes"),
        ({"keys": {**Browser().keys, "auth": "ä"}}, "keys"),
        ({"quiet": ["late"]}, "quiet"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"endpoint": "https://push.invalid/x"}, "resolved"),
        ({"endpoint": "x" * 2000}, "endpoint"),
        ({"cameras": ["door"]}, "cameras"),
    ],
)
def test_a_wrong_subscription_is_refused(pushing: Running, changes: dict[str, Any], error: str) -> None:
    with pushing.browser() as (client, headers):
        body = {**subscription("http://127.0.0.1:1/x"), **changes}
        answer = client.post("/api/v1/push/subscribe", json=body, headers=headers)
        assert answer.status_code == 400
        assert error in answer.json()["error"]
    assert PushStore(channel_of(pushing).store).devices() == []


@pytest.mark.parametrize(
    "endpoint", ["https://127.0.0.1/x", "http://93.184.216.34/x", "https://[::1]/x", "file:///etc"]
)
def test_an_endpoint_in_the_own_network_is_refused(tmp_path: Path, endpoint: str) -> None:
    alerts = {"channels": [{**CHANNEL, "allow_private": False}]}
    with serving(tmp_path, alerts=alerts) as running, running.browser() as (client, headers):
        answer = client.post("/api/v1/push/subscribe", json=subscription(endpoint), headers=headers)
        assert answer.status_code == 400
        assert "endpoint" in answer.json()["error"]


def test_without_a_channel_there_is_nothing_to_subscribe_to(running: Running) -> None:
    with running.browser() as (client, headers):
        answers = [
            client.get("/api/v1/push"),
            client.post("/api/v1/push/subscribe", json=subscription("https://push.example/1"), headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [409, 409]
        assert "data-device" not in client.get("/").text


def test_the_page_offers_alerts_and_needs_a_csrf_secret(pushing: Running) -> None:
    with pushing.browser() as (client, _):
        assert "data-device" in client.get("/").text
        answer = client.post("/api/v1/push/subscribe", json=subscription("http://127.0.0.1:1/x"))
        assert answer.status_code == 403


def test_a_device_belongs_to_its_user_and_gets_only_their_cameras(pushing: Running) -> None:
    channel = channel_of(pushing)
    user = SimpleNamespace(name="ann", cameras=frozenset({"yard", "door"}))
    given = push.Subscription.model_validate(subscription("http://127.0.0.1:1/x"))
    push.subscribe(channel, given, user)
    (device,) = PushStore(channel.store).devices()
    assert (device.user, device.cameras) == ("ann", ("door", "yard"))
