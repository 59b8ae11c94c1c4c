"""One watched camera: the parts that serve it, those that take their place, and what is to be seen of it."""

import time
from collections import deque
from dataclasses import dataclass, replace

from app.capture.capture import Capture, SourceState, SourceStatus
from app.capture.slot import LatestSlot, Slot, WaitingSlot
from app.capture.source import FrameSource
from app.core.types import Counts, Event, Frame, FrameResult, StageTimes, Track
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.heartbeat import StallTimer
from app.pipeline.outage import Outage
from app.settings.monitor import CameraSettings

_RATE_FRAMES, _RATE_S = 30, 3.0
"""The rate of analysis is that of the last frames, none of them older. It lags where the next one is so late."""
_CAPTURE_SLACK_S = 10.0
"""What a capture may take beyond its own limits (a name server's delay) before it counts as stuck."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """What is to be seen of one camera at one moment. ``tracks`` stand where their faces should be in ``frame``;
    ``age_s`` is how old the frame is, ``analysis_fps`` how many frames a second are analysed, ``dropped`` how many
    were not because a newer one came, ``alerts`` those that nothing has resolved yet; ``restarts`` counts how often
    the watchdog replaced a part of it; ``analysed`` is the last result. Where analysis ``lags`` that result is so old
    that it says nothing of a live picture: nobody is marked or counted as there now."""

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
        """The same as of the last analysed frame: a face that no one has looked for yet cannot be blurred, so a newer
        frame, or one before the first analysis, is not to be seen. Where analysis lags, that frame is STALE."""
        if self.analysed is None:
            return replace(self, frame=None, tracks=())
        frame, status = self.analysed.frame, self.status
        behind_s = self.frame.captured_s - frame.captured_s if self.frame else 0.0
        if self.lags and status.state is SourceState.LIVE:
            status = replace(status, state=SourceState.STALE, last_error="nothing is analysed")
        return replace(self, status=status, frame=frame, tracks=self.analysed.tracks, age_s=self.age_s + behind_s)


class Camera:
    """A source with the capture and the shift that serve it now. ``failure`` is why it is given up for good."""

    def __init__(self, settings: CameraSettings, source: FrameSource) -> None:
        self.settings = settings
        self.name = source.name
        self.is_live = source.is_live
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
        """A new capture with new slots, in the place of the old ones if there are any; not started yet."""
        if self._captures:
            self.stop()
            self._dropped_before += self.frames.dropped
            self._frames_before += self.capture.status.frames
        self.frames: Slot[Frame] = LatestSlot() if self.is_live else WaitingSlot()
        self.shown: LatestSlot[Frame] = LatestSlot()
        self.capture: Capture = Capture(self.source, self.settings, [self.frames, self.shown])
        self._captures = [old for old in self._captures if not old.join(0.0)] + [self.capture]
        self._capture_stillness = StallTimer()

    def stop(self) -> None:
        self.capture.stop()
        self.frames.close()
        self.shown.close()

    def join(self, deadline_s: float) -> int:
        """Wait until ``time.monotonic()`` is ``deadline_s``; returns how many of its captures still run."""
        return sum(not capture.join(max(0.0, deadline_s - time.monotonic())) for capture in self._captures)

    @property
    def status(self) -> SourceStatus:
        status = self.capture.status
        if self.failure is None:
            return status
        return replace(status, state=SourceState.FAILED, last_error=self.settings.hide(str(self.failure)))

    @property
    def was_live(self) -> bool:
        """Whether it ever gave a picture in this run."""
        return self._frames_before + self.capture.status.frames > 0

    @property
    def stream_s(self) -> float:
        """Stream time now, carried on from the last analysed frame; 0 before the first."""
        if self.latest is None:
            return 0.0
        frame = self.latest.frame
        return frame.time_s + max(0.0, time.monotonic() - frame.captured_s)

    def begin_offline(self, event: Event) -> None:
        """``event`` of an earlier run told that it is offline: its return is still to be told."""
        away_s = event.duration_s + max(0.0, time.time() - event.wall_s)
        self.outage, self.offline_id = Outage(down_since_s=-away_s, reported=True), event.id

    def next_event_id(self, run_id: str) -> str:
        """For events of the camera itself; those of its faces are numbered by the policy."""
        self.event_serial += 1
        return f"{run_id}-{self.name}-c{self.event_serial}"

    def capture_is_stuck(self, awake_s: float) -> bool:
        """Whether the capture of a live source does not even fail any more: it has its own time limits, so by then
        it must have brought a frame, given a connection up or tried another."""
        status = self.capture.status
        if not self.is_live or status.state in (SourceState.ENDED, SourceState.FAILED):
            return False
        settings = self.settings
        limit_s = max(settings.reconnect_s) + settings.open_timeout_s + settings.read_timeout_s + _CAPTURE_SLACK_S
        mark = (status.frames, status.reconnects, status.since_s, status.state)
        return self._capture_stillness.of(mark, awake_s) >= limit_s

    @property
    def _step_s(self) -> float:
        """Mean time from one of the last analysed frames to the next, so that those that come in pairs are no faster;
        0 before the second."""
        times_s = tuple(self._analysed_s)
        return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0

    @property
    def lags(self) -> bool:
        """Whether the next result is long overdue."""
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
        # A live picture moves at the camera's rate, boxes carried on; a file shows each analysed frame as it is.
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
