"""Keeping the screen and the machine awake: asked of the system, and one line in the log if that fails."""

import logging
import sys

import pytest

from app.ui.keep_awake import keep_awake

wakepy = pytest.importorskip("wakepy", reason="needs wakepy, which maskwatch depends on")


def test_failure_is_one_line_and_the_block_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wakepy.keep, "presenting", lambda **_: 1 / 0)
    ran = []
    with caplog.at_level(logging.WARNING), keep_awake(True):
        ran.append(1)
    assert ran
    assert len(caplog.records) == 1
    assert "the screen may blank and the machine may sleep: ZeroDivisionError" in caplog.text


def test_setting_turns_it_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(wakepy.keep, "presenting", lambda **_: 1 / 0)
    with caplog.at_level(logging.WARNING), keep_awake(False):
        pass
    assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is Linux's")
def test_system_is_asked_and_released(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    with caplog.at_level(logging.WARNING), keep_awake(True):
        pass
    assert not caplog.records


def test_error_of_the_watching_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")
    with pytest.raises(RuntimeError, match="watching"), keep_awake(True):
        raise RuntimeError("watching")
