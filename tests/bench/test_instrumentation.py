"""How the benchmark counts detection passes."""

from app.bench.instrumentation import StageTimers


class FallbackDetector:
    """``detect_tracked`` falls back to ``detect``."""

    def __init__(self) -> None:
        self.passes = 0

    def detect(self) -> None:
        self.passes += 1

    def detect_tracked(self) -> None:
        self.detect()


def test_fallback_detection_counts_once_and_repeats_once() -> None:
    timers, detector = StageTimers(), FallbackDetector()
    timers.instrument_detector(detector, times=10)
    detector.detect_tracked()
    assert timers.work()["detect"].calls == 1
    assert detector.passes == 10
    detector.detect()
    assert timers.work()["detect"].calls == 2
    assert detector.passes == 20
