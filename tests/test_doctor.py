"""What ``maskwatch doctor`` prints; what it finds is tried with the command in test_cli.py."""

from pathlib import Path

import pytest

from app.cli import main


def test_a_path_is_told_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / ("events-of-the-entrance-" * 6) / "[desk].db"
    monkeypatch.setenv("MASKWATCH_ALERTS__STORE", str(store))
    monkeypatch.setenv("COLUMNS", "80")
    main(["doctor"])
    assert str(store) in "".join(capsys.readouterr().out.split())
