"""Measures the real pipeline: its parts stay the real ones, and each of their calls is timed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.capture.source import FrameSource
from app.core.types import Frame
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.pipeline.monitor_parts import MonitorParts
from app.settings.monitor import CameraSettings
from app.settings.source import SourceSettings
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision.classifier import MaskClassifier
from app.vision.detector import FaceDetector


@dataclass(slots=True)
class StageWork:
    """What one stage did since the timers were cleared. ``items`` counts crops in the stage ``classify``."""

    calls: int = 0
    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


class StageTimers:
    """Time spent in each stage, summed over all threads. ``cpu_clock`` is the thread's clock; use the process's clock
    if one thread works and the runtime's helper threads should count too."""

    def __init__(self, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self._cpu_clock = cpu_clock
        self._lock = threading.Lock()
        self._work: dict[str, StageWork] = {}
        self._active: set[tuple[int, str]] = set()
        """(thread id, stage) of each stage that runs now."""

    def clear(self) -> None:
        with self._lock:
            self._work = {}

    def work(self) -> dict[str, StageWork]:
        with self._lock:
            return {stage: replace(work) for stage, work in self._work.items()}

    @contextmanager
    def timed(self, stage: str, items: int = 1) -> Iterator[None]:
        wall_s, cpu_s = time.perf_counter(), self._cpu_clock()
        try:
            yield
        finally:
            wall_s, cpu_s = time.perf_counter() - wall_s, self._cpu_clock() - cpu_s
            with self._lock:
                work = self._work.setdefault(stage, StageWork())
                work.calls += 1
                work.items += items
                work.wall_s += wall_s
                work.cpu_s += cpu_s

    @contextmanager
    def _inside(self, stage: str) -> Iterator[None]:
        entry = threading.get_ident(), stage
        self._active.add(entry)
        try:
            yield
        finally:
            self._active.discard(entry)

    def instrument(self, part: Any, method: str, stage: str, times: int = 1) -> None:
        """Counts each call of ``part.method`` for ``stage`` and runs it ``times`` times. Calls of the same stage
        inside such a call do not count again."""
        call = getattr(part, method)

        def timed_call(*args: Any, **named: Any) -> Any:
            if (threading.get_ident(), stage) in self._active:
                return call(*args, **named)
            items = len(args[0]) if stage == "classify" else 1
            with self.timed(stage, items), self._inside(stage):
                for _ in range(times - 1):
                    call(*args, **named)
                return call(*args, **named)

        setattr(part, method, timed_call)

    def instrument_detector(self, detector: Any, times: int = 1) -> Any:
        """Times ``detect`` and every other method whose name starts with "detect"."""
        for method in [
            name for name in dir(detector) if name.startswith("detect") and callable(getattr(detector, name))
        ]:
            self.instrument(detector, method, "detect", times)
        return detector

    def instrument_source(self, source: Any) -> Any:
        """Times the reading of each frame."""
        frames = source.frames

        def timed_frames(stop: threading.Event) -> Iterator[Frame]:
            with closing(frames(stop)) as iterator:
                while True:
                    with self.timed("capture"):
                        frame = next(iterator, None)
                    if frame is None:
                        return
                    yield frame

        source.frames = timed_frames
        return source


class SimulatedCamera:
    """Plays a video file in a loop as a live camera of ``fps`` frames per second."""

    is_live = True
    frame_count = None

    def __init__(self, source: FrameSource, fps: float) -> None:
        self.name = source.name
        self.fps: float | None = fps
        self._source = source
        self._step_s = 1.0 / fps

    def apply(self, settings: SourceSettings) -> None:
        self._source.apply(settings)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        start_s = due_s = time.monotonic()
        with closing(self._source.frames(stop)) as frames:  # type: ignore[type-var]
            for frame in frames:
                if stop.wait(max(0.0, due_s - time.monotonic())):
                    return
                now_s = time.monotonic()
                due_s = max(due_s + self._step_s, now_s)  # no burst of frames after slow decoding
                yield replace(frame, time_s=now_s - start_s, captured_s=now_s, wall_s=time.time())


def instrumented_parts(
    timers: StageTimers, as_live_fps: float | None = None, detector_repeats: int = 1
) -> MonitorParts:
    """The real parts of a monitor, timed: the stages ``capture``, ``detect``, ``analyse`` (tracker, crops, policy and
    ``detect``) and ``classify``. Each detection pass runs ``detector_repeats`` times. With ``as_live_fps``, files play
    as cameras."""
    parts = MonitorParts()

    def make_source(settings: CameraSettings) -> FrameSource:
        source = timers.instrument_source(parts.make_source(settings))
        live: FrameSource = source if source.is_live or as_live_fps is None else SimulatedCamera(source, as_live_fps)
        return live

    def load_detector(settings: DetectorSettings) -> FaceDetector:
        detector: FaceDetector = timers.instrument_detector(parts.load_detector(settings), detector_repeats)
        return detector

    def load_classifier(settings: ClassifierSettings) -> MaskClassifier:
        classifier = parts.load_classifier(settings)
        timers.instrument(classifier, "classify", "classify")
        return classifier

    def make_analyzer(*args: Any) -> FrameAnalyzer:
        analyzer = parts.make_analyzer(*args)
        timers.instrument(analyzer, "detect_faces", "analyse")
        timers.instrument(analyzer, "complete", "analyse")
        return analyzer

    return MonitorParts(make_source, load_detector, load_classifier, make_analyzer)
