"""A camera that does not see what it saw in its first week: simulated weeks with planted changes."""

import json
import logging
import math
import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes_monitor import LiveCamera, fake_parts
from fakes_review import result, track
from fakes_video import wait_until
from numpy.typing import NDArray

from app.cli.watch_session import WatchSession
from app.core.errors import SettingsError
from app.core.types import Box, Event, EventKind, FaceLabel, FrameResult, Image, Label
from app.review.drift import CameraDrift, DriftWatch, measure
from app.settings.load import load_settings
from app.settings.review import DriftSettings

MONDAY_S = datetime(2026, 11, 2).timestamp()
DAY_S, STEP_S = 86_400.0, 720.0
Change = Callable[[Image], Image]


@lru_cache(maxsize=1)
def room() -> Image:
    """An entrance: walls, a door, shelves and a floor with a pattern."""
    rng = np.random.default_rng(5)
    image = np.full((240, 320, 3), 120, np.uint8)
    for _ in range(60):
        x, y, w, h = rng.integers((0, 0, 8, 8), (300, 220, 60, 60))
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(40, 220, 3).tolist(), -1)
    return image


@lru_cache(maxsize=1)
def sensor_noise() -> NDArray[np.int16]:
    return np.random.default_rng(6).normal(0, 3, (240, 320, 3)).astype(np.int16)


def seen(number: int, wall_s: float, change: Change = lambda image: image) -> Image:
    """The room at that time: daylight, lamps at night, two people who walk, noise of the sensor."""
    rng = random.Random(number)
    hour = datetime.fromtimestamp(wall_s).hour
    light = 0.55 + 0.45 * max(0.0, math.sin((hour - 6) / 12 * math.pi))
    image = room().copy()
    for _ in range(2):
        x, y = rng.randrange(280), rng.randrange(60, 160)
        cv2.ellipse(image, (x, y), (18, 50), 0, 0, 360, (60, 50, 90), -1)
    image = change(image)
    noise = np.roll(sensor_noise(), rng.randrange(10**6))
    return cv2.add(cv2.convertScaleAbs(image, alpha=light), noise, dtype=cv2.CV_8U)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def first_week() -> str:
    camera = CameraDrift(7)
    for number in range(round(7 * DAY_S / STEP_S)):
        wall_s = MONDAY_S + number * STEP_S
        assert camera.add(measure(seen(number, wall_s), wall_s)) == []
        camera.add_face(track(number, Box(0, 0, 50, 60), Label.UNSURE if number % 20 == 0 else Label.MASK), wall_s)
    return json.dumps(camera.record())


@pytest.fixture
def camera() -> CameraDrift:
    """A camera after its first week, read from its file."""
    camera = CameraDrift(7)
    camera.restore(json.loads(first_week()))
    return camera


def later(camera: CameraDrift, hours: float, change: Change = lambda image: image, from_h: float = 10) -> list[str]:
    """What is reported from ``from_h`` o'clock of the eighth day on."""
    start_s, found = MONDAY_S + 7 * DAY_S + from_h * 3600, []
    for number in range(round(hours * 3600 / 300)):
        wall_s = start_s + number * 300
        found += camera.add(measure(seen(90_000 + number, wall_s, change), wall_s))
    return found


def moved(image: Image) -> Image:
    return np.roll(image, (25, 60), (0, 1))


def zoomed(image: Image) -> Image:
    return cv2.resize(image[60:180, 80:240], (320, 240))  # type: ignore[return-value]


def half_covered(image: Image) -> Image:
    image[:, :130] = 70
    return image


def smeared(image: Image) -> Image:
    image[60:200, 100:260] = cv2.GaussianBlur(image, (0, 0), 9)[60:200, 100:260]
    return image


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda image: image, []),
        (lambda image: np.clip(image * 0.8, 0, 255), []),
        (lambda image: np.clip(image * 1.2, 0, 255), []),
        (lambda image: np.roll(image, 1, 1), []),
        (lambda image: image * 0.15, ["dark"]),
        (lambda image: np.zeros_like(image), ["dark"]),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 5), ["out of focus"]),
        (moved, ["moved"]),
        (lambda image: cv2.rotate(image, cv2.ROTATE_180), ["moved"]),
        (zoomed, ["moved"]),
        (half_covered, ["covered"]),
        (smeared, ["covered"]),
    ],
)  # fmt: skip
def test_a_change_of_the_scene_is_reported_once(camera: CameraDrift, change: Change, reported: list[str]) -> None:
    assert later(camera, 1.5, change) == reported


def test_another_day_and_night_reports_nothing(camera: CameraDrift) -> None:
    assert later(camera, 24, from_h=0) == []


def test_a_short_change_is_not_reported(camera: CameraDrift) -> None:
    """Somebody stands before the camera for some minutes."""
    assert later(camera, 0.1, half_covered) == []
    assert later(camera, 2, from_h=10.1) == []


def test_a_change_that_comes_back_is_reported_after_a_day(camera: CameraDrift) -> None:
    assert later(camera, 1, moved) == ["moved"]
    assert later(camera, 1, from_h=11) == []
    assert later(camera, 1, moved, from_h=12) == []
    assert later(camera, 1, from_h=13) == []
    assert later(camera, 1, moved, from_h=40) == ["moved"]


@pytest.mark.parametrize(
    ("size_px", "unsure_every", "confidence", "reported"),
    [
        (50, 20, 0.9, []),
        (55, 10, 0.85, []),
        (50, 2, 0.9, ["unsure"]),
        (50, 20, 0.65, ["less confident"]),
        (25, 20, 0.9, ["smaller faces"]),
        (100, 20, 0.9, ["larger faces"]),
    ],
)
def test_a_change_of_the_faces_is_reported_once(
    camera: CameraDrift, size_px: int, unsure_every: int, confidence: float, reported: list[str]
) -> None:
    found = []
    for number in range(200):
        label = Label.UNSURE if number % unsure_every == 0 else Label.NO_MASK
        face = replace(track(number, Box(0, 0, size_px, size_px)), label=FaceLabel(label, confidence))
        found += camera.add_face(face, MONDAY_S + 8 * DAY_S + number)
    assert found == reported


def test_a_file_that_cannot_be_read_is_learned_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "usual.json"
    for text in ("{", '{"door": {}}', '{"door": {"first_s": 1, "hours": [], "faces": {}, "reported_s": {}}}', "[]"):
        file.write_text(text)
        watch = DriftWatch(DriftSettings(enabled=True), file, made)
        watch.load()
        assert watch.on_result(result(1.0)) == []
        watch.close(60)
        assert json.loads(file.read_text())["door"]["first_s"] > 0
    assert len([each for each in caplog.records if each.levelno == logging.WARNING]) == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_a_disk_that_hangs_does_not_hold_up_the_results(tmp_path: Path) -> None:
    """Regression: the file was written by the thread of the dispatcher, so no alert was sent meanwhile."""
    file = tmp_path / "usual.json"
    os.mkfifo(file)  # opening it waits for a reader
    watch = DriftWatch(DriftSettings(enabled=True), file, made)
    for hour in range(3):
        found = result(3600.0 * hour)
        watch.on_result(replace(found, frame=replace(found.frame, wall_s=MONDAY_S + 3600 * hour)))
    assert "door" in json.loads(file.read_text())
    watch.close(0.01)
    assert "door" in json.loads(file.read_text())


def test_drift_is_refused_without_an_event_file() -> None:
    """It was silently left out."""
    with pytest.raises(SettingsError, match=r"drift .*alerts\.persist is false"):
        load_settings(None, {"drift": {"enabled": True}, "alerts": {"persist": False}})


def made(reason: str, found: FrameResult) -> Event:
    return Event("00", EventKind.CAMERA_CHANGED, found.frame.camera, 0.0, 0.0, reason=reason)


def test_a_moved_camera_becomes_an_event_with_a_picture(tmp_path: Path) -> None:
    store = tmp_path / "events.db"
    (tmp_path / "events.db.usual.json").write_text(json.dumps({"door": json.loads(first_week())}))
    settings = load_settings(
        None,
        {
            "camera": [{"uri": "rtsp://127.0.0.1:1/door", "name": "door"}],
            "alerts": {"store": store, "snapshots": "blur_others"},
            "drift": {"enabled": True},
            "view": {"headless": True},
        },
    )
    start_s = MONDAY_S + 7 * DAY_S + 36_000
    with WatchSession(settings, None, None, parts=fake_parts(boxes=(), source=LiveCamera("door"))) as session:
        wait_until(lambda: "door" in session.latest, "the first frame is analysed")
        watch = DriftWatch(settings.drift, store.with_name("events.db.usual.json"), session.change_event)
        watch.load()
        events: list[Event] = []
        for number in range(8):
            wall_s = start_s + 180 * number
            found = result(float(number), (), seen(number, wall_s, moved))
            found = replace(found, frame=replace(found.frame, wall_s=wall_s))
            for event in watch.on_result(found):
                session.on_event(event, found)
                events.append(event)
        (event,) = events
        assert event.kind is EventKind.CAMERA_CHANGED
        assert event.reason.startswith("moved: the camera was moved or turned: turn it back")
        assert (session.alerts.snapshot(event.id) or b"")[:2] == b"\xff\xd8"
