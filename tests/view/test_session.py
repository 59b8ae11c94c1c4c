"""One run of ``watch`` beside its window: the film, and the words on the console."""

import shutil
import threading
from collections import namedtuple
from pathlib import Path

import cv2
import pytest
from fakes import BoxesDetector, BrightnessClassifier
from fakes_monitor import LiveCamera

from app.config import Settings, load_settings
from app.monitor import pipeline
from app.video.source import FrameSource
from app.view import session as session_module
from app.view.session import Session

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of one live camera, 'door', without faces."""
    door: FrameSource = LiveCamera("door")
    for module in (pipeline, session_module):
        monkeypatch.setattr(module, "make_source", lambda _: door)
    monkeypatch.setattr(pipeline, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(pipeline, "load_detector", lambda _: BoxesDetector(lambda _: []))
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
    with Session(settings, film, tmp_path / "out.csv") as session:
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


def test_a_live_run_without_a_window_says_that_it_watches(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with Session(settings, None, None) as session:
        session.run_headless(lambda: session._frames > 5)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "watching" in line] == ["watching door; Ctrl-C ends it"]


@pytest.mark.parametrize("frames", [0, 5])
def test_the_summary_names_the_files_that_were_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    """All there are, and no others: what was not begun is not there."""
    film, events = tmp_path / "[1] of a long name that no narrow console may break.avi", tmp_path / "out.csv"
    with Session(settings, film, events) as session:
        session.run_headless(lambda: session._frames >= frames)
    session.print_summary()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("written: ")]
    there = [path for path in (film, events) if path.exists()]
    assert told == ([f"written: {', '.join(map(str, there))}"] if there else [])
    assert film.exists() is (frames > 0)


def test_without_files_the_summary_names_none(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with Session(settings, None, None) as session:
        session.run_headless(lambda: session._frames > 1)
    session.print_summary()
    assert "written" not in capsys.readouterr().err
