"""Threads that hang, cameras that leave and return, clocks that jump: the monitor goes on, and says so."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector, BrightnessClassifier, plain_frame
from fakes_monitor import BOX, HangingClassifier, HangingDetector, Hangs, LiveCamera
from fakes_video import HANG_S, LIMIT_S, wait_until

from app.capture.status import SourceState, SourceStatus
from app.core.errors import MonitorError, SourceError
from app.core.types import Counts, Event, EventKind, FaceLabel, FrameResult, Image, Label, StageTimes, Track
from app.pipeline import monitor as monitor_module
from app.pipeline.camera import Camera
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.heartbeat import AwakeClock, Heartbeat
from app.pipeline.monitor import Monitor
from app.pipeline.watchdog import Watchdog
from app.settings.monitor import CameraSettings, MonitorSettings
from app.settings.root import Settings, load_settings


@pytest.fixture(autouse=True)
def no_thread_survives() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline_s = time.monotonic() + LIMIT_S
    while (left := set(threading.enumerate()) - before) and time.monotonic() < deadline_s:
        next(iter(left)).join(0.1)
    assert not left


class Yard:
    """Cameras that the monitor watches under their names, and every event it told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cameras: dict[str, LiveCamera] = {}
        self.events: list[Event] = []
        self.results: list[FrameResult] = []
        monkeypatch.setattr(monitor_module, "make_source", self._source)
        monkeypatch.setattr(monitor_module, "load_classifier", lambda _: BrightnessClassifier())
        monkeypatch.setattr(monitor_module, "load_detector", lambda _: BoxesDetector(lambda _: [BOX]))

    def _source(self, settings: CameraSettings) -> LiveCamera:
        return self.cameras.setdefault(settings.name, LiveCamera(settings.name))

    def settings(self, *names: str, **monitor: object) -> Settings:
        for name in names:
            self.cameras.setdefault(name, LiveCamera(name))
        # Short, but not so short that a busy machine looks like a camera that is lost or a thread that is stuck.
        limits = {"reconnect_s": [0.1], "stale_after_s": 1.0, "open_timeout_s": 1, "read_timeout_s": 120}
        return load_settings(
            None,
            {
                "camera": [{"uri": f"rtsp://127.0.0.1:1/{name}", "name": name, **limits} for name in names],
                "policy": {"dwell_s": 0.1, "min_observations": 3},
                "monitor": {"offline_after_s": 1.0, "recovered_after_s": 0.2, "stuck_after_s": 3.0, **monitor},
            },
        )

    def monitor(self, settings: Settings) -> Monitor:
        return Monitor(settings, [self.results.append], [lambda event, _: self.events.append(event)])

    def told(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def analysed(self, name: str) -> int:
        return sum(result.frame.camera == name for result in self.results)

    def goes_on(self, name: str) -> None:
        before = self.analysed(name)
        wait_until(lambda: self.analysed(name) > before + 3, f"{name} is analysed")


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    return Yard(monkeypatch)


def is_over(monitor: Monitor) -> bool:
    monitor.take(0.0)
    return monitor.finished


def hanging(monkeypatch: pytest.MonkeyPatch, times: int) -> Hangs:
    hangs = Hangs(times)
    monkeypatch.setattr(monitor_module, "load_detector", lambda _: HangingDetector(hangs))
    return hangs


# -- cameras that leave and return ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["away", "silent"])
def test_a_camera_lost_is_told_and_so_is_its_return(yard: Yard, how: str) -> None:
    with yard.monitor(yard.settings("door")):
        yard.goes_on("door")
        getattr(yard.cameras["door"], how).set()
        wait_until(lambda: bool(yard.told(EventKind.CAMERA_OFFLINE)), "offline is told")
        getattr(yard.cameras["door"], how).clear()
        wait_until(lambda: bool(yard.told(EventKind.CAMERA_RECOVERED)), "recovered is told")
    (offline,), (recovered,) = yard.told(EventKind.CAMERA_OFFLINE), yard.told(EventKind.CAMERA_RECOVERED)
    assert offline.camera == recovered.camera == "door"
    assert ("away" if how == "away" else "no picture comes") in offline.reason
    assert offline.duration_s >= 1.0
    assert recovered.resolves == offline.id
    assert 0 < offline.time_s < recovered.time_s
    assert abs(recovered.wall_s - time.time()) < 60
    assert len({event.id for event in yard.events}) == len(yard.events)


def test_one_camera_down_at_the_start_is_told_and_picked_up(yard: Yard) -> None:
    settings = yard.settings("door", "hall")
    yard.cameras["hall"].away.set()
    with yard.monitor(settings):
        yard.goes_on("door")
        wait_until(lambda: bool(yard.told(EventKind.CAMERA_OFFLINE)), "offline is told")
        assert yard.told(EventKind.CAMERA_OFFLINE)[0].camera == "hall"
        yard.cameras["hall"].away.clear()
        yard.goes_on("hall")


def test_the_only_camera_down_at_the_start_is_an_error(yard: Yard) -> None:
    settings = yard.settings("door")
    yard.cameras["door"].away.set()
    with pytest.raises(SourceError, match="cannot open door"), yard.monitor(settings) as monitor:
        list(monitor)
    assert yard.events == []


def test_it_is_waited_for_where_the_settings_say_so(yard: Yard) -> None:
    settings = yard.settings("door", retry_at_start=True)
    yard.cameras["door"].away.set()
    with yard.monitor(settings):
        wait_until(lambda: bool(yard.told(EventKind.CAMERA_OFFLINE)), "offline is told")
        yard.cameras["door"].away.clear()
        yard.goes_on("door")


def test_a_file_is_never_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor_module, "load_detector", lambda _: BoxesDetector(lambda _: [BOX]))
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.full((120, 160, 3), 10, np.uint8))
    events: list[Event] = []
    flags = {
        "camera": [{"uri": str(tmp_path), "fps": 10}],
        "monitor": {"offline_after_s": 0, "stuck_after_s": 1},
    }
    with Monitor(load_settings(None, flags), (), [lambda event, _: events.append(event)]) as monitor:
        for _ in monitor:
            pass
    assert not {event.kind for event in events} & {EventKind.CAMERA_OFFLINE, EventKind.CAMERA_RECOVERED}


def test_a_slow_reader_of_results_is_no_stuck_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector thread of a file waits for room as long as it takes."""
    monkeypatch.setattr(monitor_module, "load_classifier", lambda _: BrightnessClassifier())
    monkeypatch.setattr(monitor_module, "load_detector", lambda _: BoxesDetector(lambda _: [BOX]))
    for i in range(30):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.full((120, 160, 3), 10, np.uint8))
    flags = {"camera": [{"uri": str(tmp_path), "pace": "fast"}], "monitor": {"stuck_after_s": 1}}
    with Monitor(load_settings(None, flags)) as monitor:
        looks = monitor._watchdog._clock
        wait_until(lambda: looks.awake_s > 2.0, "the watchdog has looked for longer than its limit")
        assert len(list(monitor)) == 30


# -- threads that hang or crash -------------------------------------------------------------------------------------


def test_a_stuck_detector_is_named_and_its_camera_restarted(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = hanging(monkeypatch, times=1)
    with yard.monitor(yard.settings("door", "hall")) as monitor:
        wait_until(lambda: hangs.hanging == 1, "a detector hangs")
        wait_until(lambda: any(view.restarts for view in monitor.views()), "its camera is restarted")
        restarted = next(view.camera for view in monitor.views() if view.restarts)
        yard.goes_on("door")
        yard.goes_on("hall")
        hangs.release.set()
        yard.goes_on(restarted)
    assert f"thread 'detector {restarted}' is stuck: it looks for faces" in caplog.text
    assert len({event.id for event in yard.events}) == len(yard.events)


def test_alerts_of_a_restarted_camera_are_resolved(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    class HangsLater(BoxesDetector):
        hangs = threading.Event()
        release = threading.Event()

        def detect(self, image: Image) -> Any:
            if self.hangs.is_set():
                self.hangs.clear()
                assert self.release.wait(HANG_S)
            return super().detect(image)

    monkeypatch.setattr(monitor_module, "load_detector", lambda _: HangsLater(lambda _: [BOX]))
    with yard.monitor(yard.settings("door")):
        wait_until(lambda: bool(yard.told(EventKind.NO_MASK)), "an alert")
        alert = yard.told(EventKind.NO_MASK)[0]
        HangsLater.hangs.set()
        wait_until(lambda: bool(yard.told(EventKind.RESOLVED)), "it is resolved")
        HangsLater.release.set()
    resolved = yard.told(EventKind.RESOLVED)[0]
    assert resolved.resolves == alert.id
    assert resolved.reason == "restarted"


def test_restarts_have_a_limit_and_the_end_is_an_error(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = hanging(monkeypatch, times=99)
    monitor = yard.monitor(yard.settings("door", max_restarts=1))
    monitor.__enter__()
    wait_until(lambda: is_over(monitor), "nothing is left to watch")
    began_s = time.monotonic()
    with pytest.raises(MonitorError, match=r"detector door.*given up after 1 restarts"):
        monitor.__exit__(None, None, None)
    assert time.monotonic() - began_s < LIMIT_S  # not until the detector comes back
    hangs.release.set()
    assert hangs.made == 2


def test_one_camera_given_up_does_not_end_the_other(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = hanging(monkeypatch, times=1)
    with yard.monitor(yard.settings("door", "hall", max_restarts=0)) as monitor:
        wait_until(
            lambda: any(view.status.state is SourceState.FAILED for view in monitor.views()), "a camera is given up"
        )
        failed = next(view for view in monitor.views() if view.status.state is SourceState.FAILED)
        assert "is stuck" in failed.status.last_error
        yard.goes_on("hall" if failed.camera == "door" else "door")
        wait_until(lambda: bool(yard.told(EventKind.CAMERA_OFFLINE)), "offline is told")
        assert yard.told(EventKind.CAMERA_OFFLINE)[0].camera == failed.camera
        hangs.release.set()


def test_a_crash_of_one_cameras_detector_restarts_it(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[BoxesDetector] = []

    class Breaks(BoxesDetector):
        def detect(self, image: Image) -> Any:
            if self is made[0] and self.calls == 5:
                raise ZeroDivisionError("a fault for the test")
            return super().detect(image)

    def load(_: object) -> BoxesDetector:
        made.append(Breaks(lambda _: [BOX]))
        return made[-1]

    monkeypatch.setattr(monitor_module, "load_detector", load)
    with yard.monitor(yard.settings("door")) as monitor:
        wait_until(lambda: monitor.views()[0].restarts == 1, "the camera is restarted")
        yard.goes_on("door")
    assert "a fault for the test" in caplog.text


def test_a_stuck_classifier_is_replaced(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[HangingClassifier] = []

    def load(_: object) -> HangingClassifier:
        made.append(HangingClassifier(hangs=not made))
        return made[-1]

    monkeypatch.setattr(monitor_module, "load_classifier", load)
    with yard.monitor(yard.settings("door")):
        wait_until(lambda: len(made) == 2, "the classifier is replaced")
        wait_until(lambda: bool(yard.told(EventKind.NO_MASK)), "the new one names faces")
        made[0].release.set()
    assert "thread 'classifier' is stuck: it names faces" in caplog.text


def test_a_listener_that_hangs_is_named(yard: Yard) -> None:
    release = threading.Event()
    monitor = Monitor(yard.settings("door"), [lambda _: release.wait(HANG_S) and None])
    monitor.__enter__()
    wait_until(lambda: is_over(monitor), "it gives up")
    with pytest.raises(MonitorError, match=r"detector door.*tells the listeners"):
        monitor.__exit__(None, None, None)
    release.set()


def test_a_listener_that_hangs_on_a_lost_camera_is_named(yard: Yard) -> None:
    release = threading.Event()

    def listener(event: Event, _: FrameResult | None) -> None:
        if event.kind is EventKind.CAMERA_OFFLINE:
            release.wait(HANG_S)

    monitor = Monitor(yard.settings("door", "hall"), [yard.results.append], [listener])
    monitor.__enter__()
    yard.goes_on("hall")
    yard.cameras["hall"].away.set()
    wait_until(lambda: is_over(monitor), "it gives up")
    with pytest.raises(MonitorError, match=r"teller.*tells the listeners"):
        monitor.__exit__(None, None, None)
    release.set()


def test_a_stop_is_not_taken_for_the_end_of_a_camera(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog looks at the worst moment: after the slots were closed, before it learns of the stop."""
    looked = Watchdog.check

    def run(self: Watchdog, stopping: threading.Event) -> None:
        while not stopping.wait(0.01):
            looked(self)
        for _ in range(20):
            looked(self)
            time.sleep(0.01)

    monkeypatch.setattr(Watchdog, "run", run)
    with yard.monitor(yard.settings("door", "hall")):
        yard.goes_on("door")
        yard.goes_on("hall")
    assert "restarted" not in caplog.text


def test_policy_changes_while_it_runs(yard: Yard) -> None:
    settings = yard.settings("door")
    never = load_settings(None, {"camera": settings.camera, "policy": {"dwell_s": 3600}, "monitor": settings.monitor})
    with yard.monitor(never) as monitor:
        yard.goes_on("door")
        assert not yard.told(EventKind.NO_MASK)
        monitor.apply(settings)
        wait_until(lambda: bool(yard.told(EventKind.NO_MASK)), "the new policy alerts")


# -- clocks ---------------------------------------------------------------------------------------------------------


class Hands:
    """A monotonic clock and a wall clock that the test turns."""

    def __init__(self) -> None:
        self.now_s, self.wall = 1000.0, 1_700_000_000.0

    def run(self, look: Callable[[], object], seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now_s += 0.25
            self.wall += 0.25
            look()


def new_worker(camera: Camera) -> DetectorWorker:
    analyzer: Any = None
    return DetectorWorker(f"detector {camera.name}", analyzer, camera.frames)


class FakeHost:
    def __init__(self) -> None:
        self.run_id = "run"
        self.classifier_heartbeat = Heartbeat()
        self.restarted: list[str] = []
        self.told: list[Event] = []
        self.ends_are_told = True

    def restart(self, camera: Camera, with_capture: bool) -> None:
        self.restarted.append(f"{camera.name} {with_capture}")
        if with_capture:
            camera.open()
        camera.worker = new_worker(camera)

    def restart_classifier(self) -> None:
        self.restarted.append("classifier")
        self.classifier_heartbeat = Heartbeat()

    def dispatch(self, event: Event) -> bool:
        self.told.append(event)
        return True

    def sends_resolved_events(self, camera: Camera) -> bool:
        return self.ends_are_told

    def end(self, camera: Camera) -> None:
        self.restarted.append(f"{camera.name} ended")


def result_of(index: int, *alerts: Event) -> FrameResult:
    return FrameResult(plain_frame(index), (), (), Counts({}, {}), (), alerts, StageTimes())


class StatusCapture:
    """A capture of which only the status is asked."""

    def __init__(self, status: SourceStatus) -> None:
        self.status = status
        self.error: Exception | None = None

    def stop(self) -> None:
        pass

    def join(self, timeout_s: float) -> bool:
        return True


class Desk:
    """A watchdog over one camera that works, with clocks of the test's own."""

    def __init__(self) -> None:
        self.hands, self.host = Hands(), FakeHost()
        self.camera = Camera(CameraSettings(uri="rtsp://127.0.0.1:1/door", name="door"), LiveCamera("door"))
        self.camera.worker = new_worker(self.camera)
        self.set(SourceState.LIVE)
        clock = AwakeClock(lambda: self.hands.now_s)
        settings = MonitorSettings()
        self.watchdog = Watchdog(self.host, [self.camera], lambda: settings, clock, lambda: self.hands.wall)

    def set(self, state: SourceState, frames: int = 1) -> None:
        status: Any = StatusCapture(SourceStatus("door", state, 0.0, frames=frames))
        self.camera.capture = status

    def check(self) -> None:
        self.watchdog.check()
        self.watchdog.dispatch()

    def works(self) -> None:
        """One look at a camera that brings frames and a thread that moves."""
        assert self.camera.worker is not None
        self.camera.worker.heartbeat.beat("looks for faces")
        self.set(self.camera.capture.status.state, self.camera.capture.status.frames + 1)
        self.check()


def test_a_suspended_machine_finds_all_as_it_was() -> None:
    desk = Desk()
    desk.hands.run(desk.works, 5)
    for slept_s in (60.0, 3600.0, 8 * 3600.0):
        desk.hands.now_s += slept_s  # some systems count the sleep, some do not
        desk.hands.wall += slept_s
        desk.check()
        desk.hands.run(desk.works, 5)
    assert desk.host.restarted == []
    assert desk.host.told == []


def test_a_wall_clock_that_jumps_changes_no_duration() -> None:
    desk = Desk()
    desk.hands.run(desk.works, 5)
    desk.set(SourceState.RECONNECTING)
    desk.hands.run(desk.works, 4)
    desk.hands.wall -= 7200.0
    desk.hands.run(desk.works, 3)
    assert desk.host.told == []  # the grace time of 10 s has not passed, whatever the wall says
    desk.hands.wall += 86_400.0
    desk.hands.run(desk.works, 4)
    (offline,) = desk.host.told
    assert offline.kind is EventKind.CAMERA_OFFLINE
    assert offline.duration_s == pytest.approx(10.0, abs=0.3)
    assert offline.wall_s == pytest.approx(desk.hands.wall, abs=2.0)


def test_a_thread_that_does_not_move_is_restarted_by_awake_time_alone() -> None:
    desk = Desk()
    desk.hands.run(desk.works, 5)
    assert desk.camera.worker is not None
    desk.camera.worker.heartbeat.beat("looks for faces")
    for _ in range(10):
        desk.hands.now_s += 3600.0
        desk.check()
    assert desk.host.restarted == []
    desk.hands.run(desk.check, 12)
    assert desk.host.restarted == ["door False"]


def test_a_capture_that_does_not_move_is_restarted(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.hands.run(desk.works, 5)
    assert desk.camera.worker is not None
    desk.camera.worker.heartbeat.rest()
    with caplog.at_level(logging.ERROR):
        desk.hands.run(desk.check, 60 + 5 + 5 + 9)  # its longest wait and its time limits, almost
        assert desk.host.restarted == []
        desk.hands.run(desk.check, 2)
    assert desk.host.restarted == ["door True"]
    assert "thread 'capture door' is stuck" in caplog.text


@pytest.mark.parametrize("told", [True, False])
def test_a_restart_tells_the_ends_of_alerts_where_ends_are_told(told: bool) -> None:
    desk = Desk()
    desk.host.ends_are_told = told
    desk.hands.run(desk.works, 5)
    alert = Event("run-door-1", EventKind.NO_MASK, "door", 1.0, 1.0, track_id=1)
    desk.camera.latest = result_of(1, alert)
    desk.hands.run(desk.check, 25)
    assert desk.host.restarted == ["door False"]
    assert [event.resolves for event in desk.host.told] == (["run-door-1"] if told else [])


def test_frames_that_come_in_pairs_are_analysed_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = Desk().camera
    for i in range(100):
        now_s[0] += 0.005 if i % 2 else 0.195
        camera.keep(result_of(i))
    assert camera.analysis_fps == pytest.approx(10, rel=0.1)
    now_s[0] += 3600.0
    for _ in range(3):
        now_s[0] += 0.5
        camera.keep(result_of(0))
    assert camera.analysis_fps == pytest.approx(2, rel=0.1)


def test_a_result_too_old_to_tell_of_the_present_marks_and_counts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = Desk().camera
    track = Track(1, BOX, FaceLabel(Label.NO_MASK, 0.9), (0, 0), 0.0, 0.0, 9, 9, True)
    counts = Counts({Label.NO_MASK: 1}, {Label.NO_MASK: 1})
    for i in range(10):  # captured 0.1 s apart
        now_s[0] = 100.0 + i / 10
        camera.keep(FrameResult(plain_frame(i), (track,), (), counts, (), (), StageTimes()))
    camera.shown.put(plain_frame(12))
    now_s[0] = 101.3
    fresh = camera.view()
    assert (len(fresh.tracks), fresh.counts) == (1, counts)
    assert fresh.analysis_fps == pytest.approx(10)
    assert fresh.private().status.state is SourceState.LIVE
    assert fresh.private().age_s == pytest.approx(0.4)
    camera.shown.put(plain_frame(60))
    now_s[0] = 106.1
    old = camera.view()
    assert (old.status.state, old.tracks, old.counts, old.analysis_fps) == (
        SourceState.LIVE,
        (),
        Counts({}, counts.seen),
        0.0,
    )
    hidden = old.private()
    assert hidden.frame is not None
    assert (hidden.status.state, hidden.frame.index) == (SourceState.STALE, 9)
    assert old.age_s == pytest.approx(0.1)
    assert hidden.age_s == pytest.approx(5.2)


def test_a_camera_that_is_seldom_analysed_does_not_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = Desk().camera
    for i in range(5):
        now_s[0] += 5.0
        camera.keep(result_of(i))
    now_s[0] += 6.0
    assert not camera.lags
    assert camera.analysis_fps == pytest.approx(0.2)


def test_what_was_dropped_counts_on_through_a_restart() -> None:
    camera = Desk().camera
    for i in range(5):
        camera.frames.put(plain_frame(i))
    assert camera.view().dropped == 4
    camera.open()
    assert camera.view().dropped == 4


def test_a_camera_that_was_live_is_waited_for_after_a_restart_too() -> None:
    desk = Desk()
    desk.hands.run(desk.works, 5)
    desk.camera.open()
    capture = StatusCapture(SourceStatus("door", SourceState.RECONNECTING, 0.0))
    capture.error = SourceError("cannot open door")
    faked: Any = capture
    desk.camera.capture = faked
    desk.hands.run(desk.check, 5)
    assert desk.host.restarted == []


def test_a_classifier_that_rests_is_not_stuck() -> None:
    desk = Desk()
    desk.host.classifier_heartbeat.beat("names faces")
    desk.host.classifier_heartbeat.rest()
    desk.hands.run(desk.works, 60)
    assert desk.host.restarted == []
    desk.host.classifier_heartbeat.beat("names faces")
    desk.hands.run(desk.works, 21)
    assert desk.host.restarted == ["classifier"]
