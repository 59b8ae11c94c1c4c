"""How the benchmark counts calls."""

from app.bench.instrumentation import StageTimers


class Looking:
    """One way of looking falls back on the other."""

    def __init__(self) -> None:
        self.looks = 0

    def detect(self) -> None:
        self.looks += 1

    def detect_tracked(self) -> None:
        self.detect()


def test_a_look_that_falls_back_on_another_counts_once_and_is_made_slower_once() -> None:
    timers, detector = StageTimers(), Looking()
    timers.instrument_detector(detector, times=10)
    detector.detect_tracked()
    assert timers.work()["detect"].calls == 1
    assert detector.looks == 10
    detector.detect()
    assert timers.work()["detect"].calls == 2
    assert detector.looks == 20
