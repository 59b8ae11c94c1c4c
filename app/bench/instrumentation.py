"""Where the benchmark listens in on the real pipeline: the parts are the real ones, each call of them timed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from app.capture.source import FrameSource
from app.core.types import Frame
from app.pipeline import monitor


@dataclass(slots=True)
class StageWork:
    """What one stage did since the timers began: ``items`` are the crops of a classification."""

    calls: int = 0
    items: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


class StageTimers:
    """Time spent in each stage, by any number of threads. ``cpu_clock`` is the thread's own clock, or the process's
    where a single thread works and helpers of the run time should count too."""

    def __init__(self, cpu_clock: Callable[[], float] = time.thread_time) -> None:
        self._cpu_clock = cpu_clock
        self._lock = threading.Lock()
        self._work: dict[str, StageWork] = {}
        self._within: set[tuple[int, str]] = set()
        """Threads, and the stages that they are in."""

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
        mark = threading.get_ident(), stage
        self._within.add(mark)
        try:
            yield
        finally:
            self._within.discard(mark)

    def instrument(self, part: Any, method: str, stage: str, times: int = 1) -> None:
        """From now on each call of ``part.method`` counts for ``stage``, and is made ``times`` times; those that it
        makes itself within the stage are a part of it."""
        call = getattr(part, method)

        def counted(*args: Any, **named: Any) -> Any:
            if (threading.get_ident(), stage) in self._within:
                return call(*args, **named)
            items = len(args[0]) if stage == "classify" else 1
            with self.timed(stage, items), self._inside(stage):
                for _ in range(times - 1):
                    call(*args, **named)
                return call(*args, **named)

        setattr(part, method, counted)

    def instrument_detector(self, detector: Any, times: int = 1) -> Any:
        """All its ways of looking: ``detect`` and what else begins so."""
        for method in [
            name for name in dir(detector) if name.startswith("detect") and callable(getattr(detector, name))
        ]:
            self.instrument(detector, method, "detect", times)
        return detector

    def instrument_source(self, source: Any) -> Any:
        """Each frame that it gives."""
        frames = source.frames

        def counted(stop: threading.Event) -> Iterator[Frame]:
            given = frames(stop)
            try:
                while True:
                    with self.timed("capture"):
                        frame = next(given, None)
                    if frame is None:
                        return
                    yield frame
            finally:
                given.close()

        source.frames = counted
        return source


class SimulatedCamera:
    """A file, begun again and again, as a camera of ``fps`` frames a second would give it: it waits for nobody."""

    is_live = True
    frame_count = None

    def __init__(self, source: FrameSource, fps: float) -> None:
        self.name = source.name
        self.fps: float | None = fps
        self._source = source
        self._step_s = 1.0 / fps

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        start_s = due_s = time.monotonic()
        given = self._source.frames(stop)
        try:
            for frame in given:
                if stop.wait(max(0.0, due_s - time.monotonic())):
                    return
                now_s = time.monotonic()
                due_s = max(due_s + self._step_s, now_s)  # what decoding delayed is not made up for by a burst
                yield replace(frame, time_s=now_s - start_s, captured_s=now_s, wall_s=time.time())
        finally:
            given.close()  # type: ignore[attr-defined]


_PARTS = ("make_source", "load_detector", "load_classifier", "FrameAnalyzer")
"""What the pipeline makes its parts with."""


@contextmanager
def instrumented(timers: StageTimers, as_live_fps: float | None = None, detector_repeats: int = 1) -> Iterator[None]:
    """Monitors entered meanwhile have their parts timed, as the stages ``capture``, ``detect``, ``analyse`` (tracker,
    crops and policy, ``detect`` included) and ``classify``. Their detectors look ``looks`` times at each picture; with
    ``as_live_fps`` their files play as cameras."""
    before = {name: getattr(monitor, name) for name in _PARTS}

    def new_source(settings: Any) -> FrameSource:
        source = timers.instrument_source(before["make_source"](settings))
        live: FrameSource = source if source.is_live or as_live_fps is None else SimulatedCamera(source, as_live_fps)
        return live

    def new_classifier(settings: Any) -> Any:
        classifier = before["load_classifier"](settings)
        timers.instrument(classifier, "classify", "classify")
        return classifier

    def new_analyzer(*args: Any, **named: Any) -> Any:
        made = before["FrameAnalyzer"](*args, **named)
        timers.instrument(made, "begin", "analyse")
        timers.instrument(made, "finish", "analyse")
        return made

    ours = {
        "make_source": new_source,
        "load_detector": lambda settings: timers.instrument_detector(
            before["load_detector"](settings), detector_repeats
        ),
        "load_classifier": new_classifier,
        "FrameAnalyzer": new_analyzer,
    }
    for name, part in ours.items():
        setattr(monitor, name, part)
    try:
        yield
    finally:
        for name, part in before.items():
            setattr(monitor, name, part)
