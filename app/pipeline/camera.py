"""One camera: its source, its capture and detector threads, and its current view."""

import time
from collections import deque
from dataclasses import dataclass, replace

from app.capture.capture import Capture, SourceState, SourceStatus
from app.capture.slot import LatestSlot, Slot, SourceSlot
from app.capture.source import FrameSource
from app.core.types import Counts, Event, Frame, FrameResult, StageTimes, Track
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.heartbeat import StallTimer
from app.pipeline.outage import Outage
from app.settings.monitor import CameraSettings

_RATE_FRAMES, _RATE_S = 30, 3.0
"""The analysis rate is measured over the last ``_RATE_FRAMES`` frames of the last ``_RATE_S`` seconds. Analysis lags if
the next result is later than ``_RATE_S``."""
_CAPTURE_SLACK_S = 10.0
"""Extra time beyond a capture's own timeouts (a slow DNS server) before it counts as stuck."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """A snapshot of one camera. ``tracks`` are predicted for the time of ``frame``; ``age_s`` is the age of the frame.

    ``dropped`` counts frames that a newer one replaced, ``alerts`` are unresolved, ``restarts`` counts restarts by the
    watchdog, ``analysed`` is the last result. If analysis ``lags``, there are no tracks and no current counts.
    """

    camera: str
    status: SourceStatus
    is_live: bool
    frame: Frame | None = None
    tracks: tuple[Track, ...] = ()
    counts: Counts | None = None
    alerts: tuple[Event, ...] = ()
    age_s: float = 0.0
    analysis_fps: float = 0.0
    dropped: int = 0
    times: StageTimes | None = None
    restarts: int = 0
    analysed: FrameResult | None = None
    lags: bool = False

    def private(self) -> "CameraView":
        """Returns the view at the last analysed frame: a newer frame may show faces that cannot be blurred yet.

        Without an analysed frame there is no frame; if analysis lags, the state is STALE.
        """
        if self.analysed is None:
            return replace(self, frame=None, tracks=())
        frame, status = self.analysed.frame, self.status
        behind_s = self.frame.captured_s - frame.captured_s if self.frame else 0.0
        if self.lags and status.state is SourceState.LIVE:
            status = replace(status, state=SourceState.STALE, last_error="no frame is analysed")
        return replace(self, status=status, frame=frame, tracks=self.analysed.tracks, age_s=self.age_s + behind_s)


class Camera:
    """A source with its current capture and worker. ``failure`` is the reason if it is given up."""

    def __init__(self, settings: CameraSettings, source: FrameSource) -> None:
        self.settings = settings
        self.name = source.name
        self.source = source
        self.latest: FrameResult | None = None
        self.ended = False
        self.failure: BaseException | None = None
        self.restarts = 0
        self.restarted_s: deque[float] = deque()
        self.outage = Outage()
        self.offline_id = ""
        self.event_serial = 0
        self.worker: DetectorWorker | None = None
        self._analysed_s: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._dropped_before = 0
        self._frames_before = 0
        self._captures: list[Capture] = []
        self.open()

    def open(self) -> None:
        """Creates a new capture with new slots, which replaces a previous one; does not start it."""
        if self._captures:
            self.stop()
            self._dropped_before += self.frames.dropped
            self._frames_before += self.capture.status.frames
        self.frames: Slot[Frame] = SourceSlot(lambda: not self.is_live)
        self.shown: LatestSlot[Frame] = LatestSlot()
        self.capture: Capture = Capture(self.source, self.settings, [self.frames, self.shown])
        self._captures = [old for old in self._captures if not old.join(0.0)] + [self.capture]
        self._capture_stall_timer = StallTimer()

    def stop(self) -> None:
        self.capture.stop()
        self.frames.close()
        self.shown.close()

    def join(self, deadline_s: float) -> int:
        """Waits until ``time.monotonic()`` is ``deadline_s``; returns the number of captures that still run."""
        return sum(not capture.join(max(0.0, deadline_s - time.monotonic())) for capture in self._captures)

    @property
    def is_live(self) -> bool:
        """An http address may turn out to be a video at its first answer."""
        return self.source.is_live

    @property
    def status(self) -> SourceStatus:
        status = self.capture.status
        if self.failure is None:
            return status
        return replace(status, state=SourceState.FAILED, last_error=self.settings.hide(str(self.failure)))

    @property
    def was_live(self) -> bool:
        """Whether it has delivered a frame in this run."""
        return self._frames_before + self.capture.status.frames > 0

    @property
    def stream_s(self) -> float:
        """Current stream time, extrapolated from the last analysed frame; 0 before the first."""
        if self.latest is None:
            return 0.0
        frame = self.latest.frame
        return frame.time_s + max(0.0, time.monotonic() - frame.captured_s)

    def restore_offline(self, event: Event) -> None:
        """Sets the camera offline since ``event`` of an earlier run, so that its recovery is reported."""
        away_s = event.duration_s + max(0.0, time.time() - event.wall_s)
        self.outage, self.offline_id = Outage(down_since_s=-away_s, reported=True), event.id

    def next_event_id(self, run_id: str) -> str:
        """Returns an id for an event of the camera itself; the policy numbers the events of its faces."""
        self.event_serial += 1
        return f"{run_id}-{self.name}-c{self.event_serial}"

    def capture_is_stuck(self, awake_s: float) -> bool:
        """Whether the capture of a live source hangs.

        Within its own timeouts it must deliver a frame, drop a connection or try another one.
        """
        status = self.capture.status
        if not self.is_live or status.state in (SourceState.ENDED, SourceState.FAILED):
            return False
        settings = self.settings
        limit_s = settings.open_timeout_s + settings.silence_s + _CAPTURE_SLACK_S
        limit_s += max(*settings.reconnect_s, status.wait_s)
        progress = (status.frames, status.reconnects, status.since_s, status.state)
        return self._capture_stall_timer.stalled_s(progress, awake_s) >= limit_s

    @property
    def _step_s(self) -> float:
        """Mean time between the last analysed frames, so that frames in pairs do not count as faster; 0 if fewer than
        two."""
        times_s = tuple(self._analysed_s)
        return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0

    @property
    def lags(self) -> bool:
        """Whether the next result is overdue by more than ``_RATE_S``."""
        times_s = tuple(self._analysed_s)
        return bool(times_s) and time.monotonic() - times_s[-1] > _RATE_S + self._step_s

    @property
    def analysis_fps(self) -> float:
        step_s = self._step_s
        return 1.0 / step_s if step_s and not self.lags else 0.0

    def keep(self, result: FrameResult) -> None:
        now_s, times_s = time.monotonic(), self._analysed_s
        if not times_s or now_s > times_s[-1]:
            times_s.append(now_s)
        while len(times_s) > 2 and now_s - times_s[0] > _RATE_S:
            times_s.popleft()
        self.latest = result

    def view(self) -> CameraView:
        latest = self.latest
        # A live view shows every frame with predicted boxes; a file shows only analysed frames.
        frame = self.shown.peek() if self.is_live else latest.frame if latest else None
        dropped = self._dropped_before + self.frames.dropped
        view = CameraView(self.name, self.status, self.is_live, frame, dropped=dropped, restarts=self.restarts)
        if frame is None or latest is None:
            return view
        lags = self.lags and self.is_live
        tracks = () if lags else latest.tracks
        return replace(
            view,
            tracks=tuple(replace(track, box=track.box_at(frame.time_s)) for track in tracks),
            counts=replace(latest.counts, now={}) if lags else latest.counts,
            alerts=latest.alerts,
            age_s=time.monotonic() - frame.captured_s,
            analysis_fps=self.analysis_fps,
            times=latest.times,
            analysed=latest,
            lags=lags,
        )
