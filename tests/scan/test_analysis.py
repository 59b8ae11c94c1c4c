"""One shard and many shards of a recording give the same events, people and watched time."""

from math import inf
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes_scan import BARE, MASKED, Visit, fake_models, write_video

from app.capture.recording_reader import Part, read_facts
from app.core.camera_hours import CameraHour
from app.core.errors import SourceError
from app.core.types import Box
from app.scan.analysis import Shard, ShardAnalysis, ShardResult, model_settings, thumbnail
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.settings.vision import DetectorSettings
from app.vision.backend_choice import Speed, resolved_detector, write_speeds

WALL_S = 1_795_168_800.0 - 20  # the hour changes after 20 s
LENGTH_S = 48.0
VISITS = (
    Visit(1, 7, BARE),
    Visit(5, 12.3, MASKED, x=200),
    Visit(17, 26, BARE, speed=20),
    Visit(26.5, 29, MASKED, x=60, y=100),
    Visit(36, 44.5, MASKED),
    Visit(38, 47, BARE, x=150, speed=5),
)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("scan") / "a.mp4", VISITS, LENGTH_S)


def analyse(
    parts: tuple[Part, ...], start_s: float, end_s: float, settings: Settings | None = None, **camera: object
) -> ShardResult:
    shard = Shard("shard", "recording", "door", WALL_S, start_s, end_s, parts)
    own = CameraSettings(uri="scan", **{"every_s": 0.2, **camera})
    return ShardAnalysis(shard, settings or Settings(), own, fake_models()).run()


def part(path: Path, offset_s: float = 0.0) -> Part:
    facts = read_facts(CameraSettings(uri=str(path)))
    return Part(str(path), offset_s, facts.size, facts.duration_s)


def added(results: list[ShardResult]) -> tuple[list[object], dict[int, tuple[CameraHour, int]], int]:
    """Events, people and watched milliseconds by hour, and frames."""
    hours: dict[int, tuple[CameraHour, int]] = {}
    for result in results:
        for hour in result.hours:
            seen, watched_ms = hours.get(hour.seen.hour_s, (CameraHour("door", hour.seen.hour_s), 0))
            hours[hour.seen.hour_s] = seen.plus(hour.seen), watched_ms + hour.watched_ms
    return [event for result in results for event in result.events], hours, sum(result.frames for result in results)


def in_shards(parts: tuple[Part, ...], shard_s: float, **camera: object) -> list[ShardResult]:
    starts = [i * shard_s for i in range(int(LENGTH_S / shard_s) + 1) if i * shard_s < LENGTH_S]
    ends = [*starts[1:], inf]
    return [analyse(parts, start_s, end_s, **camera) for start_s, end_s in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(("shard_s", "every_s"), [(4.0, 0.2), (20.0, 0.2), (7.5, 0.3)])
def test_shards_of_any_length_give_the_same_result(video: Path, shard_s: float, every_s: float) -> None:
    whole = analyse((part(video),), 0.0, inf, every_s=every_s)
    assert added(in_shards((part(video),), shard_s, every_s=every_s)) == added([whole])
    kinds = [event.kind.value for event in whole.events]
    assert kinds.count("no_mask") == 3
    assert sum(hour.seen.people for hour in whole.hours) == 6
    assert sum(hour.seen.bare for hour in whole.hours) == 3


@pytest.mark.parametrize("key_frames", [False, True])
def test_every_frame_and_key_frames_give_the_same_result_in_shards(video: Path, key_frames: bool) -> None:
    whole = analyse((part(video),), 0.0, inf, every_s=0.0, key_frames=key_frames)
    shards = in_shards((part(video),), 25.0, every_s=0.0, key_frames=key_frames)
    assert added(shards) == added([whole])
    assert whole.frames == (24 if key_frames else 240)


def test_a_face_that_never_leaves_is_analysed_by_one_shard(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [Visit(0, LENGTH_S, BARE)], 24.0)
    results = in_shards((part(path),), 12.0)
    assert [result.frames > 0 for result in results] == [True, False, False, False]
    assert added(results) == added([analyse((part(path),), 0.0, inf)])


def test_people_and_watched_time_count_in_their_hour(video: Path) -> None:
    first, second = analyse((part(video),), 0.0, inf).hours
    assert (first.seen.people, second.seen.people) == (2, 4)
    assert first.watched_ms + second.watched_ms == pytest.approx(1000 * LENGTH_S, abs=300)
    assert first.watched_ms == pytest.approx(20_000, abs=300)


def test_segments_of_a_recorder_are_one_recording(video: Path, tmp_path: Path) -> None:
    parts = tuple(
        part(write_video(tmp_path / f"{at_s}.mp4", VISITS, at_s + 8, at_s), at_s) for at_s in range(0, int(LENGTH_S), 8)
    )
    whole, joined = analyse((part(video),), 0.0, inf), analyse(parts, 0.0, inf)
    assert [hour.seen for hour in joined.hours] == [hour.seen for hour in whole.hours]
    assert [event.kind for event in joined.events] == [event.kind for event in whole.events]
    assert added(in_shards(parts, 10.0)) == added([joined])


def test_times_that_cannot_be_read_are_named(video: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "b.mp4"
    damaged.write_bytes(b"\0" * 500)
    parts = (part(video), Part(str(damaged), LENGTH_S, 500, 10.0), Part(str(tmp_path / "c.mp4"), 58.0, 1, 10.0))
    result = analyse(parts, 0.0, inf)
    assert [(fault.from_s, fault.to_s) for fault in result.faults] == [(48.0, 58.0), (58.0, 68.0)]
    assert "b.mp4 is not a readable video" in result.faults[0].reason
    assert "no such video" in result.faults[1].reason


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_damaged_middle_is_a_gap_and_not_watched(suffix: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / f"a.{suffix}", [Visit(1, 4, BARE), Visit(16, 20, BARE)], 24.0)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos]
    first, last = (next(each.pos for each in packets if each.pts * each.time_base >= at_s) for at_s in (8, 12))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)
    result = analyse((part(path),), 0.0, inf)
    (gap,) = result.faults
    assert 7.0 <= gap.from_s <= 8.0
    assert 11.0 <= gap.to_s <= (16.0 if suffix == "mkv" else 12.5)  # Matroska continues with the next cluster
    assert result.watched_ms == pytest.approx(1000 * (23.8 - gap.to_s + gap.from_s), abs=1)
    assert sum(hour.seen.people for hour in result.hours) == 2


def test_a_video_that_grew_since_the_plan_fails(video: Path) -> None:
    planned = Part(str(video), 0.0, video.stat().st_size - 1, LENGTH_S)
    with pytest.raises(SourceError, match="has changed since the plan"):
        analyse((planned,), 0.0, inf)


def test_quiet_hours_use_the_time_of_the_video_and_its_zone(video: Path) -> None:
    # The video begins at 09:59:40 UTC, 10:59:40 in Berlin.
    settings = Settings(policy={"quiet_hours": ("11:00-12:00",)})
    for zone, alerts in (("UTC", 3), ("Europe/Berlin", 1)):
        events = analyse((part(video),), 0.0, inf, settings, timezone=zone).events
        assert sum(event.kind.value == "no_mask" for event in events) == alerts


def test_thumbnails_show_no_face(video: Path) -> None:
    shard = Shard("shard", "recording", "door", WALL_S, 0.0, 12.0, (part(video),))
    camera = CameraSettings(uri="scan", every_s=0.2)
    result = ShardAnalysis(shard, Settings(), camera, fake_models(), thumbnails=True).run()
    assert set(result.thumbnails) == {event.id for event in result.events}
    mosaic = cv2.imdecode(np.frombuffer(next(iter(result.thumbnails.values())), np.uint8), cv2.IMREAD_COLOR)
    assert (result.events[0].box or Box(0, 0, 0, 0)).width < mosaic.shape[1]  # the person, not only the face
    sharp = np.full((100, 100, 3), 120, np.uint8)
    sharp[40:60:2, 40:60] = 255  # stripes that no longer exist in a mosaic
    shown = cv2.imdecode(np.frombuffer(thumbnail(sharp, Box(40, 40, 20, 20), ()), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(np.diff(shown[shown.shape[0] // 2 - 5 :, shown.shape[1] // 2].astype(int), axis=0)).max() < 100


def test_what_auto_means_is_the_same_on_every_machine() -> None:
    write_speeds([Speed("detector", "litert", "int8", 1, 9.0), Speed("detector", "litert", "float32", 1, 1.0)])
    assert resolved_detector(DetectorSettings()).precision == "float32"
    detector, classifier = model_settings(Settings(), CameraSettings(uri="scan", name="hall"))
    assert (detector.backend, detector.precision, detector.threads) == ("litert", "int8", 1)
    assert (classifier.backend, classifier.threads) == ("litert", 1)
