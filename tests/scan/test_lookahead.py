"""Which parts of a video the detector searches, and that nobody who is visible for one second is missed."""

from collections import Counter
from collections.abc import Iterable
from math import inf
from pathlib import Path

import pytest
from fakes_scan import BARE, HEIGHT_PX, MASKED, WIDTH_PX, ColourDetector, Visit, fake_models, images, write_video

from app.capture.recording_reader import Part, SelectedFrame, read_facts
from app.core.types import Box, Detection, Image
from app.scan.analysis import Models, Shard, ShardAnalysis, ShardResult
from app.scan.lookahead import LookaheadDetector
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.settings.vision import DetectorSettings


class CountingDetector(ColourDetector):
    """Counts its passes by the width of the image."""

    def __init__(self) -> None:
        self.passes: Counter[int] = Counter()

    def detect(self, image: Image) -> list[Detection]:
        self.passes[image.shape[1]] += 1
        return super().detect(image)


def analyse(path: Path, detector: ColourDetector) -> ShardResult:
    camera = CameraSettings(uri="scan", every_s=0.2)
    facts = read_facts(camera.with_uri(str(path)))
    shard = Shard("shard", "recording", "door", 0.0, 0.0, inf, (Part(str(path), 0.0, facts.size, facts.duration_s),))
    return ShardAnalysis(shard, Settings(), camera, Models(detector, fake_models().classifier)).run()


def frames(shown: Iterable[Image]) -> list[SelectedFrame]:
    return [SelectedFrame(image, i / 5, i // 5 if i % 5 == 0 else None) for i, image in enumerate(shown)]


def test_a_still_room_has_one_full_pass_in_four_seconds(tmp_path: Path) -> None:
    detector = CountingDetector()
    assert analyse(write_video(tmp_path / "a.mp4", [], 12.0), detector).frames == 60
    assert detector.passes == {WIDTH_PX: 4}  # the last frame is searched too


def test_movement_without_faces_has_one_full_pass_a_second(tmp_path: Path) -> None:
    detector = CountingDetector()
    path = write_video(tmp_path / "a.mp4", [Visit(0, 12, (20, 20, 20), speed=15)], 12.0)
    assert analyse(path, detector).frames == 60
    assert detector.passes == {WIDTH_PX: 13}


@pytest.mark.parametrize("speed", [0.0, 120.0])
@pytest.mark.parametrize("others", [(), (Visit(0, 6, MASKED, y=100),)])
def test_a_person_who_is_visible_for_one_second_counts(others: tuple[Visit, ...], speed: float, tmp_path: Path) -> None:
    for i in range(5):
        from_s = 2 + i / 5
        path = write_video(tmp_path / f"{i}.mp4", [Visit(from_s, from_s + 1, BARE, speed=speed), *others], 6.0)
        hours = analyse(path, ColourDetector()).hours
        assert sum(hour.seen.people for hour in hours) == 1 + len(others), f"visible from {from_s} s"


def test_large_faces_are_searched_in_a_smaller_image() -> None:
    detector = CountingDetector()
    ahead = LookaheadDetector(detector, DetectorSettings(min_face_px=20), looks_ahead=True)
    first, second = ahead.seconds(frames(images([Visit(0, 2, BARE)], 0.0, 2.0)))
    assert (len(first.frames), first.found, second.found) == (5, second.found, first.found)
    detector.passes.clear()
    (found,) = ahead.detect_tracked(second.frames[1].image, [Box(20, 40, 48, 48)])
    assert detector.passes == {WIDTH_PX // 2: 1}
    assert found.box.iou(Box(20, 40, 48, 48)) > 0.9


def test_without_looking_ahead_each_frame_is_passed_on_at_once() -> None:
    detector = CountingDetector()
    ahead = LookaheadDetector(detector, DetectorSettings(), looks_ahead=False)
    read: list[int] = []
    for second in ahead.seconds(frames(images([], 0.0, 2.0))):
        read.append(len(second.frames))
        assert ahead.detect(second.frames[0].image) == []
    assert read == [1] * 10
    assert detector.passes == {WIDTH_PX: 9}  # the first frame of the second, still second is not searched again
    assert HEIGHT_PX < WIDTH_PX
