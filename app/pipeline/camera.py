"""One camera: its source, its capture, its worker and its current view."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.capture.capture import Capture, SourceState, SourceStatus
from app.capture.live_source import throttle_of
from app.capture.slot import Slot
from app.capture.source import FrameSource
from app.core.camera_hours import Occupancy
from app.core.types import Counts, Event, EventKind, Frame, FrameResult, StageTimes, Track
from app.pipeline import occupancy
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.event_factory import EventFactory
from app.pipeline.outage import OutageChange, is_up
from app.pipeline.watchdog import CameraHealth
from app.pipeline.watched_time import Activity, NotWatched
from app.settings.monitor import CameraSettings, PolicySettings
from app.settings.vision import TrackingSettings

_RATE_FRAMES, _RATE_S = 30, 3.0
"""The analysis rate is measured over the last ``_RATE_FRAMES`` frames of the last ``_RATE_S`` seconds. Analysis lags if
the next result is later than ``_RATE_S``."""
_CAPTURE_SLACK_S = 10.0
"""Extra time beyond a capture's own timeouts (a slow DNS server) before it counts as stuck."""
DOWN_STATES = (SourceState.STALE, SourceState.RECONNECTING, SourceState.FAILED)


@dataclass(frozen=True, slots=True)
class CameraView:
    """A snapshot of one camera. ``tracks`` are predicted for the time of ``frame``; ``age_s`` is the age of the frame.

    ``dropped`` counts frames that a newer one replaced, ``alerts`` are unresolved, ``restarts`` counts restarts by the
    watchdog, ``analysed`` is the last result. If analysis ``lags``, there are no tracks and no current counts.
    ``position_s`` and ``duration_s``: of a file whose length is known. ``settings``: its zones, lines and limit.
    ``occupancy``: the counts of its lines, None if it has none. ``down_since_s``: Unix time since when a live camera
    delivers no new frames; None while it does.
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
    position_s: float = 0.0
    duration_s: float = 0.0
    settings: CameraSettings | None = None
    occupancy: Occupancy | None = None
    group: str = ""
    down_since_s: float | None = None

    @property
    def open_alerts(self) -> tuple[Event, ...]:
        """``alerts``, and that the occupancy limit is reached."""
        limit = None if self.occupancy is None else self.occupancy.alert
        return self.alerts if limit is None else (*self.alerts, limit)

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
    """A source with its capture and its worker. Only its own methods change its state."""

    def __init__(
        self,
        settings: CameraSettings,
        source: FrameSource,
        events: EventFactory,
        make_worker: Callable[["Camera"], DetectorWorker],
    ) -> None:
        """``make_worker`` also makes the worker of a restart. The caller runs its thread. Raises what it raises."""
        self.settings = settings
        self.name = source.name
        self.source = source
        self.latest: FrameResult | None = None
        self.has_ended = False
        self.failure: BaseException | None = None
        self.is_suspended = False
        self.restarts = 0
        self.results = 0
        self.occupancy = Occupancy(source.name)
        self.events = events
        self.track_ids = itertools.count(1)  # also over restarts, so that no two people have one number
        self._make_worker = make_worker
        self._offline_id = ""
        self._up_wall_s = time.time()  # when it last delivered new frames
        self._analysed_s: tuple[float, ...] = ()  # replaced, never changed: other threads read it
        self._dropped_before = 0
        self._frames_before = 0
        self._captures: list[Capture] = []
        self._open()
        self.worker = make_worker(self)

    def _open(self) -> None:
        """Creates a new capture with new slots, which replaces a previous one; does not start it."""
        if self._captures:
            self.stop()
            self._dropped_before += self.frames.dropped
            self._frames_before += self.capture.status.frames
        self.frames: Slot[Frame] = Slot(lambda: not self.is_live)
        self.shown: Slot[Frame] = Slot()
        self.capture: Capture = Capture(self.source, self.settings, [self.frames, self.shown])
        self._captures = [old for old in self._captures if not old.join(0.0)] + [self.capture]

    def restart(self, with_capture: bool) -> None:
        """Replaces the worker, and the capture if ``with_capture``. The result of the old worker is forgotten. Raises
        MaskwatchError if no worker can be made."""
        self.restarts += 1
        self.begin(with_capture)

    def suspend(self) -> None:
        """Stops the capture and the worker until ``resume``."""
        self.is_suspended = True
        self.retire_worker()
        self.stop()

    def resume(self) -> None:
        """Raises MaskwatchError if no worker can be made."""
        self.is_suspended = False
        self._up_wall_s = time.time()
        self.begin(with_capture=True)

    def begin(self, with_capture: bool = False) -> None:
        """Replaces the worker like ``restart``, on request and not because of a fault."""
        self.retire_worker()
        if with_capture:
            self._open()
        self.worker = self._make_worker(self)
        if with_capture:
            self.capture.start()

    def give_up(self, error: BaseException) -> None:
        """Stops the camera for good."""
        self.failure = error
        self.retire_worker()
        self.stop()
        self.has_ended = True

    def retire_worker(self) -> None:
        self.worker.is_stopped = True
        self.latest = None

    def end(self) -> None:
        """Handles the end of its file: no more results follow."""
        self.has_ended = True

    def stop(self) -> None:
        self.capture.stop()
        self.frames.close()
        self.shown.close()

    def join(self, deadline_s: float) -> int:
        """Waits until ``time.monotonic()`` is ``deadline_s``; returns the number of captures that still run."""
        return sum(not capture.join(max(0.0, deadline_s - time.monotonic())) for capture in self._captures)

    def apply(self, settings: CameraSettings, tracking: TrackingSettings, policy: PolicySettings) -> None:
        """Applies settings that can change at run time."""
        if settings.geometry != self.settings.geometry:
            self.source.apply(settings)
        self.settings = settings
        self.worker.analyzer.apply(tracking, policy)

    @property
    def is_live(self) -> bool:
        """An http address may turn out to be a video at its first answer."""
        return self.source.is_live

    @property
    def status(self) -> SourceStatus:
        status = self.capture.status
        if self.is_suspended:
            return replace(status, state=SourceState.STANDBY, last_error="")
        if self.failure is None:
            return status
        return replace(status, state=SourceState.FAILED, last_error=self.settings.hide(str(self.failure)))

    def health(self) -> CameraHealth:
        """For the watchdog, which asks several times a second."""
        worker, settings, status = self.worker, self.settings, self.status
        if is_up(status.state):
            self._up_wall_s = time.time()
        limit_s = settings.open_timeout_s + settings.silence_s + _CAPTURE_SLACK_S
        limit_s += max(*settings.reconnect_s, status.wait_s)
        return CameraHealth(
            name=self.name,
            is_live=self.is_live,
            has_ended=self.has_ended,
            was_live=self._frames_before + status.frames > 0,
            status=status,
            failure=self.failure,
            capture_error=self.capture.error,
            capture_limit_s=limit_s,
            heartbeat=worker.heartbeat,
            crash=worker.crash,
            worker_ended=worker.ended,
            hide=settings.hide,
        )

    @property
    def _stream_s(self) -> float:
        """Current stream time, extrapolated from the last analysed frame; 0 before the first."""
        if self.latest is None:
            return 0.0
        frame = self.latest.frame
        return frame.time_s + max(0.0, time.monotonic() - frame.captured_s)

    def restore_offline(self, event: Event) -> None:
        """Continues the outage that ``event`` of an earlier run reported, so that its recovery is reported."""
        self._offline_id = event.id
        self._up_wall_s = event.wall_s - event.duration_s

    def outage_event(self, change: OutageChange, reason: str) -> Event:
        """The event that reports ``change``."""
        is_offline = change.kind is EventKind.CAMERA_OFFLINE
        resolves = "" if is_offline else self._offline_id
        event = self.events.of_camera(change.kind, self._stream_s, time.time(), change.lasted_s, reason, resolves)
        self._offline_id = event.id if is_offline else ""
        return event

    def resolved_by_restart(self, reason: str) -> list[Event]:
        """Events that resolve the open alerts: the tracker of a new worker does not know them."""
        alerts = () if self.latest is None else self.latest.alerts
        time_s, wall_s = self._stream_s, time.time()
        return [self.events.resolved_without_frame(alert, time_s, wall_s, reason) for alert in alerts]

    def end_limit(self, reason: str) -> Event | None:
        """The event that ends the alert of its occupancy limit, if that is reached."""
        state, wall_s = self.occupancy, time.time()
        if state.alert is None:
            return None
        self.occupancy = replace(state, alert=None)
        kind, lasted_s = EventKind.OCCUPANCY_BELOW, max(wall_s - state.alert.wall_s, 0.0)
        return self.events.of_camera(kind, self._stream_s, wall_s, lasted_s, reason, state.alert.id, state.inside)

    @property
    def _step_s(self) -> float:
        """Mean time between the last analysed frames, so that frames in pairs do not count as faster; 0 if fewer than
        two."""
        times_s = self._analysed_s
        return (times_s[-1] - times_s[0]) / (len(times_s) - 1) if len(times_s) > 1 else 0.0

    @property
    def lags(self) -> bool:
        """Whether the next result is overdue by more than ``_RATE_S``."""
        times_s = self._analysed_s
        return bool(times_s) and time.monotonic() - times_s[-1] > _RATE_S + self._step_s

    @property
    def analysis_fps(self) -> float:
        step_s = self._step_s
        return 1.0 / step_s if step_s and not self.lags else 0.0

    def pause(self, paused: bool) -> None:
        if (throttle := throttle_of(self.source)) is not None:
            throttle.is_paused = paused

    def keep(self, result: FrameResult) -> tuple[Event, ...]:
        """Returns an event if the occupancy limit is reached with ``result``, or no longer."""
        if (throttle := throttle_of(self.source)) is not None:
            throttle.is_still = self.worker.analyzer.is_idle
        now_s, times_s = time.monotonic(), self._analysed_s
        if not times_s or now_s > times_s[-1]:
            times_s = (*times_s, now_s)[-_RATE_FRAMES:]
        while len(times_s) > 2 and now_s - times_s[0] > _RATE_S:
            times_s = times_s[1:]
        self._analysed_s = times_s
        self.latest = result
        self.results += 1
        if not self.settings.line and self.occupancy.alert is None:
            return ()
        self.occupancy, events = occupancy.step(
            self.settings.occupancy, self.settings.timezone, self.events, self.occupancy, result.frame, result.crossings
        )
        return events

    def activity(self, is_paused: bool, is_quiet: bool) -> Activity:
        """For the watched time. ``is_quiet``: the schedule allows no alert now."""
        why_not, status = None, self.status
        is_overdue = self.lags or (self.latest is None and time.monotonic() - status.since_s > _RATE_S)
        if is_paused:
            why_not = NotWatched.PAUSED
        elif status.state is not SourceState.LIVE:
            why_not = NotWatched.OFFLINE
        elif is_overdue:
            why_not = NotWatched.BEHIND
        return Activity(self.name, self.results, why_not, is_quiet)

    def view(self) -> CameraView:
        latest = self.latest
        # A live view shows every frame with predicted boxes; a file shows only analysed frames.
        frame = self.shown.peek() if self.is_live else latest.frame if latest else None
        frame = None if self.is_suspended else frame
        dropped = self._dropped_before + self.frames.dropped
        status = self.status
        is_down = self.is_live and status.state in DOWN_STATES
        view = CameraView(
            self.name,
            status,
            self.is_live,
            frame,
            dropped=dropped,
            restarts=self.restarts,
            settings=self.settings,
            occupancy=self.occupancy if self.settings.line else None,
            group=self.settings.group,
            down_since_s=self._up_wall_s if is_down else None,
        )
        if frame is None or latest is None:
            return view
        lags = self.lags and self.is_live
        tracks = () if lags else latest.tracks
        count, fps = (None, None) if self.is_live else (self.source.frame_count, self.source.fps)
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
            position_s=0.0
            if not count or not fps
            else frame.time_s
            if frame.index < count
            else frame.index % count / fps,
            duration_s=count / fps if count and fps else 0.0,
        )
