"""What happens to one frame of one camera, in order, without threads and without I/O.

``begin`` finds and follows the faces and cuts those that must be named; whoever owns the classifier asks it once for
all of them (of all cameras); ``finish`` takes the answer in and says what it means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.core.types import Box, Counts, Event, Frame, Image, Track
from app.pipeline import alert_policy
from app.pipeline.detection_scheduler import DetectionPass, DetectionScheduler
from app.pipeline.people_counter import OpenAlerts, PeopleCounter
from app.settings.monitor import PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings
from app.vision import preprocess
from app.vision.classifier import Crops, Probabilities
from app.vision.detector import FaceDetector, RoiDetector
from app.vision.model_metadata import ClassifierMetadata
from app.vision.tracker import Tracker


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame between ``begin`` and ``finish``: the due tracks and their crops, (N, S, S, 3) uint8 RGB."""

    frame: Frame
    due: tuple[Track, ...]
    crops: Crops
    left: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class AnalyzedFrame:
    """What a frame meant: the tracks shown, those that left with it, the people counted, the events raised, the
    alerts that nothing has resolved yet, and where any face may be."""

    tracks: tuple[Track, ...]
    left: tuple[Track, ...]
    counts: Counts
    events: tuple[Event, ...]
    alerts: tuple[Event, ...]
    faces: tuple[Box, ...]


class FrameAnalyzer:
    """One camera's detector, tracker and policy state. Serves one thread."""

    def __init__(
        self,
        detector: FaceDetector,
        metadata: ClassifierMetadata,
        tracking: TrackingSettings,
        alerting: PolicySettings,
        run_id: str,
        max_batch: int,
        detector_settings: DetectorSettings,
    ) -> None:
        """``looks`` says how seldom the detector may be asked."""
        self._detector = detector
        self._roi_detector = detector if isinstance(detector, RoiDetector) else None
        self._scheduler = DetectionScheduler(detector_settings)
        self._metadata = metadata
        self._tracker = Tracker(tracking, metadata)
        self._alerting = alerting
        self._state = alert_policy.PolicyState()
        self._run_id = run_id
        self._max_batch = max_batch
        self._people_counter = PeopleCounter()
        self._open = OpenAlerts()
        self._used = self._wanted = (tracking, alerting)
        self._refund_due = False
        self._size_px: tuple[int, int] | None = None

    def apply(self, tracking: TrackingSettings, alerting: PolicySettings) -> None:
        """New settings for the frames to come. May be called from any thread."""
        self._wanted = (tracking, alerting)

    def refund_cooldown(self) -> None:
        """Nobody was told of the last alert: it charges no cooldown. May be called from any thread."""
        self._refund_due = True

    def begin(self, frame: Frame) -> PendingFrame:
        if self._used is not self._wanted:
            self._used = self._wanted
            tracking, self._alerting = self._used
            self._tracker.apply(tracking)
        height, width = frame.image.shape[:2]
        self._fit(width, height)
        left = self._follow(frame)
        due = [track for track in self._tracker.due(self._max_batch) if _visible(track.box, width, height)]
        crops = cut_faces(frame.image, [track.box for track in due], self._metadata)
        return PendingFrame(frame, tuple(due), crops, tuple(left))

    def _fit(self, width: int, height: int) -> None:
        """Streams change their resolution; people in them stay who they are."""
        before, self._size_px = self._size_px, (width, height)
        if before is not None and before != self._size_px:
            self._tracker.stretch(width / before[0], height / before[1])

    def _follow(self, frame: Frame) -> list[Track]:
        """Takes ``frame`` into the tracker, with as much of a look at it as it needs. Returns the tracks that left."""
        known = self._tracker.boxes()
        tracker = self._tracker
        detection_pass = self._scheduler.choose(frame.image, frame.time_s, known, tracker.is_steady, tracker.misses_one)
        if detection_pass is DetectionPass.SKIP:
            return self._tracker.carry(frame.time_s)
        if detection_pass is DetectionPass.TRACKED and self._roi_detector is not None:
            return self._tracker.update(self._roi_detector.detect_tracked(frame.image, known), frame.time_s)
        return self._tracker.update(self._detector.detect(frame.image), frame.time_s)

    def finish(self, pending: PendingFrame, probabilities: Probabilities) -> AnalyzedFrame:
        """``probabilities``: (N, C), one row per crop of ``pending``."""
        for track, crop, row in zip(pending.due, pending.crops, probabilities, strict=True):
            usable = self._metadata.min_sharpness <= 0 or preprocess.sharpness(crop) >= self._metadata.min_sharpness
            self._tracker.classified(track.id, row.tolist(), usable)
        tracks = self._tracker.tracks()
        if self._refund_due:
            self._refund_due, self._state = False, alert_policy.with_refunded_cooldown(self._state)
        self._state, events = alert_policy.step(
            self._alerting, self._run_id, self._state, pending.frame, tracks, pending.left
        )
        counts = self._people_counter.update(tracks, pending.left, self._alerting.dwell_s, self._alerting.grace_s)
        alerts = self._open.update(events, alert_policy.open_alerts(self._state))
        faces = self._tracker.boxes() + self._tracker.last_places()
        return AnalyzedFrame(tracks, pending.left, counts, events, alerts, faces)


def cut_faces(image: Image, boxes: Sequence[Box], metadata: ClassifierMetadata) -> Crops:
    """The faces of a BGR picture as the classifier of ``facts`` wants them."""
    return preprocess.face_crops(image, boxes, metadata.input_px, metadata.margin)


def _visible(box: Box, width: int, height: int) -> bool:
    """At least half of the box lies inside the picture: less is no face to judge."""
    return box.clipped(width, height).area >= 0.5 * box.area > 0
