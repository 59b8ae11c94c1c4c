"""The monitor: runs the capture, detector, classifier and watchdog threads of all cameras, and offers their results."""

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType

from app.capture.live_source import throttle_of
from app.capture.recording import recording_id
from app.capture.source import FrameSource, check_path
from app.core.errors import MaskwatchError, MonitorError
from app.core.text import MOVED, REMOVED
from app.core.types import Counts, Event, FrameResult
from app.pipeline.alert_policy import may_alert_now
from app.pipeline.camera import Camera, CameraView
from app.pipeline.classifier_thread import ClassifierThread
from app.pipeline.detector_threads import DetectorThreads
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.dispatcher import Dispatcher
from app.pipeline.event_factory import EventFactory
from app.pipeline.listeners import EventListener, HourRecorder, Listeners, ResultListener
from app.pipeline.monitor_parts import MonitorParts, live_settings
from app.pipeline.result_queue import ResultQueue
from app.pipeline.thread_group import ThreadGroup
from app.pipeline.watchdog import CHECK_EVERY_S, Action, ReportOutage, Restart, Stage, Watchdog, raise_if_none_left
from app.settings.monitor import CameraSettings
from app.settings.reload import live_camera, live_part
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision.classifier import MaskClassifier
from app.vision.detector import FaceDetector

log = logging.getLogger(__name__)

_JOIN_S = 1.7
"""Time limit for all threads to end after a stop; the whole shutdown takes less than 2 s."""
_WATCHDOG_DEAD_AFTER_S = 10.0


class Monitor:
    """Watches all cameras of the settings: ``with Monitor(settings) as monitor: for result in monitor: ...``

    Leaving the ``with`` joins every thread within 2 s and raises the first error: MaskwatchError as it is, any other as
    MonitorError. ``listeners`` get every result, then ``event_listeners`` its events, one call at a time, from one
    thread of the monitor.
    """

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[ResultListener] = (),
        event_listeners: Sequence[EventListener] = (),
        offline: Sequence[Event] = (),
        is_muted: Callable[[str], bool] = lambda _: False,
        parts: MonitorParts | None = None,
        recorder: HourRecorder | None = None,
        may_watch: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """``offline``: the camera_offline events of earlier runs whose cameras have not recovered yet. ``is_muted``:
        whether nobody is notified of the events of a camera, by its name. ``recorder`` gets people and watched time.
        ``may_watch``: whether a camera, by its name, is to be watched now; otherwise it is suspended."""
        self.run_id = f"{int(time.time()):x}{secrets.token_hex(3)}"
        self._settings = settings
        self._offline = {event.camera: event for event in offline}
        self._parts = parts or MonitorParts()
        self._recorder = recorder
        self._may_watch = may_watch
        self._threads = ThreadGroup(self._wake_all)
        self._cameras: list[Camera] = []  # replaced, never changed: other threads read it
        self._removed: list[Camera] = []
        self._follows = True
        self._classifier = ClassifierThread(self._threads)
        self._dispatcher = Dispatcher()
        self._listeners = Listeners(self._dispatcher, listeners, event_listeners, recorder)
        self._results = ResultQueue(len(settings.camera))
        self._detectors = DetectorThreads(
            self._threads, self._classifier, self._listeners, self._results, is_muted, self._end_file
        )
        self._watchdog = Watchdog()
        self._next_classifier: MaskClassifier | None = None
        self._next_detectors: dict[str, tuple[FaceDetector, DetectorSettings]] = {}  # by camera
        self._checked_s = time.monotonic()

    def __enter__(self) -> "Monitor":
        self._classifier.prepare(self._parts.open_classifier(self._settings.classifier))
        for settings in self._settings.camera:
            camera = self._new_camera(settings)
            if camera.name in self._offline:
                event = self._offline[camera.name]
                camera.restore_offline(event)
                self._watchdog.restore_outage(camera.name, event.duration_s + max(0.0, time.time() - event.wall_s))
            self._cameras.append(camera)
        self._classifier.start()
        for camera in self._cameras:
            self._start(camera)
        self._threads.spawn("dispatcher", self._dispatcher.run)
        self._threads.spawn("watchdog", self._run_watchdog)
        return self

    # -- cameras and their threads -----------------------------------------------------------------------------------

    def _new_camera(self, settings: CameraSettings) -> Camera:
        source = self._parts.make_source(settings)
        events = EventFactory(recording_id(settings) or self.run_id, source.name)
        camera = Camera(settings, source, events, self._new_worker)
        if self._recorder is not None:  # also without lines: a limit that was reached has to end
            camera.occupancy = self._recorder.occupancy(camera.name) or camera.occupancy
        return camera

    def _start(self, camera: Camera) -> None:
        if self._may_watch(camera.name):
            camera.capture.start()
            self._detectors.start(camera)
        else:
            camera.suspend()

    def _follow_settings(self) -> None:
        """Starts new cameras and stops those that the settings do not name any more. One whose source has changed is
        stopped and started again. Where that cannot be, the camera before goes on; so do all if none can be started."""
        self._follows = True
        old, cameras, new = {camera.name: camera for camera in self._cameras}, list[Camera](), list[Camera]()
        for own in self._settings.camera:
            camera = old.get(own.name)
            if camera is not None and _is_same(camera, own):
                camera.apply(own, *live_settings(self._settings, own))  # it may not have been there when they came
            else:
                try:
                    check_path(own)  # a file that fails would end the run if no other camera is left
                    camera = self._new_camera(own)
                    new.append(camera)
                except MaskwatchError as error:
                    before = "" if camera is None else "; it goes on as before"
                    log.error("%s cannot be started: %s%s", own.name, own.hide(str(error)), before)
            cameras += [camera] if camera is not None else []
        if not cameras:
            log.error("no camera of the new settings can be started; those before stay in use")
            return
        for _ in new:  # first, or the run could end in between
            self._results.add_producer()
        for camera in self._cameras:
            if camera not in cameras:
                self._remove(camera, is_replaced=any(each.name == camera.name for each in new))
        for camera in new:
            if camera.name in old:  # the recorder may not have its last count yet
                camera.occupancy = old[camera.name].occupancy
        self._cameras = cameras
        for camera in new:
            self._start(camera)
        if self._threads.stopping.is_set():  # the stop may have closed only the old ones
            self._wake_all()

    def _remove(self, camera: Camera, is_replaced: bool) -> None:
        """``is_replaced``: another camera of this name follows, whose counts continue."""
        self._end_alerts(camera, REMOVED, with_limit=not is_replaced)
        camera.retire_worker()
        camera.stop()
        self._removed = [each for each in self._removed if each.join(0.0)] + [camera]
        if not camera.has_ended:
            self._dispatcher.put(self._results.producer_done, wait=False)

    def _new_worker(self, camera: Camera) -> DetectorWorker:
        return self._parts.make_worker(camera, self._settings, self._classifier.metadata)

    def _end_file(self, camera: Camera) -> None:
        """Handles the end of a file. A failed file stops the monitor if no other camera is left."""
        camera.end()
        error = camera.capture.error
        if error is not None:
            raise_if_none_left([each.health() for each in self._cameras], self._settings.monitor)
            log.error("%s", error)
        self._dispatcher.put(self._results.producer_done)  # the end counts after the listeners have all results

    # -- the watchdog ------------------------------------------------------------------------------------------------

    def _run_watchdog(self) -> None:
        while not self._threads.stopping.wait(CHECK_EVERY_S):
            self.check_threads()

    def check_threads(self) -> None:
        """Checks all threads and cameras once, and restarts those that hang or crash. The watchdog thread calls it.

        Raises the camera's error if none can be watched any more.
        """
        if not self._follows:
            self._follow_settings()
        self._suspend_or_resume()
        if self._next_classifier is not None:
            self._change_classifier()
        if self._next_detectors:
            self._change_detectors()
        cameras = [camera.health() for camera in self._cameras if not camera.is_suspended]
        self._checked_s = time.monotonic()
        self._measure_watched_time()
        settings = self._settings.monitor
        actions = self._watchdog.check(settings, cameras, self._classifier.heartbeat, self._dispatcher.heartbeat)
        for action in actions:
            self._carry_out(action)
        if actions or len(cameras) < len(self._cameras):
            cameras = [camera.health() for camera in self._cameras]
        raise_if_none_left(cameras, settings)

    def _suspend_or_resume(self) -> None:
        for camera in self._cameras:
            if camera.failure is not None or self._may_watch(camera.name) is not camera.is_suspended:
                continue
            if camera.is_suspended:
                self._begin(camera, camera.resume)
                continue
            self._end_alerts(camera, MOVED)
            camera.suspend()

    def _end_view(self, camera: Camera, reason: str) -> None:
        """Resolves the open alerts of ``camera``, if the policy wants that, and counts who is in view: its next worker
        knows neither."""
        _, policy = live_settings(self._settings, camera.settings)
        for event in camera.resolved_by_restart(reason) if policy.resolved_events else ():
            self.report(event)
        self._listeners.end_view(camera.name)

    def _end_alerts(self, camera: Camera, reason: str, with_limit: bool = True) -> None:
        """Also those of the camera itself: it is not watched any more."""
        self._end_view(camera, reason)
        if with_limit and (event := camera.end_limit(reason)) is not None:
            self._listeners.put_occupancy(camera.occupancy, [event])
        if (change := self._watchdog.end_outage(camera.name)) is not None:
            self.report(camera.outage_event(change, reason))

    def _measure_watched_time(self) -> None:
        wall_s, is_paused = time.time(), self._detectors.is_paused
        self._listeners.measure(
            wall_s,
            [
                camera.activity(is_paused, not may_alert_now(live_settings(self._settings, camera.settings)[1], wall_s))
                for camera in self._cameras
                if (camera.is_live or not camera.has_ended) and not camera.is_suspended
            ],
        )

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Restart):
            log.error("%s; restarted (%d of %d within an hour)", action.reason, action.count, action.limit)
            if action.stage is Stage.CLASSIFIER:
                self._classifier.replace(self._parts.open_classifier(self._settings.classifier))
                return
        camera = next(each for each in self._cameras if each.name == action.camera)
        if isinstance(action, ReportOutage):
            self.report(camera.outage_event(action.change, action.reason))
            return
        self._end_view(camera, "restarted")
        if isinstance(action, Restart):
            self._detectors.give_up(camera)
            self._begin(camera, partial(camera.restart, action.stage is Stage.CAPTURE), f"{action.reason}; ")
        else:
            self._give_up(camera, action.reason)

    def report(self, event: Event) -> None:
        """Passes an event without a frame to the listeners."""
        self._listeners.report(event)

    def _begin(self, camera: Camera, begin: Callable[[], None], reason: str = "") -> None:
        try:
            begin()
        except MaskwatchError as error:
            self._give_up(camera, f"{reason}{camera.name} cannot be restarted: {camera.settings.hide(str(error))}")
            return
        # New settings may have come meanwhile.
        camera.apply(camera.settings, *live_settings(self._settings, camera.settings))
        self._detectors.start(camera)
        if self._threads.stopping.is_set():  # the stop may have closed only the old capture
            camera.stop()

    def _give_up(self, camera: Camera, reason: str) -> None:
        log.error("%s", reason)
        self._detectors.give_up(camera)
        camera.give_up(MonitorError(reason))
        # Before the end is reported: otherwise it would count as a regular end.
        raise_if_none_left([each.health() for each in self._cameras], self._settings.monitor)
        self._dispatcher.put(self._results.producer_done, wait=False)

    def _change_classifier(self) -> None:
        """The workers are replaced too: the new model may need other crops and have other labels."""
        classifier, self._next_classifier = self._next_classifier, None
        assert classifier is not None
        cameras = [camera for camera in self._cameras if not (camera.is_suspended or camera.has_ended)]
        for camera in cameras:
            self._end_view(camera, "restarted")
            camera.retire_worker()
        self._classifier.replace(classifier)
        for camera in cameras:
            self._begin(camera, camera.begin)

    def _change_detectors(self) -> None:
        """The workers stay, with their tracks and alerts."""
        detectors, self._next_detectors = self._next_detectors, {}
        for camera in self._cameras:
            if camera.name in detectors:  # a later one has the new detector already
                camera.worker.analyzer.use_detector(*detectors[camera.name])

    # -- called by users of the monitor ------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        """Pauses or resumes the analysis. While paused, files wait and live sources decode only some frames."""
        for camera in self._cameras:
            camera.pause(paused)
        self._detectors.pause(paused)

    def views(self) -> list[CameraView]:
        """The current view of each camera, in the order of the settings."""
        return [self._with_day(camera.view()) for camera in self._cameras]

    def show(self, indices: Iterable[int]) -> None:
        """The live video of these cameras is viewed: for a second they skip fewer images."""
        for throttle in (throttle_of(self._cameras[index].source) for index in indices):
            if throttle is not None:
                throttle.shown_until_s = time.monotonic() + 1.0

    def _with_day(self, view: CameraView) -> CameraView:
        """``view`` with the people of today, also of earlier runs, instead of those of this run."""
        seen = None if self._recorder is None else self._recorder.today(view.camera)
        return view if seen is None else replace(view, counts=Counts(view.counts.now if view.counts else {}, seen))

    @property
    def sources(self) -> list[FrameSource]:
        """The sources of all cameras, in the order of the settings."""
        return [camera.source for camera in self._cameras]

    def take(self, timeout_s: float) -> list[FrameResult]:
        """Returns the results since the last call: every frame of a file, the newest ones of a live source."""
        return self._results.take(timeout_s)

    def wake_with(self, wake: Callable[[], None]) -> None:
        """Calls ``wake`` after each result and at the end, from any thread; for those who wait elsewhere than in
        ``take``. It must not wait."""
        self._results.wake_with(wake)

    @property
    def finished(self) -> bool:
        """Whether all sources have ended, or the monitor stops, and every result was taken."""
        return self._results.finished

    @property
    def is_healthy(self) -> bool:
        """Whether the watchdog itself still runs, for an external watchdog such as systemd."""
        return not self._threads.stopping.is_set() and time.monotonic() - self._checked_s < _WATCHDOG_DEAD_AFTER_S

    def __iter__(self) -> Iterator[FrameResult]:
        return iter(self._results)

    def apply(self, settings: Settings) -> None:
        """Applies the settings that can change at run time (``reload.LIVE``), from the next frame on. Cameras are
        started and stopped within a second, in the thread of the watchdog; one that cannot be opened then is tried
        again, as the start is over."""
        retrying = settings.monitor.model_copy(update={"retry_at_start": True})
        self._settings = live_part(self._settings, settings.model_copy(update={"monitor": retrying}))
        by_name = {camera.name: camera for camera in self._cameras}
        for own in self._settings.camera:
            if (camera := by_name.get(own.name)) is not None and _is_same(camera, own):
                camera.apply(own, *live_settings(self._settings, own))
        self._follows = False  # always: the thread of the watchdog may just be following other settings

    def use_classifier(self, settings: ClassifierSettings) -> None:
        """Uses another model within a second. Raises MaskwatchError and changes nothing if it cannot be loaded."""
        self._next_classifier = self._parts.open_classifier(settings)
        self._watchdog.forget_restarts(Stage.CLASSIFIER)
        self._settings = self._settings.model_copy(update={"classifier": settings})

    def use_detector(self, settings: DetectorSettings) -> None:
        """Uses another detector within a second; no track and no alert ends. Raises MaskwatchError and changes nothing
        if it cannot be loaded."""
        changed = self._settings.model_copy(update={"detector": settings})
        detectors = {own.name: self._parts.open_detector(changed, own) for own in changed.camera}
        self._watchdog.forget_restarts(Stage.DETECTOR)
        self._settings = changed  # first: a worker that is made meanwhile uses it
        self._next_detectors = detectors

    def fault_of(self, network: str) -> str:
        """Why a thread that runs ``network`` (classifier or detector) was restarted lately, or ''."""
        return next((restart.reason for restart in self._watchdog.restarts if restart.stage == network), "")

    @property
    def restarted(self) -> dict[str, str]:
        """The threads that were restarted lately, and why."""
        return {restart.part: restart.reason for restart in self._watchdog.restarts}

    def stop(self) -> None:
        """Asks all threads to stop. Thread-safe; may be called from a signal handler."""
        self._threads.stop()

    def _wake_all(self) -> None:
        self._detectors.pause(False)
        for camera in self._cameras:
            camera.stop()
        self._classifier.close()
        self._dispatcher.close()
        self._results.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.stop()
        deadline_s = time.monotonic() + _JOIN_S
        stuck = self._threads.join(_JOIN_S)
        for camera in (*self._cameras, *self._removed):
            stuck += [f"capture {camera.name}"] * camera.join(deadline_s)
        if stuck:
            log.warning("threads still running %.1f s after the stop: %s", _JOIN_S, ", ".join(stuck))
        self._listeners.finish()
        if error is None:
            self._raise_fault()

    def _raise_fault(self) -> None:
        fault = self._threads.error
        if fault is None:
            return
        if isinstance(fault, MaskwatchError):
            raise fault
        raise MonitorError(f"thread '{self._threads.failed}' crashed: {fault!r}; please report it") from fault


def _is_same(camera: Camera, settings: CameraSettings) -> bool:
    """Whether ``settings`` can be applied to ``camera`` without starting it again."""
    return live_camera(camera.settings, settings) == settings
