"""The classifier thread of a monitor, which is replaced when it hangs or when another model is used."""

import threading

from app.pipeline.classifier_batcher import BatcherClosed, ClassifierBatcher
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.heartbeat import Heartbeat
from app.pipeline.thread_group import ThreadGroup
from app.vision.classifier import Crops, MaskClassifier, Probabilities
from app.vision.model_metadata import ClassifierMetadata


class ClassifierThread:
    """Runs one batcher at a time in ``threads``, from ``prepare`` on."""

    def __init__(self, threads: ThreadGroup) -> None:
        self._threads = threads
        self._batcher: ClassifierBatcher | None = None
        self._thread: threading.Thread | None = None

    def prepare(self, classifier: MaskClassifier) -> None:
        """``metadata`` is known from now on; ``start`` follows."""
        self._batcher = ClassifierBatcher(classifier)

    def start(self) -> None:
        self._thread = self._threads.spawn("classifier", self._current.warm_up_and_run)

    @property
    def _current(self) -> ClassifierBatcher:
        assert self._batcher is not None
        return self._batcher

    @property
    def heartbeat(self) -> Heartbeat:
        return self._current.heartbeat

    @property
    def metadata(self) -> ClassifierMetadata:
        return self._current.classifier.metadata

    def replace(self, classifier: MaskClassifier) -> None:
        """Gives up the old thread, which may hang."""
        old = self._current
        assert self._thread is not None
        self._threads.give_up(self._thread)
        self.prepare(classifier)
        self.start()
        old.close()
        if self._threads.stopping.is_set():  # the stop may have closed only the old batcher
            self.close()

    def close(self) -> None:
        if self._batcher is not None:
            self._batcher.close()

    def classify(self, worker: DetectorWorker, crops: Crops) -> Probabilities | None:
        """Returns None if the threads or the worker stop. Tries again if the classifier is replaced meanwhile."""
        while not self._threads.stopping.is_set():
            batcher = self._current
            if worker.is_stopped:  # asked after the batcher is read: another model may need other crops
                return None
            try:
                return batcher.classify(crops)
            except BatcherClosed:
                if batcher is self._batcher:
                    raise
        return None
