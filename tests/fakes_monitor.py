"""Fake live cameras, detectors and classifiers for tests of the monitor: they hang, fail, go offline and recover."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fakes import BoxesDetector, BrightnessClassifier
from fakes_video import HANG_S

from app.capture.source import FrameSource
from app.core.errors import SourceError
from app.core.types import Box, Detection, Frame, Image
from app.pipeline.monitor_parts import MonitorParts
from app.vision.classifier import Crops, Probabilities

BOX = Box(20, 20, 60, 60)
RATE_HZ = 50.0


def fake_parts(boxes: Sequence[Box] = (BOX,), source: FrameSource | None = None, **parts: Any) -> MonitorParts:
    """Parts with a detector that finds ``boxes`` in every frame and a classifier that reads the brightness of a crop.
    Without ``source``, the sources are real."""
    fakes: dict[str, Any] = {
        "load_detector": lambda _: BoxesDetector(lambda _: boxes),
        "load_classifier": lambda _: BrightnessClassifier(),
    }
    if source is not None:
        fakes["make_source"] = lambda _: source
    return MonitorParts(**(fakes | parts))


class LiveCamera:
    """Delivers plain frames, or ``picture``. While ``offline`` is set it cannot be opened; while ``silent`` is set no
    frame arrives."""

    is_live = True
    fps = RATE_HZ
    frame_count = None

    def __init__(self, name: str, colour: int = 10, picture: Image | None = None) -> None:
        self.name = name
        self.colour = colour
        self.picture = picture
        self.offline = threading.Event()
        self.silent = threading.Event()
        self.applied: object = None
        self._index = 0
        self._start_s = time.monotonic()

    def apply(self, settings: object) -> None:
        self.applied = settings

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        if self.offline.is_set():
            raise SourceError(f"cannot open {self.name}: no route to host")
        while not stop.wait(1 / RATE_HZ):
            if self.offline.is_set():
                raise SourceError(f"lost {self.name}: no route to host")
            if self.silent.is_set():
                continue
            image = np.full((120, 160, 3), self.colour, np.uint8) if self.picture is None else self.picture.copy()
            image[0, 0] = self._index % 251  # consecutive frames differ
            now_s = time.monotonic()
            yield Frame(image, self._index, now_s - self._start_s, now_s, time.time(), self.name)
            self._index += 1


class Hangs:
    """Shared by the detectors of a test: the first ``times`` detectors hang at their fifth frame."""

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
    """If ``hangs``, hangs once, at its first call with crops that are not all black."""

    def __init__(self, hangs: bool) -> None:
        super().__init__()
        self._hangs = hangs
        self.release = threading.Event()

    def classify(self, crops: Crops) -> Probabilities:
        if self._hangs and crops.any():
            self._hangs = False
            assert self.release.wait(HANG_S)
        return super().classify(crops)
