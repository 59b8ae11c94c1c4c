"""Makes the chimes of the kiosk, assets/sounds/*.wav: ``python packaging/make_sounds.py``.

Computed from sine waves, so nobody else has rights to them. 16 bits, mono, 22,050 Hz.
"""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOUNDS = Path(__file__).resolve().parents[1] / "assets" / "sounds"
RATE_HZ = 22_050
C5, E5, G5, A5, C6 = 523.25, 659.25, 783.99, 880.0, 1046.5
MELODIES: dict[str, tuple[tuple[float, float], ...]] = {
    "thank_you": ((G5, 0.0), (C6, 0.14)),
    "wear_mask": ((A5, 0.0), (E5, 0.18)),
    "cover_nose": ((E5, 0.0), (E5, 0.18)),
}
"""By sign: tones as (Hz, start in seconds)."""
TONE_S, LEVEL = 0.5, 0.32


def tone(frequency_hz: float) -> NDArray[np.float64]:
    """A tone like that of a small bell: a soft attack, three partials, fading out."""
    time_s = np.arange(int(RATE_HZ * TONE_S)) / RATE_HZ
    partials = ((1, 1.0, 7.0), (2, 0.25, 10.0), (3, 0.1, 16.0))
    total = sum(
        level * np.sin(2 * np.pi * frequency_hz * number * time_s) * np.exp(-decay * time_s)
        for number, level, decay in partials
    )
    fade = np.minimum(1, time_s / 0.006) * np.minimum(1, (TONE_S - time_s) / 0.05)
    return np.asarray(total * fade)


def melody(tones: tuple[tuple[float, float], ...]) -> NDArray[np.int16]:
    length = round(RATE_HZ * (max(start_s for _, start_s in tones) + TONE_S))
    mixed = np.zeros(length + 1)
    for frequency_hz, start_s in tones:
        start = round(RATE_HZ * start_s)
        samples = tone(frequency_hz)
        mixed[start : start + len(samples)] += samples
    return np.round(mixed / np.abs(mixed).max() * LEVEL * 32_767).astype("<i2")


def main() -> None:
    SOUNDS.mkdir(exist_ok=True)
    for name, tones in MELODIES.items():
        with wave.open(str(SOUNDS / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes(melody(tones).tobytes())


if __name__ == "__main__":
    main()
