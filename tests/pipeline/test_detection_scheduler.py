"""When the detector is asked: everywhere where something moves, seldom where nothing does, the same at any speed."""

from collections.abc import Sequence

import numpy as np
import pytest
from fakes import FACTS, BrightnessClassifier

from app.core.types import Box, Detection, Frame, Image
from app.pipeline.detection_scheduler import DetectionPass, DetectionScheduler
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.settings.monitor import PolicySettings
from app.settings.vision import DetectorSettings, TrackingSettings
from app.vision.detector import FaceDetector
from app.vision.preprocess import thumbnail

FPS = 30.0
LARGE = (Box(200, 100, 120, 120),)


def scene(x: int = 0, light: int = 60, seed: int | None = None, sigma: float = 0.0) -> Image:
    """A grey wall with a bright square of 40 px at ``x``; ``sigma`` is the sensor's noise."""
    image = np.full((480, 640, 3), light, np.uint8)
    image[200:240, x : x + 40] = 200
    if seed is not None:
        noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def passes(images: list[Image], faces: tuple[Box, ...] = (), **settings: float) -> list[DetectionPass]:
    scheduler = DetectionScheduler(DetectorSettings(**settings))  # type: ignore[arg-type]
    return [scheduler.choose(image, i / FPS, faces, True) for i, image in enumerate(images)]


def test_a_still_empty_scene_is_looked_at_once_a_second() -> None:
    chosen = passes([scene()] * 90)
    assert chosen.count(DetectionPass.FULL) == 3
    assert chosen.count(DetectionPass.SKIP) == 87


@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_noise_of_the_sensor_is_no_movement(sigma: float) -> None:
    chosen = passes([scene(seed=i, sigma=sigma) for i in range(60)])
    assert chosen.count(DetectionPass.FULL) <= 8


def test_whoever_comes_into_an_empty_scene_is_looked_for_within_a_fifth_of_a_second() -> None:
    images = [scene()] * 40 + [scene(x) for x in range(0, 600, 10)]
    chosen = passes(images)
    assert DetectionPass.FULL in chosen[40:47]
    assert chosen[44:].count(DetectionPass.FULL) >= len(chosen[44:]) / 7


def test_a_dark_scene_with_a_faint_newcomer_counts_as_moving() -> None:
    chosen = passes([np.full((480, 640, 3), 20, np.uint8)] * 31 + [np.full((480, 640, 3), 20, np.uint8)])
    assert chosen[31] is DetectionPass.SKIP
    faint = np.full((480, 640, 3), 20, np.uint8)
    faint[100:140, 100:140] = 33
    assert passes([np.full((480, 640, 3), 20, np.uint8)] * 37 + [faint])[37] is DetectionPass.FULL


def test_while_large_faces_move_small_ones_are_looked_for_four_times_a_second() -> None:
    chosen = passes([scene(x % 600) for x in range(0, 900, 10)], LARGE)
    assert chosen.count(DetectionPass.FULL) == pytest.approx(3 * 4, abs=1)
    assert chosen.count(DetectionPass.TRACKED) == len(chosen) - chosen.count(DetectionPass.FULL)


def test_an_unsteady_face_is_looked_at_in_every_frame() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    assert [scheduler.choose(scene(), i / FPS, LARGE, False) for i in range(10)] == [DetectionPass.FULL] * 10


def test_both_savings_can_be_turned_off() -> None:
    assert passes([scene()] * 20, full_look_s=0, still_look_s=0) == [DetectionPass.FULL] * 20
    assert passes([scene()] * 20, LARGE, full_look_s=0.25, still_look_s=0).count(DetectionPass.SKIP) == 0
    moving = [scene(x) for x in range(0, 400, 20)]
    assert passes(moving, LARGE, full_look_s=0, still_look_s=0.5) == [DetectionPass.FULL] * 20


def test_another_resolution_or_a_rewound_stream_is_looked_at_at_once() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    assert scheduler.choose(scene(), 5.0, (), True) is DetectionPass.FULL
    assert scheduler.choose(scene()[:400], 5.03, (), True) is DetectionPass.FULL
    assert scheduler.choose(scene()[:400], 1.0, (), True) is DetectionPass.FULL


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 2000, 3), (2000, 5, 3), (1080, 1920, 3)])
def test_a_thumbnail_of_any_picture_has_the_same_cells(shape: tuple[int, int, int]) -> None:
    assert thumbnail(np.full(shape, 77, np.uint8)).tolist() == np.full((48, 64), 77).tolist()


def test_after_a_shake_the_known_faces_are_looked_at_once_more() -> None:
    images = [scene(100)] * 31 + [scene(160)] * 2 + [scene(100)] * 4
    chosen = passes(images, LARGE)
    assert chosen[30] is DetectionPass.FULL
    assert chosen[31:] == [DetectionPass.TRACKED] * 3 + [DetectionPass.SKIP] * 3


def test_a_face_that_the_last_look_missed_is_sought_on_though_nothing_moves() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    chosen = [scheduler.choose(scene(), i / FPS, LARGE, True, misses_one=i in (3, 4)) for i in range(7)]
    assert chosen == [
        DetectionPass.FULL,
        DetectionPass.SKIP,
        DetectionPass.SKIP,
        DetectionPass.TRACKED,
        DetectionPass.TRACKED,
        DetectionPass.SKIP,
        DetectionPass.SKIP,
    ]


class NowAndThen:
    """Finds the one face there is in ``share`` of its looks."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._rng = share, np.random.default_rng(seed)

    def detect(self, image: Image) -> list[Detection]:
        return [Detection(LARGE[0], 0.9)] if self._rng.random() < self._share else []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_whom_the_detector_hardly_sees_in_a_still_scene_is_one_person(share: float, seed: int) -> None:
    _, kinds = told_of(NowAndThen(share, seed), [np.full((480, 640, 3), 10, np.uint8)] * 900, PolicySettings())
    assert kinds == ["no_mask"]


@pytest.mark.parametrize("fps", [1.0, 1.3, 2.0])
def test_a_person_whom_few_frames_show_is_told_of_once(fps: float) -> None:
    images = [np.full((480, 640, 3), 10, np.uint8)] * 60
    _, kinds = told_of(NowAndThen(1.0, 0), images, PolicySettings(), fps=fps)
    assert kinds == ["no_mask"]


@pytest.mark.parametrize("policy", [{"dwell_s": 0.0}, {"dwell_s": 1.0}, {"min_observations": 30}])
def test_a_still_scene_alerts_as_soon_as_without_savings(policy: dict[str, float]) -> None:
    images, at_s = [np.full((480, 640, 3), 10, np.uint8)] * 150, []
    for passes in (DetectorSettings(), DetectorSettings(full_look_s=0, still_look_s=0)):
        times_s, _ = told_of(NowAndThen(1.0, 0), images, PolicySettings(**policy), passes)
        at_s += times_s
    assert at_s[0] == pytest.approx(at_s[1], abs=2 / FPS)


def told_of(
    detector: FaceDetector,
    images: list[Image],
    policy: PolicySettings,
    passes: DetectorSettings | None = None,
    fps: float = FPS,
) -> tuple[list[float], list[str]]:
    """When, in stream time, which events are raised."""
    classifier = BrightnessClassifier()
    analyzer = FrameAnalyzer(detector, FACTS, TrackingSettings(), policy, "run", 32, passes or DetectorSettings())
    events = []
    for i, image in enumerate(images):
        pending = analyzer.begin(Frame(image, i, i / fps, 0.0, 0.0, "door"))
        rows = classifier.classify(pending.crops) if len(pending.crops) else np.empty((0, 3), np.float32)
        events += analyzer.finish(pending, rows).events
    return [event.time_s for event in events], [event.kind.value for event in events]


class CountingDetector:
    """Sees a face at a fixed place; counts whole and quick looks."""

    def __init__(self) -> None:
        self.whole = self.quick = 0

    def detect(self, image: Image) -> list[Detection]:
        self.whole += 1
        return [Detection(LARGE[0], 0.9)]

    def detect_tracked(self, image: Image, known: Sequence[Box]) -> list[Detection]:
        assert [box.size for box in known] == [120]
        self.quick += 1
        return [Detection(LARGE[0], 0.9)]


def analysed(images: list[Image]) -> tuple[CountingDetector, BrightnessClassifier, list[str]]:
    """The detector and the classifier after the film, and the events of a face that stands there bare."""
    detector, classifier = CountingDetector(), BrightnessClassifier()
    analyzer = FrameAnalyzer(
        detector, FACTS, TrackingSettings(), PolicySettings(dwell_s=1.0), "run", 32, DetectorSettings()
    )
    kinds: list[str] = []
    for i, image in enumerate(images):
        pending = analyzer.begin(Frame(image, i, i / FPS, 0.0, 0.0, "door"))
        rows = classifier.classify(pending.crops) if len(pending.crops) else np.empty((0, 3), np.float32)
        finished = analyzer.finish(pending, rows)
        kinds += [event.kind.value for event in finished.events]
        if i >= 3:
            assert [track.box for track in finished.tracks] == [LARGE[0]]
    return detector, classifier, kinds


def test_a_person_who_stands_still_is_followed_and_told_with_hardly_a_look() -> None:
    detector, classifier, kinds = analysed([np.full((480, 640, 3), 10, np.uint8)] * 120)
    assert kinds == ["no_mask"]
    assert detector.whole <= 12
    assert detector.quick == 0
    assert len(classifier.batches) <= 20


def test_a_moving_scene_with_a_large_face_costs_few_whole_looks() -> None:
    images = [np.full((480, 640, 3), 10, np.uint8) for _ in range(120)]
    for i, image in enumerate(images):
        image[300:400, i * 4 : i * 4 + 80] = 200
    detector, _, kinds = analysed(images)
    assert kinds == ["no_mask"]
    assert detector.whole <= 22
    assert detector.quick >= 90
