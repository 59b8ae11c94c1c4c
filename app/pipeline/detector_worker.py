"""The work of one detector thread: frames in, results out; exceptions are kept."""

import logging
import threading
import time
from collections.abc import Callable

from app.capture.slot import Slot
from app.core.types import Frame, FrameResult, StageTimes
from app.pipeline.classifier_batcher import BatcherClosed
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.pipeline.heartbeat import Heartbeat
from app.vision.classifier import Crops, Probabilities

log = logging.getLogger(__name__)


class DetectorWorker:
    """Once ``is_stopped`` is set it returns no more results, even if it was hanging at that time.

    ``ended``: there are no more frames. ``crash``: the exception that stopped it.
    """

    def __init__(self, name: str, analyzer: FrameAnalyzer, frames: Slot[Frame]) -> None:
        self.name = name
        self.analyzer = analyzer
        self.frames = frames
        self.heartbeat = Heartbeat()
        self.is_stopped = False
        self.ended = False
        self.crash: BaseException | None = None
        self.thread: threading.Thread | None = None

    def analyze(
        self,
        frame: Frame,
        classify: Callable[[Crops], Probabilities | None],
        is_muted: Callable[[], bool],
        *,
        keep_crash: bool,
    ) -> FrameResult | None:
        """Returns None if the worker is stopped, or if ``classify`` returns None because all threads stop.

        An exception stops the worker and is kept in ``crash`` if ``keep_crash`` is set, otherwise it is raised.
        """
        try:
            started_s = time.monotonic()
            self.heartbeat.beat("detecting faces")
            pending = self.analyzer.detect_faces(frame)
            detected_s = time.monotonic()
            self.heartbeat.rest()
            probabilities = None if self.is_stopped else classify(pending.crops)
            classified_s = time.monotonic()
            if probabilities is None or self.is_stopped:
                return None
            self.heartbeat.beat("evaluating faces")
            analyzed = self.analyzer.complete(pending, probabilities, is_muted())
        except BatcherClosed:
            raise
        except Exception as error:  # only this camera fails: the others must continue
            if not keep_crash and not self.is_stopped:
                raise
            log.debug("%s failed", self.name, exc_info=error)
            self.is_stopped, self.crash = True, error
        if self.is_stopped:
            return None
        classify_s = classified_s - detected_s if len(pending.crops) else 0.0
        times = StageTimes(detected_s - started_s, classify_s, time.monotonic() - started_s)
        return FrameResult(
            frame,
            analyzed.tracks,
            analyzed.left,
            analyzed.counts,
            analyzed.events,
            analyzed.alerts,
            times,
            analyzed.faces,
            analyzed.waiting,
            analyzed.rejected,
            analyzed.crossings,
        )
