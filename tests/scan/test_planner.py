"""Finding the videos of an archive, their cameras and times, and cutting them into shards."""

import errno
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes_scan import Visit, write_video

from app.alerts.export import atomic_text_file
from app.capture.recording import NamePattern
from app.core.errors import OutputError, SettingsError, SourceError
from app.core.schedule import time_zone
from app.scan.planner import ScanOptions, make_plan
from app.scan.report import html_page, make_report
from app.scan.run_folder import Plan, RunFolder
from app.settings.monitor import CameraSettings
from app.settings.root import Settings


def plan_of(*archive: Path, shard_s: float = 600.0, settings: Settings | None = None, **camera: object) -> Plan:
    template = CameraSettings(uri="scan", **{"every_s": 0.2, **camera})
    return make_plan(list(map(str, archive)), settings or Settings(), ScanOptions(template, shard_s))


def unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("name", "pattern", "camera", "start"),
    [
        ("recordings/2026-11-20/14/hall/05.30.mp4", "", "hall", "2026-11-20T14:05:30+00:00"),  # Frigate: UTC
        ("hall/2026-11-20/14/05.30.mp4", "", "hall", "2026-11-20T14:05:30+01:00"),
        ("Camera1/2026-11-20/14-05-30.mp4", "", "Camera1", "2026-11-20T14:05:30+01:00"),  # motionEye
        ("Door.20261120_140530.mp4", "", "Door", "2026-11-20T14:05:30+01:00"),  # Blue Iris
        ("x/door-a_20261120-140530.mp4", "{camera}_%Y%m%d-%H%M%S.mp4", "door-a", "2026-11-20T14:05:30+01:00"),
        ("x/1795169130.mp4", "%s.mp4", "x", "2026-11-20T10:05:30+00:00"),
    ],
)
def test_names_of_recorders_say_camera_and_time(
    name: str, pattern: str, camera: str, start: str, tmp_path: Path
) -> None:
    write_video(tmp_path / name, [], 1.0)
    plan = plan_of(tmp_path, timezone="Europe/Berlin", name_pattern=pattern)
    (each,) = plan.shards
    assert (each.shard.camera, each.shard.wall_s, each.start_from) == (camera, unix_s(start), "name")


def test_a_pattern_must_give_a_date_and_match(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [], 1.0)
    for pattern, reason in (("%H-%M.mp4", "gives no date"), ("%Q.mp4", "unknown %Q"), ("%Y%m%d.mp4", "does not match")):
        with pytest.raises(SettingsError, match=reason):
            plan_of(video, name_pattern=pattern)


def test_a_name_with_an_impossible_date_is_not_used() -> None:
    for name in ("2026-02-31.mp4", "0001-01-01.mp4", "9999-12-31.mp4"):
        assert NamePattern("%Y-%m-%d.mp4", time_zone("UTC")).read(Path(name)) is None


def test_the_start_can_be_given(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [], 1.0)
    (each,) = plan_of(video, starts_at=datetime(2026, 11, 20, 8, 30, tzinfo=UTC)).shards
    assert (each.shard.wall_s, each.start_from) == (unix_s("2026-11-20T08:30:00+00:00"), "setting")


def test_segments_of_a_camera_are_joined_within_the_hour(tmp_path: Path) -> None:
    visit = [Visit(0, 40, (9, 9, 9))]
    for i, name in enumerate(("10/hall/59.40", "10/hall/59.50", "11/hall/00.00", "11/hall/00.30", "11/door/00.00")):
        write_video(tmp_path / "recordings/2026-11-20" / f"{name}.mp4", visit, 10.0 + i / 10)
    shards = [each.shard for each in plan_of(tmp_path).shards]
    assert [(shard.camera, len(shard.parts)) for shard in shards] == [
        ("door", 1),
        ("hall", 2),
        ("hall", 1),
        ("hall", 1),
    ]
    assert [part.offset_s for part in shards[1].parts] == [0.0, pytest.approx(10.0)]


def test_a_video_is_cut_into_shards_with_stable_ids(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", [], 22.0)
    plan = plan_of(video, shard_s=5.0)
    ranges = [(each.shard.start_s, each.shard.end_s) for each in plan.shards]
    assert ranges == [(0.0, 5.0), (5.0, 10.0), (10.0, 15.0), (15.0, 20.0), (20.0, float("inf"))]
    assert plan.hours * 3600 == pytest.approx(22.0)
    moved = video.rename(tmp_path / "b.mp4")
    again = plan_of(moved, shard_s=5.0, starts_at=datetime.fromtimestamp(plan.shards[0].shard.wall_s, UTC))
    assert {each.shard.origin for each in again.shards} == {each.shard.origin for each in plan.shards}
    other = plan_of(moved, shard_s=5.0, settings=Settings(policy={"dwell_s": 3.0}))
    assert not {each.shard.id for each in other.shards} & {each.shard.id for each in plan.shards}


def test_unreadable_files_are_named_and_copies_count_once(tmp_path: Path) -> None:
    video = write_video(tmp_path / "door/2026-11-20/10-00-00.mp4", [], 2.0)
    (tmp_path / "copy/door/2026-11-20").mkdir(parents=True)
    (tmp_path / "copy/door/2026-11-20/10-00-00.mp4").write_bytes(video.read_bytes())
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "damaged.mp4").write_bytes(b"\0\1" * 999)
    (tmp_path / "notes.txt").write_text("no video")
    plan = plan_of(tmp_path)
    assert (len(plan.shards), plan.hours * 3600) == (1, pytest.approx(2.0))
    reasons = {Path(each.path).name: each.reason for each in plan.unreadable}
    assert "is empty" in reasons["empty.mp4"]
    assert "not a readable video" in reasons["damaged.mp4"]
    assert "same content" in reasons["10-00-00.mp4"]
    assert len(reasons) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_videos_whose_names_cannot_name_a_camera_are_left_out(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_video(archive / " .mp4", [], 1.0)
    for i, name in enumerate((os.fsdecode(b"bad\xff.mp4"), "two\nlines.mp4")):
        write_video(tmp_path / "one.mp4", [], 2.0 + i).rename(archive / name)
    plan = plan_of(archive)
    assert [each.shard.camera for each in plan.shards] == ["video"]
    assert [each.reason.rpartition(".mp4 ")[2] for each in plan.unreadable] == [
        "is not UTF-8; rename it",
        "contains a control character; rename it",
    ]
    folder = RunFolder(tmp_path / "run")
    folder.create(plan)
    with atomic_text_file(tmp_path / "report.html") as file:
        file.write(html_page(make_report(folder)))
    assert "bad\\udcff.mp4" in (tmp_path / "report.html").read_text("utf-8")


def test_a_folder_that_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as lost+found at the top of a disk, which only root may read."""
    write_video(tmp_path / "hall" / "a.mp4", [], 1.0)
    (tmp_path / "lost+found").mkdir()
    locked = [str(tmp_path / "lost+found")]

    def scandir(path: str) -> Any:
        if str(path) in locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    plan = plan_of(tmp_path)
    assert [each.shard.camera for each in plan.shards] == ["hall"]
    assert [each.path for each in plan.unreadable] == locked
    assert "Permission denied" in plan.unreadable[0].reason
    locked.append(str(tmp_path))
    with pytest.raises(SourceError, match="cannot read folder"):
        plan_of(tmp_path)


def test_a_plan_that_cannot_be_written_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    plan = plan_of(write_video(tmp_path / "a.mp4", [], 1.0))
    with pytest.raises(OutputError, match="choose another --out, then plan again"):
        RunFolder(tmp_path / "run").create(plan)


def test_an_archive_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video in"):
        plan_of(tmp_path)
    with pytest.raises(SourceError, match="no such file or folder"):
        plan_of(tmp_path / "absent")
    with pytest.raises(SourceError, match="name of an archive is empty"):
        make_plan([""], Settings(), ScanOptions(CameraSettings(uri="scan")))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_video(tmp_path / "door/2026-11-20/10-00-00.mp4", [], 12.0)
    settings = Settings(camera=({"uri": "rtsp://u:secret@host/x", "name": "door", "policy": {"dwell_s": 1.0}},))
    plan = plan_of(tmp_path, shard_s=5.0, settings=settings, timezone="Europe/Berlin")
    folder = RunFolder(tmp_path / "run")
    folder.create(plan)
    assert folder.plan() == plan
    loaded, camera = folder.plan().settings.load("door")
    assert (camera.policy_over(loaded.policy).dwell_s, camera.timezone) == (1.0, "Europe/Berlin")
    assert "secret" not in (tmp_path / "run/run.json").read_text()
