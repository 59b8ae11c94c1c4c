"""What ``maskwatch doctor`` prints; what it finds is tried with the command in test_cli.py."""

import os
from pathlib import Path
from typing import Any

import pytest

from app.cli import doctor
from app.cli.main import main
from app.settings.root import load_settings


def test_a_path_is_told_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / ("events-of-the-entrance-" * 6) / "[desk].db"
    monkeypatch.setenv("MASKWATCH_ALERTS__STORE", str(store))
    monkeypatch.setenv("COLUMNS", "80")
    main(["doctor"])
    assert str(store) in "".join(capsys.readouterr().out.split())


def told_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What each source is said to be, state first."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {line[2]: " ".join([line[0], *line[3:]]) for line in lines if line[1:2] == ["source"]}


def test_the_sources_that_are_named_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = tmp_path / "two.toml"
    file.write_text(
        '[[camera]]\nuri = "demo"\nname = "hall"\n'
        '[[camera]]\nuri = "rtsp://user:secret@127.0.0.1:9/gate"\nname = "gate"\nopen_timeout_s = 5\n'
    )
    assert main(["doctor", "--config", str(file)]) == 1
    told = told_of(capsys)
    assert told["hall"].startswith("ok 640x480, its first picture after")
    assert told["gate"].startswith("fault cannot open stream rtsp://127.0.0.1:9/gate: 127.0.0.1:9 refuses connections")


def test_a_source_on_the_command_line_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = tmp_path / "one.toml"
    file.write_text('[[camera]]\nuri = "rtsp://127.0.0.1:9/gate"\n')
    assert main(["doctor", "--config", str(file), "--source", str(tmp_path / "film.mp4"), "--source", "demo"]) == 1
    told = told_of(capsys)
    assert sorted(told) == ["demo", "film"]
    assert told["demo"].startswith("ok")
    assert told["film"].startswith("fault")


@pytest.mark.parametrize("host", ["cam..local", "c" * 64])
def test_a_host_that_can_be_none_is_told_as_unknown(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["doctor", "--source", f"rtsp://{host}/live", "--open-timeout", "2"]) == 1
    (told,) = told_of(capsys).values()
    assert told.startswith(f"fault cannot open stream rtsp://{host}/live: unknown host {host}")


def test_a_store_in_a_closed_folder_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, closed = os.stat, tmp_path / "closed"
    closed.mkdir()

    def refusing(path: Any, **more: Any) -> os.stat_result:
        if isinstance(path, str | Path) and closed in Path(path).parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)
    settings = load_settings(None, {"alerts": {"store": closed / "sub" / "events.db"}})
    (finding,) = doctor._store(settings)
    assert finding.state == "fault"
    assert str(closed) in finding.advice
