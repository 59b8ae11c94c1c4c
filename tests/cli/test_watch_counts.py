"""What a run of ``watch`` stores and counts."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector
from fakes_alerts import HttpPeer
from fakes_monitor import LiveCamera, fake_parts
from fakes_video import LIMIT_S, wait_until

from app.alerts.day_counts import day_start_s
from app.alerts.event_store import EventStore
from app.alerts.store_types import EventFilter
from app.capture.source import make_source
from app.cli.watch_session import WatchSession
from app.core.camera_hours import CameraHour, Occupancy, hour_of
from app.core.text import REMOVED
from app.core.types import Box, Event, EventKind, Label
from app.pipeline.monitor_parts import MonitorParts
from app.settings.load import load_settings
from app.settings.root import Settings
from app.settings.vision import DetectorSettings


def bare_settings(tmp_path: Path, *cameras: dict[str, Any], **alerts: Any) -> Settings:
    """Every bare face alerts at once."""
    return load_settings(
        None,
        {
            "camera": [{"pace": "fast", "fps": 10, **camera} for camera in cameras],
            "policy": {"dwell_s": 0.2, "min_observations": 1, "min_confidence": 0.6, "cooldown_s": 0}
            | {"resolve_after_s": 0.1},
            "tracking": {"recheck_s": 0.05, "recheck_moving_s": 0.05, "smooth_s": 0.02},
            "alerts": {"store": tmp_path / "events.db", **alerts},
            "view": {"headless": True},
        },
    )


def test_people_inside_are_kept_over_a_restart_and_the_limit_is_reported(tmp_path: Path) -> None:
    line = {"name": "main", "points": [[0.5, 1], [0.5, 0]]}
    settings = bare_settings(tmp_path, DOOR | {"line": [line], "occupancy": {"limit": 2}})
    settings = settings.model_copy(update={"detector": DetectorSettings(full_look_s=0, still_look_s=0)})

    def run(step_px: int, kind: EventKind) -> Event:
        """Faces pass one after the other; returns the first event of ``kind``."""

        def boxes(call: int) -> list[Box]:
            x = call * step_px % 200
            return [Box(x, 50, 24, 24)] if x < 136 else []

        parts = fake_parts(source=LiveCamera("door"), load_detector=lambda _: BoxesDetector(boxes))
        with WatchSession(settings, None, None, parts=parts) as session:
            session.run_headless(lambda: kind in [event.kind for event in session.alerts.recent()])
            state = session.monitor.views()[0].occupancy
            assert state is not None
            reached = [event.kind for event in session.monitor.views()[0].open_alerts]
            assert (EventKind.OCCUPANCY_REACHED in reached) is (state.inside >= 2)
        return next(event for event in session.alerts.recent() if event.kind is kind)

    reached = run(6, EventKind.OCCUPANCY_REACHED)
    assert reached.people == 2
    with EventStore(settings.alerts.store) as store:
        (kept,) = store.occupancy()
    assert (kept.entered, kept.exited, kept.inside) == (kept.inside, 0, kept.inside)
    assert kept.inside >= 2
    below = run(-6, EventKind.OCCUPANCY_BELOW)
    assert (below.resolves, below.people) == (reached.id, 1)
    with EventStore(settings.alerts.store) as store:
        assert store.occupancy()[0].exited >= kept.inside - 1


def test_people_inside_are_kept_when_a_camera_gets_another_name(tmp_path: Path) -> None:
    settings = bare_settings(tmp_path, DOOR | {"line": [{"name": "main", "points": [[0.5, 1], [0.5, 0]]}]})
    camera = settings.camera[0].model_copy(update={"name": "gate"})
    parts = fake_parts(boxes=(), make_source=lambda own: LiveCamera(own.name))
    with WatchSession(settings, None, None, parts=parts) as session:
        session.counts.keep_occupancy(Occupancy(settings.camera[0].name, time.time(), {"main": (5, 2)}, 3))
        session.reload(settings.model_copy(update={"camera": (camera,)}))
        wait_until(lambda: session.monitor.views()[0].camera == "gate", "the camera has its new name")
        state = session.monitor.views()[0].occupancy
        assert state is not None
        assert (state.camera, state.inside, state.entered) == ("gate", 3, 5)


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_zone_alerts_only_through_its_channels(tmp_path: Path, is_removed: bool) -> None:
    """Also the end of its alert, and also if the zone is removed before."""
    zone = {"name": "ward", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "channels": ["nurse"]}
    channels = [{"kind": "command", "name": name, "argv": ["true"]} for name in ("nurse", "office")]
    settings = bare_settings(tmp_path, DOOR | {"zone": [zone]}, channels=channels)
    door = LiveCamera("door")

    def stopped() -> bool:
        kinds = [event.kind for event in session.alerts.recent()]
        if EventKind.NO_MASK in kinds and door.colour == 10:
            if is_removed:
                session.reload(bare_settings(tmp_path, DOOR, channels=channels))
            door.colour = 245
        return EventKind.RESOLVED in kinds

    with WatchSession(settings, None, None, parts=fake_parts(source=door)) as session:
        session.run_headless(stopped)
    with EventStore(settings.alerts.store) as store:
        assert {event.zone for event in store.events(EventFilter(kinds=("no_mask", "resolved")))} == {"ward"}
        assert {each.channel for each in store.deliveries()} == {"nurse"}, "also the end of the alert"


def paint_clip(folder: Path) -> Path:
    """A folder of images with one bare face."""
    folder.mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f"{i:02}.png"), np.full((120, 160, 3), (10, 10, 10 + i % 2), np.uint8))
    return folder


DOOR = {"uri": "rtsp://127.0.0.1:1/door", "name": "door"}


def door_and_files(door: LiveCamera) -> MonitorParts:
    return fake_parts(make_source=lambda settings: door if settings.name == "door" else make_source(settings))


@pytest.mark.parametrize("asked", [False, True])
def test_a_file_is_stored_and_counted_only_if_that_is_asked_for(tmp_path: Path, asked: bool) -> None:
    clip = {"uri": str(paint_clip(tmp_path / "clip"))}
    settings = bare_settings(tmp_path, clip, store_files=asked)
    with WatchSession(settings, None, None, parts=fake_parts()) as session:
        session.run_headless(lambda: False)
        assert [event.kind for event in session.alerts.recent()] == [EventKind.NO_MASK], "it is sent"
        assert session.monitor.views()[0].counts is not None
    assert settings.alerts.store.exists() is asked
    if asked:
        with EventStore(settings.alerts.store) as store:
            assert [event.camera for event in store.events()] == ["clip"]
            assert [hour.bare for hour in store.hours()] == [1]


def test_beside_a_live_camera_a_file_is_sent_but_not_stored(tmp_path: Path, http_peer: HttpPeer) -> None:
    clip = {"uri": str(paint_clip(tmp_path / "clip"))}
    channel = {"kind": "webhook", "name": "desk", "url": http_peer.url}
    settings = bare_settings(tmp_path, DOOR, clip, channels=[channel])
    with WatchSession(settings, None, None, parts=door_and_files(LiveCamera("door"))) as session:
        end_s = time.monotonic() + 3.0  # some checks of the watchdog, which measures the watched time
        session.run_headless(lambda: len(http_peer.requests) >= 2 and time.monotonic() > end_s)
    cameras = {json.loads(request.body)["camera"] for request in http_peer.requests}
    assert cameras == {"door", "clip"}
    with EventStore(settings.alerts.store) as store:
        assert {event.camera for event in store.events()} == {"door"}
        assert {each.event.camera for each in store.deliveries()} == {"door"}
        (hour,) = {hour.camera: hour for hour in store.hours()}.values()
    assert (hour.camera, hour.bare) == ("door", 1)
    assert 0 < hour.watched_s < LIMIT_S


def test_now_today_and_the_stored_counts_agree(tmp_path: Path) -> None:
    """Regression: a person who had put the mask on was shown as one mask, none seen, and two seen without a mask."""
    settings = bare_settings(tmp_path, DOOR)
    door = LiveCamera("door")

    def numbers() -> tuple[dict[Label, int], dict[Label, int]]:
        counts = session.monitor.views()[0].counts
        assert counts is not None
        return {label: n for label, n in counts.now.items() if n}, {label: n for label, n in counts.seen.items() if n}

    for earlier in (0, 1):
        door.colour = 10
        with WatchSession(settings, None, None, parts=fake_parts(source=door)) as session:
            session.run_headless(lambda: len(session.alerts.recent()) > 0)
            door.colour = 245  # the mask is on
            session.run_headless(lambda: numbers()[0] == {Label.MASK: 1})
            assert numbers()[1] == {Label.NO_MASK: earlier + 1}, "in view, and counted at once, by the worst label"
            now_s = time.time()
            assert sum(hour.bare for hour in session.alerts.hours(EventFilter(day_start_s(now_s)))) == earlier + 1
        counted = session.counts.today("door")
        assert counted == {Label.MASK: 0, Label.NO_MASK: earlier + 1, Label.INCORRECT: 0}, "bare for the dwell time"
        with EventStore(settings.alerts.store) as store:
            assert sum(hour.bare for hour in store.hours()) == earlier + 1
            assert sum(hour.people for hour in store.hours()) == earlier + 1


def test_an_alert_that_is_resolved_is_raised_again(tmp_path: Path) -> None:
    settings = bare_settings(tmp_path, DOOR)
    door = LiveCamera("door")

    def kinds() -> list[str]:
        return [event.kind.value for event in session.alerts.recent()]

    def stopped() -> bool:
        door.colour = 245 if kinds().count("no_mask") > kinds().count("resolved") else 10
        return len(kinds()) >= 4

    with WatchSession(settings, None, None, parts=fake_parts(source=door)) as session:
        session.run_headless(stopped)
    with EventStore(settings.alerts.store) as store:
        events = store.events()[:4]
    assert [event.kind.value for event in events] == ["no_mask", "resolved", "no_mask", "resolved"]
    assert len({event.track_id for event in events}) == 1, "one person"
    assert [event.resolves for event in events[1::2]] == [event.id for event in events[::2]]


def test_the_summary_counts_people_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also those who were counted before a restart of the camera, and those in view at the end."""
    settings = bare_settings(tmp_path, DOOR)
    with WatchSession(settings, None, None, parts=fake_parts(source=LiveCamera("door"))) as session:
        session.run_headless(lambda: len(session.alerts.recent()) > 0)
        session.counts.record([CameraHour("door", hour_of(time.time()), masked=2)])
    session.print_summary()
    (row,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("│ door")]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["door", "2", "1", "0"]


def test_every_number_of_the_documentation_has_its_test() -> None:
    root = Path(__file__).resolve().parents[2]
    rows = [line for line in (root / "docs" / "numbers.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        path, _, name = row.split("`")[-2].partition("::")
        assert f"def {name}(" in (root / path).read_text(), row


def test_the_last_events_and_people_of_a_removed_camera_are_stored(tmp_path: Path) -> None:
    gate = {"name": "gate", "uri": "rtsp://gate/"}
    settings, later = (bare_settings(tmp_path, *cameras) for cameras in ((DOOR, gate), (gate,)))
    parts = fake_parts(make_source=lambda own: LiveCamera(own.name))
    with WatchSession(settings, None, None, parts=parts) as session:
        session.run_headless(lambda: {event.camera for event in session.alerts.recent()} >= {"door", "gate"})
        session.reload(later)
        session.run_headless(lambda: len(session.monitor.views()) == 1)
        session.counts.record(
            [CameraHour("door", hour_of(time.time()), masked=5)]
        )  # the monitor may still have something
    with EventStore(settings.alerts.store) as store:
        ended = [event for event in store.events() if event.resolves and event.camera == "door"]
        assert [event.reason for event in ended] == [REMOVED]
        seen = [hour for hour in store.hours() if hour.camera == "door"]
        assert (sum(hour.masked for hour in seen), sum(hour.bare for hour in seen)) == (5, 1)
