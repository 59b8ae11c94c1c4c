"""Recordings: which frames are selected, when they were taken, and what identifies a video."""

import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest

from app.capture.recording import recording_id, video_files, video_start
from app.capture.source import make_source
from app.core.errors import SettingsError
from app.core.types import Frame
from app.settings.source import SourceSettings

FPS, SECONDS, KEY_FRAME_DISTANCE = 25, 8, 20


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each frame shows its number as its grey level; with B frames that no other frame refers to."""
    path = tmp_path_factory.mktemp("recording") / "hall_20261120_140530.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"  # type: ignore[attr-defined]
        stream.options = {
            "preset": "veryfast",
            "g": str(KEY_FRAME_DISTANCE),
            "bf": "2",
            "qp": "10",
            "sc_threshold": "0",
        }
        for i in range(FPS * SECONDS):
            image = np.full((48, 64, 3), 20 + i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))  # type: ignore[attr-defined]
        container.mux(stream.encode())  # type: ignore[attr-defined]
    return path


def frames_of(path: Path, **settings: object) -> list[Frame]:
    return list(make_source(SourceSettings(uri=str(path), **settings)).frames(threading.Event()))


def belong_to_their_times(video: Path, frames: list[Frame]) -> bool:
    """Whether each of ``frames`` shows what the whole video shows at its time."""
    whole = {round(frame.time_s * FPS): frame.image for frame in frames_of(video)}
    return all(np.array_equal(frame.image, whole[round(frame.time_s * FPS)]) for frame in frames)


def test_the_first_decoded_frame_of_each_period_is_selected(video: Path) -> None:
    frames = frames_of(video, every_s=0.4)
    assert len(frames) == SECONDS / 0.4
    assert belong_to_their_times(video, frames)
    for i, frame in enumerate(frames):
        assert 0.4 * i - 1e-6 <= frame.time_s < 0.4 * i + 3 / FPS  # up to two frames are not decoded


def test_a_short_period_decodes_every_frame(video: Path) -> None:
    assert [round(frame.time_s * FPS) for frame in frames_of(video, every_s=0.08)] == list(range(0, 200, 2))


def test_key_frames_only(video: Path) -> None:
    frames = frames_of(video, key_frames=True)
    assert [round(frame.time_s * FPS) for frame in frames] == list(range(0, 200, KEY_FRAME_DISTANCE))
    assert belong_to_their_times(video, frames)


def test_a_part_of_a_video_has_the_frames_and_times_of_the_whole(video: Path) -> None:
    whole = frames_of(video, every_s=0.2)
    part = frames_of(video, every_s=0.2, from_s="2s", to_s="0:05")
    expected = [frame for frame in whole if 2 <= frame.time_s < 5]
    assert [frame.time_s for frame in part] == [frame.time_s for frame in expected]
    assert all(np.array_equal(one.image, two.image) for one, two in zip(part, expected, strict=True))
    assert [frame.wall_s for frame in part] == [frame.wall_s for frame in expected]


def test_a_part_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(ValueError, match="is not after from_s"):
        SourceSettings(uri="a.mp4", from_s=5, to_s=2)


def test_frames_have_the_time_of_the_video(video: Path) -> None:
    frames = frames_of(video, every_s=1, timezone="America/New_York")
    begun = datetime(2026, 11, 20, 19, 5, 30, tzinfo=UTC)
    assert [datetime.fromtimestamp(frame.wall_s, UTC) for frame in frames[:1]] == [begun]
    assert frames[-1].wall_s - frames[0].wall_s == pytest.approx(frames[-1].time_s - frames[0].time_s)


def test_the_start_is_from_the_setting_the_name_the_metadata_or_the_file(video: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.mp4"
    shutil.copy(video, plain)
    os.utime(plain, (1_700_000_000, 1_700_000_000))
    dated = tmp_path / "dated.mp4"
    with av.open(str(video)) as source, av.open(str(dated), "w", options={"movflags": "use_metadata_tags"}) as target:
        target.metadata["creation_time"] = "2026-01-02T03:04:05.000000Z"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    starts = {
        path.name: video_start(SourceSettings(uri=str(path), timezone="UTC"), path) for path in (video, plain, dated)
    }
    assert {name: start.origin for name, start in starts.items()} == {
        video.name: "name",
        "plain.mp4": "file date",
        "dated.mp4": "metadata",
    }
    assert starts["plain.mp4"].wall_s == pytest.approx(1_700_000_000 - SECONDS)
    assert starts["dated.mp4"].wall_s == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    given = SourceSettings(uri=str(plain), starts_at="2026-03-04T05:06", timezone="Asia/Tokyo")
    assert video_start(given, plain).wall_s == datetime(2026, 3, 3, 20, 6, tzinfo=UTC).timestamp()


def test_a_name_that_does_not_match_the_pattern_is_an_error(video: Path) -> None:
    with pytest.raises(SettingsError, match="does not match the name pattern"):
        video_start(SourceSettings(uri=str(video), name_pattern="%Y/%m/%d.mp4"), video)


def test_the_id_of_a_recording_follows_from_its_content(video: Path, tmp_path: Path) -> None:
    copy, longer = tmp_path / "copy.mp4", tmp_path / "longer.mp4"
    shutil.copy(video, copy)
    longer.write_bytes(video.read_bytes() + b"\0")
    ids = [recording_id(SourceSettings(uri=str(path))) for path in (video, copy, longer)]
    assert ids[0] == ids[1] != ids[2]
    assert [recording_id(SourceSettings(uri=uri)) for uri in ("0", "demo", "rtsp://host/a", "absent.mp4")] == [""] * 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_without_a_writer_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in (tmp_path / "pipe.mp4", tmp_path / "images" / "pipe.jpg"):
        os.mkfifo(path)
    assert [recording_id(SourceSettings(uri=str(tmp_path / name))) for name in ("pipe.mp4", "images")] == ["", ""]


def test_a_folder_of_videos_holds_every_kind_of_video_that_can_be_watched(tmp_path: Path) -> None:
    """Regression: two lists of suffixes differed, so the recordings of some cameras were not found."""
    names = ["a.mp4", "b.VOB", "c.mxf", "d.265"]
    for name in [*names, "list.m3u8", "camera.sdp", "moving.gif", "photo.jpg", ".hidden.mp4"]:
        (tmp_path / name).touch()
    assert [path.name for path in video_files(tmp_path)] == names
