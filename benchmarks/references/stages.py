"""Reference: maskwatch's own stages in one thread, without queues, copies and drawing: detector and tracker as in the
pipeline, crops of the tracks that are due, classifier. The additional cost of the pipeline is its overhead.

    maskwatch bench --source CLIP --compare stages --threads 2
"""

import sys
import time

import numpy as np
from shared import loop

sys.path.insert(0, str(loop.ROOT))

from app.bench.instrumentation import StageTimers
from app.core.types import Frame
from app.pipeline.event_factory import EventFactory
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.settings.monitor import PolicySettings
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings
from app.vision.classifier import load_classifier
from app.vision.detector_loader import load_detector

_FPS = 25.0


class _Clock(loop.Clock):
    """The clock of the loop, plus the times measured inside maskwatch's parts."""

    def __init__(self, timers: StageTimers) -> None:
        super().__init__()
        self._timers = timers

    def clear(self) -> None:
        super().clear()
        self._timers.clear()

    def records(self, cpu_s: float) -> dict[str, dict[str, float]]:
        for stage, work in self._timers.work().items():
            self.stages[stage] = [work.calls, work.wall_s, work.cpu_s]
        return super().records(cpu_s)


def main() -> None:
    args = loop.flags(__doc__)
    if args.check:
        return
    threads = {} if args.threads is None else {"threads": min(args.threads, DetectorSettings().max_threads)}
    detector_settings = DetectorSettings(**threads)
    timers = StageTimers(time.process_time)
    clock = _Clock(timers)
    classifier = load_classifier(ClassifierSettings(**threads))
    detector = timers.instrument_detector(load_detector(detector_settings))
    timers.instrument(classifier, "classify", "classify")
    analyzer = FrameAnalyzer(
        detector,
        classifier.metadata,
        TrackingSettings(),
        PolicySettings(),
        EventFactory("bench", "bench"),
        32,
        detector_settings,
    )
    played = 0

    def step(image: np.ndarray) -> int:
        nonlocal played
        frame = Frame(image, played, played / _FPS, 0.0, 0.0, "bench")
        played += 1
        pending = analyzer.detect_faces(frame)
        analysed = analyzer.complete(pending, classifier.classify(pending.crops))
        return len(analysed.tracks)

    settings = {"detector": "ours", "classifier": "ours", **threads}
    loop.measure("stages", args, step, clock, settings, "no threads, no drawing", stride=1)


if __name__ == "__main__":
    main()
