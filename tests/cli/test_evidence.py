"""Clips and snapshots of a watching program: what is written, and of which stream."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_monitor import LiveCamera, fake_parts
from fakes_review import FACE, OTHER, LargeStream, detail, event, frames_of, result, track
from fakes_video import HANG_S, wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.alerts.event_store import EventStore
from app.capture.main_stream import MainStreams
from app.cli import evidence
from app.cli.main import main
from app.cli.watch_session import WatchSession
from app.core.types import Box, Event, Image
from app.review import clips
from app.review.clips import ClipRecorder
from app.review.picture_folder import PictureFolder
from app.settings.load import load_settings


class StalledDisk:
    """Replaces ``write_clip``: each call waits until ``release`` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.calls = 0

    def __call__(self, *_: Any) -> None:
        self.calls += 1
        assert self.release.wait(HANG_S)


def test_200_events_are_stored_while_the_disk_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = StalledDisk()
    monkeypatch.setattr(clips, "write_clip", disk)
    monkeypatch.setattr(clips, "MAX_QUEUE_BYTES", 1)
    camera = LiveCamera("door")
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db"},
            "clips": {"enabled": True, "before_s": 0.1, "after_s": 0.1, "max_fps": 25},
            "view": {"headless": True},
        },
    )
    events = [event(number, 0.0) for number in range(200)]
    with WatchSession(settings, None, None, parts=fake_parts(boxes=(), source=camera)) as session:
        wait_until(lambda: "door" in session.latest, "the first frame is analysed")
        for each in events:
            newest = session.latest["door"]  # no event waits for the disk, or this would not end
            session.on_event(Event(each.id, each.kind, "door", newest.frame.time_s, each.wall_s, 1), newest)
        wait_until(
            lambda: disk.calls == 1 and session.evidence.clips is not None and session.evidence.clips.dropped > 0,
            "it stalls",
        )
        frames = session.monitor.views()[0].status.frames
        wait_until(lambda: session.monitor.views()[0].status.frames > frames + 10, "the analysis continues")
        warnings = [record.getMessage() for record in caplog.records if "clips of events are dropped" in record.message]
        disk.release.set()  # from now on it may be slow again
    assert len(warnings) == 1
    assert "events and alerts are not affected" in warnings[0]
    with EventStore(settings.alerts.store) as store:
        assert {each.id for each in store.events()} == {each.id for each in events}


@pytest.mark.parametrize("enabled", [False, True])
def test_no_picture_leaves_the_memory_unless_clips_are_enabled(tmp_path: Path, enabled: bool) -> None:
    """The whole file system below the event file is compared. Enabled, the same run leaves a clip, which purge
    deletes."""
    store = tmp_path / "events.db"
    tables: dict[str, Any] = {"clips": {"enabled": True, "before_s": 0.2, "after_s": 0.1}} if enabled else {}
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": store},
            "policy": {"dwell_s": 0.1, "min_observations": 1, "min_confidence": 0.5},
            "view": {"headless": True, "snapshots": tmp_path},
            **tables,
        },
    )
    with WatchSession(settings, None, None, parts=fake_parts(source=LiveCamera("door"))) as session:
        wait_until(lambda: len(session.alerts.recent()) > 0, "an alert")
        alert, folder = session.alerts.recent()[0], PictureFolder(tmp_path / "events.db.clips")
        wait_until(lambda: not enabled or folder.has(alert.id, clips.RECORD), "the clip is written")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    pictures = {name for name in names if not name.startswith("events.db")}
    assert len(pictures) == (3 if enabled else 0)
    if enabled:
        assert folder.path.stat().st_mode & 0o077 == 0 or os.name != "posix"
        assert folder.has(alert.id, clips.VIDEO)
    assert main(["purge", "--yes", "--store", str(store)]) == 0
    assert folder.usage() == (0, 0)


def test_no_image_from_before_a_new_blackout_is_kept(tmp_path: Path) -> None:
    camera = LiveCamera("door", colour=40)
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db", "snapshots": "blur_all"},
            "clips": {"enabled": True, "before_s": 5, "after_s": 1.5, "max_fps": 25},
            "view": {"headless": True},
        },
    )
    corners = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5))
    hidden = settings.model_copy(update={"camera": (settings.camera[0].model_copy(update={"blackout": (corners,)}),)})
    with WatchSession(settings, None, None, parts=fake_parts(boxes=(), source=camera)) as session:
        wait_until(lambda: "door" in session.latest and session.latest["door"].frame.index > 10, "images are kept")
        old = session.latest["door"]
        camera.colour = 200  # as if it were the blackout
        session.reload(hidden)
        assert session.evidence.snapshot(event(1), old) is None
        session.on_event(event(1, old.frame.time_s), old)
        folder = PictureFolder(tmp_path / "events.db.clips")
        wait_until(lambda: folder.has(event(1).id, clips.RECORD), "the clip is written")
    images = frames_of(folder.file(event(1).id, clips.VIDEO))
    assert min(image.mean() for image in images) > 150


def test_an_event_while_clips_begin_again_gets_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a change of the clips in the page lost the clips of the events meanwhile, without a word."""
    tables: dict[str, Any] = {
        "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
        "alerts": {"store": tmp_path / "events.db"},
        "clips": {"enabled": True, "before_s": 1, "after_s": 1},
        "view": {"headless": True},
    }
    with WatchSession(load_settings(None, tables), None, None, parts=fake_parts(source=LiveCamera("door"))) as session:
        wait_until(lambda: "door" in session.latest, "the camera works")
        close = ClipRecorder.close

        def close_slowly(recorder: ClipRecorder, timeout_s: float = 3.0) -> list[str]:
            lost = close(recorder, timeout_s)
            newest = session.latest["door"]
            session.on_event(event(1, newest.frame.time_s), newest)
            return lost

        with monkeypatch.context() as patch:
            patch.setattr(ClipRecorder, "close", close_slowly)
            session.reload(load_settings(None, {**tables, "clips": {**tables["clips"], "max_fps": 5}}))
        folder = PictureFolder(tmp_path / "events.db.clips")
        wait_until(lambda: folder.has(event(1).id, clips.VIDEO), "the clip is written")


def test_clips_of_an_earlier_run_age_although_clips_are_off(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "events.db.clips")
    folder.create()
    old, new = (folder.file(event(number).id, clips.VIDEO) for number in (1, 2))
    for path, days in ((old, 8), (new, 6)):
        path.write_bytes(b"video")
        os.utime(path, (time.time(), time.time() - days * 86400))
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db"},
            "view": {"headless": True},
        },
    )
    with WatchSession(settings, None, None, parts=fake_parts(boxes=(), source=LiveCamera("door"))):
        wait_until(lambda: not old.exists(), "the old clip is deleted")
    assert new.exists()


def test_a_snapshot_is_taken_from_the_main_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = result(1.0, (track(1), track(2, OTHER)))

    class Streams:
        def __init__(self, keep_s: float) -> None:
            assert keep_s > 10

        def apply(self, cameras: Sequence[Any]) -> None:
            self.names = [camera.name for camera in cameras]

        def get(self, camera: str) -> LargeStream | None:
            return LargeStream([seen]) if camera in self.names else None

    monkeypatch.setattr(evidence, "MainStreams", Streams)
    tables: dict[str, Any] = {"camera": [{"uri": "rtsp://127.0.0.1/sub", "main_uri": "rtsp://127.0.0.1/main"}]}
    tables["camera"][0]["name"] = "door"
    widths = {}
    for mode in ("off", "blur_others", "blur_all"):
        settings = load_settings(None, {**tables, "alerts": {"snapshots": mode, "store": tmp_path / "events.db"}})
        kept = evidence.Evidence(settings, time.time, lambda *_: event(1))
        kept.apply(settings)
        jpeg = kept.snapshot(event(1, 1.0), seen)
        widths[mode] = 0
        if jpeg is not None:
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            widths[mode] = image.shape[1]
            own, other = (
                detail(cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA), box) for box in (FACE, OTHER)
            )  # type: ignore[arg-type]
            assert (own > 2 * other) is (mode == "blur_others")
    assert widths == {"off": 0, "blur_others": 640, "blur_all": 640}


def test_a_snapshot_of_the_main_stream_hides_faces_that_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is 0.3 s older than the result: the face of the alert and another one were in other places."""
    was_own, was_other = Box(8, 70, 32, 40), Box(100, 70, 32, 40)
    before = result(1.0, (track(1, was_own), track(2, was_other)))
    now = result(1.3, (track(1), track(2, OTHER)))
    now = replace(now, frame=replace(now.frame, captured_s=before.frame.captured_s + 0.3))

    class Old(LargeStream):
        def image(self, at_s: float) -> tuple[float, Image] | None:
            return next(self.images(at_s - 0.3, at_s, 1.0), None)

    monkeypatch.setattr(MainStreams, "apply", lambda *_: None)
    monkeypatch.setattr(MainStreams, "get", lambda *_: Old([before]))
    settings = load_settings(None, {"alerts": {"snapshots": "blur_others", "store": tmp_path / "events.db"}})
    kept = evidence.Evidence(settings, time.time, lambda *_: event(1))
    for each in (before, now):
        kept.on_result(each)
    jpeg = kept.snapshot(event(1, 1.3), now)
    assert jpeg is not None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    small = cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
    assert detail(small, was_own) > 2 * detail(small, was_other)  # type: ignore[arg-type]
