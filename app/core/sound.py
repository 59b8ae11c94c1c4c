"""Sound on this machine: the programs that play it, and the reason why nobody would hear it."""

import os
import re
import shutil
import subprocess
import sys
import wave
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from app.core.files import exists

PLAYERS = (
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("afplay",),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)
_COMPLAINTS = re.compile(r"fail|error|cannot|could not|unable|refused|denied|no such", re.IGNORECASE)
_PACTL_LIMIT_S = 2.0
_SHARE_HEARD = 0.8
"""Some players end before the last buffer is heard."""


def installed_players() -> list[tuple[str, ...]]:
    """The commands of the players that are installed, the best first; the sound file follows as the last argument."""
    return [command for command in PLAYERS if shutil.which(command[0])]


def duration_s(path: Path) -> float:
    """How long the WAV file ``path`` sounds; 0 if it is not one that Python reads."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() / file.getframerate()
    except (OSError, EOFError, wave.Error, ZeroDivisionError):
        return 0.0


def silence_reason(sound_s: float, took_s: float, output: str) -> str:
    """Why a player that ended without an error was not heard; '' if it was. ``sound_s``: length of the sound.
    ffplay, for example, exits with 0 when it finds no device."""
    if _COMPLAINTS.search(output):
        return f"it reports: {' '.join(output.split())[-200:]}"
    if took_s < sound_s * _SHARE_HEARD:
        return f"it ended after {took_s:.1f} s, but the sound lasts {sound_s:.1f} s; check its output device"
    return ""


def output_fault(environ: Mapping[str, str] = os.environ, root: Path = Path("/"), platform: str = sys.platform) -> str:
    """Why no sound can be heard on this machine, and what to do; '' if nothing speaks against it."""
    if platform == "win32":
        return _windows_fault()
    if not platform.startswith("linux"):
        return ""
    if not _has_server(environ, root) and not _has_card(environ, root):
        return "no audio device: this machine has neither a sound card nor a sound server; connect a loudspeaker"
    return _server_fault()


def _windows_fault() -> str:
    if sys.platform == "win32":
        import ctypes

        if ctypes.windll.winmm.waveOutGetNumDevs() == 0:
            return "no audio device: Windows has no sound output; connect a loudspeaker"
    return ""


def _has_server(environ: Mapping[str, str], root: Path) -> bool:
    """Whether a PulseAudio or PipeWire server is named or has its socket in the usual place."""
    if environ.get("PULSE_SERVER") or environ.get("PIPEWIRE_REMOTE"):
        return True
    runtime = Path(
        environ.get("XDG_RUNTIME_DIR") or root / "run/user" / str(os.getuid() if hasattr(os, "getuid") else 0)
    )
    sockets = runtime / "pulse/native", runtime / "pipewire-0", root / "run/pulse/native"
    return any(map(exists, sockets))


def _has_card(environ: Mapping[str, str], root: Path) -> bool:
    """Whether ALSA has a card, or a configuration that may name another device, such as Bluetooth."""
    with suppress(OSError):
        if any(path.name.startswith("pcm") and path.name.endswith("p") for path in (root / "dev/snd").iterdir()):
            return True
    home = Path(environ.get("HOME") or root)
    return any(map(exists, (home / ".asoundrc", root / "etc/asound.conf")))


def _server_fault() -> str:
    """What the sound server says against it; '' if it cannot be asked."""
    if not shutil.which("pactl"):
        return ""
    if _ask_server("get-default-sink") == "auto_null":
        return "no audio device: the sound server has only its dummy output; connect a loudspeaker"
    if _ask_server("get-sink-mute", "@DEFAULT_SINK@").endswith("yes"):
        return "the sound output is muted; unmute it in the sound settings"
    return ""


def _ask_server(*question: str) -> str:
    try:
        done = subprocess.run(
            ["pactl", *question],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PACTL_LIMIT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
