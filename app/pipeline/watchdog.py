"""The watchdog: restarts threads that hang or crash, and reports cameras as offline or recovered.

Its clock counts only the time for which the process really ran (``AwakeClock``), so a suspended machine or a changed
wall clock has no effect.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from app.capture.capture import SourceState, SourceStatus
from app.core.errors import MaskwatchError, MonitorError
from app.core.types import Event, EventKind
from app.pipeline.camera import Camera
from app.pipeline.heartbeat import AwakeClock, Heartbeat, StallTimer
from app.pipeline.outage import OutageChange, is_up, step
from app.settings.monitor import MonitorSettings

log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.25
DISPATCHING = "calling the listeners"
"""A thread that hangs in this task is not restarted: the listeners are external code and run one at a time."""
_WINDOW_S = 3600.0


class Host(Protocol):
    """The methods of the monitor that the watchdog calls."""

    run_id: str

    @property
    def classifier_heartbeat(self) -> Heartbeat: ...

    def restart(self, camera: Camera, with_capture: bool) -> None:
        """Starts a new detector thread, with a new capture if ``with_capture``. Raises MaskwatchError."""

    def restart_classifier(self) -> None: ...

    def dispatch(self, event: Event) -> bool:
        """Passes an event without a frame to the listeners; returns False if they are busy."""

    def sends_resolved_events(self, camera: Camera) -> bool:
        """Whether ``resolved`` events are turned on for ``camera``."""

    def end(self, camera: Camera) -> None:
        """Handles that ``camera`` returns no more results."""


class Watchdog:
    """Call ``run`` and ``run_dispatcher`` in a thread each: a listener that hangs must not block the checks."""

    def __init__(
        self,
        host: Host,
        cameras: Sequence[Camera],
        settings: Callable[[], MonitorSettings],
        clock: AwakeClock | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._cameras = cameras
        self._settings = settings
        self._clock = clock or AwakeClock()
        self._wall_s = wall_s
        self._classifier_stall_timer = StallTimer()
        self._classifier_restarts_s: deque[float] = deque()
        self._pending_events: deque[Event] = deque()
        self._dispatcher_heartbeat = Heartbeat()
        self._dispatcher_stall_timer = StallTimer()
        self.checked_s = time.monotonic()

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(CHECK_EVERY_S):
            self.check()

    def run_dispatcher(self, stopping: threading.Event) -> None:
        while not stopping.wait(CHECK_EVERY_S):
            self.dispatch()

    def dispatch(self) -> None:
        """Passes pending events to the listeners until these are busy."""
        is_dispatched = True
        while is_dispatched and self._pending_events:
            self._dispatcher_heartbeat.beat(DISPATCHING)
            is_dispatched = self._host.dispatch(self._pending_events[0])
            self._dispatcher_heartbeat.rest()
            if is_dispatched:
                self._pending_events.popleft()

    def check(self) -> None:
        """Checks all threads and cameras once. Raises the camera's error if none can be watched any more."""
        awake_s = self._clock.check()
        self.checked_s = time.monotonic()
        self._check_classifier(awake_s)
        self._check_dispatcher(awake_s)
        for camera in self._cameras:
            if not camera.ended:
                self._check_camera(camera, awake_s)
            if camera.is_live:
                self._check_outage(camera, awake_s)
        raise_if_none_left(self._cameras, self._settings())

    def _check_camera(self, camera: Camera, awake_s: float) -> None:
        worker = camera.worker
        assert worker is not None
        stalled_s = worker.stall_timer.heartbeat_stalled_s(worker.heartbeat, awake_s)
        if worker.crash is not None:
            self._restart(camera, f"thread '{worker.name}' crashed: {worker.crash!r}", awake_s)
        elif stalled_s >= self._settings().stuck_after_s:
            doing = worker.heartbeat.doing
            reason = f"thread '{worker.name}' is stuck: {doing} for {stalled_s:.0f} s"
            if doing == DISPATCHING or not camera.is_live:  # a file cannot continue after a gap
                raise MonitorError(reason)
            self._restart(camera, reason, awake_s)
        elif camera.capture_is_stuck(awake_s):
            self._restart(camera, f"thread 'capture {camera.name}' is stuck", awake_s, with_capture=True)
        elif camera.is_live and worker.ended:
            error = camera.capture.error
            self._restart(camera, f"thread 'capture {camera.name}' ended: {error!r}", awake_s, with_capture=True)

    def _restart(self, camera: Camera, reason: str, awake_s: float, with_capture: bool = False) -> None:
        limit = self._settings().max_restarts
        reason = camera.settings.hide(reason)
        self._resolve_alerts(camera)
        if not _may_restart(camera.restarted_s, limit, awake_s):
            self._give_up(camera, f"{reason}; {camera.name} is given up after {limit} restarts within an hour")
            return
        camera.restarts += 1
        count = len(camera.restarted_s)
        log.error("%s: %s; restarted (%d of %d within an hour)", camera.name, reason, count, limit)
        try:
            self._host.restart(camera, with_capture)
        except MaskwatchError as error:
            self._give_up(camera, f"{reason}; {camera.name} cannot be restarted: {error}")

    def _give_up(self, camera: Camera, reason: str) -> None:
        log.error("%s", reason)
        camera.failure = MonitorError(reason)
        if camera.worker is not None:
            camera.worker.is_stopped = True
        camera.stop()
        camera.ended = True
        # Before the end is reported: otherwise it would count as a regular end.
        raise_if_none_left(self._cameras, self._settings())
        self._host.end(camera)

    def _check_classifier(self, awake_s: float) -> None:
        settings, heartbeat = self._settings(), self._host.classifier_heartbeat
        stalled_s = self._classifier_stall_timer.heartbeat_stalled_s(heartbeat, awake_s)
        if stalled_s < settings.stuck_after_s:
            return
        reason = f"thread 'classifier' is stuck: {heartbeat.doing} for {stalled_s:.0f} s"
        if not all(camera.is_live for camera in self._cameras):
            raise MonitorError(reason)
        if not _may_restart(self._classifier_restarts_s, settings.max_restarts, awake_s):
            raise MonitorError(f"{reason}; it was restarted {settings.max_restarts} times within an hour")
        log.error("%s; restarted", reason)
        self._classifier_stall_timer = StallTimer()
        self._host.restart_classifier()

    def _check_dispatcher(self, awake_s: float) -> None:
        stalled_s = self._dispatcher_stall_timer.heartbeat_stalled_s(self._dispatcher_heartbeat, awake_s)
        if stalled_s >= self._settings().stuck_after_s:
            raise MonitorError(f"thread 'dispatcher' is stuck: {DISPATCHING} for {stalled_s:.0f} s")

    def _check_outage(self, camera: Camera, awake_s: float) -> None:
        status = camera.status
        if status.state is SourceState.CONNECTING:  # the first attempt: its state is still unknown
            return
        up = camera.failure is None and is_up(status.state)
        # A login that was rejected is tried again so late that nobody needs to wait for the outcome.
        is_certain = status.wait_s > self._settings().offline_after_s
        camera.outage, change = step(self._settings(), camera.outage, up, awake_s, is_certain)
        if change is not None:
            self._pending_events.append(self._outage_event(camera, change))

    def _outage_event(self, camera: Camera, change: OutageChange) -> Event:
        is_offline = change.kind is EventKind.CAMERA_OFFLINE
        event = Event(
            id=camera.next_event_id(self._host.run_id),
            kind=change.kind,
            camera=camera.name,
            time_s=camera.stream_s,
            wall_s=self._wall_s(),
            duration_s=change.lasted_s,
            reason=_why(camera.status) if is_offline else "",
            resolves="" if is_offline else camera.offline_id,
        )
        camera.offline_id = event.id if is_offline else ""
        return event

    def _resolve_alerts(self, camera: Camera) -> None:
        """Resolves the open alerts of a camera that restarts: its new tracker does not know them."""
        if camera.latest is None:
            return
        for alert in camera.latest.alerts if self._host.sends_resolved_events(camera) else ():
            time_s = camera.stream_s
            resolved = Event(
                id=camera.next_event_id(self._host.run_id),
                kind=EventKind.RESOLVED,
                camera=camera.name,
                time_s=time_s,
                wall_s=self._wall_s(),
                track_id=alert.track_id,
                duration_s=max(0.0, time_s - alert.time_s),
                reason="restarted",
                resolves=alert.id,
            )
            self._pending_events.append(resolved)
        camera.latest = None


def raise_if_none_left(cameras: Sequence[Camera], settings: MonitorSettings) -> None:
    """Raises if no camera is left to watch: the first camera's error if all failed, else why a camera was given up.

    Files that have ended count as success.
    """
    errors = [_final_error(camera, settings.retry_at_start) for camera in cameras]
    first = next((error for error in errors if error is not None), None)
    given_up = next((camera.failure for camera in cameras if camera.failure is not None), None)
    if first is not None and all(error is not None for error in errors):
        raise first
    if given_up is not None and all(camera.ended for camera in cameras):
        raise given_up


def _final_error(camera: Camera, retries: bool) -> BaseException | None:
    """Why ``camera`` has failed permanently; None if it may recover or has ended without an error."""
    if camera.failure is not None:
        return camera.failure
    if not camera.is_live:
        return camera.capture.error if camera.ended else None
    crashed = camera.capture.status.state is SourceState.FAILED  # the watchdog restarts it
    return None if retries or crashed or camera.was_live else camera.capture.error


def _may_restart(restarted_s: deque[float], limit: int, awake_s: float) -> bool:
    while restarted_s and awake_s - restarted_s[0] > _WINDOW_S:
        restarted_s.popleft()
    if len(restarted_s) >= limit:
        return False
    restarted_s.append(awake_s)
    return True


def _why(status: SourceStatus) -> str:
    if status.state is not SourceState.STALE:
        later = f"; next attempt in {status.wait_s:.0f} s" if status.wait_s else ""
        return (status.last_error or "cannot be opened") + later
    is_silent = status.last_frame_s is not None and status.since_s > status.last_frame_s
    return "no frame arrives" if is_silent else "the image is frozen"
