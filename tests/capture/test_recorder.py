"""Recordings are complete or absent, keep the source's speed, and fail early with a one-line error."""

import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from fakes_video import striped_image

from app.capture.recorder import MAX_FILL_S, VideoWriter, check_output
from app.capture.source import make_source
from app.core.errors import OutputError
from app.core.types import Frame, Image
from app.settings.source import SourceSettings


def play(path: Path) -> list[Frame]:
    return list(make_source(SourceSettings(uri=str(path))).frames(threading.Event()))


@pytest.mark.parametrize("name", ["a.mp4", "a.MP4", "a.avi", "a.mkv", "a.webm", "größe.mp4"])
def test_a_written_video_can_be_played(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    images = [striped_image(i) for i in range(20)]
    with VideoWriter(path, 25, (64, 48)) as writer:
        for image in images:
            writer.write(image)
        assert not path.exists(), "the file exists only when it is complete"
    frames = play(path)
    assert len(frames) == 20
    assert frames[0].image.shape == (48, 64, 3)
    assert all(np.abs(f.image.astype(int) - image).mean() < 12 for f, image in zip(frames, images, strict=True))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("is_live", [True, False])
def test_a_slow_encoder_does_not_delay_a_live_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    """Each late image needed more frames to fill the gap, so the next image was even later."""
    clock_s = 0.0
    original = VideoWriter.append

    def append_slowly(writer: VideoWriter, image: Image) -> None:
        nonlocal clock_s
        clock_s += 0.1
        original(writer, image)

    monkeypatch.setattr(VideoWriter, "append", append_slowly)
    monkeypatch.setattr("app.capture.recorder.monotonic", lambda: clock_s)
    delays_s = []
    with VideoWriter(tmp_path / "a.mp4", 25, (64, 48), is_live=is_live) as writer:
        for i in range(8):
            before_s = clock_s
            writer.write(striped_image(i), clock_s)
            delays_s.append(clock_s - before_s)
            clock_s += 0.05
    assert (max(delays_s) < 1) is is_live, delays_s


@pytest.mark.skipif(sys.platform == "win32", reason="file names cannot contain a colon")
def test_a_name_with_a_colon_is_not_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("2024-01-01T12:30:00.mp4")
    with VideoWriter(path, 25, (64, 48)) as writer:
        writer.write(striped_image(0))
    assert len(play(path)) == 1


def test_a_recording_keeps_the_source_time_at_a_variable_rate(tmp_path: Path) -> None:
    times_s = [5.0, 5.05, 5.06, 5.07, 5.5, 6.0, 7.0]
    with VideoWriter(tmp_path / "a.mp4", 20, (64, 48)) as writer:
        for i, time_s in enumerate(times_s):
            writer.write(striped_image(i), time_s)
    frames = play(tmp_path / "a.mp4")
    assert len(frames) == 41
    x = [int(frame.image[4].mean(axis=1).argmax()) // 4 for frame in frames]
    assert x[0] == 0
    assert x[1] == 1
    assert x[9] == x[2] == 3, "an image is repeated until the next one arrives"
    assert x[10] == 4
    assert x[40] == 6


@pytest.mark.parametrize("fps", [23.976, 66.6667, 99.123, 119.88, 238.123, 1000.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_videos_of_any_frame_rate_are_written(tmp_path: Path, fps: float, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, fps, (64, 48)) as writer:
        writer.write(striped_image(0))
    assert make_source(SourceSettings(uri=str(path))).fps == pytest.approx(min(fps, 250), rel=1e-3)


@pytest.mark.parametrize("fps", [24000 / 1001, 30.0, 66.6667, 119.88])
def test_a_constant_rate_repeats_and_drops_no_frame(tmp_path: Path, fps: float) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps, (64, 48)) as writer:
        for i in range(2000):
            writer.write(striped_image(0), round(i / fps, 3))
            assert writer.frames == i + 1


def test_a_long_gap_is_left_out(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10, (64, 48)) as writer:
        for time_s in (0.0, 0.1, 0.2 + 2 * MAX_FILL_S, 0.3 + 2 * MAX_FILL_S, 3.0):
            writer.write(striped_image(0), time_s)
        assert writer.frames == 5


def test_other_sizes_get_black_bars_and_the_input_is_not_changed(tmp_path: Path) -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    with VideoWriter(tmp_path / "a.avi", 25, (65, 49)) as writer:  # the encoder needs even sides
        writer.write(striped_image(0, 65, 49))
        writer.write(white)
        writer.write(white[:1, :1])
    frames = play(tmp_path / "a.avi")
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[1].image[24, 2].max() < 30
    assert frames[1].image[24, 32].min() > 220
    assert white.min() == 255


def test_an_error_discards_the_video_and_keeps_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    with pytest.raises(ZeroDivisionError), VideoWriter(path, 25, (64, 48)) as writer:  # noqa: PT012
        writer.write(striped_image(0))
        raise ZeroDivisionError
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_without_frames_creates_no_file(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    writer.close()
    writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.txt", "unknown extension '.txt'"),
        ("a", "unknown extension ''"),
        ("missing/a.mp4", "no such folder"),
        ("folder.mp4", "it is a folder"),
        ("x" * 300 + ".mp4", "name too long"),
    ],
)
def test_an_unwritable_path_is_a_one_line_error_at_the_start(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=f"(?i){reason}") as caught:
        VideoWriter(tmp_path / name, 25, (64, 48))
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_permission_is_a_one_line_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            check_output(tmp_path / "a.mp4")
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_is_a_one_line_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with pytest.raises(OutputError, match="is full"), VideoWriter(tmp_path / "a.mp4", 25, (64, 48)) as writer:  # noqa: PT012
        writer.write(striped_image(0))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        for i in range(200):
            writer.write(striped_image(i))
    with pytest.raises(OutputError, match="only 0 MiB free"):
        check_output(tmp_path / "b.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_encoder_leaves_no_file(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    writer.write(striped_image(0))
    part = next(tmp_path.iterdir())
    part.unlink()  # what the encoder writes from now on is lost
    part.write_bytes(b"broken")
    with pytest.raises(OutputError, match="cannot complete video"):
        writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of the file size")
@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.avi"])
def test_a_write_error_is_a_one_line_error_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    import resource

    noise = np.random.default_rng(1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with (  # noqa: PT012
            pytest.raises(OutputError, match=rf"cannot (continue|complete).*{name}") as caught,
            VideoWriter(tmp_path / name, 25, (320, 240)) as writer,
        ):
            for _ in range(60):
                writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_complete_video_that_cannot_be_renamed_is_kept_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(self: Path, target: Path) -> None:
        raise PermissionError(13, "it is open in another program")

    writer = VideoWriter(tmp_path / "a.mp4", 25, (64, 48))
    writer.write(striped_image(0))
    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match="it is kept as") as caught:
        writer.close()
    (part,) = tmp_path.iterdir()
    assert str(part) in str(caught.value)
    assert len(play(part)) == 1


def test_other_outputs_may_have_any_extension(tmp_path: Path) -> None:
    check_output(tmp_path / "events.jsonl", "events")
    assert list(tmp_path.iterdir()) == []
