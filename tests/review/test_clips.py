"""Clips of events: their images, memory and files; a disk that stalls loses clips, never events or time."""

import json
import os
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes_monitor import LiveCamera, fake_parts
from fakes_review import FACE, OTHER, detail, event, result, track
from fakes_video import HANG_S, wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.alerts.event_store import EventStore
from app.capture.main_stream import MainStreams
from app.cli import evidence
from app.cli.main import main
from app.cli.watch_session import WatchSession
from app.core.errors import SettingsError
from app.core.types import Box, Event, EventKind, FrameResult, Image
from app.review import clips
from app.review.clips import ClipRecorder
from app.review.picture_folder import PictureFolder
from app.settings.load import load_settings
from app.settings.review import ClipSettings

Usage = namedtuple("Usage", "total used free")


def recorded(
    folder: Path, results: Sequence[FrameResult], events: Sequence[Event], blur_all: bool = False, **settings: Any
) -> PictureFolder:
    """The clips of ``events`` that lie between ``results``. Each result is encoded before the next one comes."""
    pictures = PictureFolder(folder)
    recorder = ClipRecorder(ClipSettings(enabled=True, **settings), pictures, blur_all, max_load=1)
    recorder.start()
    left = list(events)
    for each in results:
        recorder.on_result(each)
        for due in [one for one in left if one.time_s <= each.frame.time_s]:
            recorder.on_event(due)
            left.remove(due)
        wait_until(lambda: recorder.is_idle, "the image is encoded")
    for due in left:
        recorder.on_event(due)
    assert recorder.close(60) == []
    return pictures


def frames_of(path: Path) -> list[Image]:
    video, images = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        images.append(read[1])
    video.release()
    return images  # type: ignore[return-value]


def times(count: int, fps: float = 10.0) -> list[float]:
    return [round(i / fps, 3) for i in range(count)]


def test_a_clip_shows_the_seconds_before_and_after_its_event(tmp_path: Path) -> None:
    one, late = event(1, 6.0), event(2, 19.5)
    folder = recorded(tmp_path, [result(t, (track(),)) for t in times(200)], [one, late])
    video = cv2.VideoCapture(str(folder.file(one.id, clips.VIDEO)))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10, abs=0.1)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == pytest.approx(101, abs=2)
    video.release()
    assert len(frames_of(folder.file(late.id, clips.VIDEO))) == pytest.approx(55, abs=2), "the camera ends before"
    record = json.loads(folder.file(one.id, clips.RECORD).read_text())
    assert record["at_s"] == pytest.approx(5, abs=0.11)
    assert (record["event"], record["camera"], record["kind"]) == (one.id, "door", "no_mask")
    assert record["frames"][50]["faces"][0][:6] == [0.25, 0.25, 0.2, 0.3333, "no_mask", 0.9]
    assert folder.read(one.id, clips.POSTER)[:2] == b"\xff\xd8"  # type: ignore[index]


def test_images_are_taken_at_the_given_rate_and_size(tmp_path: Path) -> None:
    image = np.full((720, 1280, 3), 80, np.uint8)
    results = [result(t, (), image) for t in times(90, 30)]
    folder = recorded(tmp_path, results, [event(1, 1.5, box=None, track_id=0)], max_fps=5, max_width_px=320)
    images = frames_of(folder.file(event(1).id, clips.VIDEO))
    assert len(images) == pytest.approx(15, abs=1)
    assert images[0].shape == (180, 320, 3)


@pytest.mark.parametrize(
    ("faces", "blur_all", "kept"),
    [("blur_others", False, (True, False)), ("blur_all", False, (False, False)), ("show", False, (True, True)),
     ("show", True, (False, False))],
)  # fmt: skip
def test_faces_are_blurred_as_set(tmp_path: Path, faces: str, blur_all: bool, kept: tuple[bool, bool]) -> None:
    """``view.blur`` (``blur_all``) hides every face whatever ``clips.faces`` says."""
    both = (track(1), track(2, OTHER))
    results = [result(t, both) for t in times(30)]
    folder = recorded(tmp_path, results, [event(1, 1.5)], blur_all, faces=faces)
    sharp = detail(results[0].frame.image, FACE) / 2
    images = frames_of(folder.file(event(1).id, clips.VIDEO))
    poster = cv2.imdecode(np.frombuffer(folder.read(event(1).id, clips.POSTER) or b"", np.uint8), cv2.IMREAD_COLOR)
    for image in (images[3], images[15], poster):
        assert tuple(detail(image, box) > sharp for box in (FACE, OTHER)) == kept


def test_a_face_is_hidden_shortly_before_it_is_detected_and_after_it_is_lost(tmp_path: Path) -> None:
    bystander = track(2, OTHER)
    painted = result(0, (track(1), bystander)).frame.image
    results = [result(t, (track(1), bystander) if 1.0 <= t <= 2.0 else (track(1),), painted.copy()) for t in times(30)]
    folder = recorded(tmp_path, results, [event(1, 1.5)])
    images = frames_of(folder.file(event(1).id, clips.VIDEO))
    sharp = detail(painted, OTHER) / 2
    assert [detail(images[i], OTHER) > sharp for i in (2, 7, 15, 23, 28)] == [True, False, False, False, True]


def test_a_face_is_hidden_in_the_images_beside_the_one_that_shows_it(tmp_path: Path) -> None:
    """Regression: where images are rare, for example on a busy machine, none lies within half a second."""
    bystander = track(2, OTHER)
    painted = result(0, (track(1), bystander)).frame.image
    moments = [round(0.8 * i, 1) for i in range(5)]
    results = [result(t, (track(1), bystander) if t == 1.6 else (track(1),), painted.copy()) for t in moments]
    folder = recorded(tmp_path, results, [event(1, 1.6)])
    images = frames_of(folder.file(event(1).id, clips.VIDEO))
    sharp = detail(painted, OTHER) / 2
    assert [detail(image, OTHER) > sharp for image in images] == [True, False, False, False, True]


def test_boxes_are_drawn_into_the_video_on_request(tmp_path: Path) -> None:
    plain = recorded(tmp_path / "a", [result(t, (track(),)) for t in times(20)], [event(1, 1)], faces="show")
    drawn = recorded(
        tmp_path / "b", [result(t, (track(),)) for t in times(20)], [event(1, 1)], faces="show", annotated=True
    )
    one, other = (frames_of(each.file(event(1).id, clips.VIDEO))[10].astype(int) for each in (plain, drawn))
    assert (np.abs(one - other).max(axis=2) > 60).sum() > 100


def test_a_camera_that_fails_keeps_its_last_seconds(tmp_path: Path) -> None:
    offline = event(1, 30.0, EventKind.CAMERA_OFFLINE, track_id=0, box=None)
    folder = recorded(tmp_path, [result(t) for t in times(80)], [offline])
    assert len(frames_of(folder.file(offline.id, clips.VIDEO))) == pytest.approx(51, abs=2)


def test_a_clip_ends_where_the_camera_is_turned(tmp_path: Path) -> None:
    turned = np.full((160, 120, 3), 90, np.uint8)
    results = [result(t, (track(),)) if t < 2 else result(t, (track(),), turned) for t in times(40)]
    folder = recorded(tmp_path, results, [event(1, 1.5), event(2, 3.5)])
    first, last = (frames_of(folder.file(event(number).id, clips.VIDEO)) for number in (1, 2))
    assert {image.shape for image in first} == {(120, 160, 3)}
    assert {image.shape for image in last} == {(160, 120, 3)}
    assert len(first) == pytest.approx(20, abs=2) == len(last)


def test_memory_of_a_camera_stays_below_the_limit(tmp_path: Path) -> None:
    """Images of pure noise, the worst case for JPEG."""
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    recorder = ClipRecorder(ClipSettings(enabled=True, ring_mb=1), PictureFolder(tmp_path / "clips"), False, max_load=1)
    recorder.start()
    for t in times(100):
        recorder.on_result(result(t, (), image))
        wait_until(lambda: recorder.is_idle, "the image is encoded")
    assert recorder.close(60) == []
    assert 500_000 < recorder.largest_bytes <= 1_000_000
    assert not (tmp_path / "clips").exists(), "without an event nothing is written"


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
        disk.release.set()
    warnings = [record.getMessage() for record in caplog.records if "clips of events are dropped" in record.message]
    assert len(warnings) == 1
    assert "events and alerts are not affected" in warnings[0]
    with EventStore(settings.alerts.store) as store:
        assert {each.id for each in store.events()} == {each.id for each in events}


def test_a_full_disk_drops_clips_and_says_so_once_until_it_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage
    folder = PictureFolder(tmp_path / "clips")
    recorder = ClipRecorder(ClipSettings(enabled=True, before_s=0.2, after_s=0), folder, False, max_load=1)
    recorder.start()
    for number, free in enumerate((0, 0, 1 << 40, 0)):
        space = Usage(1, 1, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, space=space: space)
        recorder.on_result(result(number + 1.0))
        recorder.on_event(event(number, number + 1.0))
        wait_until(lambda done=number + 1: recorder.written + recorder.dropped == done, "the clip is done")  # type: ignore[misc]
    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert recorder.close(60) == [f"3 clips of events could not be written to {folder.path}"]
    assert [record.getMessage() for record in caplog.records if "dropped" in record.message] != []
    assert len([record for record in caplog.records if "dropped" in record.message]) == 2
    assert sorted(path.name for path in folder.path.iterdir()) == [
        f"{event(2).id}{suffix}" for suffix in (".clip.jpg", ".clip.json", ".clip.mp4")
    ]


def test_old_and_large_clips_are_deleted_and_other_files_stay(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    own = tmp_path / "holiday.jpg"
    own.write_bytes(b"x")
    now_s = time.time()
    for number in range(4):
        for suffix in (clips.VIDEO, clips.POSTER):
            folder.file(event(number).id, suffix).write_bytes(bytes(1000))
            os.utime(folder.file(event(number).id, suffix), (now_s, now_s - 86400 * (4 - number)))
    (tmp_path / ".00.clip.77.part.mp4").write_bytes(bytes(10))
    assert folder.enforce(now_s, 3.5 * 86400, 5000) == 2
    left = {number for number in range(4) if folder.has(event(number).id, clips.VIDEO)}
    assert left == {2, 3}
    assert folder.delete(now_s - 1.5 * 86400) == 1
    assert folder.delete() == 2
    assert list(tmp_path.iterdir()) == [own]


def test_any_event_id_is_a_safe_file_name(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path / "clips")
    for event_id in ("../../x", "a/b", ".hidden", "Tür 1", "x" * 500):
        path = folder.file(event_id, clips.VIDEO)
        assert path.parent == tmp_path / "clips"
        folder.create()
        path.write_bytes(b"1")
    assert folder.usage() == (5, 5)
    assert folder.delete() == 5


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


def test_clips_need_stored_events() -> None:
    with pytest.raises(SettingsError, match=r"clips belong to stored events, and alerts\.persist is false"):
        load_settings(None, {"clips": {"enabled": True}, "alerts": {"persist": False}})


def test_a_slow_encoder_takes_fewer_images_and_not_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding that lasts 20 ms may take a tenth of the time, so about every 200 ms there is an image."""
    encoded: list[float] = []

    def slow(*_: Any) -> bytes:
        encoded.append(time.monotonic())
        threading.Event().wait(0.02)
        return b"jpeg"

    monkeypatch.setattr(clips, "jpeg_bytes", slow)
    recorder = ClipRecorder(ClipSettings(enabled=True, max_fps=25), PictureFolder(tmp_path), False, max_load=0.1)
    recorder.start()
    number = 0
    while len(encoded) < 4:
        number += 1
        recorder.on_result(result(number / 25))
        threading.Event().wait(0.002)
    assert recorder.close(60) == []
    assert min(after - before for before, after in pairwise(encoded[:4])) >= 0.18


def test_a_source_that_begins_again_does_not_cost_the_clip_of_its_last_event(tmp_path: Path) -> None:
    """A camera whose address was changed, or a file that repeats: the images after the event are of another time."""
    before = [result(50 + i / 10, (track(),)) for i in range(20)]
    folder = recorded(tmp_path, [*before, *(result(i / 10) for i in range(20))], [event(1, 51.5)])
    record = json.loads(folder.file(event(1).id, clips.RECORD).read_text())
    assert record["at_s"] == pytest.approx(1.5, abs=0.2)
    assert all(frame["faces"] for frame in record["frames"])


class LargeStream:
    """A main stream that shows the results in four times their size, or nothing."""

    def __init__(self, results: Sequence[FrameResult]) -> None:
        self.results = results

    def images(self, first_s: float, last_s: float, step_s: float) -> Iterator[tuple[float, Image]]:
        for each in self.results:
            if first_s <= each.frame.captured_s <= last_s and step_s > 0:
                yield each.frame.captured_s + 0.01, np.kron(each.frame.image, np.ones((4, 4, 1), np.uint8))

    def image(self, at_s: float) -> tuple[float, Image] | None:
        return next(self.images(at_s, at_s, 1.0), None)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_clip_is_made_of_the_main_stream_if_it_has_the_time(tmp_path: Path, is_there: bool) -> None:
    results = [result(i / 10, (track(1), track(2, OTHER))) for i in range(20)]
    results = [replace(each, frame=replace(each.frame, captured_s=100 + each.frame.time_s)) for each in results]
    large = LargeStream(results if is_there else [])
    pictures = PictureFolder(tmp_path)
    settings = ClipSettings(enabled=True, before_s=0.6, after_s=0.6)
    recorder = ClipRecorder(settings, pictures, False, 1, lambda camera: large if camera == "door" else None)  # type: ignore[arg-type,return-value]
    recorder.start()
    for each in results:
        recorder.on_result(each)
        if each.frame.time_s == 1.0:
            recorder.on_event(event(1, 1.0))
        wait_until(lambda: recorder.is_idle, "the image is encoded")
    assert recorder.close(60) == []
    factor = 4 if is_there else 1
    poster = cv2.imread(str(pictures.file(event(1).id, clips.POSTER)))
    assert poster is not None
    assert poster.shape == (120 * factor, 160 * factor, 3)
    own, other = (detail(cv2.resize(poster, (160, 120), interpolation=cv2.INTER_AREA), box) for box in (FACE, OTHER))  # type: ignore[arg-type]
    assert own > 2 * other, "only the other face is hidden"
    record = json.loads(pictures.file(event(1).id, clips.RECORD).read_text())
    assert 11 <= len(record["frames"]) <= 13
    assert record["frames"][0]["faces"][0][:4] == [0.25, 0.25, 0.2, 0.3333]
    assert record["at_s"] == pytest.approx(0.6, abs=0.02)


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
