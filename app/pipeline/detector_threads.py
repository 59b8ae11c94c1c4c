"""The detector threads of a monitor: one for each camera, all paused and resumed together."""

import threading
from collections.abc import Callable
from functools import partial

from app.capture.slot import SlotClosed
from app.core.types import Frame
from app.pipeline.camera import Camera
from app.pipeline.classifier_thread import ClassifierThread
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.listeners import Listeners
from app.pipeline.result_queue import ResultQueue
from app.pipeline.thread_group import ThreadGroup

_WAIT_S = 0.5
"""Longest single wait of a thread: a stop is noticed within this time even if a notification is lost."""


class DetectorThreads:
    """Each takes the frames of its camera, and gives the results to the camera, the listeners and the queue."""

    def __init__(
        self,
        threads: ThreadGroup,
        classifier: ClassifierThread,
        listeners: Listeners,
        results: ResultQueue,
        is_muted: Callable[[str], bool],
        on_end: Callable[[Camera], None],
    ) -> None:
        """``on_end`` is called by the thread of a file that has ended."""
        self._threads = threads
        self._classifier = classifier
        self._listeners = listeners
        self._results = results
        self._is_muted = is_muted
        self._on_end = on_end
        self._resumed = threading.Event()
        self._resumed.set()

    def start(self, camera: Camera) -> None:
        """Starts a thread for the worker that ``camera`` has now. It runs until the source ends, or the worker or all
        threads stop."""
        worker = camera.worker
        worker.thread = self._threads.spawn(worker.name, partial(self._run, camera, worker))

    def give_up(self, camera: Camera) -> None:
        """Ignores the thread of its worker, which may hang."""
        worker = camera.worker
        if worker.thread is not None and worker.crash is None:
            self._threads.give_up(worker.thread)

    @property
    def is_paused(self) -> bool:
        return not self._resumed.is_set()

    def pause(self, paused: bool) -> None:
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    def _run(self, camera: Camera, worker: DetectorWorker) -> None:
        while not self._threads.stopping.is_set() and not worker.is_stopped:
            worker.heartbeat.rest()
            if not self._resumed.wait(_WAIT_S):
                continue
            try:
                frame = worker.frames.get(_WAIT_S)
            except SlotClosed:
                break
            if frame is not None:
                self._analyze(camera, worker, frame)
        if not worker.is_stopped and not self._threads.stopping.is_set():  # only if the source itself has ended
            worker.ended = True
            if not camera.is_live:
                self._on_end(camera)

    def _analyze(self, camera: Camera, worker: DetectorWorker, frame: Frame) -> None:
        classify, is_muted = partial(self._classifier.classify, worker), partial(self._is_muted, camera.name)
        result = worker.analyze(frame, classify, is_muted, keep_crash=camera.is_live)
        worker.heartbeat.rest()
        if result is None:
            return
        before = camera.occupancy
        events = camera.keep(result)
        self._listeners.put(result)
        if camera.occupancy is not before:
            self._listeners.put_occupancy(camera.occupancy, events, result)
        self._results.put(result, wait=not camera.is_live)
