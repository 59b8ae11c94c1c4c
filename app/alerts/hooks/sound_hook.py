"""Plays a sound on this machine for each alert."""

import io
import math
import shutil
import struct
import sys
import tempfile
import wave
from pathlib import Path

from app.alerts.hook import Alert
from app.alerts.hooks.command_hook import CommandHook
from app.core.errors import HookError
from app.core.files import is_file
from app.settings.alerts import CommandChannel, SoundChannel

PLAYERS = (
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("afplay",),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)
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
    """Plays in the channel's own thread, so it never blocks the video."""

    def __init__(self, channel: SoundChannel) -> None:
        self._channel = channel
        self._chime = b"" if channel.file is not None else chime()
        self._running: CommandHook | None = None

    def send(self, alert: Alert) -> None:
        if self._channel.file is not None and not is_file(self._channel.file):
            raise HookError(f"no sound file {self._channel.file}; check file of channel {self._channel.name!r}")
        if sys.platform == "win32":
            self._play_on_windows()
            return
        player = next((command for command in PLAYERS if shutil.which(command[0])), None)
        if player is None:
            raise HookError(f"no sound player found; install one of {', '.join(command[0] for command in PLAYERS)}")
        with tempfile.TemporaryDirectory(prefix="maskwatch-") as folder:
            path = self._channel.file
            if path is None:
                path = Path(folder, "chime.wav")
                path.write_bytes(self._chime)
            channel = CommandChannel(
                kind="command", name=self._channel.name, argv=(*player, str(path)), timeout_s=self._channel.timeout_s
            )
            self._running = CommandHook(channel)
            try:
                self._running.send(alert)
            finally:
                self._running = None

    def _play_on_windows(self) -> None:
        if sys.platform == "win32":
            import winsound

            try:
                if self._channel.file is not None:
                    winsound.PlaySound(str(self._channel.file), winsound.SND_FILENAME)
                else:
                    winsound.PlaySound(self._chime, winsound.SND_MEMORY)
            except RuntimeError as error:
                raise HookError(f"Windows cannot play the sound: {error}") from error

    def abort(self) -> None:
        running = self._running
        if running is not None:
            running.abort()
