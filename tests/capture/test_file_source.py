"""Video files: all frames with their time stamps, and a one-line error for each fault."""

import struct
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fakes_video import FakeReader, striped_image, write_clip
from pydantic import ValidationError

from app.capture.file_source import FileSource
from app.capture.recording_reader import Part, RecordingReader, read_facts
from app.capture.source import make_source
from app.core.errors import SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings


def play(path: Path, **settings: object) -> list[Frame]:
    source = make_source(SourceSettings.model_validate({"uri": str(path), **settings}))
    return list(source.frames(threading.Event()))


def bar_x(frame: Frame) -> int:
    return int(frame.image[4].mean(axis=1).argmax())


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mov", "mjpeg")]
)
def test_all_frames_are_read_once_in_order_with_their_time(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, [striped_image(i) for i in range(30)], codec=codec)
    source = make_source(SourceSettings(uri=str(path)))
    assert source.fps == pytest.approx(25)
    frames = list(source.frames(threading.Event()))
    assert len(frames) == 30
    if name != "a.mkv":  # Matroska contains no frame count
        assert source.frame_count == 30
    assert [frame.index for frame in frames] == list(range(30))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(30)], abs=0.003)
    assert all(abs(bar_x(frame) - frame.index * 4 % 64) <= 3 for frame in frames)


def test_time_stamps_of_a_variable_frame_rate_are_kept(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 580, 600, 1600, 1640]
    path = write_clip(tmp_path / "a.mkv", [striped_image(i) for i in range(7)], times_ms=times_ms)
    assert [frame.time_s * 1000 for frame in play(path)] == pytest.approx(times_ms, abs=1.5)


@pytest.mark.parametrize("ending", ["mkv", "nut", "ts", "flv"])
def test_a_video_whose_stamps_begin_late_is_complete(tmp_path: Path, ending: str) -> None:
    """Recorders keep the stamps of the camera when they copy a stream."""
    clip = write_clip(tmp_path / "a.mp4", [striped_image(i) for i in range(30)])
    late = tmp_path / f"late.{ending}"
    with av.open(str(clip)) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                assert packet.time_base is not None
                offset = round(1000 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream  # type: ignore[operator]
                target.mux(packet)
    source = make_source(SourceSettings(uri=str(late)))
    frames = list(source.frames(threading.Event()))
    assert len(frames) == 30
    assert source.frame_count in (None, 29, 30, 31)
    assert frames[-1].time_s == pytest.approx(29 / 25, abs=0.05)


def test_a_video_that_was_cut_without_encoding_it_again_is_complete(tmp_path: Path) -> None:
    """Its first 40 frames, before time 0, are in the file but must not be shown."""
    images, times_ms = [striped_image(i) for i in range(80)], [40 * (i - 40) for i in range(80)]
    options = {"avoid_negative_ts": "disabled"}
    path = write_clip(tmp_path / "a.mp4", images, times_ms=times_ms, options=options)
    source = make_source(SourceSettings(uri=str(path)))
    assert len(list(source.frames(threading.Event()))) == 40
    assert source.frame_count == 40


def test_a_time_base_is_not_a_frame_rate(tmp_path: Path) -> None:
    times_ms = [50 * i + 17 * (i % 2) for i in range(60)]
    path = write_clip(tmp_path / "a.mkv", [striped_image(i) for i in range(60)], 1000, times_ms=times_ms)
    source = make_source(SourceSettings(uri=str(path)))
    assert source.fps is None
    assert source.frame_count is None
    assert [frame.time_s * 1000 for frame in play(path)] == pytest.approx(times_ms, abs=1.5)


def test_invalid_time_stamps_are_computed_from_the_frame_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(b"\x00video")
    stamps = iter([0.0, 40.0, 40.0, float("nan"), -5.0, 300.0, 100.0])
    reader = FakeReader([striped_image(i) for i in range(7)], {5: 25.0})
    get = reader.get
    reader.get = lambda propId: next(stamps) if propId == 0 else get(propId)  # type: ignore[method-assign] # noqa: N803
    source = FileSource(SourceSettings(uri=str(path)), lambda _: reader)
    times_s = [frame.time_s for frame in source.frames(threading.Event())]
    assert times_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.16, 0.3, 0.34])
    assert reader.released.is_set()


def test_the_rotation_of_a_phone_video_is_applied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [striped_image(i) for i in range(5)])
    content = path.read_bytes()
    matrix = content.index(b"tkhd") + 4 + 40  # ISO 14496-12: the matrix of a version 0 track header
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(content[:matrix] + quarter + content[matrix + 36 :])
    assert play(path)[0].image.shape == (64, 48, 3)


def test_frames_keep_their_size_when_it_changes_in_a_stream(tmp_path: Path) -> None:
    parts = [
        write_clip(tmp_path / "1.ts", [striped_image(i) for i in range(10)]),
        write_clip(tmp_path / "2.ts", [striped_image(i, 128, 96) for i in range(10)]),
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = play(path)
    assert len(frames) == 20
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 10 + [(96, 128, 3)] * 10
    assert bar_x(frames[15]) == pytest.approx(5 * 4, abs=3)
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(set(times_s))


def test_damage_in_the_middle_loses_only_some_frames(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "a.ts", [striped_image(i, 320, 240) for i in range(100)])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    path.write_bytes(content)
    frames = play(path)
    assert len(frames) > 60
    assert frames[-1].time_s > 3
    assert capfd.readouterr().err == "", "the decoder prints no output"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello world\n" * 200, "is text, not a video"),
        ("Größe\n".encode() * 300, "is text, not a video"),
        (np.random.default_rng(1).bytes(5000), "not a readable video"),
        (None, "no such video"),
    ],
)
def test_a_file_that_is_not_a_video_is_a_one_line_error(
    tmp_path: Path, content: bytes | None, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=reason) as caught:
        play(path)
    assert "\n" not in str(caught.value)
    source = make_source(SourceSettings(uri=str(path)))
    assert (source.fps, source.frame_count) == (None, None)
    assert capfd.readouterr().err == ""


def test_a_video_without_frames_is_a_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\x00video")
    source = FileSource(SourceSettings(uri=str(path)), lambda _: FakeReader([]))
    with pytest.raises(SourceError, match="contains no frame"):
        list(source.frames(threading.Event()))


def test_a_start_after_the_end_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [striped_image(i, 320, 240) for i in range(50)])
    with pytest.raises(SourceError, match="no frame from 90 s on"):
        play(path, from_s="1:30")
    with pytest.raises(ValidationError, match="less than or equal"):
        play(path, from_s=float("inf"))


def test_a_file_cut_before_its_index_cannot_be_opened(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [striped_image(i, 320, 240) for i in range(100)])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(SourceError, match="not a readable video"):
        play(path)


def test_an_incomplete_file_yields_its_frames_and_then_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(100)]
    path = write_clip(tmp_path / "a.mp4", images, options={"movflags": "+faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    stop = threading.Event()
    played = 0
    source = make_source(SourceSettings(uri=str(path)))

    def play_and_count() -> None:
        nonlocal played
        for _ in source.frames(stop):
            played += 1

    with pytest.raises(SourceError, match=r"damaged or incomplete: only \d+ of 100 frames"):
        play_and_count()
    assert 20 < played < 80


@pytest.mark.parametrize("selected", [{"key_frames": True}, {"every_s": 30.0}])
def test_few_selected_frames_are_not_taken_for_a_damaged_video(tmp_path: Path, selected: dict[str, Any]) -> None:
    """Common encoders write a key frame every ten seconds, so a short video has one."""
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(100)]
    path = write_clip(tmp_path / "a.mp4", images, options={"movflags": "+faststart"}, key_frame_distance=250)
    settings = SourceSettings(uri=str(path), **selected)
    assert [frame.time_s for frame in make_source(settings).frames(threading.Event())] == [0.0]
    facts = read_facts(settings)
    reader = RecordingReader((Part(str(path), 0.0, facts.size, facts.duration_s),), settings)
    assert ([frame.time_s for frame in reader.frames(0.0)], reader.faults) == ([0.0], [])


def test_an_incomplete_file_is_noticed_by_its_key_frames_too(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    images = [noise.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(100)]
    path = write_clip(tmp_path / "a.mp4", images, options={"movflags": "+faststart"}, key_frame_distance=250)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match="damaged or incomplete"):
        list(make_source(SourceSettings(uri=str(path), key_frames=True)).frames(threading.Event()))


def test_a_folder_is_not_a_video(tmp_path: Path) -> None:
    settings = SourceSettings(uri=str(tmp_path))
    with pytest.raises(SourceError, match="is not a file"):
        list(FileSource(settings).frames(threading.Event()))


def test_a_loop_continues_time_and_index(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [striped_image(i) for i in range(5)])
    stop = threading.Event()
    frames: list[Frame] = []
    for frame in make_source(SourceSettings(uri=str(path), loop=True)).frames(stop):
        frames.append(frame)
        if len(frames) == 12:
            stop.set()
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(12)], abs=0.003)


def test_all_real_clips_play_completely(shared_data: Path) -> None:
    for path in sorted((shared_data / "clips").glob("*.mp4")):
        source = make_source(SourceSettings(uri=str(path)))
        stop = threading.Event()
        last_s, played = -1.0, 0
        for frame in source.frames(stop):
            assert frame.time_s > last_s
            last_s, played = frame.time_s, played + 1
        assert played == source.frame_count
