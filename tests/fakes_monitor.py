"""Live cameras, detectors and classifiers for tests of the running monitor: they hang, crash, leave and return."""

import threading
import time
from collections.abc import Iterator

import numpy as np
from fakes import BrightnessClassifier
from fakes_video import HANG_S

from app.core.errors import SourceError
from app.core.types import Box, Detection, Frame, Image
from app.vision.classifier import Crops, Probabilities

BOX = Box(20, 20, 60, 60)
RATE_HZ = 50.0


class LiveCamera:
    """A camera of plain pictures; while ``away`` is set it cannot be opened, while ``silent`` is set nothing comes."""

    is_live = True
    fps = RATE_HZ
    frame_count = None

    def __init__(self, name: str, colour: int = 10) -> None:
        self.name = name
        self.colour = colour
        self.away = threading.Event()
        self.silent = threading.Event()
        self._index = 0
        self._start_s = time.monotonic()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        if self.away.is_set():
            raise SourceError(f"cannot open {self.name}: it is away")
        while not stop.wait(1 / RATE_HZ):
            if self.away.is_set():
                raise SourceError(f"lost {self.name}: it went away")
            if self.silent.is_set():
                continue
            image = np.full((120, 160, 3), self.colour, np.uint8)
            image[0, 0] = self._index % 251  # no two neighbours alike
            now_s = time.monotonic()
            yield Frame(image, self._index, now_s - self._start_s, now_s, time.time(), self.name)
            self._index += 1


class Hangs:
    """Shared by the detectors of a test: each detector of number below ``times`` hangs at its fifth picture."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.made = 0
        self.hanging = 0
        self.release = threading.Event()


class HangingDetector:
    def __init__(self, hangs: Hangs) -> None:
        self._hangs = hangs
        self._number = hangs.made
        hangs.made += 1
        self._calls = 0

    def detect(self, image: Image) -> list[Detection]:
        self._calls += 1
        if self._calls == 5 and self._number < self._hangs.times:
            self._hangs.hanging += 1
            assert self._hangs.release.wait(HANG_S)
        return [Detection(BOX, 0.9)]


class HangingClassifier(BrightnessClassifier):
    """Hangs once, at its first call with a real picture, where ``hangs``."""

    def __init__(self, hangs: bool) -> None:
        super().__init__()
        self._hangs = hangs
        self.release = threading.Event()

    def classify(self, crops: Crops) -> Probabilities:
        if self._hangs and crops.any():
            self._hangs = False
            assert self.release.wait(HANG_S)
        return super().classify(crops)
