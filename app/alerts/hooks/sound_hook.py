"""Plays a sound on this machine for each alert."""

import io
import math
import struct
import sys
import tempfile
import time
import wave
from pathlib import Path

from app.alerts.hook import Alert
from app.alerts.hooks.command_hook import CommandHook
from app.core import sound
from app.core.errors import HookError
from app.core.files import is_file
from app.settings.alerts import CommandChannel, SoundChannel

RATE_HZ = 22_050
TONES_HZ = (880.0, 660.0)
TONE_S = 0.25


def chime() -> bytes:
    """Two falling tones as a WAV file: 16-bit mono, faded in and out to avoid clicks."""
    samples: list[int] = []
    count = int(RATE_HZ * TONE_S)
    for tone_hz in TONES_HZ:
        for i in range(count):
            fade = math.sin(math.pi * i / count)
            samples.append(int(20_000 * fade * math.sin(2 * math.pi * tone_hz * i / RATE_HZ)))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return buffer.getvalue()


class SoundHook:
    """Plays in the channel's own thread, so it never blocks the video. Success means that the sound could be heard:
    there is an output that is not muted, and a player needed the time of the sound and reported no error."""

    def __init__(self, channel: SoundChannel) -> None:
        self._channel = channel
        self._chime = b"" if channel.file is not None else chime()
        self._running: CommandHook | None = None
        self._aborted = False

    def send(self, alert: Alert) -> None:
        self._aborted = False
        if self._channel.file is not None and not is_file(self._channel.file):
            raise HookError(f"no sound file {self._channel.file}; check file of channel {self._channel.name!r}")
        players = sound.installed_players()
        if not players and sys.platform != "win32":
            raise HookError(
                f"no sound player found; install one of {', '.join(command[0] for command in sound.PLAYERS)}"
            )
        fault = sound.output_fault()
        if fault:
            raise HookError(fault)
        if sys.platform == "win32":
            self._play_on_windows()
            return
        with tempfile.TemporaryDirectory(prefix="maskwatch-") as folder:
            path = self._channel.file
            if path is None:
                path = Path(folder, "chime.wav")
                path.write_bytes(self._chime)
            self._play_with_first(players, path, alert)

    def _play_with_first(self, players: list[tuple[str, ...]], path: Path, alert: Alert) -> None:
        """Plays ``path`` with the first player that is heard. Raises HookError with the reason of each."""
        reasons: list[str] = []
        for player in players:
            try:
                self._play(player, path, alert)
                return
            except HookError as error:
                reasons.append(str(error))
                if self._aborted:
                    break
        raise HookError("; ".join(reasons))

    def _play(self, player: tuple[str, ...], path: Path, alert: Alert) -> None:
        argv = (*player, str(path.absolute()))
        channel = CommandChannel(kind="command", name=self._channel.name, argv=argv, timeout_s=self._channel.timeout_s)
        running = self._running = CommandHook(channel)
        began_s = time.monotonic()
        try:
            running.send(alert)
        finally:
            self._running = None
        reason = sound.silence_reason(sound.duration_s(path), time.monotonic() - began_s, running.output)
        if reason:
            raise HookError(f"{player[0]!r} played nothing: {reason}")

    def _play_on_windows(self) -> None:
        if sys.platform == "win32":
            import winsound

            try:
                if self._channel.file is not None:
                    winsound.PlaySound(str(self._channel.file), winsound.SND_FILENAME | winsound.SND_NODEFAULT)
                else:
                    winsound.PlaySound(self._chime, winsound.SND_MEMORY | winsound.SND_NODEFAULT)
            except RuntimeError as error:
                raise HookError(f"Windows cannot play the sound: {error}") from error

    def abort(self) -> None:
        self._aborted = True
        running = self._running
        if running is not None:
            running.abort()
