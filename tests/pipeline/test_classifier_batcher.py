"""The classifier thread: each camera gets a fair share, and a single request does not wait."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import BrightnessClassifier
from fakes_video import LIMIT_S, wait_until
from hypothesis import given
from hypothesis import strategies as st

from app.pipeline.classifier_batcher import BatcherClosed, ClassifierBatcher, ClassifierRequest, fair_shares
from app.vision.classifier import Crops, Probabilities


class SteppedClassifier(BrightnessClassifier):
    """A classifier that the test releases step by step; ``calls`` lists the brightness of the crops of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.steps = threading.Semaphore(0)
        self.calls: list[list[int]] = []

    def classify(self, crops: Crops) -> Probabilities:
        self.calls.append([int(crop[0, 0, 0]) for crop in crops])
        self.entered.release()
        assert self.steps.acquire(timeout=LIMIT_S)
        return super().classify(crops)


class RunningBatcher:
    def __init__(self) -> None:
        self.classifier = SteppedClassifier()
        self.batcher = ClassifierBatcher(self.classifier)
        self.threads = [threading.Thread(target=self.batcher.run)]
        self.threads[0].start()
        self.answers: dict[int, Probabilities] = {}

    def request(self, colour: int, count: int) -> None:
        def body() -> None:
            self.answers[colour] = self.batcher.classify(np.full((count, 16, 16, 3), colour, np.uint8))

        waiting = len(self.batcher.waiting)
        self.threads.append(threading.Thread(target=body))
        self.threads[-1].start()
        if len(self.threads) > 2:  # the first one is taken immediately
            wait_until(lambda: len(self.batcher.waiting) > waiting, "the request waits")


@pytest.fixture
def running() -> Iterator[RunningBatcher]:
    created = RunningBatcher()
    yield created
    created.classifier.steps.release(100)
    created.batcher.close()
    for thread in created.threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_a_large_request_does_not_delay_small_ones(running: RunningBatcher) -> None:
    running.request(1, 1)
    assert running.classifier.entered.acquire(timeout=LIMIT_S)
    running.request(2, 100)
    running.request(3, 2)
    running.request(4, 3)
    running.classifier.steps.release(2)
    wait_until(lambda: {1, 3, 4} <= set(running.answers), "the small requests are served by the next call")
    assert 2 not in running.answers
    running.classifier.steps.release(20)
    wait_until(lambda: 2 in running.answers, "the large request is served")
    assert running.answers[2].shape == (100, 3)
    assert running.answers[2][:, 0] == pytest.approx(2 / 255)
    assert max(map(len, running.classifier.calls)) <= 16


def test_a_single_request_is_served_immediately(running: RunningBatcher) -> None:
    running.classifier.steps.release(1)
    running.request(9, 3)
    wait_until(lambda: 9 in running.answers, "it is served")
    assert running.classifier.calls == [[9, 9, 9]]


def test_closing_raises_an_error_in_waiting_requests(running: RunningBatcher) -> None:
    running.request(1, 1)
    assert running.classifier.entered.acquire(timeout=LIMIT_S)
    rejected = threading.Event()

    def request() -> None:
        with pytest.raises(BatcherClosed):
            running.batcher.classify(np.zeros((2, 16, 16, 3), np.uint8))
        rejected.set()

    thread = threading.Thread(target=request)
    thread.start()
    wait_until(lambda: bool(running.batcher.waiting), "it waits")
    running.batcher.close()
    assert rejected.wait(LIMIT_S)  # although the current call is not released
    thread.join(LIMIT_S)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 20))
def test_shares_are_fair(sizes: list[int], room: int) -> None:
    requests = [ClassifierRequest(np.zeros((size, 1, 1, 3), np.uint8)) for size in sizes]
    from collections import deque

    portions = fair_shares(deque(requests), room)
    counts = {id(portion.request): portion.end - portion.start for portion in portions}
    total = sum(counts.values())
    assert total <= room
    assert total == min(room, sum(sizes[:room]))  # no room is left unused
    assert all(id(request) in counts for request in requests[:room])  # the longest waiting requests always get a share
    cut = [request for request in requests[:room] if counts[id(request)] < len(request.crops)]
    if cut:
        least = min(counts[id(request)] for request in cut)
        assert all(count <= least + 1 for count in counts.values())  # no request gets more than a cut one
