"""Analyses the frames of one camera, without threads and without I/O.

``detect_faces`` detects and tracks the faces and crops those that must be classified. The caller classifies the crops.
``complete`` adds the probabilities and returns tracks, counts and events.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.core.types import Box, Counts, Crossing, Event, Frame, Image, Track
from app.pipeline import alert_policy
from app.pipeline.detection_scheduler import DetectionPass, DetectionScheduler
from app.pipeline.event_factory import EventFactory
from app.pipeline.line_counter import LineCounter
from app.pipeline.people_counter import PeopleCounter
from app.settings.monitor import CameraPolicy, PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings
from app.vision import preprocess
from app.vision.classifier import Crops, Probabilities
from app.vision.detector import FaceDetector, RoiDetector
from app.vision.model_metadata import ClassifierMetadata
from app.vision.tracker import Tracker


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame before classification: the tracks to classify and their crops, (N, S, S, 3) uint8 RGB."""

    frame: Frame
    due: tuple[Track, ...]
    crops: Crops
    left: tuple[Track, ...]


@dataclass(frozen=True, slots=True)
class AnalyzedFrame:
    """The result of a frame: visible tracks, tracks that left, people counts, new events, unresolved alerts.

    ``faces``: boxes where any face may be, for blurring. ``waiting``, ``rejected``, ``crossings``: see ``FrameResult``.
    """

    tracks: tuple[Track, ...]
    left: tuple[Track, ...]
    counts: Counts
    events: tuple[Event, ...]
    alerts: tuple[Event, ...]
    faces: tuple[Box, ...]
    waiting: Mapping[int, float]
    rejected: tuple[Track, ...]
    crossings: tuple[Crossing, ...]


class FrameAnalyzer:
    """Detector, tracker and policy state of one camera. It must be used by one thread only."""

    def __init__(
        self,
        detector: FaceDetector,
        metadata: ClassifierMetadata,
        tracking: TrackingSettings,
        alerting: PolicySettings,
        events: EventFactory,
        max_batch: int,
        detector_settings: DetectorSettings,
        track_ids: Iterator[int] | None = None,
    ) -> None:
        """``track_ids``: of new tracks; from 1 if not given."""
        self._scheduler = DetectionScheduler(detector_settings)
        self._metadata = metadata
        self._tracker = Tracker(tracking, metadata, ids=track_ids)
        self.use_detector(detector, detector_settings)
        self._take_detector()
        self._alerting = alerting
        self._state = alert_policy.PolicyState()
        self._events = events
        self._max_batch = max_batch
        self._people_counter = PeopleCounter()
        self._line_counter = LineCounter()
        self._settings = self._new_settings = (tracking, alerting)
        self._size_px: tuple[int, int] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing moves and nobody is in view."""
        return self._scheduler.is_resting and not self._tracker.boxes()

    def apply(self, tracking: TrackingSettings, alerting: PolicySettings) -> None:
        """Applies new settings from the next frame on. Thread-safe."""
        self._new_settings = (tracking, alerting)

    def use_detector(self, detector: FaceDetector, settings: DetectorSettings) -> None:
        """Uses another detector from the next frame on; the tracks and alerts stay. Thread-safe."""
        self._new_detector = detector, settings

    def _take_detector(self) -> None:
        self._taken_detector = self._new_detector
        self._detector, settings = self._taken_detector
        self._roi_detector = self._detector if isinstance(self._detector, RoiDetector) else None
        self._tracker.sure_score = settings.sure_score if settings.kind == "cnn" else 0.0

    def detect_faces(self, frame: Frame) -> PendingFrame:
        if self._taken_detector is not self._new_detector:
            self._take_detector()
        if self._settings is not self._new_settings:
            self._settings = self._new_settings
            tracking, self._alerting = self._settings
            self._tracker.apply(tracking)
        height, width = frame.image.shape[:2]
        self._handle_resize(width, height)
        left = self._track(frame)
        due = [track for track in self._tracker.due(self._max_batch) if _is_visible(track.box, width, height)]
        crops = cut_faces(frame.image, [track.box for track in due], self._metadata)
        return PendingFrame(frame, tuple(due), crops, tuple(left))

    def _handle_resize(self, width: int, height: int) -> None:
        """Keeps the tracks when a stream changes its resolution."""
        old_px, self._size_px = self._size_px, (width, height)
        if old_px is not None and old_px != self._size_px:
            self._tracker.stretch(width / old_px[0], height / old_px[1])

    def _track(self, frame: Frame) -> list[Track]:
        """Updates the tracker with the detection pass that ``frame`` needs. Returns the tracks that left."""
        tracker = self._tracker
        tracked = tracker.boxes()
        detection_pass = self._scheduler.choose(
            frame.image, frame.time_s, tracked, tracker.is_steady, tracker.has_missed_face
        )
        left = tracker.end_all() if detection_pass is DetectionPass.NEW_SCENE else []
        if detection_pass is DetectionPass.SKIP:
            return tracker.carry(frame.time_s)
        if detection_pass is DetectionPass.TRACKED and self._roi_detector is not None:
            found = self._roi_detector.detect_tracked(frame.image, tracked, self._scheduler.moved)
            return tracker.update(found, frame.time_s)
        return left + tracker.update(self._detector.detect(frame.image), frame.time_s)

    def complete(self, pending: PendingFrame, probabilities: Probabilities, muted: bool = False) -> AnalyzedFrame:
        """``probabilities``: (N, C), one row per crop of ``pending``. ``muted``: nobody is notified of the events."""
        for track, crop, row in zip(pending.due, pending.crops, probabilities, strict=True):
            usable = self._metadata.min_sharpness <= 0 or preprocess.sharpness(crop) >= self._metadata.min_sharpness
            self._tracker.classified(track.id, row.tolist(), usable)
        policy, frame, left = self._alerting, pending.frame, pending.left
        tracks = self._tracker.tracks()
        rejected = self._tracker.rejected()
        ended = (*left, *rejected)
        self._state, events = alert_policy.step(policy, self._events, self._state, frame, tracks, ended, muted)
        counts = self._people_counter.update(frame.time_s, tracks, ended, policy.dwell_s, policy.grace_s)
        faces = self._tracker.boxes() + self._tracker.last_found_boxes()
        waiting = alert_policy.waiting(policy, self._state, tracks, frame.wall_s)
        lines = policy.lines if isinstance(policy, CameraPolicy) else ()
        size_px = frame.image.shape[1], frame.image.shape[0]
        crossings = self._line_counter.update(frame.time_s, size_px, lines, self._tracker.detected() if lines else ())
        return AnalyzedFrame(tracks, left, counts, events, self._state.open_alerts, faces, waiting, rejected, crossings)


def cut_faces(image: Image, boxes: Sequence[Box], metadata: ClassifierMetadata) -> Crops:
    """Crops the faces in ``boxes`` of a BGR image for the classifier of ``metadata``."""
    return preprocess.face_crops(image, boxes, metadata.input_px, metadata.margin)


def _is_visible(box: Box, width: int, height: int) -> bool:
    """Whether at least half of the box lies inside the image: otherwise the face cannot be classified."""
    return box.clipped(width, height).area >= 0.5 * box.area > 0
