"""The classifier thread: classifies the waiting crops of all cameras together, with a fair share for each.

A single request is served immediately, without waiting for a full batch. The size of an inference is limited and each
waiting camera gets a share, so a crowd on one camera takes several inferences and delays no other camera.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from app.core.errors import MonitorError
from app.pipeline.heartbeat import Heartbeat
from app.vision.classifier import Crops, MaskClassifier, Probabilities

_WAIT_S = 0.5
"""Longest single wait: a closed batcher is noticed within this time even if a notification is lost."""
_MAX_CROPS = 16
"""Maximum number of crops per inference: about 30 ms, the longest wait of a new request."""


class BatcherClosed(MonitorError):  # noqa: N818 - not an error
    """The batcher is closed and returns no more results."""


@dataclass(slots=True, eq=False)
class ClassifierRequest:
    crops: Crops
    done: threading.Event = field(default_factory=threading.Event)
    answers: list[Probabilities] = field(default_factory=list)
    taken: int = 0

    @property
    def remaining(self) -> int:
        return len(self.crops) - self.taken


@dataclass(frozen=True, slots=True)
class _Portion:
    """The crops ``start`` to ``end`` of one request, which go into one inference."""

    request: ClassifierRequest
    start: int
    end: int


class ClassifierBatcher:
    """Call ``run`` in its own thread and ``classify`` from any other thread."""

    def __init__(self, classifier: MaskClassifier) -> None:
        self.classifier = classifier
        self.heartbeat = Heartbeat()
        self.waiting: deque[ClassifierRequest] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def classify(self, crops: Crops) -> Probabilities:
        """Classifies (N, S, S, 3) uint8 RGB; returns (N, C) float32. Blocks. Raises BatcherClosed if it is closed."""
        if len(crops) == 0:
            return np.empty((0, len(self.classifier.metadata.labels)), np.float32)
        request = ClassifierRequest(crops)
        with self._changed:
            self.waiting.append(request)
            self._changed.notify()
        while not request.done.wait(_WAIT_S):
            if self._closed:
                break
        if sum(map(len, request.answers)) != len(crops):
            raise BatcherClosed("the classifier is stopped")
        return np.concatenate(request.answers)

    def warm_up_and_run(self) -> None:
        """Like ``run``, but first classifies an empty image, so that the first face is as fast as later ones."""
        metadata = self.classifier.metadata
        self.heartbeat.beat("warming up")
        self.classifier.classify(np.zeros((1, metadata.input_px, metadata.input_px, 3), np.uint8))
        self.heartbeat.rest()
        self.run()

    def run(self) -> None:
        """Serves requests until the batcher is closed."""
        try:
            while portions := self._next():
                self.heartbeat.beat("classifying faces")
                self._serve(portions)
                self.heartbeat.rest()
        finally:
            self.close()

    def _serve(self, portions: list[_Portion]) -> None:
        crops = [portion.request.crops[portion.start : portion.end] for portion in portions]
        probabilities = self.classifier.classify(np.concatenate(crops))
        start = 0
        for portion in portions:
            count = portion.end - portion.start
            portion.request.answers.append(probabilities[start : start + count])
            start += count
            if portion.end == len(portion.request.crops):
                portion.request.done.set()

    def _next(self) -> list[_Portion]:
        """Waits for requests and returns the portions of the next inference; ``[]`` if closed."""
        with self._changed:
            while not self.waiting and not self._closed:
                self._changed.wait(_WAIT_S)
            if self._closed:
                return []
            portions = fair_shares(self.waiting, _MAX_CROPS)
            for portion in portions:
                portion.request.taken = portion.end
            self.waiting = deque(request for request in self.waiting if request.remaining)
            return portions

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for request in self.waiting:
                request.done.set()
            self.waiting.clear()
            self._changed.notify_all()


def fair_shares(waiting: deque[ClassifierRequest], room: int) -> list[_Portion]:
    """At most ``room`` crops of the longest waiting requests: small requests complete, the others in equal parts."""
    portions: list[_Portion] = []
    queue = sorted(list(waiting)[:room], key=lambda request: request.remaining)
    for i, request in enumerate(queue):
        count = min(request.remaining, -(-room // (len(queue) - i)))
        portions.append(_Portion(request, request.taken, request.taken + count))
        room -= count
    return portions
