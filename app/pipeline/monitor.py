"""The monitor: runs the capture, detector, classifier and watchdog threads of all cameras, and offers their results."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from app.capture.slot import SlotClosed
from app.capture.source import FrameSource, make_source
from app.core.cpu import cores_allowed
from app.core.errors import MaskwatchError, MonitorError
from app.core.types import Event, FrameResult
from app.pipeline.camera import Camera, CameraView
from app.pipeline.classifier_batcher import BatcherClosed, ClassifierBatcher
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.pipeline.heartbeat import Heartbeat
from app.pipeline.result_queue import ResultQueue
from app.pipeline.thread_group import ThreadGroup
from app.pipeline.watchdog import DISPATCHING, Watchdog, raise_if_none_left
from app.settings.monitor import overridden
from app.settings.reload import live_part
from app.settings.root import Settings
from app.vision.classifier import Crops, MaskClassifier, Probabilities, load_classifier
from app.vision.detector_loader import load_detector

__all__ = ["CameraView", "EventListener", "Monitor", "ResultListener"]

log = logging.getLogger(__name__)

_WAIT_S = 0.5
"""Longest single wait of a thread: a stop is noticed within this time even if a notification is lost."""
_JOIN_S = 1.7
"""Time limit for all threads to end after a stop; the whole shutdown takes less than 2 s."""
_DISPATCH_WAIT_S = 0.2
_WATCHDOG_DEAD_AFTER_S = 10.0

ResultListener = Callable[[FrameResult], None]
EventListener = Callable[[Event, FrameResult | None], None]
"""Called with every event and its result; None if the event has no frame, for example a camera that is offline."""


class Monitor:
    """Watches all cameras of the settings: ``with Monitor(settings) as monitor: for result in monitor: ...``

    Leaving the ``with`` joins every thread within 2 s and raises the first error: MaskwatchError as it is, any other as
    MonitorError. ``listeners`` get every result, then ``event_listeners`` its events, one call at a time, from threads
    of the monitor.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[ResultListener] = (),
        event_listeners: Sequence[EventListener] = (),
        offline: Sequence[Event] = (),
    ) -> None:
        """``offline``: the camera_offline events of earlier runs whose cameras have not recovered yet."""
        self.run_id = f"{int(time.time()):x}{secrets.token_hex(3)}"
        self._settings = settings
        self._listeners = tuple(listeners)
        self._event_listeners = tuple(event_listeners)
        self._offline = {event.camera: event for event in offline}
        self._listener_lock = threading.Lock()
        self._resumed = threading.Event()
        self._resumed.set()
        self._threads = ThreadGroup(self._wake_all)
        self._cameras: list[Camera] = []
        self._batcher: ClassifierBatcher | None = None
        self._batcher_thread: threading.Thread | None = None
        self._results = ResultQueue(len(settings.camera))
        self._watchdog = Watchdog(self, self._cameras, lambda: self._settings.monitor)

    def __enter__(self) -> "Monitor":
        classifier = self._load_classifier()
        self._batcher = ClassifierBatcher(classifier)
        for settings in self._settings.camera:
            camera = Camera(settings, make_source(settings))
            camera.worker = self._new_worker(camera, classifier)
            if camera.name in self._offline:
                camera.restore_offline(self._offline[camera.name])
            self._cameras.append(camera)
        self._batcher_thread = self._threads.spawn("classifier", self._batcher.warm_up_and_run)
        for camera in self._cameras:
            self._start(camera, with_capture=True)
        self._threads.spawn("watchdog", lambda: self._watchdog.run(self._threads.stopping))
        self._threads.spawn("dispatcher", lambda: self._watchdog.run_dispatcher(self._threads.stopping))
        return self

    def _load_classifier(self) -> MaskClassifier:
        settings = self._settings.classifier
        return load_classifier(settings.model_copy(update={"threads": min(settings.threads, cores_allowed())}))

    # -- cameras and their threads -----------------------------------------------------------------------------------

    def _new_worker(self, camera: Camera, classifier: MaskClassifier) -> DetectorWorker:
        general, own = self._settings, camera.settings
        detector = overridden(general.detector, own.detector)
        share = max(1, cores_allowed() // len(general.camera))
        detector = detector.model_copy(update={"threads": min(detector.threads, share)})
        analyzer = FrameAnalyzer(
            load_detector(detector),
            classifier.metadata,
            overridden(general.tracking, own.tracking),
            overridden(general.policy, own.policy),
            # Event ids must stay unique when a restart creates a new policy state.
            self.run_id + (f"r{camera.restarts}" if camera.restarts else ""),
            general.classifier.max_batch,
            detector,
        )
        return DetectorWorker(f"detector {camera.name}", analyzer, camera.frames)

    def _start(self, camera: Camera, with_capture: bool) -> None:
        worker = camera.worker
        assert worker is not None
        worker.thread = self._threads.spawn(worker.name, lambda: self._serve(camera, worker))
        if with_capture:
            camera.capture.start()

    def _serve(self, camera: Camera, worker: DetectorWorker) -> None:
        """The detector thread: frames in, results out, until the source ends, the worker or the monitor stops."""
        while not self._threads.stopping.is_set() and not worker.is_stopped:
            worker.heartbeat.rest()
            if not self._resumed.wait(_WAIT_S):
                continue
            try:
                frame = worker.frames.get(_WAIT_S)
            except SlotClosed:
                break
            if frame is not None:
                result = worker.analyze(frame, self._classify, keep_crash=camera.is_live)
                if result is not None:
                    self._publish(camera, worker, result)
        if not worker.is_stopped and not self._threads.stopping.is_set():  # only if the source itself has ended
            worker.ended = True
            if not camera.is_live:
                self._end_file(camera)

    def _classify(self, crops: Crops) -> Probabilities | None:
        """Returns None if the monitor stops. Tries again if the classifier is replaced meanwhile."""
        while not self._threads.stopping.is_set():
            batcher = self._batcher
            assert batcher is not None
            try:
                return batcher.classify(crops)
            except BatcherClosed:
                if batcher is self._batcher:
                    raise
        return None

    def _publish(self, camera: Camera, worker: DetectorWorker, result: FrameResult) -> None:
        worker.heartbeat.rest()
        with self._listener_lock:
            if worker.is_stopped:
                return
            camera.keep(result)
            worker.heartbeat.beat(DISPATCHING)
            for listener in self._listeners:
                listener(result)
            for event in result.events:
                for event_listener in self._event_listeners:
                    event_listener(event, result)
        worker.heartbeat.rest()
        self._results.put(result, wait=not camera.is_live)

    def _end_file(self, camera: Camera) -> None:
        """Handles the end of a file. A failed file stops the monitor if no other camera is left."""
        camera.ended = True
        error = camera.capture.error
        if self._threads.stopping.is_set():
            return
        if error is not None:
            raise_if_none_left(self._cameras, self._settings.monitor)
            log.error("%s", error)
        self._results.producer_done()

    # -- called by the watchdog --------------------------------------------------------------------------------------

    @property
    def classifier_heartbeat(self) -> Heartbeat:
        assert self._batcher is not None
        return self._batcher.heartbeat

    def restart(self, camera: Camera, with_capture: bool) -> None:
        """See ``watchdog.Host``."""
        old = camera.worker
        assert old is not None
        assert self._batcher is not None
        is_hanging = old.crash is None and not with_capture
        old.is_stopped = True
        if is_hanging and old.thread is not None:
            self._threads.give_up(old.thread)
        if with_capture:
            camera.open()
        camera.worker = self._new_worker(camera, self._batcher.classifier)
        self._start(camera, with_capture)
        if self._threads.stopping.is_set():  # the stop may have closed only the old capture
            camera.stop()

    def restart_classifier(self) -> None:
        """See ``watchdog.Host``."""
        old, thread = self._batcher, self._batcher_thread
        assert old is not None
        assert thread is not None
        self._threads.give_up(thread)
        self._batcher = ClassifierBatcher(self._load_classifier())
        self._batcher_thread = self._threads.spawn("classifier", self._batcher.warm_up_and_run)
        old.close()
        if self._threads.stopping.is_set():  # the stop may have closed only the old batcher
            self._batcher.close()

    def dispatch(self, event: Event) -> bool:
        """See ``watchdog.Host``."""
        if not self._listener_lock.acquire(timeout=_DISPATCH_WAIT_S):
            return False
        try:
            for listener in self._event_listeners:
                listener(event, None)
        finally:
            self._listener_lock.release()
        return True

    def sends_resolved_events(self, camera: Camera) -> bool:
        """See ``watchdog.Host``."""
        return overridden(self._settings.policy, camera.settings.policy).resolved_events

    def end(self, camera: Camera) -> None:
        """See ``watchdog.Host``."""
        if camera.worker is not None and camera.worker.thread is not None and camera.worker.crash is None:
            self._threads.give_up(camera.worker.thread)
        self._results.producer_done()

    # -- called by users of the monitor ------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the analysis. While paused, files wait and live frames are dropped."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    def views(self) -> list[CameraView]:
        """The current view of each camera, in the order of the settings."""
        return [camera.view() for camera in self._cameras]

    @property
    def sources(self) -> list[FrameSource]:
        """The sources of all cameras, in the order of the settings."""
        return [camera.source for camera in self._cameras]

    def take(self, timeout_s: float) -> list[FrameResult]:
        """Returns the results since the last call: every frame of a file, the newest ones of a live source."""
        return self._results.take(timeout_s)

    @property
    def finished(self) -> bool:
        """Whether all sources have ended, or the monitor stops, and every result was taken."""
        return self._results.finished

    @property
    def is_healthy(self) -> bool:
        """Whether the watchdog itself still runs, for an external watchdog such as systemd."""
        return (
            not self._threads.stopping.is_set() and time.monotonic() - self._watchdog.checked_s < _WATCHDOG_DEAD_AFTER_S
        )

    def __iter__(self) -> Iterator[FrameResult]:
        return iter(self._results)

    def apply(self, settings: Settings) -> None:
        """Applies the settings that can change at run time (``reload.LIVE``), from the next frame on."""
        self._settings = live_part(self._settings, settings)
        for camera, own in zip(self._cameras, self._settings.camera, strict=True):
            if own.geometry != camera.settings.geometry:
                camera.source.apply(own)
            camera.settings = own
            if camera.worker is not None:
                camera.worker.analyzer.apply(
                    overridden(self._settings.tracking, own.tracking), overridden(self._settings.policy, own.policy)
                )

    def refund_cooldown(self, camera: str) -> None:
        """Cancels the cooldown of the alert that ``camera`` has just raised, if an event listener notified nobody."""
        for each in self._cameras:
            if each.name == camera and each.worker is not None:
                each.worker.analyzer.refund_cooldown()

    def between_events(self, action: Callable[[], None]) -> None:
        """Runs a short ``action`` while no listener is called, for example to replace its channels."""
        with self._listener_lock:
            action()

    def stop(self) -> None:
        """Asks all threads to stop. Thread-safe; may be called from a signal handler."""
        self._threads.stop()

    def _wake_all(self) -> None:
        self._resumed.set()
        for camera in self._cameras:
            camera.stop()
        if self._batcher is not None:
            self._batcher.close()
        self._results.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.stop()
        deadline_s = time.monotonic() + _JOIN_S
        stuck = self._threads.join(_JOIN_S)
        for camera in self._cameras:
            stuck += [f"capture {camera.name}"] * camera.join(deadline_s)
        if stuck:
            log.warning("threads still running %.1f s after the stop: %s", _JOIN_S, ", ".join(stuck))
        if error is None:
            self._raise_fault()

    def _raise_fault(self) -> None:
        fault = self._threads.error
        if fault is None:
            return
        if isinstance(fault, MaskwatchError):
            raise fault
        raise MonitorError(f"thread '{self._threads.failed}' crashed: {fault!r}; please report it") from fault
