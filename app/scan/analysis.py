"""Analyses one shard of a recording. The result depends only on the shard, its videos, the models and the settings.

People and events must not depend on where a recording is cut into shards, so a recording consists of *episodes*: an
episode ends when no full detection pass, one in each second, has found a face for as long as a face may be lost. This
condition depends only on the last seconds of the video, so every shard finds the same episodes. Each one is analysed
from a fresh state. A shard analyses the episodes that begin within its range, the last one up to its end. It starts to
read some seconds early, to find the first of them; what it finds there is not counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from app.capture.recording_reader import Fault, Part, RecordingReader, SelectedFrame
from app.core.camera_hours import CameraHour, hour_of
from app.core.errors import SourceError
from app.core.images import jpeg_bytes
from app.core.secrets import redact
from app.core.types import Box, Event, Frame, Image, Label
from app.pipeline.event_factory import EventFactory
from app.pipeline.frame_analyzer import AnalyzedFrame, FrameAnalyzer
from app.scan.lookahead import BLOCK_S, LookaheadDetector, Second
from app.settings.monitor import CameraSettings, PolicySettings, overridden
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings
from app.vision.backend_choice import resolved_classifier, resolved_detector
from app.vision.classifier import MaskClassifier, load_classifier
from app.vision.detector import FaceDetector
from app.vision.detector_loader import load_detector

_PASS_S = 1.0
"""Time between the full passes that decide about the end of an episode."""
_FIRST_S = 1.0 + BLOCK_S
"""After the begin of reading, in the first second other frames may be selected, and then a block may be incomplete."""
_SETTLE_S = _FIRST_S + 2 * _PASS_S
_FULL_LOOK_S = 1.0
"""Time between full passes while faces are tracked."""
_LEAST_STEP_S = 0.1
"""With more frames in a second than this step gives, no frames are kept to search ahead."""
_THUMBNAIL_PX = 240
_MOSAIC_CELLS = 6


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of a recording, in stream time from ``start_s`` to ``end_s`` (inf: to its end). ``origin``: the id of the
    recording. ``wall_s``: Unix time at stream time 0."""

    id: str
    origin: str
    camera: str
    wall_s: float
    start_s: float
    end_s: float
    parts: tuple[Part, ...]

    @property
    def path(self) -> str:
        """Its first video, without secrets."""
        return redact(self.parts[0].uri)

    @property
    def length_s(self) -> float:
        last = self.parts[-1]
        return min(self.end_s, last.offset_s + last.duration_s) - self.start_s


@dataclass(frozen=True, slots=True)
class Hour:
    """The people of an hour, and for how many milliseconds it was watched: integers, so that sums are exact."""

    seen: CameraHour
    watched_ms: int


@dataclass(frozen=True, slots=True)
class ShardResult:
    """``faults``: times of the shard that were not analysed, and why. ``thumbnails``: JPEG by the id of the event."""

    events: tuple[Event, ...]
    hours: tuple[Hour, ...]
    faults: tuple[Fault, ...]
    frames: int
    watched_ms: int
    thumbnails: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Models:
    """Loaded once per process."""

    detector: FaceDetector
    classifier: MaskClassifier


def model_settings(settings: Settings, camera: CameraSettings) -> tuple[DetectorSettings, ClassifierSettings]:
    """The detector and the classifier of ``camera``, on one core, the same on every machine of a scan: what ``auto``
    means does not depend on measurements."""
    detector = overridden(settings.detector, camera.detector)
    classifier = settings.classifier.model_copy(update={"threads": 1})
    return resolved_detector(detector, cores=1, speeds=()), resolved_classifier(classifier, speeds=())


def load_models(settings: Settings, camera: CameraSettings) -> Models:
    """Raises ModelError."""
    detector, classifier = model_settings(settings, camera)
    return Models(load_detector(detector), load_classifier(classifier))


def lead_in_s(tracking: TrackingSettings) -> float:
    """How long before its range a shard starts to read."""
    return _quiet_s(tracking) + _SETTLE_S


def _quiet_s(tracking: TrackingSettings) -> float:
    return tracking.lost_after_s + _PASS_S  # a face is visible for up to _PASS_S after the pass that found it


class ShardAnalysis:
    """Call ``run`` once. ``on_frame`` is called with the stream time of each frame that is read."""

    def __init__(
        self,
        shard: Shard,
        settings: Settings,
        camera: CameraSettings,
        models: Models,
        on_frame: Callable[[float], None] = lambda _: None,
        thumbnails: bool = False,
    ) -> None:
        self._shard = shard
        self._tracking = overridden(settings.tracking, camera.tracking)
        # Nobody is notified, so every event counts: no cooldown.
        self._policy: PolicySettings = camera.policy_over(settings.policy).model_copy(update={"cooldown_s": 0.0})
        detector_settings = overridden(settings.detector, camera.detector)
        looks_ahead = camera.every_s >= _LEAST_STEP_S or camera.key_frames
        full_look_s = max(detector_settings.full_look_s, _FULL_LOOK_S if looks_ahead else 0.0)
        self._detector_settings = detector_settings.model_copy(update={"full_look_s": full_look_s})
        self._max_batch = settings.classifier.max_batch
        self._classifier = models.classifier
        self._detector = LookaheadDetector(models.detector, detector_settings, looks_ahead)
        self._on_frame = on_frame
        self._factory = EventFactory(shard.origin, shard.camera)
        self._reader = RecordingReader(shard.parts, camera)
        self._with_thumbnails = thumbnails
        self._analyzer: FrameAnalyzer | None = None
        self._last: AnalyzedFrame | None = None
        self._events: list[Event] = []
        self._thumbnails: dict[str, bytes] = {}
        self._hours: dict[int, Hour] = {}
        self._frames = self._watched_ms = 0

    def run(self) -> ShardResult:
        """Raises SourceError if no frame of the shard's range can be read."""
        shard, previous_s = self._shard, None
        frame: Frame | None = None
        for second, is_episode_start in self._seconds():
            if is_episode_start:
                self._end_episode(frame)
                self._analyzer = self._new_analyzer()
            if second.frames[0].time_s >= shard.end_s and (is_episode_start or self._analyzer is None):
                break
            for selected in second.frames:
                if self._analyzer is not None:
                    wall_s = shard.wall_s + selected.time_s
                    frame = Frame(selected.image, self._frames, selected.time_s, 0.0, wall_s, shard.camera)
                    self._analyse(self._analyzer, frame)
                    self._count_time(previous_s, frame, selected.is_after_gap)
                previous_s = selected.time_s
        else:
            self._end_video(frame)
        faults = tuple(self._own_faults())
        if faults and not self._frames:
            raise SourceError(faults[0].reason)
        hours = tuple(self._hours[hour_s] for hour_s in sorted(self._hours))
        return ShardResult(tuple(self._events), hours, faults, self._frames, self._watched_ms, self._thumbnails)

    def _seconds(self) -> Iterator[tuple[Second, bool]]:
        """The seconds, and whether an episode of this shard, or one after it, begins with the second."""
        shard, quiet_s = self._shard, _quiet_s(self._tracking)
        from_s = max(float(int(shard.start_s - lead_in_s(self._tracking))), 0.0)
        face_s = from_s + _FIRST_S if from_s > 0 else -inf
        is_first = True
        for second in self._detector.seconds(self._read(from_s)):
            begins = is_first and shard.start_s <= 0
            is_first = False
            if second.found is not None:
                time_s = second.frames[0].time_s
                if second.found:
                    face_s = time_s
                elif time_s - face_s > quiet_s:
                    begins = time_s >= shard.start_s
            yield second, begins

    def _read(self, from_s: float) -> Iterator[SelectedFrame]:
        for selected in self._reader.frames(from_s):
            self._on_frame(selected.time_s)
            yield selected

    def _new_analyzer(self) -> FrameAnalyzer:
        return FrameAnalyzer(
            self._detector,
            self._classifier.metadata,
            self._tracking,
            self._policy,
            self._factory,
            self._max_batch,
            self._detector_settings,
        )

    def _analyse(self, analyzer: FrameAnalyzer, frame: Frame) -> None:
        pending = analyzer.detect_faces(frame)
        analyzed = self._last = analyzer.complete(pending, self._classifier.classify(pending.crops))
        self._count_people(frame.wall_s, analyzed.counts.leaving)
        self._events += analyzed.events
        for event in analyzed.events:
            if self._with_thumbnails and event.box is not None:
                self._thumbnails[event.id] = thumbnail(frame.image, event.box, analyzed.faces)
        self._frames += 1

    def _end_episode(self, frame: Frame | None) -> None:
        """Ends tracks that only passes around tracked faces still found."""
        self._end_video(frame)
        if self._last is not None and frame is not None and self._policy.resolved_events:
            for alert in self._last.alerts:
                self._events.append(self._factory.resolved_without_frame(alert, frame.time_s, frame.wall_s, "left"))
        self._last = None

    def _end_video(self, frame: Frame | None) -> None:
        """Counts the people that are still visible."""
        if self._last is not None and frame is not None:
            self._count_people(frame.wall_s, self._last.counts.here)

    def _count_people(self, wall_s: float, people: Mapping[Label, int]) -> None:
        masked, bare, incorrect = (people.get(label, 0) for label in (Label.MASK, Label.NO_MASK, Label.INCORRECT))
        if masked or bare or incorrect:
            self._add(wall_s, CameraHour("", 0, masked, bare, incorrect), 0)

    def _count_time(self, previous_s: float | None, frame: Frame, is_after_gap: bool) -> None:
        """Counts the time since the previous frame, which may belong to the lead-in, as watched, or as a gap."""
        if previous_s is None:
            return
        if is_after_gap:
            self._reader.faults.append(Fault(previous_s, frame.time_s, "there are no frames that can be decoded"))
            return
        step_ms = round(1000 * frame.time_s) - round(1000 * previous_s)
        self._add(frame.wall_s, CameraHour("", 0), step_ms)
        self._watched_ms += step_ms

    def _add(self, wall_s: float, seen: CameraHour, watched_ms: int) -> None:
        hour_s = hour_of(wall_s)
        before = self._hours.get(hour_s, Hour(CameraHour(self._shard.camera, hour_s), 0))
        self._hours[hour_s] = Hour(before.seen.plus(seen), before.watched_ms + watched_ms)

    def _own_faults(self) -> Iterator[Fault]:
        """The faults within the shard's range, without their parts outside of it."""
        for fault in self._reader.faults:
            own = replace(fault, from_s=max(fault.from_s, self._shard.start_s), to_s=min(fault.to_s, self._shard.end_s))
            if own.from_s < own.to_s or (fault.from_s == fault.to_s and own.from_s == own.to_s):
                yield own


def thumbnail(image: Image, face: Box, faces: Sequence[Box]) -> bytes:
    """A JPEG of the person with ``face``, in which every face is a mosaic."""
    image = image.copy()
    height, width = image.shape[:2]
    for box in (face, *faces):
        enlarged = Box(box.x - 0.1 * box.width, box.y - 0.15 * box.height, 1.2 * box.width, 1.25 * box.height)
        part = enlarged.clipped(width, height)
        cell = max(round(enlarged.size / _MOSAIC_CELLS), 1)
        for y in range(int(part.y), round(part.y2), cell):
            for x in range(int(part.x), round(part.x2), cell):
                block = image[y : y + cell, x : x + cell]
                block[:] = block.mean(axis=(0, 1)).astype(block.dtype)
    context = Box(face.x - face.width, face.y - face.height, 3 * face.width, 4 * face.height).clipped(width, height)
    cut = image[int(context.y) : round(context.y2), int(context.x) : round(context.x2)]
    step = max(-(-max(cut.shape[:2]) // _THUMBNAIL_PX), 1)
    return jpeg_bytes(cut[::step, ::step].copy(), 80)
