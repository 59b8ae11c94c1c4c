"""The choice of detection passes: often if something moves, rarely in a still scene, the same at any speed."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from fakes import METADATA, BrightnessClassifier

from app.core.types import Box, Detection, Frame, Image
from app.pipeline.detection_scheduler import DetectionPass, DetectionScheduler
from app.pipeline.event_factory import EventFactory
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


@pytest.mark.parametrize(("faces", "full_at"), [(LARGE, [0, 1, 2, 3, 4, 5]), ((), [0, 1, 3, 5])])
def test_a_still_scene_needs_one_pass_a_second_and_an_empty_one_half_of_that(
    faces: tuple[Box, ...], full_at: list[int]
) -> None:
    chosen = passes([scene()] * 180, faces)
    assert [i / FPS for i, each in enumerate(chosen) if each is DetectionPass.FULL] == full_at
    assert chosen.count(DetectionPass.SKIP) == 180 - len(full_at)


@pytest.mark.parametrize("sigma", [3.0, 8.0])
def test_sensor_noise_is_not_movement(sigma: float) -> None:
    chosen = passes([scene(seed=i, sigma=sigma) for i in range(60)])
    assert chosen.count(DetectionPass.FULL) <= 8


def landscape(seed: int) -> Image:
    """A scene with large structures."""
    cells = np.random.default_rng(seed).integers(20, 200, (12, 16, 3), dtype=np.uint8)
    return np.kron(cells, np.ones((40, 40, 1), np.uint8))


def test_a_cut_starts_a_pass_in_a_new_scene() -> None:
    chosen = passes([landscape(1)] * 10 + [landscape(2)] * 10 + [landscape(1)] * 3)
    assert [i for i, each in enumerate(chosen) if each is DetectionPass.NEW_SCENE] == [10, 20]


@pytest.mark.parametrize(
    "images",
    [
        [landscape(1), landscape(1) // 2, landscape(1) + 40],  # the light is switched
        [landscape(1), np.zeros((480, 640, 3), np.uint8), landscape(1)],  # a black frame
        [scene(0), scene(300), scene(600)],  # a person walks before a plain wall, at a low frame rate
        [landscape(1), np.roll(landscape(1), 15, axis=1)],  # the camera shakes
    ],
)
def test_other_changes_are_no_cut(images: list[Image]) -> None:
    assert DetectionPass.NEW_SCENE not in passes(images)


def test_all_tracks_end_at_a_cut() -> None:
    class Faces:
        def detect(self, image: Image) -> list[Detection]:
            return [Detection(Box(200, 100, 120, 120), 0.9)]

    events = EventFactory("run", "test")
    analyzer = FrameAnalyzer(Faces(), METADATA, TrackingSettings(), PolicySettings(), events, 32, DetectorSettings())
    ids = set()
    for i in range(40):
        image = landscape(1 if i < 20 else 2)
        pending = analyzer.detect_faces(Frame(image, i, i / FPS, 0.0, 0.0, "door"))
        result = analyzer.complete(pending, BrightnessClassifier().classify(pending.crops))
        ids |= {track.id for track in result.tracks}
        assert bool(result.left) is (i == 20)
    assert ids == {1, 2}


def test_where_something_moves_in_an_empty_scene_is_searched_within_200_ms() -> None:
    images = [scene()] * 40 + [scene(x) for x in range(0, 600, 10)]
    scheduler = DetectionScheduler(DetectorSettings())
    searched = [(scheduler.choose(image, i / FPS, (), True), scheduler.moved, i) for i, image in enumerate(images)]
    moving = [each for each in searched if each[0] is not DetectionPass.SKIP and each[2] >= 40]
    assert moving[0][2] <= 46
    assert max(after[2] - before[2] for before, after in pairwise(moving)) <= 0.2 * FPS + 1
    for chosen, moved, i in moving:
        square = Box(10.0 * (i - 40), 200, 40, 40)
        assert chosen is DetectionPass.FULL or any(square.iou(part) > 0 and part.area < 200 * 100 for part in moved)
    assert sum(chosen is DetectionPass.FULL for chosen, _, _ in moving) == 2  # one a second


def test_an_object_that_stopped_is_searched_once_more() -> None:
    images = [scene()] + [scene(x) for x in (10, 40, 70, 100, 130, 160, 190)] + [scene(190)] * 20
    scheduler = DetectionScheduler(DetectorSettings())
    chosen = [(scheduler.choose(image, i / FPS, (), True), scheduler.moved) for i, image in enumerate(images)]
    after = [moved for each, moved in chosen[8:] if each is DetectionPass.TRACKED]
    assert len(after) == 1
    assert any(part.iou(Box(190, 200, 40, 40)) > 0 for part in after[0])


def test_movement_everywhere_is_searched_as_any_movement() -> None:
    """The detector searches the halved image then; a full pass follows once a second."""
    images = [np.roll(landscape(1), 15 * i, axis=1) for i in range(72)]
    scheduler = DetectionScheduler(DetectorSettings())
    chosen = [(scheduler.choose(image, i / FPS, (), True), scheduler.moved) for i, image in enumerate(images)]
    assert [each for each, _ in chosen].count(DetectionPass.FULL) == 3
    searched = [moved for each, moved in chosen if each is DetectionPass.TRACKED]
    assert len(searched) >= 6
    assert all(sum(part.area for part in moved) > 0.5 * 640 * 480 for moved in searched)


def test_a_faint_change_in_a_dark_scene_is_movement() -> None:
    chosen = passes([np.full((480, 640, 3), 20, np.uint8)] * 31 + [np.full((480, 640, 3), 20, np.uint8)])
    assert chosen[31] is DetectionPass.SKIP
    faint = np.full((480, 640, 3), 20, np.uint8)
    faint[100:140, 100:140] = 33
    assert passes([np.full((480, 640, 3), 20, np.uint8)] * 37 + [faint])[37] is DetectionPass.TRACKED


def test_with_moving_faces_there_is_one_full_pass_a_second() -> None:
    chosen = passes([scene(x % 600) for x in range(0, 900, 10)], LARGE)
    assert chosen.count(DetectionPass.FULL) == pytest.approx(3, abs=1)
    assert chosen.count(DetectionPass.TRACKED) == len(chosen) - chosen.count(DetectionPass.FULL)


def test_an_unsteady_face_needs_a_full_pass_in_every_frame() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    assert [scheduler.choose(scene(), i / FPS, LARGE, False) for i in range(10)] == [DetectionPass.FULL] * 10


def test_skipped_and_tracked_passes_can_be_turned_off() -> None:
    assert passes([scene()] * 20, full_look_s=0, still_look_s=0) == [DetectionPass.FULL] * 20
    assert passes([scene()] * 20, LARGE, full_look_s=0.25, still_look_s=0).count(DetectionPass.SKIP) == 0
    moving = [scene(x) for x in range(0, 400, 20)]
    assert passes(moving, LARGE, full_look_s=0, still_look_s=0.5) == [DetectionPass.FULL] * 20


def test_a_new_resolution_or_a_rewound_stream_starts_a_full_pass() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    assert scheduler.choose(scene(), 5.0, (), True) is DetectionPass.FULL
    assert scheduler.choose(scene()[:400], 5.03, (), True) is DetectionPass.FULL
    assert scheduler.choose(scene()[:400], 1.0, (), True) is DetectionPass.FULL


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 2000, 3), (2000, 5, 3), (1080, 1920, 3)])
def test_a_thumbnail_of_any_image_has_the_same_cells(shape: tuple[int, int, int]) -> None:
    assert thumbnail(np.full(shape, 77, np.uint8)).tolist() == np.full((48, 64), 77).tolist()


def test_after_a_shake_of_the_camera_tracked_faces_are_detected_again() -> None:
    images = [scene(100)] * 31 + [scene(160)] * 2 + [scene(100)] * 4
    chosen = passes(images, LARGE)
    assert chosen[30] is DetectionPass.FULL
    assert chosen[31:] == [DetectionPass.TRACKED] * 3 + [DetectionPass.SKIP] * 3


def test_after_a_missed_face_passes_continue_in_a_still_scene() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    chosen = [scheduler.choose(scene(), i / FPS, LARGE, True, has_missed_face=i in (3, 4)) for i in range(7)]
    assert chosen == [
        DetectionPass.FULL,
        DetectionPass.SKIP,
        DetectionPass.SKIP,
        DetectionPass.TRACKED,
        DetectionPass.TRACKED,
        DetectionPass.SKIP,
        DetectionPass.SKIP,
    ]


class UnreliableDetector:
    """Detects a face in ``share`` of its passes."""

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._rng = share, np.random.default_rng(seed)

    def detect(self, image: Image) -> list[Detection]:
        return [Detection(LARGE[0], 0.9)] if self._rng.random() < self._share else []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_a_face_that_is_often_missed_in_a_still_scene_alerts_once(share: float, seed: int) -> None:
    images = [np.full((480, 640, 3), 10, np.uint8)] * 900
    _, kinds = events_of(UnreliableDetector(share, seed), images, PolicySettings())
    assert kinds == ["no_mask"]


@pytest.mark.parametrize("fps", [1.0, 1.3, 2.0])
def test_a_person_at_a_low_frame_rate_alerts_once(fps: float) -> None:
    images = [np.full((480, 640, 3), 10, np.uint8)] * 60
    _, kinds = events_of(UnreliableDetector(1.0, 0), images, PolicySettings(), fps=fps)
    assert kinds == ["no_mask"]


@pytest.mark.parametrize("policy", [{"dwell_s": 0.0}, {"dwell_s": 1.0}, {"min_observations": 30}])
def test_skipped_passes_do_not_delay_alerts(policy: dict[str, float]) -> None:
    images, at_s = [np.full((480, 640, 3), 10, np.uint8)] * 150, []
    for passes in (DetectorSettings(), DetectorSettings(full_look_s=0, still_look_s=0)):
        times_s, _ = events_of(UnreliableDetector(1.0, 0), images, PolicySettings(**policy), passes)
        at_s += times_s
    assert at_s[0] == pytest.approx(at_s[1], abs=0.25)  # at rest, the second inference for evidence comes later


def events_of(
    detector: FaceDetector,
    images: list[Image],
    policy: PolicySettings,
    passes: DetectorSettings | None = None,
    fps: float = FPS,
) -> tuple[list[float], list[str]]:
    """The stream times and kinds of the events."""
    classifier = BrightnessClassifier()
    analyzer = FrameAnalyzer(
        detector, METADATA, TrackingSettings(), policy, EventFactory("run", "test"), 32, passes or DetectorSettings()
    )
    events = []
    for i, image in enumerate(images):
        pending = analyzer.detect_faces(Frame(image, i, i / fps, 0.0, 0.0, "door"))
        rows = classifier.classify(pending.crops) if len(pending.crops) else np.empty((0, 3), np.float32)
        events += analyzer.complete(pending, rows).events
    return [event.time_s for event in events], [event.kind.value for event in events]


class CountingDetector:
    """Detects a face at a fixed position; counts full and tracked passes."""

    def __init__(self) -> None:
        self.full = self.tracked = 0

    def detect(self, image: Image) -> list[Detection]:
        self.full += 1
        return [Detection(LARGE[0], 0.9)]

    def detect_tracked(self, image: Image, tracked: Sequence[Box], moved: Sequence[Box] = ()) -> list[Detection]:
        assert [box.size for box in tracked] == [120]
        self.tracked += 1
        return [Detection(LARGE[0], 0.9)]


def analyse(images: list[Image]) -> tuple[CountingDetector, BrightnessClassifier, list[str]]:
    """Analyses a video of a bare face; returns the detector, the classifier and the kinds of the events."""
    detector, classifier = CountingDetector(), BrightnessClassifier()
    analyzer = FrameAnalyzer(
        detector,
        METADATA,
        TrackingSettings(),
        PolicySettings(dwell_s=1.0),
        EventFactory("run", "test"),
        32,
        DetectorSettings(),
    )
    kinds: list[str] = []
    for i, image in enumerate(images):
        pending = analyzer.detect_faces(Frame(image, i, i / FPS, 0.0, 0.0, "door"))
        rows = classifier.classify(pending.crops) if len(pending.crops) else np.empty((0, 3), np.float32)
        result = analyzer.complete(pending, rows)
        kinds += [event.kind.value for event in result.events]
        if i >= 3:
            assert [track.box for track in result.tracks] == [LARGE[0]]
    return detector, classifier, kinds


def test_a_still_person_alerts_with_few_passes() -> None:
    detector, classifier, kinds = analyse([np.full((480, 640, 3), 10, np.uint8)] * 120)
    assert kinds == ["no_mask"]
    assert detector.full <= 12
    assert detector.tracked == 0
    assert len(classifier.batches) <= 20


def test_a_moving_scene_with_a_large_face_needs_few_full_passes() -> None:
    images = [np.full((480, 640, 3), 10, np.uint8) for _ in range(120)]
    for i, image in enumerate(images):
        image[300:400, i * 4 : i * 4 + 80] = 200
    detector, _, kinds = analyse(images)
    assert kinds == ["no_mask"]
    assert detector.full <= 22
    assert detector.tracked >= 90


def test_a_scene_rests_after_two_seconds_without_movement() -> None:
    scheduler = DetectionScheduler(DetectorSettings())
    still, moved = scene(seed=1, sigma=3.0), scene(x=300)
    resting = []
    for i in range(200):
        scheduler.choose(moved if i >= 100 else still, i / FPS, (), True)
        resting.append(scheduler.is_resting)
    begins = [i for i in range(1, 200) if resting[i] != resting[i - 1]]
    assert begins[0] == pytest.approx(2 * FPS, abs=1)
    assert begins[1] == 100, "at once"
    assert begins[2] == pytest.approx(100 + 2 * FPS, abs=3)
    scheduler.choose(landscape(3), 200 / FPS, (), True)
    assert not scheduler.is_resting
