"""The help texts of the flags that set settings."""

import pytest

from app.cli.main import main
from app.settings.flags import ALERTING, MONITORING, SOURCE, VIEW, VISION, WEB, Flag, default_of
from app.settings.monitor import PolicySettings


def test_help_shows_the_defaults_of_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["watch", "--help"])
    text = capsys.readouterr().out
    assert f"must be bare before it alerts (default {PolicySettings().dwell_s:g})" in text
    assert "face detector: YuNet (cnn) or Haar cascade (default cnn)" in text
    assert "no window\n" in text, "a flag without a value shows no default"
    assert "'maskwatch watch': " in text


@pytest.mark.parametrize("flag", [*SOURCE, *MONITORING, *VISION, *ALERTING, *VIEW, *WEB], ids=lambda flag: flag.name)
def test_each_flag_sets_a_setting(flag: Flag) -> None:
    assert isinstance(default_of(flag.place), str)
