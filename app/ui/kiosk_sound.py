"""The sound of a kiosk: a chime or the voice of the system, in a process that nothing waits for."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from app.core.child_program import kill_group, own_environment
from app.core.files import is_file
from app.core.resources import asset
from app.core.sound import installed_players
from app.settings.view import ViewSettings
from app.ui.kiosk_sign import Sign

log = logging.getLogger(__name__)

_MAC_VOICES = {
    "en": "Samantha",
    "de": "Anna",
    "fr": "Thomas",
    "es": "Mónica",
    "pt": "Luciana",
    "id": "Damayanti",
    "zh": "Tingting",
    "ja": "Kyoko",
    "ar": "Majed",
}
_WINDOWS_VOICE = (
    "Add-Type -AssemblyName System.Speech; $voice = New-Object System.Speech.Synthesis.SpeechSynthesizer; "
    "try { $voice.SelectVoiceByHints('NotSet', 'NotSet', 0, [Globalization.CultureInfo]$env:MASKWATCH_LANGUAGE) } "
    "catch { }; $voice.Speak($env:MASKWATCH_SENTENCE)"
)
"""The sentence is passed in the environment, so that no character of it has a meaning for PowerShell."""
_VOICES = ("spd-say", "espeak-ng", "espeak")


def chime_command(sign: Sign) -> list[str]:
    """The command that plays the chime of ``sign``; empty if there is none or no player."""
    path = asset(f"sounds/{sign.value}.wav")
    if not is_file(path):
        return []
    if sys.platform == "win32":
        return ["powershell", "-NoProfile", "-Command", f"(New-Object Media.SoundPlayer '{path}').PlaySync()"]
    return next(([*player, str(path)] for player in installed_players()), [])


def voice_command(sentence: str, language: str) -> list[str]:
    """The command that says ``sentence``; empty if this system has no voice."""
    if sys.platform == "win32":
        return ["powershell", "-NoProfile", "-Command", _WINDOWS_VOICE]
    if sys.platform == "darwin":
        return ["say", "-v", _MAC_VOICES[language], "--", sentence]
    program = next(filter(shutil.which, _VOICES), None)
    if program is None:
        return []
    option = ["-w", "-l", language] if program == "spd-say" else ["-v", {"zh": "cmn"}.get(language, language)]
    return [program, *option, "--", sentence]


class KioskSound:
    """Plays one sound at a time; a new one ends the old one. The first failure is logged."""

    def __init__(self, settings: ViewSettings, language: str) -> None:
        self._kind = settings.kiosk_sound
        self._language = language
        self._process: subprocess.Popen[bytes] | None = None
        self._program = ""
        self._has_failed = False

    def play(self, sign: Sign, sentence: str) -> None:
        if self._kind == "off" or sign in (Sign.IDLE, Sign.UNSURE):
            return
        self.close()
        command = chime_command(sign) if self._kind == "chime" else voice_command(sentence, self._language)
        if not command:
            self._report("no program that plays sounds" if self._kind == "chime" else f"none of {', '.join(_VOICES)}")
            return
        self._start(command, sentence)

    def _start(self, command: Sequence[str], sentence: str) -> None:
        environ = {**own_environment(), "MASKWATCH_SENTENCE": sentence, "MASKWATCH_LANGUAGE": self._language}
        self._program = command[0]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environ,
                start_new_session=os.name != "nt",  # Ctrl-C is for this process
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self._report(str(error))

    def check(self) -> None:
        """Notices that the last sound has failed. Never waits."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self._process = None
            if code:
                self._report(f"{self._program} ended with code {code}")

    def _report(self, reason: str) -> None:
        if not self._has_failed:
            log.warning("the kiosk has no sound: %s; 'maskwatch alerts test --sound' says more", reason)
        self._has_failed = True

    def close(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                kill_group(self._process)
            self._process.wait()
            self._process = None
