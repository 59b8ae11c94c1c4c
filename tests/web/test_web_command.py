"""The command ``watch --web``, its settings, and mutes."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fakes_web import LIMIT_S, make_event

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.hook import Alert
from app.alerts.mutes import MAX_MUTE_S, Mutes
from app.alerts.store_types import Status
from app.cli.main import build_parser, main
from app.cli.watch import settings_of
from app.core.types import EventKind
from app.settings.alerts import AlertSettings

DEMO = ("watch", "--headless", "--source", "demo", "--fast")


def error_line(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one error line of a command that must fail."""
    before = set(threading.enumerate())
    assert main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert set(threading.enumerate()) <= before, "no thread survives"
    return lines[0]


def test_a_network_address_needs_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--web-token-file" in error_line(capsys, *DEMO, "--web", "0.0.0.0:0")
    assert "NO_SUCH_VARIABLE" in error_line(capsys, *DEMO, "--web", "--web-token-env", "NO_SUCH_VARIABLE")
    assert "HOST:PORT" in error_line(capsys, *DEMO, "--web", "here:there")


def test_flags_override_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[web]\nhost = '::1'\nport = 9000\nmax_fps = 5\n")

    def web(*flags: str) -> tuple[bool, str, int]:
        settings = settings_of(build_parser().parse_args([*DEMO, "--config", str(file), *flags])).web
        return settings.enabled, settings.host, settings.port

    assert web() == (False, "::1", 9000)
    assert web("--web") == (True, "::1", 9000)
    assert web("--web", "9001") == (True, "::1", 9001)
    assert web("--web", "127.0.0.1:0") == (True, "127.0.0.1", 0)


def test_errors_of_settings_name_the_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for text, expected in (
        ("token = 'in clear'", "web.token"),
        ("token_env = 'A'\ntoken_file = 'b'", "not both"),
        ("tls_cert = 'a'", "belong together"),
        ("port = 99999", "web.port"),
    ):
        file.write_text(f"[web]\n{text}\n")
        line = error_line(capsys, *DEMO, "--config", str(file))
        assert expected in line
        assert "in clear" not in line


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "jinja2", "prometheus_client"])
def test_a_missing_package_gives_one_error_line(missing: str) -> None:
    argv = [*DEMO, "--web"]
    code = f"import sys; sys.modules[{missing!r}] = None; from app.cli.main import main; sys.exit(main({argv}))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert missing in lines[0]
    assert "maskwatch[web]" in lines[0]


def test_without_the_flag_no_web_package_is_imported() -> None:
    names = ("starlette", "uvicorn", "jinja2", "prometheus_client")
    code = f"import sys, app.cli.watch_session, app.settings.root; print([n for n in {names} if n in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_a_run_with_the_web_view_prints_its_url_and_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = set(threading.enumerate())
    assert main([*DEMO, "--web", "127.0.0.1:0", "--events", str(tmp_path / "events.jsonl")]) == 0
    assert re.search(r"web view: http://127\.0\.0\.1:\d+/", capsys.readouterr().err)
    assert set(threading.enumerate()) <= before


def test_mutes_expire_and_are_bounded() -> None:
    now_s = [1000.0]
    mutes = Mutes(lambda: now_s[0], lambda: now_s[0])
    assert mutes.mute("door", 60) == 1060
    assert mutes.hold_back(make_event(1))
    assert not mutes.hold_back(make_event(2, camera="yard"))
    now_s[0] = 1060
    assert mutes.until_s("door") is None
    assert not mutes.hold_back(make_event(3))
    assert mutes.mute("door", 1e9) == 1060 + MAX_MUTE_S
    for number in range(5000):
        mutes.hold_back(make_event(number))
    assert len(mutes.muted_alerts) <= 1000


@pytest.mark.parametrize("set_s", [-86_400.0, 86_400.0])
def test_setting_the_wall_clock_does_not_change_a_mute(set_s: float) -> None:
    now_s, wall_s = [50.0], [1_700_000_000.0]
    mutes = Mutes(lambda: now_s[0], lambda: wall_s[0])
    mutes.mute("door", 900)
    now_s[0], wall_s[0] = now_s[0] + 600, wall_s[0] + 600 + set_s
    assert mutes.until_s("door") == wall_s[0] + 300, "the displayed time follows the wall clock"
    now_s[0], wall_s[0] = now_s[0] + 300, wall_s[0] + 300
    assert mutes.until_s("door") is None
    assert not mutes.hold_back(make_event(1))


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the clock with the sleep is only on Linux")
def test_a_mute_ends_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    mutes, slept_s = Mutes(), time.clock_gettime(time.CLOCK_BOOTTIME) + 3600
    mutes.mute("door", 900)
    assert mutes.is_muted("door")
    monkeypatch.setattr(time, "clock_gettime", lambda _: slept_s)
    assert not mutes.is_muted("door")


def test_a_resolved_event_is_sent_if_its_alert_was_sent() -> None:
    mutes = Mutes()
    sent, offline = make_event(1), make_event(2, EventKind.CAMERA_OFFLINE)
    assert not mutes.hold_back(sent)
    mutes.mute("door", 60)
    held = make_event(3)
    assert mutes.hold_back(held)
    assert mutes.hold_back(offline)
    assert not mutes.hold_back(make_event(4, EventKind.RESOLVED, resolves=sent.id))
    mutes.unmute("door")
    assert mutes.hold_back(make_event(5, EventKind.RESOLVED, resolves=held.id))
    assert mutes.hold_back(make_event(6, EventKind.CAMERA_RECOVERED, resolves=offline.id))


def test_events_of_a_muted_camera_are_stored_as_skipped_on_every_channel(tmp_path: Path) -> None:
    channels = [{"kind": "plugin", "plugin": "given-by-the-test", "name": name} for name in ("a", "b")]
    settings = AlertSettings.model_validate({"store": tmp_path / "events.db", "channels": channels})
    sent: list[str] = []

    class Hook:
        def send(self, alert: Alert) -> None:
            sent.append(alert.event.id)

        def abort(self) -> None:
            """No long operation to abort."""

    mutes = Mutes()
    center = AlertCenter(settings, hooks={"a": Hook(), "b": Hook()}, hold_back=mutes.hold_back)
    muted, unmuted = make_event(1), make_event(2)
    center.start()
    mutes.mute("door", 60)
    center.submit(muted)
    mutes.unmute("door")
    center.submit(unmuted)
    assert center.close(LIMIT_S) == []
    assert sent == [unmuted.id] * 2
    with EventStore(settings.store) as store:
        skipped = [(each.event.id, each.channel, each.error) for each in store.deliveries(Status.SKIPPED)]
    assert sorted(skipped) == [(muted.id, "a", "muted"), (muted.id, "b", "muted")]


def test_the_documentation_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    from app.settings.load import load_settings
    from app.settings.web import WebSettings
    from app.web import api

    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    file = tmp_path / "settings.toml"
    file.write_text(text.partition("## Settings")[2].partition("```toml\n")[2].partition("```")[0])
    shown = load_settings(file).web
    assert shown.model_fields_set == set(WebSettings.model_fields) - {"token_env", "root_path_header", "scan"}
    defaults = shown.model_fields_set - {"enabled", "token_file", "allowed_hosts", "tls_cert", "tls_key"}
    assert {name: getattr(shown, name) for name in defaults} == {
        name: getattr(WebSettings(), name) for name in defaults
    }
    for route in api.routes():
        path = (
            route.path.removeprefix("/api/v1")
            .replace("{camera:int}", "N")
            .replace("{event:path}", "ID")
            .replace("{face:path}", "ID")
            .replace("{key}", "KEY")
        )
        assert f"{path}`" in text or f"{path}," in text or f"{path} " in text or path == "/openapi.json", path
