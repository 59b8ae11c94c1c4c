"""Behaviour of the built-in hooks that the conformance suite does not cover."""

import hashlib
import hmac
import json
import re
import socket
import sys
import threading
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes_alerts import HANG_S, LIMIT_S, HttpPeer, make_event, wait_until
from test_hook_conformance import make_alert, make_hook, short_wav, subscriber

from app.alerts.event_records import event_record
from app.alerts.hook import Alert, RetryLater, make_test_alert
from app.alerts.hooks.mqtt_session import discovery
from app.alerts.hooks.webhook_hook import signature
from app.alerts.timeout_hook import TimeoutHook
from app.core import sound
from app.core.errors import HookError, SettingsError
from app.core.text import slug
from app.core.types import EventKind
from app.settings.alerts import PLACEHOLDERS, AlertSettings
from app.settings.monitor import PolicySettings

# Apprise imports imghdr, which Python 3.13 removed, and has a replacement.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def test_webhook_sends_key_headers_and_signature(http_peer: HttpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "shared secret")
    monkeypatch.setenv("HOOK_TOKEN", "Bearer xyz")
    hook = make_hook(
        kind="webhook",
        url=http_peer.url,
        secret_env="HOOK_SECRET",
        headers={"X-Place": "hall"},
        headers_env={"Authorization": "HOOK_TOKEN"},
    )
    alert = make_alert(b"jpeg")
    hook.send(alert)
    (request,) = http_peer.requests
    assert request.headers["idempotency-key"] == alert.idempotency_key
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-place"] == "hall"
    assert request.headers["authorization"] == "Bearer xyz"
    signed = request.headers["x-maskwatch-timestamp"].encode() + b"." + request.body
    expected = "sha256=" + hmac.new(b"shared secret", signed, hashlib.sha256).hexdigest()
    assert request.headers["x-maskwatch-signature"] == expected
    body = json.loads(request.body)
    assert body.items() >= event_record(alert.event).items()
    assert body["snapshot_jpeg"] == "anBlZw=="


def test_a_token_with_a_line_break_at_its_end_is_sent_without_it(
    http_peer: HttpPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets of clusters often have one. The error of the HTTP library then showed the token in log and event file."""
    monkeypatch.setenv("HOOK_TOKEN", "Bearer xyz\n")
    make_hook(kind="webhook", url=http_peer.url, headers_env={"Authorization": "HOOK_TOKEN"}).send(make_alert())
    assert http_peer.requests[0].headers["authorization"] == "Bearer xyz"


@pytest.mark.parametrize("token", ["Bearer top\nsecret", "Bearer töpsecret"])
def test_a_token_that_cannot_be_sent_is_named_but_not_shown(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", token)
    with pytest.raises(SettingsError, match="the value of the header Authorization has a line break or") as caught:
        make_hook(kind="webhook", url="http://127.0.0.1/", headers_env={"Authorization": "HOOK_TOKEN"})
    assert "psecret" not in str(caught.value)


def test_webhook_encodes_non_ascii_camera_names(http_peer: HttpPeer) -> None:
    hook = make_hook(kind="webhook", url=http_peer.url)
    for key in ("run-Tür-1:desk", "run-100% door-1:desk"):
        hook.send(Alert(make_event(), "desk", key))
    assert http_peer.keys() == ["run-T%C3%BCr-1:desk", "run-100% door-1:desk"]
    assert json.loads(http_peer.requests[0].body)["idempotency_key"] == "run-Tür-1:desk"


def test_webhook_with_a_slow_response_ends_at_the_total_limit() -> None:
    with HttpPeer(rest="trickle").running() as peer:
        timeout_hook = TimeoutHook(make_hook(kind="webhook", url=peer.url), 0.5)  # each single read is fast
        began_s = time.monotonic()
        with pytest.raises(HookError, match=r"no answer within 0\.5 s"):
            timeout_hook.send(make_alert())
        assert time.monotonic() - began_s < LIMIT_S / 2
        wait_until(lambda: timeout_hook.stuck is None)


def test_webhook_respects_retry_after_and_reports_the_response() -> None:
    with HttpPeer("busy", 401, 301).running() as peer:
        hook = make_hook(kind="webhook", url=peer.url)
        with pytest.raises(RetryLater, match="answered 503") as caught:
            hook.send(make_alert())
        assert caught.value.pause_s == 1.0
        for status in (401, 301):
            with pytest.raises(HookError, match=f"answered {status}: text"):
                hook.send(make_alert())


def test_the_answer_of_a_webhook_is_readable() -> None:
    page = b"<html><head><title>x</title><style>p {}</style></head><body><h1>Out of <b>order</b></h1>\n<p>later</p>"
    with HttpPeer(500, 302).running() as peer:
        peer.text = page
        hook = make_hook(kind="webhook", url=peer.url)
        with pytest.raises(HookError, match=r"answered 500: Out of order later$"):
            hook.send(make_alert())
        peer.text = b""
        with pytest.raises(HookError, match=r"answered 302: a redirect; redirects are not followed, so use the new"):
            hook.send(make_alert())


def test_a_broken_page_of_a_webhook_holds_nothing_up() -> None:
    """Regression: 60 kB of unclosed tags were searched for 7 s, and all other threads waited."""
    with HttpPeer(500).running() as peer:
        peer.text = b"Gone" + b"<title>" * 9000
        started_s = time.process_time()
        with pytest.raises(HookError, match=r"answered 500: Gone$"):
            make_hook(kind="webhook", url=peer.url).send(make_alert())
        assert time.process_time() - started_s < 2.0


def test_the_reason_of_a_mail_server_is_shown() -> None:
    """Regression: a server that took the mail and then refused it was "Sending email failed" without a reason."""
    pytest.importorskip("apprise")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse_mail, args=(listener,))
        thread.start()
        url = f"mailto://127.0.0.1:{listener.getsockname()[1]}/?from=a@example.org&to=b@example.org&mode=insecure"
        with pytest.raises(HookError, match=r"The server answered 554: 5\.7\.1 rejected as spam"):
            make_hook(kind="apprise", url=url).send(make_alert())
        thread.join(LIMIT_S)


def refuse_mail(listener: socket.socket) -> None:
    """An SMTP server that refuses one mail after it was sent."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rwb") as lines:
        answer, in_mail = b"220 ready", False
        while answer:
            lines.write(answer + b"\r\n")
            lines.flush()
            line = lines.readline()
            while in_mail and line not in (b"", b".\r\n"):
                line = lines.readline()
            answer = (
                b"554 5.7.1 rejected as spam" if in_mail else b"354 go on" if line.upper() == b"DATA\r\n" else b"250 ok"
            )
            in_mail = answer.startswith(b"354")
            if line in (b"", b"quit\r\n", b"QUIT\r\n"):
                answer = b""


@pytest.mark.parametrize("where", ["path", "query", "user"])
def test_webhook_error_contains_no_secret_of_the_url(where: str) -> None:
    secret = "v3ry-s3cret"
    with HttpPeer(rest="close").running() as peer:
        host = f"127.0.0.1:{peer.server_address[1]}"
        url = {
            "path": f"http://{host}/{secret}",
            "query": f"http://{host}/?key={secret}",
            "user": f"http://me:{secret}@{host}/",
        }
        hook = make_hook(kind="webhook", url=url[where])
        with pytest.raises(HookError, match=host) as caught:
            hook.send(make_alert())
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_webhook_without_its_certificate_file_raises(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ca_file"):
        make_hook(kind="webhook", url="https://127.0.0.1:1/", ca_file=tmp_path / "absent.pem")


def test_mqtt_publishes_home_assistant_discovery(broker_port: int) -> None:
    received: list[str] = []
    hook = make_hook(kind="mqtt", host="127.0.0.1", port=broker_port, topic="site/mask")
    alert = Alert(make_event(camera="Front door"), "c", "key-1")
    offline = Alert(make_event(EventKind.CAMERA_OFFLINE, "Front door"), "c", "key-2")
    state: list[str] = []
    with (
        subscriber(broker_port, received, "site/mask/Front_door/alert"),
        subscriber(broker_port, state, "site/mask/Front_door/camera"),
    ):
        hook.send(alert)
        hook.send(offline)
        wait_until(lambda: len(received) == 1)
        wait_until(lambda: set(state) == {"OFF"})
    message = json.loads(received[0])
    assert message["event_type"] == "no_mask"
    assert message["idempotency_key"] == "key-1"
    retained: list[str] = []
    with subscriber(broker_port, retained, "homeassistant/+/site_mask_Front_door/#"):
        wait_until(lambda: len(set(retained)) == 2)
    configs = {config["name"]: config for config in map(json.loads, retained)}
    assert configs["Mask alert"]["state_topic"] == "site/mask/Front_door/alert"
    assert "no_mask" in configs["Mask alert"]["event_types"]
    assert configs["Camera"]["device_class"] == "connectivity"
    left: list[str] = []
    with (
        subscriber(broker_port, left, "site/mask/#"),
        subscriber(broker_port, retained, "homeassistant/+/site_mask_Front_door/#"),
    ):
        wait_until(lambda: len(retained) >= 4)
    assert left == [], "no state is retained"


def test_test_alert_is_marked_and_not_retained_by_the_broker(broker_port: int) -> None:
    trial = make_test_alert("c")
    assert (trial.title, trial.record()["is_test"]) == ("Test alert", True)
    assert "no real event" in trial.text
    received: list[str] = []
    hook = make_hook(kind="mqtt", host="127.0.0.1", port=broker_port, topic="trial", discovery_prefix="trial-found")
    with subscriber(broker_port, received, "trial/#"):
        hook.send(trial)
        wait_until(lambda: len(received) == 1)
    assert json.loads(received[0])["is_test"] is True
    retained: list[str] = []
    with subscriber(broker_port, retained, "trial-found/#"):
        hook.send(Alert(make_event(camera="hall"), "c", "key-9"))
        wait_until(lambda: len(retained) == 2)
    assert all("hall" in config for config in retained), "no entity for the camera of a test alert"


def test_resolved_event_contains_the_reason() -> None:
    alert = Alert(replace(make_event(), kind=EventKind.RESOLVED, reason="mask"), "c", "key")
    assert alert.text.endswith(" - mask on")
    assert alert.record()["reason"] == "mask"


def test_alert_for_a_crowd_contains_the_number_of_people(tmp_path: Path) -> None:
    alert = Alert(replace(make_event(), people=7), "c", "key")
    assert alert.text == "No mask at door (7 people, for 2 s)"
    output = tmp_path / "output"
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    make_hook(kind="command", argv=[sys.executable, "-c", code, str(output), "{people}"]).send(alert)
    assert output.read_text() == "7"


def test_alerts_name_their_zone_and_how_many_are_inside() -> None:
    assert Alert(replace(make_event(), zone="ward"), "c", "key").text.startswith("No mask at door, ward (person")
    full = replace(make_event(EventKind.OCCUPANCY_REACHED), people=9, reason="9 inside, the limit is 9")
    assert Alert(full, "c", "key").text == "Occupancy limit reached at door - 9 inside, the limit is 9"


def test_mqtt_names_are_unique_and_safe_in_topics() -> None:
    names = ("入口", "出口", "Вход", "Выход", "Tür 1", "Tör 1", "rtsp://a/b #+", "###", "++", "a  b", "a+b")
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+_[0-9a-f]{6}", each) for each in slugs), slugs
    assert slugs[0] == slug("入口")
    assert not set(discovery("a", "Вход", "ha")) & set(discovery("a", "Выход", "ha"))


def test_mqtt_topics_of_simple_names_have_no_hash() -> None:
    kept = {"door": "door", "Front door": "Front_door", "gate-2_b": "gate-2_b", "10.0.0.7-stream1": "10_0_0_7-stream1"}
    assert {name: slug(name) for name in kept} == kept
    topics = discovery("site/a", "door", "ha")
    assert set(topics) == {"ha/event/site_a_door/alert/config", "ha/binary_sensor/site_a_door/camera/config"}


def test_apprise_error_for_an_unsupported_url_does_not_contain_it() -> None:
    with pytest.raises(SettingsError, match="does not know") as caught:
        make_hook(kind="apprise", url="nosuchservice://token-secret@host")
    assert "token-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["tg://t0ken-secret/7", "pbul://o.t0ken-secret", "slack://t0ken-secret/B1234567/abcdefgh", "ntfy://t0ken-secret"],
)
def test_apprise_errors_do_not_show_a_token_in_the_place_of_the_host(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only few services have a host there; it is shown for these."""
    pytest.importorskip("apprise")
    monkeypatch.setattr("apprise.NotifyBase.notify", lambda *_, **__: False)
    with pytest.raises((SettingsError, HookError)) as caught:
        make_hook(kind="apprise", url=url).send(make_alert())
    assert "t0ken-secret" not in str(caught.value)
    assert url.partition(":")[0] in str(caught.value)
    with pytest.raises(HookError, match=r"mailto://mail\.invalid"):
        make_hook(kind="apprise", url="mailto://u:p@mail.invalid").send(make_alert())


def test_missing_package_raises_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("paho", "paho.mqtt", "paho.mqtt.client", "apprise"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(HookError, match=r"needs the package paho-mqtt; install it: pip install 'maskwatch\[alerts\]'"):
        make_hook(kind="mqtt", host="127.0.0.1")
    with pytest.raises(HookError, match="needs the package apprise"):
        make_hook(kind="apprise", url="json://127.0.0.1")


def test_sound_without_player_or_file_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "PLAYERS", (("no-such-player",),))
    with pytest.raises(HookError, match="install one of no-such-player"):
        make_hook(kind="sound").send(make_alert())
    with pytest.raises(HookError, match="no sound file"):
        make_hook(kind="sound", file=tmp_path / "absent.wav").send(make_alert())
    with pytest.raises(HookError, match="no sound file"):
        make_hook(kind="sound", file=tmp_path / ("x" * 300)).send(make_alert())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows plays without a program")
def test_sound_is_sent_only_if_it_was_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def players(*scripts: str) -> None:
        commands = []
        for number, script in enumerate(scripts):
            player = tmp_path / f"player{number}"
            player.write_text(f"#!/bin/sh\n{script}\n")
            player.chmod(0o700)
            commands.append((str(player),))
        monkeypatch.setattr(sound, "PLAYERS", tuple(commands))

    monkeypatch.setattr(sound, "output_fault", lambda: "")
    players("exit 0")
    with pytest.raises(HookError, match=r"played nothing: it ended after .* but the sound lasts 0.5 s"):
        make_hook(kind="sound").send(make_alert())
    hook = make_hook(kind="sound", file=short_wav(tmp_path))
    players("echo 'No more combinations to try, audio open failed' >&2")
    with pytest.raises(HookError, match="played nothing: it reports: No more combinations"):
        hook.send(make_alert())
    players("exit 7", "echo cannot connect >&2")
    with pytest.raises(HookError, match=r"ended with code 7; .*cannot connect"):
        hook.send(make_alert())
    players("exit 7", "sleep 0.02")  # the second one has a server
    hook.send(make_alert())
    monkeypatch.setattr(sound, "output_fault", lambda: "no audio device: nowhere")
    with pytest.raises(HookError, match="no audio device"):
        hook.send(make_alert())


def test_hanging_hook_leaves_only_one_thread() -> None:
    go = threading.Event()

    class Hook:
        def send(self, alert: Alert) -> None:
            assert go.wait(HANG_S)

        def abort(self) -> None:
            """Has no effect."""

    before = threading.active_count()
    timeout_hook = TimeoutHook(Hook(), 0.02)
    for _ in range(5):
        with pytest.raises(HookError):
            timeout_hook.send(make_alert())
    assert threading.active_count() == before + 1
    go.set()


def test_plugin_in_the_documentation_works() -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    code = next(block for block in text.split("```python\n")[1:] if block.startswith("# mylamp.py")).split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "mylamp.py", "exec"), names)
    alert = make_alert()
    with socket.create_server(("127.0.0.1", 0)) as lamp:
        names["make"](host="127.0.0.1", port=lamp.getsockname()[1])(alert)
        connection, _ = lamp.accept()
        with connection:
            assert connection.makefile().readline() == f"red {alert.idempotency_key}\n"


def test_signature_check_in_the_documentation_works() -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    code = next(block for block in text.split("```python\n")[1:] if "def is_ours" in block).split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs", "exec"), names)
    stamp = str(int(time.time()))
    headers = {"X-Maskwatch-Timestamp": stamp, "X-Maskwatch-Signature": signature("s", stamp, b"body")}
    assert names["is_ours"](headers, b"body", b"s")
    assert not names["is_ours"](headers, b"other", b"s")
    assert not names["is_ours"](headers, b"body", b"t")


def test_settings_in_the_documentation_are_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    policy, channels = (tomllib.loads(part.split("```")[0]) for part in text.split("```toml\n")[1:3])
    assert len(AlertSettings.model_validate(channels["alerts"]).channels) == 6
    shown = PolicySettings.model_validate(policy["policy"])
    assert shown.model_fields_set == set(PolicySettings.model_fields), "the documentation must show every setting"
    assert shown == PolicySettings()


def test_documentation_names_every_field_and_placeholder() -> None:
    text = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    assert {name for name in make_alert().record() if f"`{name}`" not in text} == set()
    assert {name for name in PLACEHOLDERS if f"{{{name}}}" not in text} == set()
