"""Cameras that are added, changed and removed while the monitor runs."""

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes_monitor import LiveCamera, fake_parts
from fakes_video import FakeSource, frame, wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.capture.source import make_source
from app.core.camera_hours import CameraHour, Occupancy
from app.core.errors import SourceError
from app.core.text import MOVED
from app.core.types import Event, EventKind, Label
from app.pipeline.monitor import Monitor
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

BARE = 10


def settings_of(*names: str, **more: Any) -> Settings:
    cameras = [{"name": name, "uri": f"rtsp://{name}/", "reconnect_s": [0.05], **more} for name in names]
    policy = {"dwell_s": 0.2, "min_observations": 2}
    monitor = {"offline_after_s": 0.1, "recovered_after_s": 0.1}
    return load_settings(None, {"camera": cameras, "policy": policy, "monitor": monitor})


class Recorder:
    def __init__(self) -> None:
        self.people = 0
        self.in_view: dict[str, int] = {}
        self.counts: dict[str, Occupancy] = {}

    def record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        self.people += sum(hour.people for hour in hours)
        self.in_view.update({hour.camera: hour.people for hour in in_view})

    def today(self, camera: str) -> dict[Label, int] | None:
        return None

    def occupancy(self, camera: str) -> Occupancy | None:
        return self.counts.get(camera)

    def keep_occupancy(self, state: Occupancy) -> None:
        self.counts[state.camera] = state


def test_a_removed_camera_leaves_no_open_alert_no_outage_and_nobody_in_view() -> None:
    cameras = {name: LiveCamera(name, BARE) for name in ("door", "yard", "gate")}
    cameras["yard"].offline.set()
    events: list[Event] = []
    recorder = Recorder()
    parts = fake_parts(make_source=lambda settings: cameras[settings.name])
    with Monitor(
        settings_of("door", "yard", "gate"),
        event_listeners=[lambda event, _: events.append(event)],
        parts=parts,
        recorder=recorder,
    ) as monitor:
        kinds = lambda camera: [event.kind for event in events if event.camera == camera]  # noqa: E731
        wait_until(lambda: kinds("door") == [EventKind.NO_MASK], "the door alerts")
        wait_until(lambda: kinds("yard") == [EventKind.CAMERA_OFFLINE], "the yard is offline")
        monitor.apply(settings_of("gate"))
        wait_until(lambda: [view.camera for view in monitor.views()] == ["gate"], "two cameras end")
        wait_until(lambda: kinds("door")[1:] == [EventKind.RESOLVED], "the alert is resolved")
        wait_until(lambda: kinds("yard")[1:] == [EventKind.CAMERA_RECOVERED], "the outage ends")
        wait_until(lambda: recorder.in_view["door"] == 0 and recorder.people == 1, "who was in view is counted")
        resolved = next(event for event in events if event.kind is EventKind.RESOLVED)
        assert resolved.resolves == next(event.id for event in events if event.camera == "door")
        assert not monitor.finished
        monitor.apply(settings_of("door", "gate"))
        wait_until(lambda: len(kinds("door")) == 3, "the door alerts again")


def test_the_run_ends_when_the_files_that_are_left_have_ended() -> None:
    sources: dict[str, FakeSource | LiveCamera] = {
        "file": FakeSource([frame(i, camera="file") for i in range(3)], is_live=False),
        "live": LiveCamera("live"),
        "late": FakeSource([frame(i, camera="late") for i in range(3)], is_live=False),
    }
    for name in ("file", "late"):
        sources[name].name = name
    results = []
    parts = fake_parts(make_source=lambda settings: sources[settings.name])
    with Monitor(settings_of("file", "live", pace="fast"), [results.append], parts=parts) as monitor:
        wait_until(lambda: {"file", "live"} <= {result.frame.camera for result in results}, "both are analysed")
        monitor.apply(settings_of("file", "late", pace="fast"))
        wait_until(lambda: monitor.take(0.05) is not None and monitor.finished, "the run ends without the live camera")
        assert sum(result.frame.camera == "late" for result in results) == 3


def test_a_camera_that_cannot_be_started_is_reported_and_tried_at_the_next_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = True

    def make(settings: CameraSettings) -> LiveCamera:
        if settings.name == "gate" and broken:
            raise SourceError("cannot open gate: no such driver")
        return LiveCamera(settings.name)

    with caplog.at_level(logging.ERROR), Monitor(settings_of("door"), parts=fake_parts(make_source=make)) as monitor:
        monitor.apply(settings_of("door", "gate"))
        wait_until(lambda: "gate cannot be started: cannot open gate: no such driver" in caplog.text, "it is reported")
        assert [view.camera for view in monitor.views()] == ["door"]
        broken = False
        monitor.apply(settings_of("door", "gate"))
        wait_until(lambda: [view.camera for view in monitor.views()] == ["door", "gate"], "it is started")


@pytest.mark.parametrize("name", ["door", "gate"])
def test_a_run_does_not_end_because_no_camera_of_the_new_settings_can_be_started(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For example with a detector that does not exist: the camera before goes on."""

    def make(settings: CameraSettings) -> LiveCamera:
        if settings.username:
            raise SourceError(f"cannot open {settings.name}")
        return LiveCamera(settings.name)

    results: list[object] = []
    with (
        caplog.at_level(logging.ERROR),
        Monitor(settings_of("door"), [results.append], parts=fake_parts(make_source=make)) as monitor,
    ):
        monitor.apply(settings_of(name, username="guest"))
        wait_until(lambda: f"{name} cannot be started" in caplog.text, "it is reported")
        count = len(results)
        wait_until(lambda: len(results) > count + 3 or monitor.finished, "the camera before goes on")
        assert not monitor.finished
        monitor.apply(settings_of("yard"))
        wait_until(lambda: [view.camera for view in monitor.views()] == ["yard"], "the next settings are used")


@pytest.mark.parametrize("name", ["door", "gate"])
@pytest.mark.parametrize("uri", ["missing.mp4", "text.mp4", "missing.png"])
def test_a_run_does_not_end_because_the_only_file_of_the_new_settings_is_none(
    name: str, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.mp4").write_text("a text of some length\n" * 9)
    file = load_settings(None, {"camera": [{"name": name, "uri": str(tmp_path / uri)}]})
    make = lambda settings: LiveCamera(settings.name) if settings.is_live else make_source(settings)  # noqa: E731
    results: list[object] = []
    with (
        caplog.at_level(logging.ERROR),
        Monitor(settings_of("door"), [results.append], parts=fake_parts(make_source=make)) as monitor,
    ):
        monitor.apply(file)
        wait_until(lambda: f"{name} cannot be started: " in caplog.text or not monitor.is_healthy, "it is reported")
        count = len(results)
        wait_until(lambda: len(results) > count + 3 or not monitor.is_healthy, "the camera before goes on")
        assert monitor.is_healthy
    assert str(tmp_path / uri) in caplog.text
    assert ("door cannot" in caplog.text) == ("it goes on as before" in caplog.text)
    assert ("gate cannot" in caplog.text) == ("those before stay in use" in caplog.text)


def test_live_settings_do_not_start_a_camera_again() -> None:
    made: list[str] = []

    def make(settings: CameraSettings) -> LiveCamera:
        made.append(settings.name)
        return LiveCamera(settings.name)

    with Monitor(settings_of("door"), parts=fake_parts(make_source=make)) as monitor:
        source = monitor.sources[0]
        monitor.apply(settings_of("door", rotate=90, policy={"dwell_s": 9}))
        monitor.check_threads()
        assert source.applied.rotate == 90  # type: ignore[attr-defined]
        assert made == ["door"]
        monitor.apply(settings_of("door", rotate=90, detector={"min_face_px": 50}))
        wait_until(lambda: made == ["door", "door"], "another detector needs another camera")


def test_settings_that_come_while_a_camera_starts_are_used() -> None:
    later: list[Settings] = []

    def make(settings: CameraSettings) -> LiveCamera:
        while later:
            monitor.apply(later.pop())
        return LiveCamera(settings.name)

    with Monitor(settings_of("door"), parts=fake_parts(make_source=make)) as monitor:
        later.append(settings_of("door", "gate", rotate=90))
        monitor.apply(settings_of("door", "gate"))
        turned = lambda: [view.settings.rotate for view in monitor.views() if view.settings]  # noqa: E731
        wait_until(lambda: turned() == [90, 90], "both are turned")
        later.append(settings_of("door"))
        monitor.apply(settings_of("door", "yard"))
        wait_until(lambda: not later and turned() == [0], "the camera that was taken back is not there")


def test_a_removed_camera_ends_its_limit_and_one_that_is_replaced_continues_its_counts() -> None:
    line = {"name": "main", "points": [[0.5, 0.0], [0.5, 1.0]]}
    crowded = {"line": [line], "occupancy": {"limit": 2}}
    limit = Event("0123456789abcdef", EventKind.OCCUPANCY_REACHED, "door", 1.0, time.time() - 60, people=3)
    events: list[Event] = []
    recorder = Recorder()
    recorder.counts["door"] = Occupancy("door", time.time(), {"main": (3, 0)}, 3, limit)
    parts = fake_parts(make_source=lambda settings: LiveCamera(settings.name))
    listeners = [lambda event, _: events.append(event)]
    with Monitor(settings_of("door", **crowded), event_listeners=listeners, parts=parts, recorder=recorder) as monitor:
        recorder.counts.clear()  # as if it had not stored the last count yet
        first = monitor.sources[0]
        monitor.apply(settings_of("door", **crowded, detector={"min_face_px": 50}))
        wait_until(lambda: monitor.sources[0] is not first, "the camera is replaced")
        assert monitor.views()[0].open_alerts[-1:] == (limit,)
        monitor.apply(settings_of("gate"))
        ends = lambda: [event for event in events if event.kind is EventKind.OCCUPANCY_BELOW]  # noqa: E731
        wait_until(lambda: len(ends()) == 1, "the limit ends")
        assert (ends()[0].resolves, ends()[0].people, round(ends()[0].duration_s / 10)) == (limit.id, 3, 6)
        wait_until(lambda: recorder.counts["door"].alert is None, "it is stored as ended")
        assert recorder.counts["door"].inside == 3


def test_a_camera_that_another_node_watches_ends_its_limit() -> None:
    line = {"name": "main", "points": [[0.5, 0.0], [0.5, 1.0]]}
    limit = Event("0123456789abcdef", EventKind.OCCUPANCY_REACHED, "door", 1.0, time.time(), people=3)
    events: list[Event] = []
    recorder = Recorder()
    recorder.counts["door"] = Occupancy("door", time.time(), {"main": (3, 0)}, 3, limit)
    is_moved = threading.Event()
    with Monitor(
        settings_of("door", line=[line], occupancy={"limit": 2}),
        event_listeners=[lambda event, _: events.append(event)],
        parts=fake_parts(boxes=(), make_source=lambda settings: LiveCamera(settings.name)),
        recorder=recorder,
        may_watch=lambda _: not is_moved.is_set(),
    ):
        is_moved.set()
        wait_until(lambda: len(events) == 1, "the limit ends")
        assert (events[0].kind, events[0].reason, events[0].resolves) == (EventKind.OCCUPANCY_BELOW, MOVED, limit.id)
        is_moved.clear()
        wait_until(lambda: len(events) == 2, "it is reached again")
        assert events[1].kind is EventKind.OCCUPANCY_REACHED
