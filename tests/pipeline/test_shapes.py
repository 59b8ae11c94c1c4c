"""Frames of any shape and content pass the analysis: cameras change their resolution, and crop to slivers."""

import numpy as np
from fakes import FACTS, BoxesDetector, BrightnessClassifier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.capture.opencv_backend import to_bgr
from app.core.types import Box, EventKind, Frame
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.settings.monitor import PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings
from app.vision.detector import FaceDetector
from app.vision.detector_loader import load_detector

sizes = st.integers(1, 300)
shapes = st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5)


def analyse(detector: FaceDetector, pictures: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    classifier = BrightnessClassifier()
    tracking = TrackingSettings(confirm_after=1)
    analyzer = FrameAnalyzer(detector, FACTS, tracking, PolicySettings(dwell_s=0), "run", 32, DetectorSettings())
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        pending = analyzer.begin(Frame(picture, index, index / 10, 0.0, 0.0, "door"))
        finished = analyzer.finish(pending, classifier.classify(pending.crops) if len(pending.crops) else pending.crops)
        assert picture.shape[:2] == (height, width)
        assert len(pending.crops) == len(pending.due)
        assert all(track.box.width > 0 for track in finished.tracks)


def painted(shape: tuple[int, int], seed: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shapes, st.integers(0, 99))
def test_the_bundled_detector_takes_any_shape(sides: list[tuple[int, int]], seed: int) -> None:
    analyse(load_detector(DetectorSettings()), [painted(shape, seed) for shape in sides])


@settings(max_examples=60, deadline=None)
@given(shapes, st.tuples(*[st.floats(-400, 400)] * 2), st.tuples(*[st.floats(0.5, 400)] * 2))
def test_boxes_anywhere_pass(sides: list[tuple[int, int]], at: tuple[float, float], size: tuple[float, float]) -> None:
    analyse(BoxesDetector(lambda _: [Box(*at, *size)]), [painted(shape, 0) for shape in sides])


def test_a_stream_that_changes_its_resolution_alerts_once() -> None:
    """And counts its people once: at half the size a face fitted none that was followed."""
    widths = [1280] * 60 + [640] * 90
    detector = BoxesDetector(lambda call: [Box(0.4, 0.2, 0.1, 0.1).scaled(widths[call])])
    classifier = BrightnessClassifier()
    policy = PolicySettings(cooldown_s=0)
    looks = DetectorSettings(full_look_s=0, still_look_s=0)
    analyzer = FrameAnalyzer(detector, FACTS, TrackingSettings(), policy, "run", 32, looks)
    events: list[EventKind] = []
    for index, width in enumerate(widths):
        picture = np.full((width * 9 // 16, width, 3), 10, np.uint8)
        pending = analyzer.begin(Frame(picture, index, index / 10, 0.0, 0.0, "door"))
        finished = analyzer.finish(pending, classifier.classify(pending.crops) if len(pending.crops) else pending.crops)
        events += [event.kind for event in finished.events]
    assert events == [EventKind.NO_MASK]
    assert sum(finished.counts.seen.values()) == 1


@given(
    st.sampled_from([(), (1,), (3,), (4,)]),
    sizes,
    sizes,
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
)
def test_any_picture_of_a_decoder_becomes_bgr(channels: tuple[int, ...], height: int, width: int, kind: type) -> None:
    picture = to_bgr(np.zeros((height, width, *channels), kind))
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
