"""The watchdog: decides when threads that hang or crash are restarted, and when a camera is offline or recovered.

It starts nothing itself: ``check`` returns actions, which the monitor carries out. Its clock counts only the time for
which the process really ran (``AwakeClock``), so a suspended machine or a changed wall clock has no effect.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.capture.status import SourceState, SourceStatus
from app.core.errors import MonitorError
from app.core.types import EventKind
from app.pipeline.heartbeat import AwakeClock, Heartbeat, StallTimer
from app.pipeline.outage import Outage, OutageChange, is_up, step
from app.settings.monitor import MonitorSettings

CHECK_EVERY_S = 0.5
RESTART_SHOWN_S = 60.0
"""A restarted thread that has worked for so long is reported as working again."""
_WINDOW_S = 3600.0


class Stage(StrEnum):
    """The stages of the pipeline whose threads can be restarted."""

    CAPTURE = "capture"
    DETECTOR = "detector"
    CLASSIFIER = "classifier"


@dataclass(frozen=True, slots=True)
class CameraHealth:
    """The state of one camera at one moment. ``has_ended``: it returns no more results. ``failure``: why it was given
    up. ``capture_error``: why its capture ended. ``capture_limit_s``: longest time in which a capture that works makes
    progress. ``was_live``: it has delivered a frame in this run. ``worker_ended``: there are no more frames. ``hide``
    removes its secrets from a text."""

    name: str
    is_live: bool
    has_ended: bool
    was_live: bool
    status: SourceStatus
    failure: BaseException | None
    capture_error: BaseException | None
    capture_limit_s: float
    heartbeat: Heartbeat
    crash: BaseException | None
    worker_ended: bool
    hide: Callable[[str], str]

    def final_error(self, retry_at_start: bool) -> BaseException | None:
        """Why the camera has failed permanently; None if it may recover or has ended without an error."""
        if self.failure is not None:
            return self.failure
        if not self.is_live:
            return self.capture_error if self.has_ended else None
        crashed = self.status.state is SourceState.FAILED  # the watchdog restarts it
        return None if retry_at_start or crashed or self.was_live else self.capture_error


@dataclass(frozen=True, slots=True)
class Restart:
    """Start a new thread of ``stage``: that of ``camera``, or the classifier's, which has no camera. A new capture
    needs a new detector thread. It is the restart number ``count`` of at most ``limit`` within an hour."""

    stage: Stage
    reason: str
    awake_s: float
    count: int
    limit: int
    camera: str = ""

    @property
    def part(self) -> str:
        return f"threads of {self.camera}" if self.camera else f"thread {self.stage}"


@dataclass(frozen=True, slots=True)
class GiveUpCamera:
    """Stop the camera: it was restarted too often."""

    camera: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReportOutage:
    """The camera is offline, because of ``reason``, or has recovered."""

    camera: str
    change: OutageChange
    reason: str


Action = Restart | GiveUpCamera | ReportOutage


@dataclass(slots=True)
class _CameraRecord:
    outage: Outage = field(default_factory=Outage)
    restarted_s: deque[float] = field(default_factory=deque)
    worker_timer: StallTimer = field(default_factory=StallTimer)
    capture_timer: StallTimer = field(default_factory=StallTimer)


class Watchdog:
    """Remembers since when each thread makes no progress, and how often it was restarted."""

    def __init__(self, clock: AwakeClock | None = None) -> None:
        self._clock = clock or AwakeClock()
        self._cameras: dict[str, _CameraRecord] = {}
        self._classifier_timer = StallTimer()
        self._classifier_restarts_s: deque[float] = deque()
        self._dispatcher_timer = StallTimer()
        self._restarts: dict[str, Restart] = {}  # the last one of each part

    def restore_outage(self, camera: str, down_s: float) -> None:
        """``camera`` is offline since ``down_s`` seconds, and that was reported."""
        self._record(camera).outage = Outage(down_since_s=-down_s, reported=True)

    def end_outage(self, camera: str) -> OutageChange | None:
        """Forgets ``camera``, which is suspended. Returns the end of an outage that was reported."""
        outage = self._cameras.pop(camera, _CameraRecord()).outage
        if not outage.reported or outage.down_since_s is None:
            return None
        return OutageChange(EventKind.CAMERA_RECOVERED, self._clock.check() - outage.down_since_s)

    def check(
        self, settings: MonitorSettings, cameras: Sequence[CameraHealth], classifier: Heartbeat, dispatcher: Heartbeat
    ) -> list[Action]:
        """Checks all threads and cameras once. Raises MonitorError if a thread hangs that cannot be restarted."""
        awake_s = self._clock.check()
        stalled_s = self._dispatcher_timer.heartbeat_stalled_s(dispatcher, awake_s)
        if stalled_s >= settings.stuck_after_s:
            raise MonitorError(f"thread 'dispatcher' is stuck: {dispatcher.doing} for {stalled_s:.0f} s")
        actions: list[Action] = list(self._check_classifier(settings, cameras, classifier, awake_s))
        for camera in cameras:
            if not camera.has_ended:
                actions += self._check_threads(settings, camera, awake_s)
            if camera.is_live:
                actions += self._check_outage(settings, camera, awake_s)
        return actions

    @property
    def restarts(self) -> list[Restart]:
        """Those of the last ``RESTART_SHOWN_S``, one of each part. Other threads may ask too."""
        since_s = self._clock.awake_s - RESTART_SHOWN_S
        return [restart for restart in self._restarts.copy().values() if restart.awake_s > since_s]

    def forget_restarts(self, stage: Stage) -> None:
        """They were the faults of a model that is not used any more. Other threads may call it too."""
        for part, restart in self._restarts.copy().items():
            if restart.stage is stage:
                self._restarts.pop(part, None)

    def _record(self, camera: str) -> _CameraRecord:
        return self._cameras.setdefault(camera, _CameraRecord())

    def _check_classifier(
        self, settings: MonitorSettings, cameras: Sequence[CameraHealth], heartbeat: Heartbeat, awake_s: float
    ) -> Iterator[Action]:
        stalled_s = self._classifier_timer.heartbeat_stalled_s(heartbeat, awake_s)
        if stalled_s < settings.stuck_after_s:
            return
        reason = f"thread 'classifier' is stuck: {heartbeat.doing} for {stalled_s:.0f} s"
        if not all(camera.is_live for camera in cameras):
            raise MonitorError(reason)
        if not _may_restart(self._classifier_restarts_s, settings.max_restarts, awake_s):
            raise MonitorError(f"{reason}; it was restarted {settings.max_restarts} times within an hour")
        self._classifier_timer = StallTimer()
        count = len(self._classifier_restarts_s)
        yield self._keep(Restart(Stage.CLASSIFIER, reason, awake_s, count, settings.max_restarts))

    def _keep(self, restart: Restart) -> Restart:
        self._restarts[restart.part] = restart
        return restart

    def _check_threads(self, settings: MonitorSettings, camera: CameraHealth, awake_s: float) -> Iterator[Action]:
        record, status = self._record(camera.name), camera.status
        progress = (status.frames, status.reconnects, status.since_s, status.state)
        captured_before_s = record.capture_timer.stalled_s(progress, awake_s)
        analyzed_before_s = record.worker_timer.heartbeat_stalled_s(camera.heartbeat, awake_s)
        capture_runs = camera.is_live and status.state not in (SourceState.ENDED, SourceState.FAILED)
        if camera.crash is not None:
            stage, fault = Stage.DETECTOR, f"crashed: {camera.crash!r}"
        elif analyzed_before_s >= settings.stuck_after_s:
            stage, fault = Stage.DETECTOR, f"is stuck: {camera.heartbeat.doing} for {analyzed_before_s:.0f} s"
        elif capture_runs and captured_before_s >= camera.capture_limit_s:
            stage, fault = Stage.CAPTURE, "is stuck"
        elif camera.is_live and camera.worker_ended:
            stage, fault = Stage.CAPTURE, f"ended: {camera.capture_error!r}"
        else:
            return
        reason = camera.hide(f"thread '{stage} {camera.name}' {fault}")
        if not camera.is_live:  # a file cannot continue after a gap
            raise MonitorError(reason)
        limit = settings.max_restarts
        if not _may_restart(record.restarted_s, limit, awake_s):
            yield GiveUpCamera(
                camera.name, f"{reason}; {camera.name} is given up after {limit} restarts within an hour"
            )
            return
        record.worker_timer, record.capture_timer = StallTimer(), StallTimer()
        yield self._keep(Restart(stage, reason, awake_s, len(record.restarted_s), limit, camera.name))

    def _check_outage(self, settings: MonitorSettings, camera: CameraHealth, awake_s: float) -> Iterator[Action]:
        if camera.status.state is SourceState.CONNECTING:  # the first attempt: its state is still unknown
            return
        record = self._record(camera.name)
        up = camera.failure is None and is_up(camera.status.state)
        # A login that was rejected is tried again so late that nobody needs to wait for the outcome.
        is_certain = camera.status.wait_s > settings.offline_after_s
        record.outage, change = step(settings, record.outage, up, awake_s, is_certain)
        if change is not None:
            yield ReportOutage(camera.name, change, "" if up else _why(camera.status))


def raise_if_none_left(cameras: Sequence[CameraHealth], settings: MonitorSettings) -> None:
    """Raises if no camera is left to watch: the first camera's error if all failed, else why a camera was given up.

    Files that have ended count as success.
    """
    errors = [camera.final_error(settings.retry_at_start) for camera in cameras]
    first = next((error for error in errors if error is not None), None)
    given_up = next((camera.failure for camera in cameras if camera.failure is not None), None)
    if first is not None and all(error is not None for error in errors):
        raise first
    if given_up is not None and all(camera.has_ended for camera in cameras):
        raise given_up


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
