"""The classifier thread: a fair share of each call to each camera, and no wait for a lone one."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import BrightnessClassifier
from fakes_video import LIMIT_S, wait_until
from hypothesis import given
from hypothesis import strategies as st

from app.pipeline.classifier_batcher import BatcherClosed, ClassifierBatcher, _Request, _shares
from app.vision.classifier import Crops, Probabilities


class Gate(BrightnessClassifier):
    """Answers when it is let to, and keeps how many crops of each brightness were in each call."""

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


class Desk:
    def __init__(self) -> None:
        self.gate = Gate()
        self.batcher = ClassifierBatcher(self.gate)
        self.threads = [threading.Thread(target=self.batcher.run)]
        self.threads[0].start()
        self.answers: dict[int, Probabilities] = {}

    def ask(self, colour: int, count: int) -> None:
        def body() -> None:
            self.answers[colour] = self.batcher.classify(np.full((count, 16, 16, 3), colour, np.uint8))

        waiting = len(self.batcher._waiting)
        self.threads.append(threading.Thread(target=body))
        self.threads[-1].start()
        if len(self.threads) > 2:  # the first one is taken at once
            wait_until(lambda: len(self.batcher._waiting) > waiting, "it waits")


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.gate.steps.release(100)
    made.batcher.close()
    for thread in made.threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_a_crowd_holds_nobody_up(desk: Desk) -> None:
    desk.ask(1, 1)
    assert desk.gate.entered.acquire(timeout=LIMIT_S)
    desk.ask(2, 100)
    desk.ask(3, 2)
    desk.ask(4, 3)
    desk.gate.steps.release(2)
    wait_until(lambda: {1, 3, 4} <= set(desk.answers), "the small ones are served by the next call")
    assert 2 not in desk.answers
    desk.gate.steps.release(20)
    wait_until(lambda: 2 in desk.answers, "the crowd is served")
    assert desk.answers[2].shape == (100, 3)
    assert desk.answers[2][:, 0] == pytest.approx(2 / 255)
    assert max(map(len, desk.gate.calls)) <= 16


def test_a_lone_request_is_served_at_once_and_alone(desk: Desk) -> None:
    desk.gate.steps.release(1)
    desk.ask(9, 3)
    wait_until(lambda: 9 in desk.answers, "it is served")
    assert desk.gate.calls == [[9, 9, 9]]


def test_who_waits_when_it_closes_is_told(desk: Desk) -> None:
    desk.ask(1, 1)
    assert desk.gate.entered.acquire(timeout=LIMIT_S)
    refused = threading.Event()

    def ask() -> None:
        with pytest.raises(BatcherClosed):
            desk.batcher.classify(np.zeros((2, 16, 16, 3), np.uint8))
        refused.set()

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: bool(desk.batcher._waiting), "it waits")
    desk.batcher.close()
    assert refused.wait(LIMIT_S)  # though the call that is under way is not let to end
    thread.join(LIMIT_S)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 20))
def test_shares_are_fair(sizes: list[int], room: int) -> None:
    requests = [_Request(np.zeros((size, 1, 1, 3), np.uint8)) for size in sizes]
    from collections import deque

    portions = _shares(deque(requests), room)
    counts = {id(portion.request): portion.end - portion.start for portion in portions}
    total = sum(counts.values())
    assert total <= room
    assert total == min(room, sum(sizes[:room]))  # no room is wasted
    assert all(id(request) in counts for request in requests[:room])  # the longest waiting always get a part
    cut = [request for request in requests[:room] if counts[id(request)] < len(request.crops)]
    if cut:
        least = min(counts[id(request)] for request in cut)
        assert all(count <= least + 1 for count in counts.values())  # nobody has more while another is cut
