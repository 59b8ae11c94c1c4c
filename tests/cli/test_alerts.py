"""The commands ``alerts`` and ``purge``."""

import argparse
import io
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from fakes_alerts import HttpPeer, make_event
from fixtures_alerts import Run
from fixtures_threads import no_thread_survives  # noqa: F401

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.alerts.store_types import WriteBatch
from app.cli.event_file import settings_of
from app.cli.main import main
from app.core import sound
from app.core.errors import SettingsError
from app.core.types import Event
from app.settings.alerts import AlertSettings, PushChannel, push_file


def config_with(tmp_path: Path, store: Path, url: str) -> Path:
    path = tmp_path / "maskwatch.toml"
    text = f'[alerts]\nstore = "{store}"\n[[alerts.channels]]\nkind = "webhook"\nname = "web"\nurl = "{url}"\n'
    path.write_text(text)
    return path


def test_alerts_test_shows_the_result_of_each_channel(
    run: Run, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpPeer(200, 500).running() as peer:
        config = config_with(tmp_path, store_path, peer.url)
        assert run("alerts", "test", "--config", config) == 0
        assert "sent" in capsys.readouterr().out
        assert run("alerts", "test", "--config", config, "--channel", "web") == 1
        assert "failed" in capsys.readouterr().out
        with pytest.raises(SettingsError, match="no channel 'wab'; choose from: web"):
            run("alerts", "test", "--config", config, "--channel", "wab")
    assert json.loads(peer.requests[0].body)["reason"] == "a test of the channel"


def test_channels_of_flags_are_tested_without_a_settings_file(
    run: Run, http_peer: HttpPeer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sound, "PLAYERS", (("sh", "-c", "exit 0"),))
    monkeypatch.setattr(sound, "output_fault", lambda: "")
    assert run("alerts", "test", "--sound", "--webhook", http_peer.url, "--on-alert", "no-such-program") == 1
    lines = capsys.readouterr().out.splitlines()
    found = {name: rest.strip() for name, _, rest in (line.strip().partition(" ") for line in lines)}
    assert found["webhook"].endswith("sent")
    assert "cannot run 'no-such-program'" in found["on-alert"]
    assert "failed: 'sh' played nothing" in found["sound"]


def test_verbose_log_shows_no_token(tmp_path: Path, http_peer: HttpPeer) -> None:
    config = tmp_path / "maskwatch.toml"
    url, push = http_peer.url, http_peer.url.replace("http://", "json://")
    config.write_text(
        f'[[alerts.channels]]\nkind = "webhook"\nname = "desk"\nurl = "{url}"\n'
        f'[[alerts.channels]]\nkind = "apprise"\nname = "push"\nurl = "{push}"\ntimeout_s = 60\n'
    )
    argv = [sys.executable, "-m", "app", "-vv", "alerts", "test", "--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(http_peer.requests) == 2
    assert "token-in-path" not in done.stdout + done.stderr


@pytest.mark.usefixtures("filled")
def test_alerts_list_and_retry(
    run: Run, store_path: Path, tmp_path: Path, http_peer: HttpPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_with(tmp_path, store_path, http_peer.url)
    assert run("alerts", "list", "--config", config) == 0
    assert "1 undelivered" in capsys.readouterr().out
    assert run("alerts", "retry", "--config", config) == 0
    assert "1 alert queued again; 1 sent now" in capsys.readouterr().out
    assert len(http_peer.requests) == 1
    assert run("alerts", "list", "--config", config, "--status", "delivered") == 0
    assert "1 delivered" in capsys.readouterr().out


@pytest.mark.usefixtures("filled")
def test_an_unknown_channel_is_an_error_and_one_of_the_settings_is_not(
    run: Run, store_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match=r"^no channel 'wab'; choose from: web$"):
        run("alerts", "list", "--store", store_path, "--channel", "web", "--channel", "wab")
    config = config_with(tmp_path, store_path, "http://127.0.0.1:9")
    config.write_text(config.read_text().replace('"web"', '"desk"'))
    assert run("alerts", "list", "--config", config, "--channel", "desk") == 0
    assert "0 of 0 shown" in capsys.readouterr().out


@pytest.mark.usefixtures("filled")
def test_retry_names_channels_without_settings(run: Run, store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match=r"no channel 'wab'; choose from: .*web"):
        run("alerts", "retry", "--store", store_path, "--channel", "wab")
    assert run("alerts", "retry", "--store", store_path) == 1
    output = capsys.readouterr()
    assert "1 alert queued again; 0 sent now" in output.out
    assert "channel web: not in these settings, so its alerts stay queued; give --config FILE" in output.err


@pytest.mark.usefixtures("filled")
def test_retry_leaves_sending_to_a_running_program(
    run: Run, store_path: Path, tmp_path: Path, http_peer: HttpPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_with(tmp_path, store_path, http_peer.url)
    center = AlertCenter(AlertSettings(store=store_path))
    center.start()
    center.submit(make_event())
    try:
        assert run("alerts", "retry", "--config", config) == 0
        assert "the running maskwatch sends them" in capsys.readouterr().out
    finally:
        center.close()
    assert http_peer.requests == []


def test_purge_asks_before_it_deletes(
    run: Run,
    store_path: Path,
    filled: list[Event],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="add --yes"):
        run("purge", "--store", store_path)
    monkeypatch.setattr(sys, "stdin", None)  # closed, as after '<&-'
    with pytest.raises(SettingsError, match="add --yes"):
        run("purge", "--store", store_path)
    assert run("purge", "--store", store_path, "--before", "7d", "--yes") == 0
    assert "deleted 1 event, 1 snapshot, 0 hourly counts, 0 old files" in capsys.readouterr().out
    with EventStore(store_path) as store:
        assert store.events() == filled
    assert run("purge", "--store", store_path, "--yes") == 0
    with EventStore(store_path) as store:
        assert store.events() == []
        assert store.hours() == []


@pytest.mark.parametrize("command", [("purge",), ("dataset", "purge")])
def test_an_empty_argument_or_answer_deletes_nothing(
    command: tuple[str, ...],
    store_path: Path,
    filled: list[Event],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A script passes an empty argument if its variable is not set; Ctrl-D is no answer."""
    monkeypatch.setattr("app.settings.alerts.default_store", lambda: store_path)
    assert main([*command, "--store", str(store_path), "--before", "", "--yes"]) == 2
    assert main([*command, "--store", "", "--yes"]) == 2
    errors = capsys.readouterr().err
    assert "no time: ''" in errors
    assert "--store: is empty" in errors
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert main([*command, "--store", str(store_path)]) == 1
    assert "no data deleted" in capsys.readouterr().out
    with EventStore(store_path) as store:
        assert len(store.events()) == len(filled) + 1
    assert main(["events", "list", "--store", str(store_path), "--since", ""]) == 2


def test_test_alerts_go_to_the_devices_of_the_given_event_file(store_path: Path) -> None:
    config = store_path.with_name("settings.toml")
    config.write_text('[[alerts.channels]]\nkind = "push"\nname = "phones"\ncontact = "mailto:me@example.org"\n')
    args = argparse.Namespace(config=str(config), store=str(store_path))
    (channel,) = settings_of(args).channels
    assert isinstance(channel, PushChannel)
    assert channel.store == push_file(store_path)


def test_purge_leaves_the_pictures_of_other_event_files(run: Run, store_path: Path, filled: list[Event]) -> None:
    """The folders in the settings belong to the event file in the settings."""
    own, config = store_path.with_name("own.db"), store_path.with_name("settings.toml")
    EventStore(own).close()
    folders = {name: store_path.with_name(name) for name in ("clips", "collect", f"{store_path.name}.clips")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "1.clip.mp4").touch()
    tables = [f"[{name}]\nfolder = '{folders[name]}'" for name in ("clips", "collect")]
    config.write_text("\n".join([f"[alerts]\nstore = '{own}'", *tables]))
    assert run("purge", "--config", config, "--store", store_path, "--yes") == 0
    assert {name for name, folder in folders.items() if any(folder.iterdir())} == {"clips", "collect"}
    assert run("purge", "--config", config, "--store", own, "--yes") == 0
    assert not any(any(folder.iterdir()) for folder in folders.values())


def test_purge_by_age_is_refused_if_the_clock_may_be_wrong(run: Run, store_path: Path) -> None:
    now_s = time.time()
    with EventStore(store_path) as store:
        store.write(WriteBatch(((make_event(wall_s=now_s), None),)), now_s - 40 * 86_400)
    with pytest.raises(SettingsError, match=r"is 40 days old, so the clock may be wrong; .* --before a date"):
        run("purge", "--store", store_path, "--before", "7d", "--yes")
    with EventStore(store_path) as store:
        assert len(store.events()) == 1
    date = datetime.fromtimestamp(now_s - 7 * 86_400).date().isoformat()
    assert run("purge", "--store", store_path, "--before", date, "--yes") == 0
    with EventStore(store_path) as store:
        assert store.events() == []
