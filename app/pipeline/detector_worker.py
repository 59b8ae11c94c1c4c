"""One detector thread's time at a camera: frames in, results out, and its own guard."""

import logging
import threading
import time
from collections.abc import Callable

from app.capture.slot import Slot
from app.core.types import Frame, FrameResult, StageTimes
from app.pipeline.classifier_batcher import BatcherClosed
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.pipeline.heartbeat import Heartbeat, StallTimer
from app.vision.classifier import Crops, Probabilities

log = logging.getLogger(__name__)


class DetectorWorker:
    """When ``over`` it does nothing more, wherever it hung when that was said.

    ``ended``: its frames came to an end; ``crash``: what went wrong in it.
    """

    def __init__(self, name: str, analyzer: FrameAnalyzer, frames: Slot[Frame]) -> None:
        self.name = name
        self.analyzer = analyzer
        self.frames = frames
        self.heartbeat = Heartbeat()
        self.stall_timer = StallTimer()
        self.over = False
        self.ended = False
        self.crash: BaseException | None = None
        self.thread: threading.Thread | None = None

    def analysed(
        self, frame: Frame, classified: Callable[[Crops], Probabilities | None], *, may_crash: bool
    ) -> FrameResult | None:
        """``classified`` gives None where all stop. Returns None where the shift is over, in time or by a crash; where
        it may not crash, the error is raised."""
        try:
            began_s = time.monotonic()
            self.heartbeat.beat("looks for faces")
            pending = self.analyzer.begin(frame)
            detected_s = time.monotonic()
            self.heartbeat.rest()
            probabilities = None if self.over else classified(pending.crops)
            classified_s = time.monotonic()
            if probabilities is None or self.over:
                return None
            self.heartbeat.beat("judges faces")
            finished = self.analyzer.finish(pending, probabilities)
        except BatcherClosed:
            raise
        except Exception as error:  # this camera's own guard: the others are to go on
            if not may_crash and not self.over:
                raise
            log.debug("%s failed", self.name, exc_info=error)
            self.over, self.crash = True, error
            return None
        classify_s = classified_s - detected_s if len(pending.crops) else 0.0
        times = StageTimes(detected_s - began_s, classify_s, time.monotonic() - began_s)
        return FrameResult(
            frame,
            finished.tracks,
            finished.left,
            finished.counts,
            finished.events,
            finished.alerts,
            times,
            finished.faces,
        )
