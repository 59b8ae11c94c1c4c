"""``maskwatch update --check``: it says what it asks, asks once, and compares versions."""

import json
from pathlib import Path

import pytest
from fakes_http import HttpCamera, Request, http_camera

import app.cli.update
from app.cli.main import main
from app.settings.load import load_settings
from app.settings.reload import needs_restart


def check(server: HttpCamera, folder: Path, path: str = "/maskwatch/json") -> int:
    settings = folder / "settings.toml"
    settings.write_text(f'[update]\naddress = "{server.url(path, "key:secret")}"\n')
    return main(["update", "--check", "--config", str(settings)])


@pytest.mark.parametrize(
    ("answer", "ours", "said"),
    [
        ({"info": {"version": "1.0"}}, "1.0.0", "maskwatch 1.0.0 is up to date"),
        ({"info": {"version": "1.9.0"}}, "1.10.0", "up to date"),
        ({"info": {"version": "1.10.0"}}, "1.9.0", "maskwatch 1.10.0 is available, this is 1.9.0"),
        ({"tag_name": "v2.0.1"}, "2.0", "maskwatch 2.0.1 is available"),
        ({"tag_name": "v2.0"}, "1.9rc1", "maskwatch 2.0 is available"),
    ],
)
def test_it_says_what_it_asks_then_asks_once_and_compares(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    ours: str,
    said: str,
) -> None:
    before: list[str] = []

    def respond(request: Request) -> None:
        before.append(capsys.readouterr().out)
        request.send(json.dumps(answer).encode())

    monkeypatch.setattr(app.cli.update, "__version__", ours)
    with http_camera(respond) as server:
        assert check(server, tmp_path) == 0
        [request] = server.requests
        [asked] = before
        assert f"127.0.0.1:{server.server_port}/maskwatch/json: one GET request" in asked
        assert "secret" not in asked
    assert request.headers["User-Agent"] == "maskwatch"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((404, b"no"), (301, b""), (403, b'{"message": "limit"}'), (200, b"[1]"), (200, b'{"info": null}')),
        *((200, b'{"tag_name": 7}'), (200, b'{"tag_name": "v1.0-rc1"}')),
    ],
)
def test_an_answer_without_a_version_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, body: bytes
) -> None:
    with http_camera(lambda request: request.send(body, status, Location="/elsewhere")) as server:
        assert check(server, tmp_path) == 2
        assert len(server.requests) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert f"names no version (status {status}); check" in line
    assert "secret" not in line


def test_offline_gives_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with http_camera(lambda request: None) as server:
        pass
    server.server_close()
    assert check(server, tmp_path) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "cannot ask http://" in line
    assert "; check the network" in line
    assert "secret" not in line


def test_nothing_is_asked_without_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["update"])
    assert "--check" in capsys.readouterr().err


def test_nobody_is_asked_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever owned the name in a public index could say which version is the newest."""
    assert main(["update", "--check"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "set address in [update]" in line


def test_another_address_needs_no_restart_of_a_running_watch() -> None:
    changed = load_settings(None, {"update": {"address": "https://mirror.example/json"}})
    assert needs_restart(load_settings(None), changed) == []
