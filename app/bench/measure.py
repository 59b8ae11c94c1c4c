"""Runs the real pipeline in this process for a set time: a monitor, its threads, the overlay."""

import threading
import time
from dataclasses import dataclass

from app.bench.drawing import DrawingStats, FrameDrawer, make_drawer
from app.bench.instrumentation import StageTimers, StageWork, instrumented_parts
from app.bench.machine import peak_rss_mb, versions
from app.bench.result_types import Figures, Spread, Stage, spread_of
from app.capture.capture import SourceState
from app.core.errors import MonitorError, SourceError
from app.core.types import FrameResult
from app.pipeline.monitor import Monitor
from app.settings.root import Settings
from app.settings.toml import redacted_tables
from app.ui.image_window import ImageWindow

_FIRST_FRAME_LIMIT_S = 120.0
NAME = "maskwatch"
STAGES = ("capture", "detect", "analyse", "classify", "draw", "show")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure. ``detector_repeats`` simulates a detector that is so many times slower. ``idle`` does not wait
    for a first frame (the camera is offline). ``paused`` measures with the analysis paused."""

    seconds: float
    warm_up_s: float
    as_live_fps: float | None = None
    window: bool = False
    detector_repeats: int = 1
    paused: bool = False
    idle: bool = False


class _Listener:
    """Records the delays and faces of each result, while it is enabled."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.enabled = False
        self.delays_s: list[float] = []
        self.detect_s: list[float] = []
        self.classify_s: list[float] = []
        self.faces = 0

    def __call__(self, result: FrameResult) -> None:
        self.first.set()
        if self.enabled:
            self.delays_s.append(time.monotonic() - result.frame.captured_s)
            self.detect_s.append(result.times.detect_s)
            if result.times.classify_s:
                self.classify_s.append(result.times.classify_s)
            self.faces += len(result.tracks)


@dataclass(frozen=True, slots=True)
class _Counters:
    """Captured and dropped frames of all cameras, with the wall clock and the processor clock."""

    captured: int
    dropped: int
    wall_s: float
    cpu_s: float

    @classmethod
    def of(cls, monitor: Monitor, window: ImageWindow) -> "_Counters":
        views = monitor.views()
        captured, dropped = sum(view.status.frames for view in views), sum(view.dropped for view in views)
        return cls(captured, dropped, time.perf_counter(), time.process_time() + window.cpu_s)


class _RunPhases:
    """The phases of a run: first frame, warm-up, measured time, end. ``is_over`` moves to the next phase."""

    def __init__(self, monitor: Monitor, listener: _Listener, timers: StageTimers, plan: Plan) -> None:
        self.drawer: FrameDrawer | None = None
        self.before: _Counters | None = None
        self.after: _Counters | None = None
        self.work: dict[str, StageWork] = {}
        self._monitor, self._listener, self._timers, self._plan = monitor, listener, timers, plan
        self._end_s = time.monotonic() + _FIRST_FRAME_LIMIT_S
        self._warm = False

    def is_over(self) -> bool:
        now_s = time.monotonic()
        if self.before is not None:
            if now_s >= self._end_s:
                self._stop_measuring()
            return self.after is not None
        if self._warm and now_s >= self._end_s:
            self._start_measuring()
        elif not self._warm and self._all_analysed():
            assert self.drawer is not None
            self.drawer.pause(self._plan.paused)
            self._warm, self._end_s = True, now_s + self._plan.warm_up_s
        return not self._warm and now_s >= self._end_s

    def _all_analysed(self) -> bool:
        """Whether a frame of each camera was analysed. Raises SourceError if a camera has failed."""
        if self._plan.idle:
            return True
        views = self._monitor.views()
        for view in views:
            if view.status.state is SourceState.FAILED:
                raise SourceError(view.status.last_error)
        return all(view.analysed is not None for view in views)

    def _start_measuring(self) -> None:
        assert self.drawer is not None
        self._timers.clear()
        self.drawer.stats = DrawingStats()
        self.before, self._end_s = self._counters(), time.monotonic() + self._plan.seconds
        self._listener.enabled = True

    def _counters(self) -> _Counters:
        assert self.drawer is not None
        return _Counters.of(self._monitor, self.drawer.image_window)

    def _stop_measuring(self) -> None:
        self._listener.enabled = False
        self.after, self.work = self._counters(), self._timers.work()


def measure(settings: Settings, plan: Plan) -> Figures:
    """Raises what the monitor raises, and MonitorError if no frame is analysed or the source ends too early."""
    timers, listener = StageTimers(), _Listener()
    parts = instrumented_parts(timers, plan.as_live_fps, plan.detector_repeats)
    with Monitor(settings, [listener], parts=parts) as monitor:
        phases = _RunPhases(monitor, listener, timers, plan)
        drawer = phases.drawer = make_drawer(monitor, settings.view, timers, plan.window)
        drawer.run(phases.is_over)
    if phases.before is None or phases.after is None:
        what = "the source ended" if listener.first.is_set() else "no frame was analysed"
        raise MonitorError(f"{what} before the measurement was complete; try 'maskwatch doctor', or fewer --seconds")
    return _figures(settings, plan, listener, drawer.stats, phases.work, phases.before, phases.after)


def _figures(
    settings: Settings,
    plan: Plan,
    listener: _Listener,
    drawing: DrawingStats,
    work: dict[str, StageWork],
    before: _Counters,
    after: _Counters,
) -> Figures:
    seconds, cpu_s, frames = after.wall_s - before.wall_s, after.cpu_s - before.cpu_s, len(listener.delays_s)
    classified = work.get("classify", StageWork())
    rates = {
        "capture": (after.captured - before.captured) / seconds,
        "analysis": frames / seconds,
        "looks": work.get("detect", StageWork()).calls / seconds,
        "faces_classified": classified.items / seconds,
        "pictures_drawn": drawing.drawn / seconds,
        "pictures_moved": drawing.with_new_frame / seconds,
    }
    spreads = {
        "capture_to_result": spread_of(listener.delays_s),
        "capture_to_glass": spread_of(drawing.glass_s),
        "age_shown": spread_of(drawing.ages_s),
        "detection": spread_of(listener.detect_s),
        "classification": spread_of(listener.classify_s),
    }
    return Figures(
        schema=1,
        name=NAME,
        seconds=seconds,
        frames=frames,
        rates_per_s=rates,
        latency={name: spread for name, spread in spreads.items() if isinstance(spread, Spread)},
        dropped=after.dropped - before.dropped,
        faces_per_frame=listener.faces / frames if frames else 0.0,
        cpu_s_per_frame=cpu_s / frames if frames else None,
        cores_used=cpu_s / seconds,
        peak_rss_mb=peak_rss_mb(),
        stages=stages_of(work, cpu_s, seconds),
        settings={name: redacted_tables(getattr(settings, name)) for name in ("detector", "classifier", "tracking")}
        | {"camera": [redacted_tables(camera) for camera in settings.camera]},
        versions=versions(),
        notes=_describe(plan),
    )


def stages_of(work: dict[str, StageWork], cpu_s: float, seconds: float) -> dict[str, Stage]:
    """The stages, ``analyse`` without ``detect``, and the rest: threads of the decoder and of the network runtime,
    queues, the interpreter."""
    work = dict(work)
    if "analyse" in work and "detect" in work:
        whole, detect = work["analyse"], work["detect"]
        wall_s, own_s = whole.wall_s - detect.wall_s, whole.cpu_s - detect.cpu_s
        work["analyse"] = StageWork(whole.calls, whole.items, max(0.0, wall_s), max(0.0, own_s))
    work = {name: work[name] for name in (*STAGES, *(set(work) - set(STAGES))) if name in work}
    rest_s = max(0.0, cpu_s - sum(each.cpu_s for each in work.values()))
    work["rest"] = StageWork(0, 0, seconds, rest_s)
    total_s = max(cpu_s, 1e-9)
    return {
        name: Stage(calls=each.calls, wall_s=each.wall_s, cpu_s=each.cpu_s, share=each.cpu_s / total_s)
        for name, each in work.items()
    }


def _describe(plan: Plan) -> str:
    phrases = [
        f"files play as cameras of {plan.as_live_fps:g} frames/s" if plan.as_live_fps else "",
        f"detector made {plan.detector_repeats} times slower" if plan.detector_repeats > 1 else "",
        "paused" if plan.paused else "",
    ]
    return "; ".join(filter(None, phrases))
