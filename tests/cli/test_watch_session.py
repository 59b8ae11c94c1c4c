"""One run of ``watch``: its video file, alerts and console output."""

import errno
import io
import shutil
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from fakes_alerts import HttpPeer
from fakes_monitor import LiveCamera, fake_parts
from fakes_video import striped_image, wait_until, write_clip

from app.alerts import delivery
from app.alerts.channel import make_hooks
from app.alerts.event_store import EventStore
from app.alerts.hook import AlertHook
from app.alerts.hooks.webhook_hook import signature
from app.alerts.store_types import StoreInUseError
from app.cli.main import main
from app.cli.watch_console import event_text
from app.cli.watch_session import WatchSession
from app.core.types import Box, Event, EventKind
from app.settings.alerts import AlertSettings
from app.settings.change import SettingsFile, revision_of
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with one live camera, 'door'."""
    return load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db"},
            "view": {"headless": True},
        },
    )


def watch(settings: Settings, output: Path | None = None, events: Path | None = None) -> WatchSession:
    """A session whose camera is a fake that shows no face."""
    return WatchSession(settings, output, events, parts=fake_parts(boxes=(), source=LiveCamera("door")))


def test_full_disk_ends_the_video_of_a_live_camera_but_not_the_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    video = tmp_path / "out.avi"
    failed_at: list[int] = []

    def stopped() -> bool:
        if session.frames > 2 and not failed_at:
            monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
        if session.exit_code and not failed_at:
            failed_at.append(session.frames)
        return bool(failed_at) and session.frames > failed_at[0] + 5

    before = set(threading.enumerate())
    with watch(settings, video, tmp_path / "out.csv") as session:
        session.run_headless(stopped)
    assert session.exit_code == 1
    (message,) = [record.getMessage() for record in caplog.records if "out.avi" in record.getMessage()]
    assert f"cannot continue to write {video}: its disk is full; " in message
    assert message.endswith("; watching continues without a video")
    written = cv2.VideoCapture(str(video))  # the frames before the fault are readable
    assert written.read()[0]
    written.release()
    assert (tmp_path / "out.csv").exists(), "events are still written"
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()])
def test_watching_continues_if_standard_error_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    """Standard error is a file on a full disk, or a pipe without a reader."""

    class FailingStream(io.StringIO):
        def write(self, text: str) -> int:
            raise fault

    monkeypatch.setattr(sys, "stderr", FailingStream())
    with watch(settings) as session:
        session.on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
        session.run_headless(lambda: session.frames > 5)
    session.print_summary()
    assert session.exit_code == 0
    with EventStore(settings.alerts.store) as store:
        assert [event.id for event in store.events()] == ["event-1"]


def test_event_text_is_readable() -> None:
    end = Event("event-2", EventKind.RESOLVED, "door", 2.0, 0.0, 1, reason="mask", resolves="event-1")
    assert "door at 2.0 s: resolved (mask on), person #1" in event_text(end)


def test_headless_live_run_prints_that_it_watches(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with watch(settings) as session:
        session.run_headless(lambda: session.frames > 5)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "watching" in line] == ["watching door; press Ctrl-C to stop"]


def test_video_of_a_variable_frame_rate_keeps_its_duration(settings: Settings, tmp_path: Path) -> None:
    times_ms = [50 * i + 17 * (i % 2) for i in range(60)]
    clip = write_clip(tmp_path / "in.mkv", [striped_image(i) for i in range(60)], 1000, times_ms=times_ms)
    camera = CameraSettings(uri=str(clip), pace="fast")
    settings = settings.model_copy(update={"camera": (camera,)})
    with WatchSession(settings, tmp_path / "out.mp4", None, parts=fake_parts(boxes=())) as session:
        session.run_headless(lambda: False)
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    duration_s = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    video.release()
    assert duration_s == pytest.approx(times_ms[-1] / 1000, abs=0.1)


def test_zones_lines_and_regions_are_drawn_into_the_video(settings: Settings, tmp_path: Path) -> None:
    """Regression: the window drew them, the video did not."""
    clip = write_clip(tmp_path / "in.mp4", [np.full((240, 320, 3), 90 + i % 2, np.uint8) for i in range(8)])
    zone = {"name": "ward", "polygon": [(0.5, 0.1), (0.9, 0.1), (0.9, 0.5), (0.5, 0.5)]}
    line = {"name": "way", "points": [(0.2, 0.6), (0.2, 0.9)]}
    own = {"zone": [zone], "line": [line], "policy": {"regions": [[(0.6, 0.6), (0.9, 0.6), (0.9, 0.9)]]}}
    images = []
    for name, more in (("plain", {}), ("drawn", own)):
        camera = CameraSettings.model_validate({"uri": str(clip), "pace": "fast", **more})
        with WatchSession(
            settings.model_copy(update={"camera": (camera,)}),
            tmp_path / f"{name}.mp4",
            None,
            parts=fake_parts(boxes=()),
        ) as session:
            session.run_headless(lambda: False)
        video = cv2.VideoCapture(str(tmp_path / f"{name}.mp4"))
        images.append(video.read()[1].astype(int))
        video.release()
    changed = np.abs(images[1] - images[0]).max(axis=2) > 60
    for x, y in ((0.9, 0.3), (0.2, 0.7), (0.9, 0.75)):
        column, row = round(x * 320), round(y * 240)
        assert changed[row - 3 : row + 4, column - 4 : column + 5].any(), (x, y)


@pytest.mark.parametrize("frames", [0, 5])
def test_summary_names_the_written_files(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    video, events = tmp_path / "[1] of a long name that must not wrap.avi", tmp_path / "out.csv"
    with watch(settings, video, events) as session:
        session.run_headless(lambda: session.frames >= frames)
    session.print_summary()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("written: ")]
    existing = [path for path in (video, events) if path.exists()]
    assert lines == ([f"written: {', '.join(map(str, existing))}"] if existing else [])
    assert video.exists() is (frames > 0)


def test_summary_without_files_names_none(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with watch(settings) as session:
        session.run_headless(lambda: session.frames > 1)
    session.print_summary()
    assert "written" not in capsys.readouterr().err


def test_new_alert_settings_lose_no_alert_and_block_no_camera(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store, and with a channel that is slow to set up."""
    up, received = tmp_path / "up", tmp_path / "received"
    code = f"import os, sys; os.path.exists({str(up)!r}) or sys.exit(1); open({str(received)!r}, 'a').write('received')"
    desk = {"kind": "command", "name": "desk", "argv": [sys.executable, "-c", code]}

    def without_store(max_outbox: int) -> Settings:
        values = {"persist": False, "retry_max_s": 1, "max_outbox": max_outbox, "channels": [desk]}
        return settings.model_copy(update={"alerts": AlertSettings.model_validate(values)})

    def frames() -> int:
        result = session.latest.get("door")
        return 0 if result is None else result.frame.index

    def slow_hooks(*args: Any) -> dict[str, AlertHook]:
        start = frames()
        wait_until(lambda: frames() > start + 2, "frames still arrive")
        return make_hooks(*args)

    with watch(without_store(10)) as session:
        session.on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
        wait_until(lambda: session.alerts.health().channels[0].state == "retrying", "the channel fails")
        monkeypatch.setattr(delivery, "make_hooks", slow_hooks)
        assert session.reload(without_store(20)) == []
        up.touch()
        wait_until(received.exists, "the alert is delivered")


def test_resolved_event_reaches_its_channel_after_a_reload(settings: Settings, tmp_path: Path) -> None:
    received = tmp_path / "received"
    code = f"import sys; open({str(received)!r}, 'a').write(sys.argv[1] + ' ')"
    desk = {
        "kind": "command",
        "name": "desk",
        "argv": [sys.executable, "-c", code, "{id}"],
        "schedule": ["08:00-18:00"],
    }
    evening_s = time.mktime((2026, 3, 4, 17, 59, 50, 0, 0, -1))

    def with_outbox(size: int) -> Settings:
        values = {"persist": False, "max_outbox": size, "channels": [desk]}
        return settings.model_copy(update={"alerts": AlertSettings.model_validate(values)})

    def is_received(ids: str) -> bool:
        return received.exists() and received.read_text() == ids

    with watch(with_outbox(10)) as session:
        session.on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, evening_s, 1), None)
        wait_until(lambda: is_received("event-1 "), "the alert")
        assert session.reload(with_outbox(20)) == []
        end = Event("event-2", EventKind.RESOLVED, "door", 2.0, evening_s + 20, 1, resolves="event-1")
        session.on_event(end, None)
        wait_until(lambda: is_received("event-1 event-2 "), "the resolved event")


def test_channel_for_an_unknown_camera_logs_a_warning(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    channels = [{"kind": "plugin", "plugin": "none", "name": "desk", "cameras": ["dor", "d*"]}]
    alerts = AlertSettings.model_validate({"persist": False, "channels": channels})
    with watch(settings.model_copy(update={"alerts": alerts})):
        pass
    warnings = [record.getMessage() for record in caplog.records if "no camera matches" in record.getMessage()]
    assert warnings == ["channel 'desk' cameras: no camera matches 'dor'; did you mean door?"]


def test_clips_and_faces_follow_the_event_file(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stored_in(name: str) -> Settings:
        alerts = settings.alerts.model_copy(update={"store": tmp_path / name})
        on = {table: getattr(settings, table).model_copy(update={"enabled": True}) for table in ("clips", "collect")}
        return settings.model_copy(update={"alerts": alerts, **on})

    face = Box(40, 40, 40, 40)
    with WatchSession(stored_in("old.db"), None, None, parts=fake_parts((face,), source=LiveCamera("door"))) as session:
        assert session.reload(stored_in("new.db")) == []
        session.run_headless(lambda: (tmp_path / "new.db.clips").exists() and (tmp_path / "new.db.collected").exists())
    assert any((tmp_path / "new.db.clips").iterdir())
    assert not (tmp_path / "old.db.clips").exists()
    assert "those in " + str(tmp_path / "old.db") + " are kept until you delete them" in caplog.text


def test_reload_reads_a_changed_secret(settings: Settings, tmp_path: Path, http_peer: HttpPeer) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    desk = {"kind": "webhook", "name": "desk", "url": http_peer.url, "secret_file": secret}
    alerts = AlertSettings.model_validate({"persist": False, "channels": [desk]})
    settings = settings.model_copy(update={"alerts": alerts})

    def send() -> str:
        """The secret that signed the request of a new event."""
        count = len(http_peer.requests)
        event_id = f"event-{count}"
        session.on_event(Event(event_id, EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
        wait_until(lambda: len(http_peer.requests) > count, "the request")
        request = http_peer.requests[-1]
        stamp, signed = request.headers["x-maskwatch-timestamp"], request.headers["x-maskwatch-signature"]
        return next(each for each in ("old", "new") if signature(each, stamp, request.body) == signed)

    with watch(settings) as session:
        session.keep_regions("door", (((0.1, 0.1), (0.9, 0.1), (0.5, 0.9)),))
        assert send() == "old"
        secret.write_text("new")
        session.keep_regions("door", (((0.1, 0.1), (0.9, 0.1), (0.5, 0.8)),))
        assert send() == "old", "regions change no channel"
        assert session.reload(settings) == []
        assert send() == "new"
        plain = settings.model_copy(update={"alerts": AlertSettings(persist=False)})
        assert session.reload(plain) == []
        assert session.alerts.health().channels == ()


def test_second_watching_program_ends_in_one_line(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watch(settings):
        with pytest.raises(StoreInUseError, match=r"another maskwatch watches with .*; stop it, .* --store FILE"):
            watch(settings).__enter__()
        store = settings.alerts.store
        assert main(["watch", "--headless", "--source", "demo", "--store", str(store)]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "another maskwatch" in line]
        assert len(lines) == 1
        for beside in (["events", "list"], ["events", "stats"], ["events", "export"], ["alerts", "list"]):
            assert main([*beside, "--store", str(store)]) == 0
        assert main(["purge", "--yes", "--store", str(store)]) == 0


def test_an_event_file_that_cannot_be_used_does_not_end_the_run(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    closed = settings.alerts.model_copy(update={"store": tmp_path / "file" / "events.db"})
    with watch(settings) as session:
        session.reload(settings.model_copy(update={"alerts": closed}))
        assert session.alerts.settings.store == settings.alerts.store
        assert session.reload(settings) == []
    assert "the alert settings are not changed: cannot create" in caplog.text


def settings_file(path: Path, settings: Settings, text: str) -> SettingsFile:
    """A file with ``text``. Its runs store their events where ``settings`` say."""
    path.write_text(text)
    flags = {"alerts": {"store": settings.alerts.store}, "view": {"headless": True}}
    return SettingsFile(path, lambda text: load_settings(path, flags, text=text))


@pytest.mark.parametrize(
    "text",
    ['[[camera]]  # ours\nuri = "rtsp://127.0.0.1:1/door"\nname = "door"\n',
     'camera = [{uri = "rtsp://127.0.0.1:1/door", name = "door"}] # ours\n'],
)  # fmt: skip
def test_what_is_changed_in_the_window_is_kept_in_the_settings_file_and_can_be_undone(
    settings: Settings, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "settings.toml"
    file = settings_file(path, settings, text)
    source = LiveCamera("door")
    with WatchSession(settings, None, None, file, fake_parts(boxes=(), source=source)) as session:
        assert session.turn("door") == "rotate = 90 is saved"
        assert source.applied.rotate == 90  # type: ignore[attr-defined]
        assert session.turn("door") == "rotate = 180 is saved"
        triangle = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))
        assert session.keep_regions("door", (triangle,)) == "regions are saved"
        camera = load_settings(path).camera[0]
        assert (camera.rotate, camera.policy.regions) == (180, (triangle,))
        assert session.regions_of("door") == (triangle,)
        assert "# ours" in path.read_text()
        for _ in range(3):
            file.undo(revision_of(path.read_text()))
        assert path.read_text() == text
        path.write_text('[[camera]]\nuri = "0"\nname = "other"\n')
        assert session.turn("door").startswith("rotated by 270 degrees until maskwatch stops: camera.door.rotate: ")
        assert session.turn("removed") == "this camera is not watched any more"
        assert session.keep_regions("removed", (triangle,)) == "this camera is not watched any more"
        path.write_text("nonsense")
        assert "is not valid TOML" in session.turn("door")
        assert source.applied.rotate == 0  # type: ignore[attr-defined]


def test_regions_of_a_camera_that_the_file_does_not_name_go_to_the_common_policy(
    settings: Settings, tmp_path: Path
) -> None:
    file = settings_file(tmp_path / "settings.toml", settings, "[policy]\ndwell_s = 3.0\n")
    triangle = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))
    with WatchSession(settings, None, None, file, fake_parts(boxes=(), source=LiveCamera("door"))) as session:
        assert session.keep_regions("door", (triangle,)) == "regions are saved"
        assert load_settings(file.path).policy.regions == (triangle,)


def test_a_camera_is_turned_from_the_web_view(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = '[[camera]]\nuri = "rtsp://127.0.0.1:1/door"\nname = "door"\n'
    file = settings_file(tmp_path / "settings.toml", settings, text)
    web = settings.model_copy(update={"web": settings.web.model_copy(update={"enabled": True, "port": 0})})
    source = LiveCamera("door")
    with WatchSession(web, None, None, file, fake_parts(boxes=(), source=source)) as session:
        assert session.web is not None
        with httpx.Client(base_url=session.web.url) as client:
            csrf = client.get("/api/v1/session").json()["csrf"]
            assert client.post("/api/v1/cameras/1/turn", headers={"X-CSRF-Token": csrf}).status_code == 200
        session.follow_web()
        assert source.applied.rotate == 90  # type: ignore[attr-defined]
        assert load_settings(file.path).camera[0].rotate == 90
        assert "door: rotate = 90 is saved" in capsys.readouterr().err
        file.undo(revision_of(file.read()))
        assert file.read() == text, "the page can undo it"


def test_lost_events_are_told_in_one_sentence_and_by_the_exit_code(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    alerts = AlertSettings(store=tmp_path / "file" / "events.db")
    with watch(settings.model_copy(update={"alerts": alerts})) as session:
        session.on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
    assert session.exit_code == 1
    lost = [line for line in caplog.messages if "missing" in line]
    assert len(lost) == 1
    assert lost[0].startswith("1 event could not be written and will be missing: cannot create")
