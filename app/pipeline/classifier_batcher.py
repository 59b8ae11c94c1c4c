"""The classifier thread: the crops of all cameras that wait go through the network together, a fair share of each.

A lone request is served at once: nothing waits for a batch to fill. A call takes a bounded number of crops, and each
camera that waits has its part of it, so a crowd on one camera is served over several calls and holds up nobody.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from app.core.errors import MonitorError
from app.pipeline.heartbeat import Heartbeat
from app.vision.classifier import Crops, MaskClassifier, Probabilities

_LIMIT_S = 0.5
"""Longest single wait: a closing batcher is noticed within it even if a wake-up were lost."""
_CALL_CROPS = 16
"""Most crops of one call: about 30 ms of work, the longest that a newcomer waits."""


class BatcherClosed(MonitorError):  # noqa: N818 - an end, not an error
    """The batcher will give no answer any more."""


@dataclass(slots=True, eq=False)
class _Request:
    crops: Crops
    done: threading.Event = field(default_factory=threading.Event)
    answers: list[Probabilities] = field(default_factory=list)
    taken: int = 0

    @property
    def left(self) -> int:
        return len(self.crops) - self.taken


@dataclass(frozen=True, slots=True)
class _Portion:
    """Some crops of one request that go into one call."""

    request: _Request
    start: int
    end: int


class ClassifierBatcher:
    """Give ``run`` a thread of its own; call ``classify`` from any other."""

    def __init__(self, classifier: MaskClassifier) -> None:
        self.classifier = classifier
        self.heartbeat = Heartbeat()
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def classify(self, crops: Crops) -> Probabilities:
        """(N, S, S, 3) uint8 RGB to (N, C) float32; blocks. Raises BatcherClosed once the batcher is closed."""
        if len(crops) == 0:
            return np.empty((0, len(self.classifier.metadata.labels)), np.float32)
        request = _Request(crops)
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()
        while not request.done.wait(_LIMIT_S):
            if self._closed:
                break
        if sum(map(len, request.answers)) != len(crops):
            raise BatcherClosed("the classifier stopped")
        return np.concatenate(request.answers)

    def run_warmed(self) -> None:
        """Like ``run``, after the run time has made its plan for each size of a call (25 ms and a thread each): the
        first crowd comes no later than any other, and no thread is added after months."""
        metadata, count = self.classifier.metadata, 1
        while count <= _CALL_CROPS and not self._closed:
            self.heartbeat.beat("warms up")
            self.classifier.classify(np.zeros((count, metadata.input_px, metadata.input_px, 3), np.uint8))
            count *= 2
        self.heartbeat.rest()
        self.run()

    def run(self) -> None:
        """Serve requests until closed."""
        try:
            while portions := self._next():
                self.heartbeat.beat("names faces")
                self._serve(portions)
                self.heartbeat.rest()
        finally:
            self.close()

    def _serve(self, portions: list[_Portion]) -> None:
        crops = [portion.request.crops[portion.start : portion.end] for portion in portions]
        answer = self.classifier.classify(np.concatenate(crops))
        at = 0
        for portion in portions:
            count = portion.end - portion.start
            portion.request.answers.append(answer[at : at + count])
            at += count
            if portion.end == len(portion.request.crops):
                portion.request.done.set()

    def _next(self) -> list[_Portion]:
        """What goes into the next call; empty once closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait(_LIMIT_S)
            if self._closed:
                return []
            portions = _shares(self._waiting, _CALL_CROPS)
            for portion in portions:
                portion.request.taken = portion.end
            self._waiting = deque(request for request in self._waiting if request.left)
            return portions

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for request in self._waiting:
                request.done.set()
            self._waiting.clear()
            self._changed.notify_all()


def _shares(waiting: deque[_Request], room: int) -> list[_Portion]:
    """At most ``room`` crops of the longest waiting: small requests whole, the others in equal parts."""
    portions: list[_Portion] = []
    queue = sorted(list(waiting)[:room], key=lambda request: request.left)
    for place, request in enumerate(queue):
        count = min(request.left, -(-room // (len(queue) - place)))
        portions.append(_Portion(request, request.taken, request.taken + count))
        room -= count
    return portions
