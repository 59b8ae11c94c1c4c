"""Measures the bundled networks on back ends."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from app.core.cpu import cores_allowed
from app.core.errors import ModelError
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision.backend_choice import THREADS, Speed
from app.vision.classifier import load_classifier
from app.vision.yunet_detector import load_yunet

_SHAPE = (480, 640, 3)


def _candidates(backends: Sequence[str]) -> Iterator[Speed]:
    for backend in backends:
        for network in ("detector", "classifier"):
            precisions = ("int8", "float32") if (network, backend) == ("detector", "litert") else ("float32",)
            for precision, threads in product(precisions, THREADS):
                if threads <= cores_allowed():
                    yield Speed(network, backend, precision, threads, 0.0)


def _inference(candidate: Speed) -> Callable[[], object]:
    """A function that runs the network once: on a frame of 640 x 480, or on one face. Raises ModelError."""
    chosen = {"backend": candidate.backend, "threads": candidate.threads}
    if candidate.network == "classifier":
        classifier = load_classifier(ClassifierSettings.model_validate(chosen))
        side_px = classifier.metadata.input_px
        return partial(classifier.classify, np.zeros((1, side_px, side_px, 3), np.uint8))
    detector = load_yunet(DetectorSettings.model_validate({**chosen, "precision": candidate.precision}))
    return partial(detector.run_pass, np.zeros(_SHAPE, np.uint8))


def measure_speeds(
    backends: Sequence[str], faults: list[str], rounds: int = 5, clock: Callable[[], float] = time.perf_counter
) -> list[Speed]:
    """The least time of each, in alternating rounds. Adds to ``faults`` why a back end cannot be used."""
    runs: dict[Speed, Callable[[], object]] = {}
    for candidate in _candidates(backends):
        try:
            run = _inference(candidate)
            run()
        except (ModelError, RuntimeError) as error:
            if str(error) not in faults:
                faults.append(str(error))
        else:
            runs[candidate] = run
    least_ms = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for candidate, run in runs.items():
            started_s = clock()
            run()
            least_ms[candidate] = min(least_ms[candidate], (clock() - started_s) * 1000)
    return [replace(candidate, ms=round(ms, 3)) for candidate, ms in least_ms.items()]
