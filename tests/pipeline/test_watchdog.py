"""The watchdog: threads that hang, cameras that go offline and recover, clocks that jump."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from app.capture.status import SourceState, SourceStatus
from app.core.errors import SourceError
from app.core.types import EventKind
from app.pipeline.heartbeat import AwakeClock, Heartbeat
from app.pipeline.watchdog import (
    RESTART_SHOWN_S,
    Action,
    CameraHealth,
    GiveUpCamera,
    ReportOutage,
    Restart,
    Stage,
    Watchdog,
    raise_if_none_left,
)
from app.settings.monitor import MonitorSettings


class FakeClocks:
    """A monotonic clock and a wall clock that the test moves."""

    def __init__(self) -> None:
        self.now_s, self.wall_s = 1000.0, 1_700_000_000.0

    def run(self, check: Callable[[], object], duration_s: float) -> None:
        for _ in range(round(duration_s * 4)):
            self.now_s += 0.25
            self.wall_s += 0.25
            check()


class WatchedCamera:
    """A watchdog over one working camera, with fake clocks. ``actions``: what it has asked for."""

    def __init__(self) -> None:
        self.clocks = FakeClocks()
        self.watchdog = Watchdog(AwakeClock(lambda: self.clocks.now_s))
        self.classifier, self.dispatcher = Heartbeat(), Heartbeat()
        self.actions: list[Action] = []
        self.health = CameraHealth(
            name="door",
            is_live=True,
            has_ended=False,
            was_live=True,
            status=SourceStatus("door", SourceState.LIVE, 0.0, frames=1),
            failure=None,
            capture_error=None,
            capture_limit_s=79.0,
            heartbeat=Heartbeat(),
            crash=None,
            worker_ended=False,
            hide=lambda text: text.replace("hunter2", "***"),
        )

    def set_state(self, state: SourceState, frames: int = 1) -> None:
        self.health = replace(self.health, status=SourceStatus("door", state, 0.0, frames=frames))

    def check(self) -> None:
        self.actions += self.watchdog.check(MonitorSettings(), [self.health], self.classifier, self.dispatcher)

    def check_working(self) -> None:
        """One check of a camera that delivers frames and a thread that makes progress."""
        self.health.heartbeat.beat("detecting faces")
        self.set_state(self.health.status.state, self.health.status.frames + 1)
        self.check()


def test_a_suspended_machine_causes_no_restart_and_no_event() -> None:
    watched = WatchedCamera()
    watched.clocks.run(watched.check_working, 5)
    for slept_s in (60.0, 3600.0, 8 * 3600.0):
        watched.clocks.now_s += slept_s  # some systems count the time in suspend
        watched.clocks.wall_s += slept_s
        watched.check()
        watched.clocks.run(watched.check_working, 5)
    assert watched.actions == []


def test_an_outage_is_reported_after_the_grace_time() -> None:
    watched = WatchedCamera()
    watched.clocks.run(watched.check_working, 5)
    watched.set_state(SourceState.RECONNECTING)
    watched.clocks.run(watched.check_working, 9)
    assert watched.actions == []  # the grace time of 10 s has not passed
    watched.clocks.run(watched.check_working, 2)
    (report,) = watched.actions
    assert isinstance(report, ReportOutage)
    assert report.change.kind is EventKind.CAMERA_OFFLINE
    assert report.change.lasted_s == pytest.approx(10.0, abs=0.3)


def test_a_stuck_thread_is_restarted_by_awake_time_only() -> None:
    watched = WatchedCamera()
    watched.clocks.run(watched.check_working, 5)
    watched.health.heartbeat.beat("detecting faces")
    for _ in range(10):
        watched.clocks.now_s += 3600.0
        watched.check()
    assert watched.actions == []
    watched.clocks.run(watched.check, 12)
    (restart,) = watched.actions
    assert isinstance(restart, Restart)
    assert (restart.camera, restart.stage) == ("door", Stage.DETECTOR)


def test_a_stuck_capture_is_restarted() -> None:
    watched = WatchedCamera()
    watched.clocks.run(watched.check_working, 5)
    watched.health.heartbeat.rest()
    watched.clocks.run(watched.check, watched.health.capture_limit_s - 1)
    assert watched.actions == []
    watched.clocks.run(watched.check, 2)
    (restart,) = watched.actions
    assert isinstance(restart, Restart)
    assert restart.stage is Stage.CAPTURE
    assert "thread 'capture door' is stuck" in restart.reason


def test_a_camera_is_given_up_after_too_many_restarts_within_an_hour() -> None:
    watched = WatchedCamera()
    watched.clocks.run(watched.check_working, 5)
    watched.health = replace(watched.health, crash=ZeroDivisionError("a fault for the test"))
    limit = MonitorSettings().max_restarts
    for _ in range(limit + 1):
        watched.check()
    *restarts, last = watched.actions
    assert [action.count for action in restarts if isinstance(action, Restart)] == list(range(1, limit + 1))
    assert isinstance(last, GiveUpCamera)
    assert "a fault for the test" in last.reason


def test_a_camera_that_was_live_may_reconnect_after_a_restart() -> None:
    health = WatchedCamera().health
    lost = replace(
        health,
        status=SourceStatus("door", SourceState.RECONNECTING, 0.0),
        capture_error=SourceError("cannot open door"),
    )
    raise_if_none_left([lost], MonitorSettings())
    with pytest.raises(SourceError, match="cannot open door"):
        raise_if_none_left([replace(lost, was_live=False)], MonitorSettings())


def test_a_classifier_that_rests_is_not_stuck() -> None:
    watched = WatchedCamera()
    watched.classifier.beat("classifying faces")
    watched.classifier.rest()
    watched.clocks.run(watched.check_working, 60)
    assert watched.actions == []
    watched.classifier.beat("classifying faces")
    watched.clocks.run(watched.check_working, 21)
    assert [action.stage for action in watched.actions if isinstance(action, Restart)] == [Stage.CLASSIFIER]


def test_restarts_are_remembered_for_a_minute_by_stage() -> None:
    """A camera may have any name: it does not say which stage failed."""
    watched = WatchedCamera()
    watched.health = replace(watched.health, name="detector' of thread 'classifier")
    watched.clocks.run(watched.check_working, 5)
    working = watched.health
    watched.health = replace(working, worker_ended=True, capture_error=SourceError("login root:hunter2"))
    watched.check()
    watched.health = working
    (restart,) = watched.watchdog.restarts
    assert (restart.stage, restart.part) == (Stage.CAPTURE, f"threads of {working.name}")
    assert "root:***" in restart.reason, "the secrets of the camera are hidden"
    watched.watchdog.forget_restarts(Stage.DETECTOR)
    assert watched.watchdog.restarts == [restart], "another detector mends no capture"
    watched.clocks.run(watched.check_working, RESTART_SHOWN_S - 1)
    assert watched.watchdog.restarts == [restart]
    watched.clocks.run(watched.check_working, 2)
    assert watched.watchdog.restarts == []


def test_faults_of_a_model_are_forgotten_with_it() -> None:
    watched = WatchedCamera()
    watched.health = replace(watched.health, crash=ZeroDivisionError("a fault for the test"))
    watched.check()
    assert [restart.stage for restart in watched.watchdog.restarts] == [Stage.DETECTOR]
    watched.watchdog.forget_restarts(Stage.DETECTOR)
    assert watched.watchdog.restarts == []
