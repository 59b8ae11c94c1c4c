"""Whether a sound can be heard on this machine."""

import os
import sys
from pathlib import Path

import pytest

from app.core.sound import output_fault, silence_reason

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux is looked at in this way")


@linux_only
def test_device_is_a_card_a_server_or_a_configured_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # without pactl
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path / "home")}
    assert "no audio device" in output_fault(environ, tmp_path, "linux")
    for place in ("dev/snd/pcmC0D0p", "run/pulse/native", "run/pipewire-0", "home/.asoundrc"):
        root = tmp_path / place.replace("/", "-")
        path = root / place
        path.parent.mkdir(parents=True)
        path.touch()
        own = {"XDG_RUNTIME_DIR": str(root / "run"), "HOME": str(root / "home")}
        assert output_fault(own, root, "linux") == "", place
    (tmp_path / "dev/snd").mkdir(parents=True)
    (tmp_path / "dev/snd/pcmC0D0c").touch()
    assert "no audio device" in output_fault(environ, tmp_path, "linux"), "a microphone is not a loudspeaker"
    assert output_fault({**environ, "PULSE_SERVER": "tcp:desk"}, tmp_path, "linux") == ""


@linux_only
@pytest.mark.parametrize(
    ("sink", "mute", "fault"),
    [("auto_null", "Mute: no", "dummy output"), ("usb", "Mute: yes", "muted"), ("usb", "Mute: no", "")],
)
def test_server_says_why_nothing_is_heard(
    sink: str, mute: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pactl = tmp_path / "pactl"
    pactl.write_text(f"#!/bin/sh\ncase $1 in get-default-sink) echo {sink};; get-sink-mute) echo {mute};; esac\n")
    pactl.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = output_fault({"PULSE_SERVER": "x"}, tmp_path, "linux")
    assert fault in found
    assert bool(found) == bool(fault)


def test_player_that_ends_early_or_complains_was_not_heard() -> None:
    assert silence_reason(0.5, 0.6, "") == ""
    assert silence_reason(0.5, 0.6, "underrun!!! (at least 1 ms long)") == ""
    assert "ended after 0.1 s" in silence_reason(0.5, 0.1, "")
    assert "audio open failed" in silence_reason(0.5, 0.9, "audio open failed")
    assert silence_reason(0.0, 0.0, "") == "", "a file of unknown length"
