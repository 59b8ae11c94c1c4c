"""Creates the parts of a monitor. Tests and benchmarks replace some of them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from app.capture.source import FrameSource, make_source
from app.core.cpu import cores_allowed
from app.pipeline.camera import Camera
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.settings.monitor import CameraSettings, PolicySettings, overridden
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings
from app.vision.backend_choice import resolved_detector
from app.vision.classifier import MaskClassifier, load_classifier
from app.vision.detector import FaceDetector
from app.vision.detector_loader import for_video, shared_detector_loader
from app.vision.model_metadata import ClassifierMetadata
from app.vision.preprocess import limit_opencv_threads


@dataclass(frozen=True, slots=True)
class MonitorParts:
    make_source: Callable[[CameraSettings], FrameSource] = make_source
    load_detector: Callable[[DetectorSettings], FaceDetector] = field(default_factory=shared_detector_loader)
    load_classifier: Callable[[ClassifierSettings], MaskClassifier] = load_classifier
    make_analyzer: Callable[..., FrameAnalyzer] = FrameAnalyzer
    cores_allowed: Callable[[], int] = cores_allowed

    def open_classifier(self, settings: ClassifierSettings) -> MaskClassifier:
        """With no more threads than there are cores."""
        threads = min(settings.threads, self.cores_allowed())
        return self.load_classifier(settings.model_copy(update={"threads": threads}))

    def open_detector(self, settings: Settings, own: CameraSettings) -> tuple[FaceDetector, DetectorSettings]:
        """The detector of the camera ``own``, and its settings."""
        share = max(1, self.cores_allowed() // len(settings.camera))
        detector = resolved_detector(overridden(settings.detector, own.detector), share)
        limit_opencv_threads(1)  # two take longer in all: while one waits for the other, it is busy
        return self.load_detector(for_video(detector)), detector

    def make_worker(self, camera: Camera, settings: Settings, metadata: ClassifierMetadata) -> DetectorWorker:
        """``metadata``: of the classifier for which it makes crops."""
        detector, detector_settings = self.open_detector(settings, camera.settings)
        analyzer = self.make_analyzer(
            detector,
            metadata,
            *live_settings(settings, camera.settings),
            camera.events,
            settings.classifier.max_batch,
            detector_settings,
            camera.track_ids,
        )
        return DetectorWorker(f"detector {camera.name}", analyzer, camera.frames)


def live_settings(settings: Settings, own: CameraSettings) -> tuple[TrackingSettings, PolicySettings]:
    """The settings of the camera ``own`` that its worker can change at run time."""
    return overridden(settings.tracking, own.tracking), own.policy_over(settings.policy)
