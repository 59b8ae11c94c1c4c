"""The engine without a cluster: processes on this machine. It is the reference for all others.

A worker ends when its process is killed, when the driver ends, or when it makes no progress; its shard is tried again.
"""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from app.scan.worker import Outcome, Task, perform

STUCK_S = 300.0
"""A worker that reads no frame for this time hangs in a decoder or on a network disk."""
_POLL_S, _BEAT_S = 1.0, 2.0
_DRIVER_ENDED = 3


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    seen_s: float = 0.0

    def start(self, task: Task) -> None:
        self.task, self.seen_s = task, time.monotonic()
        self.pipe.send(task)


class LocalEngine:
    """Runs at most ``workers`` tasks at a time, each in a process of its own that serves one task after the other."""

    def __init__(self, workers: int, stuck_s: float = STUCK_S) -> None:
        self._count = workers
        self._stuck_s = stuck_s
        self._workers: list[_Worker] = []

    def run(self, tasks: deque[Task]) -> Iterator[Outcome]:
        """Takes tasks from ``tasks``, to which the caller may add, until it is empty and all have an outcome."""
        while tasks or any(worker.task for worker in self._workers):
            idle = [worker for worker in self._workers if worker.task is None]
            while tasks and (idle or len(self._workers) < self._count):
                worker = idle.pop() if idle else self._new_worker()
                try:
                    worker.start(tasks[0])
                except OSError:  # it was killed while it was idle
                    self._remove(worker)
                    continue
                tasks.popleft()
            busy = [worker for worker in self._workers if worker.task]
            ready = wait([worker.pipe for worker in busy], _POLL_S)
            for worker in busy:
                outcome = self._receive(worker) if worker.pipe in ready else self._check(worker)
                if outcome is not None:
                    yield outcome

    def _new_worker(self) -> _Worker:
        context = get_context("spawn")  # a fork would copy the threads of the video libraries
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid()), name="maskwatch scan worker", daemon=True)
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _receive(self, worker: _Worker) -> Outcome | None:
        task = worker.task
        assert task is not None
        try:
            outcome = worker.pipe.recv()
        except (EOFError, OSError):
            self._remove(worker)
            return Outcome(task, error=f"its process was killed (exit code {worker.process.exitcode})")
        worker.seen_s = time.monotonic()
        if outcome is None:  # a sign of life
            return None
        worker.task = None
        assert isinstance(outcome, Outcome)
        return outcome

    def _check(self, worker: _Worker) -> Outcome | None:
        task = worker.task
        assert task is not None
        if time.monotonic() - worker.seen_s < self._stuck_s:
            return None
        self._remove(worker)
        return Outcome(task, error=f"no frame was read for {self._stuck_s:.0f} s; check the disk of the video")

    def _remove(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()

    def close(self) -> None:
        """Ends all processes; their unfinished shards are planned again by the next run."""
        for worker in list(self._workers):
            self._remove(worker)


def _serve(pipe: Connection, driver: int) -> None:
    """The body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends the workers
    _end_with_driver(driver)
    last_beat_s = 0.0

    def on_frame(_: float) -> None:
        nonlocal last_beat_s
        if pipe.poll():  # only the end of the pipe: the driver sends one task at a time
            os._exit(_DRIVER_ENDED)
        now_s = time.monotonic()
        if now_s - last_beat_s >= _BEAT_S:
            last_beat_s = now_s
            pipe.send(None)

    with suppress(EOFError, OSError):  # the driver has ended
        while True:
            task = pipe.recv()
            pipe.send(perform(task, on_frame))


def _end_with_driver(driver: int) -> None:
    """Lets Linux kill this process when the driver ends, even while a decoder hangs."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != driver:  # it ended before this call
        os._exit(_DRIVER_ENDED)
