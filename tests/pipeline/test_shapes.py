"""Frames of any shape and content can be analysed: cameras change their resolution or deliver very narrow images."""

import numpy as np
from fakes import METADATA, BoxesDetector, BrightnessClassifier
from hypothesis import given, settings
from hypothesis import strategies as st

from app.capture.opencv_backend import to_bgr
from app.core.types import Box, EventKind, Frame
from app.pipeline.event_factory import EventFactory
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.settings.monitor import PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings
from app.vision.detector import FaceDetector
from app.vision.detector_loader import load_detector

sizes = st.integers(1, 300)
shapes = st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5)


def analyse(detector: FaceDetector, images: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    classifier = BrightnessClassifier()
    tracking = TrackingSettings(confirm_after=1)
    analyzer = FrameAnalyzer(
        detector, METADATA, tracking, PolicySettings(dwell_s=0), EventFactory("run", "test"), 32, DetectorSettings()
    )
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        pending = analyzer.detect_faces(Frame(image, index, index / 10, 0.0, 0.0, "door"))
        result = analyzer.complete(pending, classifier.classify(pending.crops) if len(pending.crops) else pending.crops)
        assert image.shape[:2] == (height, width)
        assert len(pending.crops) == len(pending.due)
        assert all(track.box.width > 0 for track in result.tracks)


def random_image(shape: tuple[int, int], seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@settings(max_examples=25)
@given(shapes, st.integers(0, 99))
def test_the_bundled_detector_accepts_any_shape(sides: list[tuple[int, int]], seed: int) -> None:
    analyse(load_detector(DetectorSettings()), [random_image(shape, seed) for shape in sides])


@settings(max_examples=60)
@given(shapes, st.tuples(*[st.floats(-400, 400)] * 2), st.tuples(*[st.floats(0.5, 400)] * 2))
def test_boxes_at_any_position_are_accepted(
    sides: list[tuple[int, int]], at: tuple[float, float], size: tuple[float, float]
) -> None:
    analyse(BoxesDetector(lambda _: [Box(*at, *size)]), [random_image(shape, 0) for shape in sides])


def test_a_stream_that_changes_its_resolution_alerts_once() -> None:
    """It also counts the person once. Regression: at half the size the face matched no track."""
    widths = [1280] * 60 + [640] * 90
    detector = BoxesDetector(lambda call: [Box(0.4, 0.2, 0.1, 0.1).scaled(widths[call])])
    classifier = BrightnessClassifier()
    policy = PolicySettings(cooldown_s=0)
    every_frame = DetectorSettings(full_look_s=0, still_look_s=0)
    analyzer = FrameAnalyzer(
        detector, METADATA, TrackingSettings(), policy, EventFactory("run", "test"), 32, every_frame
    )
    events: list[EventKind] = []
    for index, width in enumerate(widths):
        image = np.full((width * 9 // 16, width, 3), 10, np.uint8)
        pending = analyzer.detect_faces(Frame(image, index, index / 10, 0.0, 0.0, "door"))
        result = analyzer.complete(pending, classifier.classify(pending.crops) if len(pending.crops) else pending.crops)
        events += [event.kind for event in result.events]
    assert events == [EventKind.NO_MASK]
    assert (sum(result.counts.seen.values()), sum(result.counts.here.values())) == (1, 1)


@given(
    st.sampled_from([(), (1,), (3,), (4,)]),
    sizes,
    sizes,
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
)
def test_any_decoded_image_is_converted_to_bgr(channels: tuple[int, ...], height: int, width: int, kind: type) -> None:
    image = to_bgr(np.zeros((height, width, *channels), kind))
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
