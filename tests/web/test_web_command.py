"""``watch --web`` as its users meet it, and what is remembered about muted cameras."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fakes_web import LIMIT_S, an_event

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.hook import Alert
from app.alerts.mutes import MAX_MUTE_S, Mutes
from app.alerts.outbox import Status
from app.cli.main import build_parser, main
from app.cli.watch import settings_of
from app.core.types import EventKind
from app.settings.alerts import AlertSettings

DEMO = ("watch", "--headless", "--source", "demo", "--fast")


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a failing command prints."""
    before = set(threading.enumerate())
    assert main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert set(threading.enumerate()) <= before, "no thread survives"
    return lines[0]


def test_the_network_gets_nothing_without_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--web-token-file" in fails(capsys, *DEMO, "--web", "0.0.0.0:0")
    assert "NO_SUCH_VARIABLE" in fails(capsys, *DEMO, "--web", "--web-token-env", "NO_SUCH_VARIABLE")
    assert "HOST:PORT" in fails(capsys, *DEMO, "--web", "here:there")


def test_flags_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[web]\nhost = '::1'\nport = 9000\nmax_fps = 5\n")

    def web(*flags: str) -> tuple[bool, str, int]:
        found = settings_of(build_parser().parse_args([*DEMO, "--config", str(file), *flags])).web
        return found.enabled, found.host, found.port

    assert web() == (False, "::1", 9000)
    assert web("--web") == (True, "::1", 9000)
    assert web("--web", "9001") == (True, "::1", 9001)
    assert web("--web", "127.0.0.1:0") == (True, "127.0.0.1", 0)


def test_bad_settings_name_their_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    for text, words in (
        ("token = 'in clear'", "web.token"),
        ("token_env = 'A'\ntoken_file = 'b'", "not both"),
        ("tls_cert = 'a'", "belong together"),
        ("port = 99999", "web.port"),
    ):
        file.write_text(f"[web]\n{text}\n")
        line = fails(capsys, *DEMO, "--config", str(file))
        assert words in line
        assert "in clear" not in line


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "jinja2", "prometheus_client"])
def test_a_missing_package_is_one_clear_line(missing: str) -> None:
    argv = [*DEMO, "--web"]
    code = f"import sys; sys.modules[{missing!r}] = None; from app.cli.main import main; sys.exit(main({argv}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert missing in lines[0]
    assert "maskwatch[web]" in lines[0]


def test_without_the_flag_nothing_of_the_web_is_loaded() -> None:
    names = ("starlette", "uvicorn", "jinja2", "prometheus_client")
    code = f"import sys, app.cli.watch_session, app.settings.root; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_with_the_page_ends_by_itself_and_says_where_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = set(threading.enumerate())
    assert main([*DEMO, "--web", "127.0.0.1:0", "--events", str(tmp_path / "events.jsonl")]) == 0
    assert re.search(r"web view: http://127\.0\.0\.1:\d+/", capsys.readouterr().err)
    assert set(threading.enumerate()) <= before


def test_muting_ends_by_itself_and_is_bounded() -> None:
    now_s = [1000.0]
    mutes = Mutes(lambda: now_s[0], lambda: now_s[0])
    assert mutes.mute("door", 60) == 1060
    assert mutes.holds_back(an_event(1))
    assert not mutes.holds_back(an_event(2, camera="yard"))
    now_s[0] = 1060
    assert mutes.until_s("door") is None
    assert not mutes.holds_back(an_event(3))
    assert mutes.mute("door", 1e9) == 1060 + MAX_MUTE_S
    for number in range(5000):
        mutes.holds_back(an_event(number))
    assert len(mutes._muted) <= 1000


@pytest.mark.parametrize("set_s", [-86_400.0, 86_400.0])
def test_a_wall_clock_that_is_set_makes_no_mute_longer_or_shorter(set_s: float) -> None:
    now_s, wall_s = [50.0], [1_700_000_000.0]
    mutes = Mutes(lambda: now_s[0], lambda: wall_s[0])
    mutes.mute("door", 900)
    now_s[0], wall_s[0] = now_s[0] + 600, wall_s[0] + 600 + set_s
    assert mutes.until_s("door") == wall_s[0] + 300, "what is shown follows the wall clock"
    now_s[0], wall_s[0] = now_s[0] + 300, wall_s[0] + 300
    assert mutes.until_s("door") is None
    assert not mutes.holds_back(an_event(1))


def test_the_end_of_an_alert_goes_where_the_alert_went() -> None:
    mutes = Mutes()
    told, offline = an_event(1), an_event(2, EventKind.CAMERA_OFFLINE)
    assert not mutes.holds_back(told)
    mutes.mute("door", 60)
    held = an_event(3)
    assert mutes.holds_back(held)
    assert mutes.holds_back(offline)
    assert not mutes.holds_back(an_event(4, EventKind.RESOLVED, resolves=told.id))
    mutes.unmute("door")
    assert mutes.holds_back(an_event(5, EventKind.RESOLVED, resolves=held.id))
    assert mutes.holds_back(an_event(6, EventKind.CAMERA_RECOVERED, resolves=offline.id))


def test_events_of_a_muted_camera_are_kept_as_skipped_on_every_channel(tmp_path: Path) -> None:
    channels = [{"kind": "plugin", "plugin": "given-by-the-test", "name": name} for name in ("a", "b")]
    settings = AlertSettings.model_validate({"store": tmp_path / "events.db", "channels": channels})
    sent: list[str] = []

    class Hook:
        def send(self, alert: Alert) -> None:
            sent.append(alert.event.id)

        def abort(self) -> None:
            """It never takes long."""

    mutes = Mutes()
    center = AlertCenter(settings, hooks={"a": Hook(), "b": Hook()}, hold_back=mutes.hold_back)
    muted, told = an_event(1), an_event(2)
    center.start()
    mutes.mute("door", 60)
    center.submit(muted)
    mutes.unmute("door")
    center.submit(told)
    assert center.close(LIMIT_S) == []
    assert sent == [told.id] * 2
    with EventStore(settings.store) as store:
        skipped = [(each.event.id, each.channel, each.error) for each in store.deliveries(Status.SKIPPED)]
    assert sorted(skipped) == [(muted.id, "a", "muted"), (muted.id, "b", "muted")]


def test_the_documentation_shows_every_setting_and_they_hold(tmp_path: Path) -> None:
    from app.settings.root import load_settings
    from app.settings.web import WebSettings
    from app.web import api

    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    file = tmp_path / "settings.toml"
    file.write_text(text.partition("```toml\n")[2].partition("```")[0])
    shown = load_settings(file).web
    assert shown.model_fields_set == set(WebSettings.model_fields) - {"token_env"}
    same = shown.model_fields_set - {"enabled", "token_file", "allowed_hosts", "tls_cert", "tls_key"}
    assert {name: getattr(shown, name) for name in same} == {name: getattr(WebSettings(), name) for name in same}
    for route in api.routes():
        path = route.path.removeprefix("/api/v1").replace("{camera:int}", "N").replace("{event:path}", "ID")
        assert f"{path}`" in text or f"{path}," in text or f"{path} " in text or path == "/openapi.json", path
