"""The sound of a kiosk: a process that nothing waits for."""

import logging
import sys
import time
from pathlib import Path

import pytest

from app.core import sound
from app.settings.view import LANGUAGES, ViewSettings
from app.ui.kiosk_sign import Sign
from app.ui.kiosk_sound import KioskSound, chime_command, voice_command

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="players are scripts here")


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A player that writes what it gets, then sleeps as long as the file beside it says."""
    path = tmp_path / "spd-say"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/played\nsleep $(cat {tmp_path}/for || echo 0)\nexit 3\n')
    path.chmod(0o700)
    monkeypatch.setattr(sound, "PLAYERS", ((str(path),),))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return path


def test_each_spoken_sign_has_a_bundled_chime(player: Path) -> None:
    for sign in (Sign.THANK_YOU, Sign.WEAR_MASK, Sign.COVER_NOSE):
        path = Path(chime_command(sign)[-1])
        assert 0.3 < sound.duration_s(path) < 1.5
        assert path.stat().st_size < 60_000
    assert chime_command(Sign.IDLE) == []


def test_voice_gets_the_sentence_and_its_language(player: Path) -> None:
    assert voice_command("-rf; $(id)", "ar") == ["spd-say", "-w", "-l", "ar", "--", "-rf; $(id)"]
    assert all(voice_command("x", language) for language in LANGUAGES)


def test_new_sound_ends_the_old_one_and_a_failure_is_logged_once(
    player: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "for").write_text("60")
    kiosk = KioskSound(ViewSettings(kiosk=True, kiosk_sound="voice"), "en")
    began_s = time.monotonic()
    kiosk.play(Sign.WEAR_MASK, "Please wear a mask")
    kiosk.play(Sign.IDLE, "Welcome")
    kiosk.play(Sign.THANK_YOU, "Thank you")
    kiosk.close()
    assert time.monotonic() - began_s < 30
    assert not caplog.records
    (tmp_path / "for").unlink()
    for _ in range(2):
        kiosk.play(Sign.THANK_YOU, "Thank you")
        end_s = time.monotonic() + 30
        while len(caplog.records) < 1 and time.monotonic() < end_s:
            kiosk.check()
    kiosk.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the kiosk has no sound: spd-say ended with code 3; 'maskwatch alerts test --sound' says more"
    ]


def test_silent_kiosk_starts_nothing(player: Path, tmp_path: Path) -> None:
    kiosk = KioskSound(ViewSettings(kiosk=True, kiosk_sound="off"), "en")
    kiosk.play(Sign.THANK_YOU, "Thank you")
    kiosk.check()
    assert not (tmp_path / "played").exists()
