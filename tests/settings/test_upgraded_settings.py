"""A settings file of version 0.1.0 keeps its meaning."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import SettingsError
from app.settings.load import load_settings

FILE = Path(__file__).with_name("settings_0.1.0.toml")


def assert_contains(found: Any, wanted: Any, place: str) -> None:
    """Every value of ``wanted`` is in ``found``, which may have more tables and settings."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert_contains(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for i, value in enumerate(wanted):
            assert_contains(found[i], value, f"{place}[{i}]")
    else:
        assert found == wanted, place


def test_every_setting_of_0_1_0_is_accepted_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "secret")
    wanted = tomllib.loads(FILE.read_text("utf-8"))
    del wanted["camera"][0]["username"], wanted["camera"][0]["password"]  # a dump hides them
    assert_contains(load_settings(FILE).model_dump(mode="json"), wanted, "settings")


def test_the_detector_that_was_removed_is_reported_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[detector]\nkind = "yunet"\n')
    with pytest.raises(SettingsError, match=r"detector\.kind \(line 2\): 'yunet' is the default now.*; remove this"):
        load_settings(path)
