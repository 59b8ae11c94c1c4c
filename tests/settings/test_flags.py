"""What ``--help`` says of the flags that stand for settings."""

import pytest

from app.cli.main import main
from app.settings.flags import ALERTING, MONITORING, SOURCE, VIEW, VISION, WEB, Flag, default_of
from app.settings.monitor import PolicySettings


def test_help_tells_the_defaults_of_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["watch", "--help"])
    words = capsys.readouterr().out
    assert f"must be bare before it alerts (default {PolicySettings().dwell_s:g})" in words
    assert "how faces are found (default cnn)" in words
    assert "no window\n" in words, "a switch has none"
    assert "'maskwatch watch': " in words


@pytest.mark.parametrize("flag", [*SOURCE, *MONITORING, *VISION, *ALERTING, *VIEW, *WEB], ids=lambda flag: flag.name)
def test_each_flag_stands_for_a_setting(flag: Flag) -> None:
    assert isinstance(default_of(flag.place), str)
