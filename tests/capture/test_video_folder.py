"""A folder of videos as one source: order, times, damaged videos."""

import logging
import threading
from pathlib import Path

import pytest
from fakes_scan import Visit, write_video

from app.capture.image_folder import ImageSource
from app.capture.recording import recording_id
from app.capture.source import make_source
from app.core.errors import SettingsError, SourceError
from app.core.types import Frame
from app.settings.source import SourceSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten o'clock, then five past ten; the names are in the other order."""
    write_video(tmp_path / "b/2026-11-20/10/00.00.mp4", [Visit(0, 1, (9, 9, 9))], 4.0, b_frames=0)
    write_video(tmp_path / "a/2026-11-20/10/05.00.mp4", [], 3.0, b_frames=0)
    return tmp_path


def frames(folder: Path, **settings: object) -> list[Frame]:
    source = make_source(SourceSettings(uri=str(folder), timezone="UTC", **settings))
    return list(source.frames(threading.Event()))


def test_videos_are_read_in_the_order_of_their_start(folder: Path) -> None:
    read = frames(folder, every_s=1.0, to_s=3.0, name_pattern="%Y-%m-%d/%H/%M.%S.mp4")
    assert [frame.time_s for frame in read] == pytest.approx([0, 1, 2, 300, 301, 302])
    assert [frame.wall_s - 1_795_168_800 for frame in read] == pytest.approx([0, 1, 2, 300, 301, 302])
    assert [frame.index for frame in read] == list(range(6))


def test_videos_whose_times_overlap_follow_each_other(folder: Path) -> None:
    times = [frame.time_s for frame in frames(folder, every_s=1.0, starts_at="2026-11-20T10:00:00")]
    assert len(times) == 7
    assert times == sorted(set(times))


def test_a_damaged_video_is_logged_and_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "a/2026-11-20/10/05.00.mp4").write_bytes(b"\0" * 999)
    with caplog.at_level(logging.WARNING):
        assert len(frames(folder)) == 20
    assert "left out: " in caplog.text
    assert "05.00.mp4" in caplog.text


def test_a_folder_without_a_readable_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"a\.mp4 is empty"):
        frames(tmp_path)
    with pytest.raises(SettingsError, match="does not match the name pattern"):
        frames(tmp_path, name_pattern="%Y-%m-%d.mp4")


def test_a_folder_with_images_is_read_as_images(folder: Path) -> None:
    (folder / "a.png").touch()
    assert isinstance(make_source(SourceSettings(uri=str(folder))), ImageSource)


def test_the_id_follows_from_the_videos(folder: Path, tmp_path: Path) -> None:
    before = recording_id(SourceSettings(uri=str(folder)))
    assert len(before) == 16
    (folder / "a/2026-11-20/10/05.00.mp4").unlink()
    assert recording_id(SourceSettings(uri=str(folder))) != before
