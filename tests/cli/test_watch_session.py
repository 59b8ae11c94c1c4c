"""One run of ``watch`` beside its window: the film, and the words on the console."""

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
import pytest
from fakes import BoxesDetector, BrightnessClassifier
from fakes_monitor import LiveCamera
from fakes_video import picture, wait_until, write_clip

from app.alerts.delivery import AlertCenter
from app.alerts.event_store import EventStore
from app.capture.source import FrameSource, make_source
from app.cli import watch_session as session_module
from app.cli.watch_session import WatchSession
from app.core.types import Event, EventKind
from app.pipeline import monitor
from app.settings.alerts import AlertSettings
from app.settings.monitor import CameraSettings
from app.settings.root import Settings, load_settings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of one live camera, 'door', without faces."""
    door: FrameSource = LiveCamera("door")
    for module in (monitor, session_module):
        monkeypatch.setattr(module, "make_source", lambda _: door)
    monkeypatch.setattr(monitor, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor, "load_detector", lambda _: BoxesDetector(lambda _: []))
    return load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": tmp_path / "events.db"},
            "view": {"headless": True},
        },
    )


def test_a_full_disk_ends_the_film_of_a_live_camera_and_not_the_watching(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    film = tmp_path / "out.avi"
    lost_at: list[int] = []

    def stopped() -> bool:
        if session._film is not None and not lost_at:
            monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 0))
        if session.exit_code and not lost_at:
            lost_at.append(session._frames)
        return bool(lost_at) and session._frames > lost_at[0] + 5

    before = set(threading.enumerate())
    with WatchSession(settings, film, tmp_path / "out.csv") as session:
        session.run_headless(stopped)
    assert session.exit_code == 1
    assert [record.getMessage() for record in caplog.records if "out.avi" in record.getMessage()] == [
        f"cannot go on writing {film}: its disk is full; make room; it is watched on without a film"
    ]
    kept = cv2.VideoCapture(str(film))  # what was filmed before is whole
    assert kept.read()[0]
    kept.release()
    assert (tmp_path / "out.csv").exists(), "events are written on"
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()])
def test_watching_goes_on_where_nothing_can_be_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    """The log that standard error is written to lies on a full disk, or its reader has left."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise fault

    monkeypatch.setattr(sys, "stderr", Full())
    with WatchSession(settings, None, None) as session:
        session._on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
        session.run_headless(lambda: session._frames > 5)
    session.print_summary()
    assert session.exit_code == 0
    with EventStore(settings.alerts.store) as store:
        assert [event.id for event in store.events()] == ["event-1"]


def test_an_event_is_told_in_words_for_people() -> None:
    end = Event("event-2", EventKind.RESOLVED, "door", 2.0, 0.0, 1, reason="mask", resolves="event-1")
    assert "door at 2.0 s: resolved (mask on), person #1" in session_module.event_text(end)


def test_a_live_run_without_a_window_says_that_it_watches(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with WatchSession(settings, None, None) as session:
        session.run_headless(lambda: session._frames > 5)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "watching" in line] == ["watching door; Ctrl-C ends it"]


def test_the_film_of_a_varying_rate_lasts_as_long_as_its_source(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_ms = [50 * i + 17 * (i % 2) for i in range(60)]
    clip = write_clip(tmp_path / "in.mkv", [picture(i) for i in range(60)], 1000, times_ms=times_ms)
    for module in (monitor, session_module):
        monkeypatch.setattr(module, "make_source", make_source)
    camera = CameraSettings(uri=str(clip), pace="fast")
    with WatchSession(settings.model_copy(update={"camera": (camera,)}), tmp_path / "out.mp4", None) as session:
        session.run_headless(lambda: False)
    film = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    lasts_s = film.get(cv2.CAP_PROP_FRAME_COUNT) / film.get(cv2.CAP_PROP_FPS)
    film.release()
    assert lasts_s == pytest.approx(times_ms[-1] / 1000, abs=0.1)


@pytest.mark.parametrize("frames", [0, 5])
def test_the_summary_names_the_files_that_were_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    """All there are, and no others: what was not begun is not there."""
    film, events = tmp_path / "[1] of a long name that no narrow console may break.avi", tmp_path / "out.csv"
    with WatchSession(settings, film, events) as session:
        session.run_headless(lambda: session._frames >= frames)
    session.print_summary()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("written: ")]
    there = [path for path in (film, events) if path.exists()]
    assert told == ([f"written: {', '.join(map(str, there))}"] if there else [])
    assert film.exists() is (frames > 0)


def test_without_files_the_summary_names_none(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with WatchSession(settings, None, None) as session:
        session.run_headless(lambda: session._frames > 1)
    session.print_summary()
    assert "written" not in capsys.readouterr().err


def test_new_alert_settings_lose_no_alert_and_hold_up_no_camera(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is stored, and a channel takes its time to be set up."""
    up, told = tmp_path / "up", tmp_path / "told"
    code = f"import os, sys; os.path.exists({str(up)!r}) or sys.exit(1); open({str(told)!r}, 'a').write('told')"
    desk = {"kind": "command", "name": "desk", "argv": [sys.executable, "-c", code]}

    def persisting_nothing(max_outbox: int) -> Settings:
        values = {"persist": False, "retry_max_s": 1, "max_outbox": max_outbox, "channels": [desk]}
        return settings.model_copy(update={"alerts": AlertSettings.model_validate(values)})

    def frames() -> int:
        result = session._latest.get("door")
        return 0 if result is None else result.frame.index

    def slow_center(*args: Any, **more: Any) -> AlertCenter:
        began = frames()
        wait_until(lambda: frames() > began + 2, "frames go on meanwhile")
        return AlertCenter(*args, **more)

    with WatchSession(persisting_nothing(10), None, None) as session:
        session._on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, time.time(), 1), None)
        wait_until(lambda: session._alerts.health().channels[0].state == "retrying", "it fails")
        monkeypatch.setattr(session_module, "AlertCenter", slow_center)
        assert session.reload(persisting_nothing(20)) == []
        up.touch()
        wait_until(told.exists, "it is told in the end")


def test_the_end_of_an_alert_reaches_its_channel_after_new_settings(settings: Settings, tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.argv[1] + ' ')"
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

    def tells(words: str) -> bool:
        return told.exists() and told.read_text() == words

    with WatchSession(with_outbox(10), None, None) as session:
        session._on_event(Event("event-1", EventKind.NO_MASK, "door", 1.0, evening_s, 1), None)
        wait_until(lambda: tells("event-1 "), "the alert")
        assert session.reload(with_outbox(20)) == []
        end = Event("event-2", EventKind.RESOLVED, "door", 2.0, evening_s + 20, 1, resolves="event-1")
        session._on_event(end, None)
        wait_until(lambda: tells("event-1 event-2 "), "its end")


def test_a_channel_for_a_camera_that_is_not_there_is_warned_of(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    channels = [{"kind": "plugin", "plugin": "none", "name": "desk", "cameras": ["dor", "d*"]}]
    alerts = AlertSettings.model_validate({"persist": False, "channels": channels})
    with WatchSession(settings.model_copy(update={"alerts": alerts}), None, None):
        pass
    told = [record.getMessage() for record in caplog.records if "no camera fits" in record.getMessage()]
    assert told == ["channel 'desk' cameras: no camera fits 'dor'; did you mean door?"]


def test_a_secret_that_was_exchanged_holds_from_the_reload_on(settings: Settings, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old")
    desk = {"kind": "webhook", "name": "desk", "url": "http://127.0.0.1:9/x", "secret_file": secret}
    alerts = AlertSettings.model_validate({"persist": False, "channels": [desk]})
    settings = settings.model_copy(update={"alerts": alerts})
    with WatchSession(settings, None, None) as session:
        first = session._alerts
        session.keep_regions("door", (((0.1, 0.1), (0.9, 0.1), (0.5, 0.9)),))
        assert session._alerts is first
        secret.write_text("new")
        assert session.reload(settings) == []
        assert session._alerts is not first
        second = session._alerts
        plain = settings.model_copy(update={"alerts": AlertSettings(persist=False)})
        assert session.reload(plain) == []
        third = session._alerts
        assert third is not second
        assert session.reload(plain) == []
        assert session._alerts is third
