"""Cameras that go offline and threads that hang or fail, in a running monitor."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector
from fakes_monitor import BOX, HangingClassifier, HangingDetector, Hangs, LiveCamera, fake_parts
from fakes_video import HANG_S, LIMIT_S, wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.capture.status import SourceState
from app.core.camera_hours import CameraHour, Occupancy
from app.core.errors import LoginError, ModelError, MonitorError, SourceError
from app.core.types import Box, Event, EventKind, FrameResult, Image
from app.pipeline.frame_analyzer import FrameAnalyzer
from app.pipeline.listeners import EventListener, HourRecorder, ResultListener
from app.pipeline.monitor import Monitor
from app.pipeline.monitor_parts import MonitorParts
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.settings.vision import ClassifierSettings, DetectorSettings

DETECTOR = Path(__file__).parents[2] / "models" / "face_detector_float32.tflite"


class FakeSite:
    """Fake cameras by name, and the events and results of their monitor."""

    def __init__(self) -> None:
        self.cameras: dict[str, LiveCamera] = {}
        self.events: list[Event] = []
        self.results: list[FrameResult] = []

    def source(self, settings: CameraSettings) -> LiveCamera:
        return self.cameras.setdefault(settings.name, LiveCamera(settings.name))

    def settings(self, *names: str, **monitor: object) -> Settings:
        for name in names:
            self.cameras.setdefault(name, LiveCamera(name))
        # Short, but long enough that a busy machine does not cause an outage or a stuck thread.
        limits = {"reconnect_s": [0.1], "stale_after_s": 1.0, "open_timeout_s": 1, "read_timeout_s": 120}
        return load_settings(
            None,
            {
                "camera": [{"uri": f"rtsp://127.0.0.1:1/{name}", "name": name, **limits} for name in names],
                "policy": {"dwell_s": 0.1, "min_observations": 3},
                "monitor": {"offline_after_s": 1.0, "recovered_after_s": 0.2, "stuck_after_s": 3.0, **monitor},
            },
        )

    def monitor(
        self,
        settings: Settings,
        listener: ResultListener | None = None,
        event_listener: EventListener | None = None,
        recorder: HourRecorder | None = None,
        **parts: Any,
    ) -> Monitor:
        listener = listener or self.results.append
        event_listener = event_listener or (lambda event, _: self.events.append(event))
        all_parts = fake_parts(make_source=self.source, **parts)
        return Monitor(settings, [listener], [event_listener], parts=all_parts, recorder=recorder)

    def events_of(self, kind: EventKind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def result_count(self, name: str) -> int:
        return sum(result.frame.camera == name for result in self.results)

    def wait_for_results(self, name: str) -> None:
        before = self.result_count(name)
        wait_until(lambda: self.result_count(name) > before + 3, f"{name} is analysed")


class Recorder:
    """Counts the people who have left."""

    people = 0

    def record(self, hours: Sequence[CameraHour], in_view: Sequence[CameraHour] = ()) -> None:
        self.people += sum(hour.people for hour in hours)

    def today(self, camera: str) -> None:
        return None

    def occupancy(self, camera: str) -> None:
        return None

    def keep_occupancy(self, state: Occupancy) -> None:
        raise AssertionError("there are no lines")


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


def is_finished(monitor: Monitor) -> bool:
    monitor.take(0.0)
    return monitor.finished


def test_a_rejected_login_is_an_event_at_once(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def rejects(*_: object) -> NoReturn:
        raise LoginError("cannot open door: it rejects the user name and password; check both", 600.0)

    settings = site.settings("door", offline_after_s=300, retry_at_start=True)
    monkeypatch.setattr(site.cameras["door"], "frames", rejects)
    with site.monitor(settings):
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_OFFLINE)), "offline is reported")
    (offline,) = site.events_of(EventKind.CAMERA_OFFLINE)
    assert "rejects the user name and password; check both; next attempt in 600 s" in offline.reason


@pytest.mark.parametrize("fault", ["offline", "silent"])
def test_offline_and_recovered_events_are_raised(site: FakeSite, fault: str) -> None:
    with site.monitor(site.settings("door")):
        site.wait_for_results("door")
        getattr(site.cameras["door"], fault).set()
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_OFFLINE)), "offline is reported")
        getattr(site.cameras["door"], fault).clear()
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_RECOVERED)), "recovered is reported")
    (offline,), (recovered,) = site.events_of(EventKind.CAMERA_OFFLINE), site.events_of(EventKind.CAMERA_RECOVERED)
    assert offline.camera == recovered.camera == "door"
    assert ("no route to host" if fault == "offline" else "no frame arrives") in offline.reason
    assert offline.duration_s >= 1.0
    assert recovered.resolves == offline.id
    assert 0 < offline.time_s < recovered.time_s
    assert abs(recovered.wall_s - time.time()) < 60
    assert len({event.id for event in site.events}) == len(site.events)


def test_a_camera_that_is_down_at_the_start_is_reported_and_recovers(site: FakeSite) -> None:
    settings = site.settings("door", "hall")
    site.cameras["hall"].offline.set()
    with site.monitor(settings):
        site.wait_for_results("door")
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_OFFLINE)), "offline is reported")
        assert site.events_of(EventKind.CAMERA_OFFLINE)[0].camera == "hall"
        site.cameras["hall"].offline.clear()
        site.wait_for_results("hall")


def test_the_only_camera_being_down_at_the_start_is_an_error(site: FakeSite) -> None:
    settings = site.settings("door")
    site.cameras["door"].offline.set()
    with pytest.raises(SourceError, match="cannot open door"), site.monitor(settings) as monitor:
        list(monitor)
    assert site.events == []


def test_retry_at_start_waits_for_the_only_camera(site: FakeSite) -> None:
    settings = site.settings("door", retry_at_start=True)
    site.cameras["door"].offline.set()
    with site.monitor(settings):
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_OFFLINE)), "offline is reported")
        site.cameras["door"].offline.clear()
        site.wait_for_results("door")


def test_a_file_is_never_offline(tmp_path: Path) -> None:
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.full((120, 160, 3), 10, np.uint8))
    events: list[Event] = []
    flags = {
        "camera": [{"uri": str(tmp_path), "fps": 10}],
        "monitor": {"offline_after_s": 0, "stuck_after_s": 1},
    }
    settings = load_settings(None, flags)
    with Monitor(settings, (), [lambda event, _: events.append(event)], parts=fake_parts()) as monitor:
        for _ in monitor:
            pass
    assert not {event.kind for event in events} & {EventKind.CAMERA_OFFLINE, EventKind.CAMERA_RECOVERED}


def test_a_slow_reader_of_results_does_not_count_as_a_stuck_thread(tmp_path: Path) -> None:
    """The detector thread of a file waits for room in the queue without a time limit."""
    for i in range(30):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.full((120, 160, 3), 10, np.uint8))
    flags = {"camera": [{"uri": str(tmp_path), "pace": "fast"}], "monitor": {"stuck_after_s": 1}}
    with Monitor(load_settings(None, flags), parts=fake_parts()) as monitor:
        started_s = time.monotonic()
        wait_until(lambda: time.monotonic() - started_s > 2.5, "the watchdog has run for longer than its limit")
        assert len(list(monitor)) == 30


def test_a_stuck_detector_is_logged_and_its_camera_restarted(site: FakeSite, caplog: pytest.LogCaptureFixture) -> None:
    hangs = Hangs(times=1)
    with site.monitor(site.settings("door", "hall"), load_detector=lambda _: HangingDetector(hangs)) as monitor:
        wait_until(lambda: hangs.hanging == 1, "a detector hangs")
        wait_until(lambda: any(view.restarts for view in monitor.views()), "its camera is restarted")
        restarted = next(view.camera for view in monitor.views() if view.restarts)
        site.wait_for_results("door")
        site.wait_for_results("hall")
        hangs.release.set()
        site.wait_for_results(restarted)
    assert f"thread 'detector {restarted}' is stuck: detecting faces for" in caplog.text
    assert len({event.id for event in site.events}) == len(site.events)


def test_alerts_of_a_restarted_camera_are_resolved(site: FakeSite) -> None:
    class HangsLater(BoxesDetector):
        hangs = threading.Event()
        release = threading.Event()

        def detect(self, image: Image) -> Any:
            if self.hangs.is_set():
                self.hangs.clear()
                assert self.release.wait(HANG_S)
            return super().detect(image)

    with site.monitor(site.settings("door"), load_detector=lambda _: HangsLater(lambda _: [BOX])):
        wait_until(lambda: bool(site.events_of(EventKind.NO_MASK)), "an alert")
        alert = site.events_of(EventKind.NO_MASK)[0]
        HangsLater.hangs.set()
        wait_until(lambda: bool(site.events_of(EventKind.RESOLVED)), "it is resolved")
        HangsLater.release.set()
    resolved = site.events_of(EventKind.RESOLVED)[0]
    assert resolved.resolves == alert.id
    assert resolved.reason == "restarted"


def test_another_classifier_resolves_alerts_and_counts_who_is_in_view(site: FakeSite) -> None:
    recorder, boxes = Recorder(), BoxesDetector(lambda _: [BOX])
    with site.monitor(site.settings("door"), recorder=recorder, load_detector=lambda _: boxes) as monitor:
        wait_until(lambda: bool(site.events_of(EventKind.NO_MASK)), "an alert")
        monitor.use_classifier(ClassifierSettings())
        wait_until(lambda: bool(site.events_of(EventKind.RESOLVED)), "it is resolved")
        wait_until(lambda: recorder.people == 1, "the person is counted")
        site.wait_for_results("door")


def test_another_detector_ends_no_track_and_no_alert(site: FakeSite) -> None:
    made: list[tuple[Path | None, BoxesDetector]] = []

    def load(settings: DetectorSettings) -> BoxesDetector:
        made.append((settings.model, BoxesDetector(lambda _: [BOX])))
        return made[-1][1]

    with site.monitor(site.settings("door", "hall"), load_detector=load) as monitor:
        wait_until(lambda: len(site.events_of(EventKind.NO_MASK)) == 2, "both alert")
        alerts = [view.open_alerts for view in monitor.views()]
        monitor.use_detector(DetectorSettings(model=DETECTOR))
        wait_until(lambda: len(made) == 4 and all(detector.calls > 5 for _, detector in made[2:]), "the new ones run")
        assert [view.open_alerts for view in monitor.views()] == alerts
    assert [model for model, _ in made] == [None, None, DETECTOR, DETECTOR]
    assert {(result.frame.camera, track.id) for result in site.results for track in result.tracks} == {
        ("door", 1),
        ("hall", 1),
    }
    assert not site.events_of(EventKind.RESOLVED)


def test_a_detector_that_cannot_be_loaded_changes_nothing(site: FakeSite) -> None:
    def load(settings: DetectorSettings) -> BoxesDetector:
        if settings.model is not None:
            raise ModelError("it is damaged")
        return detector

    detector = BoxesDetector(lambda _: [BOX])
    with site.monitor(site.settings("door"), load_detector=load) as monitor:
        with pytest.raises(ModelError, match="it is damaged"):
            monitor.use_detector(DetectorSettings(model=DETECTOR))
        monitor.check_threads()
        calls = detector.calls
        wait_until(lambda: detector.calls > calls, "the old one runs")


def test_the_detector_of_a_camera_itself_has_priority() -> None:
    """One that does not fit to a back end of its own is refused."""
    own = DETECTOR.with_name("face_detector.tflite")
    cameras = [
        {"uri": "demo", "name": "door", "detector": {"model": own}},
        {"uri": "demo", "name": "hall", "detector": {"backend": "onnx"}},
    ]
    settings = load_settings(None, {"camera": cameras, "detector": {"model": DETECTOR, "backend": "litert"}})
    door, hall = settings.camera
    assert MonitorParts().open_detector(settings, door)[1].model == own
    with pytest.raises(ModelError, match="the back end onnx"):
        MonitorParts().open_detector(settings, hall)


def test_a_camera_that_is_restarted_uses_the_new_detector(site: FakeSite) -> None:
    hangs = Hangs(times=1)
    made: list[Path | None] = []

    def load(settings: DetectorSettings) -> Any:
        made.append(settings.model)
        return BoxesDetector(lambda _: [BOX]) if len(made) == 1 else HangingDetector(hangs)

    with site.monitor(site.settings("door"), load_detector=load) as monitor:
        monitor.use_detector(DetectorSettings(model=DETECTOR))
        wait_until(lambda: monitor.fault_of("detector") != "", "it hangs")
        assert "thread 'detector door' is stuck" in monitor.fault_of("detector")
        assert monitor.fault_of("classifier") == ""
        site.wait_for_results("door")
        hangs.release.set()
        monitor.use_detector(DetectorSettings())
        assert monitor.fault_of("detector") == "", "the next one did not hang"
    assert made == [None, DETECTOR, DETECTOR, None]


def test_too_many_restarts_are_an_error(site: FakeSite) -> None:
    hangs = Hangs(times=99)
    settings = site.settings("door", max_restarts=1)
    monitor = site.monitor(settings, load_detector=lambda _: HangingDetector(hangs))
    monitor.__enter__()
    wait_until(lambda: is_finished(monitor), "no camera is left")
    started_s = time.monotonic()
    with pytest.raises(MonitorError, match=r"detector door.*given up after 1 restarts"):
        monitor.__exit__(None, None, None)
    assert time.monotonic() - started_s < LIMIT_S  # it does not wait for the detector
    hangs.release.set()
    assert hangs.made == 2


def test_a_camera_that_is_given_up_does_not_stop_the_others(site: FakeSite) -> None:
    hangs = Hangs(times=1)
    settings = site.settings("door", "hall", max_restarts=0)
    with site.monitor(settings, load_detector=lambda _: HangingDetector(hangs)) as monitor:
        wait_until(
            lambda: any(view.status.state is SourceState.FAILED for view in monitor.views()), "a camera is given up"
        )
        failed = next(view for view in monitor.views() if view.status.state is SourceState.FAILED)
        assert "is stuck" in failed.status.last_error
        site.wait_for_results("hall" if failed.camera == "door" else "door")
        wait_until(lambda: bool(site.events_of(EventKind.CAMERA_OFFLINE)), "offline is reported")
        assert site.events_of(EventKind.CAMERA_OFFLINE)[0].camera == failed.camera
        hangs.release.set()


def test_a_camera_is_restarted_when_its_detector_fails(site: FakeSite, caplog: pytest.LogCaptureFixture) -> None:
    made: list[BoxesDetector] = []

    class Breaks(BoxesDetector):
        def detect(self, image: Image) -> Any:
            if self is made[0] and self.calls == 5:
                raise ZeroDivisionError("a fault for the test")
            return super().detect(image)

    def load(_: object) -> BoxesDetector:
        made.append(Breaks(lambda _: [BOX]))
        return made[-1]

    recorder = Recorder()
    with site.monitor(site.settings("door"), recorder=recorder, load_detector=load) as monitor:
        wait_until(lambda: monitor.views()[0].restarts == 1, "the camera is restarted")
        site.wait_for_results("door")
        assert recorder.people == 1, "who was in view has left; the new tracker does not know them"
        wait_until(lambda: {track.id for result in site.results for track in result.tracks} == {1, 2}, "a new number")
    assert recorder.people == 2
    assert "a fault for the test" in caplog.text


def test_a_camera_that_fails_does_not_end_a_node_with_others_on_standby(site: FakeSite) -> None:
    class Broken(BoxesDetector):
        def detect(self, image: Image) -> Any:
            raise RuntimeError("a fault for the test")

    settings = site.settings("door", "hall", max_restarts=0)
    parts = fake_parts(make_source=site.source, load_detector=lambda _: Broken(lambda _: []))
    with Monitor(settings, parts=parts, may_watch=lambda camera: camera == "door") as monitor:
        wait_until(lambda: monitor.views()[0].status.state is SourceState.FAILED, "it is given up")
        monitor.check_threads()
        assert monitor.views()[1].status.state is SourceState.STANDBY


def test_a_stuck_classifier_is_replaced(site: FakeSite, caplog: pytest.LogCaptureFixture) -> None:
    made: list[HangingClassifier] = []

    def load(_: object) -> HangingClassifier:
        made.append(HangingClassifier(hangs=not made))
        return made[-1]

    with site.monitor(site.settings("door"), load_classifier=load) as monitor:
        wait_until(lambda: len(made) == 2, "the classifier is replaced")
        assert "thread classifier" in monitor.restarted
        monitor.use_classifier(ClassifierSettings())
        assert not monitor.restarted, "the next one did not hang"
        wait_until(lambda: bool(site.events_of(EventKind.NO_MASK)), "the new one classifies faces")
        made[0].release.set()
    assert "thread 'classifier' is stuck: classifying faces for" in caplog.text


def test_a_listener_that_hangs_is_an_error(site: FakeSite) -> None:
    release = threading.Event()
    monitor = site.monitor(site.settings("door"), lambda _: release.wait(HANG_S) and None)
    monitor.__enter__()
    wait_until(lambda: is_finished(monitor), "it gives up")
    with pytest.raises(MonitorError, match=r"dispatcher.*calling the listeners"):
        monitor.__exit__(None, None, None)
    release.set()


def test_a_listener_that_hangs_on_an_offline_event_is_an_error(site: FakeSite) -> None:
    release = threading.Event()

    def listener(event: Event, _: FrameResult | None) -> None:
        if event.kind is EventKind.CAMERA_OFFLINE:
            release.wait(HANG_S)

    monitor = site.monitor(site.settings("door", "hall"), event_listener=listener)
    monitor.__enter__()
    site.wait_for_results("hall")
    site.cameras["hall"].offline.set()
    wait_until(lambda: is_finished(monitor), "it gives up")
    with pytest.raises(MonitorError, match=r"dispatcher.*calling the listeners"):
        monitor.__exit__(None, None, None)
    release.set()


def test_a_stop_does_not_count_as_the_end_of_a_camera(site: FakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """The watchdog checks at the worst moment: after the slots were closed, before it stops itself."""
    with site.monitor(site.settings("door", "hall")) as monitor:
        site.wait_for_results("door")
        site.wait_for_results("hall")
        monitor.stop()
        for _ in range(20):
            monitor.check_threads()
            time.sleep(0.01)
    assert "restarted" not in caplog.text


def test_the_policy_changes_at_run_time(site: FakeSite) -> None:
    settings = site.settings("door")
    never = load_settings(None, {"camera": settings.camera, "policy": {"dwell_s": 3600}, "monitor": settings.monitor})
    with site.monitor(never) as monitor:
        site.wait_for_results("door")
        assert not site.events_of(EventKind.NO_MASK)
        monitor.apply(settings)
        wait_until(lambda: bool(site.events_of(EventKind.NO_MASK)), "the new policy alerts")


def test_settings_that_change_during_a_restart_are_applied(site: FakeSite) -> None:
    settings = site.settings("door")
    never = load_settings(None, {"camera": settings.camera, "policy": {"dwell_s": 3600}, "monitor": settings.monitor})
    made: list[FrameAnalyzer] = []

    def make_analyzer(*parts: Any) -> FrameAnalyzer:
        made.append(FrameAnalyzer(*parts))
        if len(made) == 2:
            monitor.apply(settings)  # the new worker does not exist yet
        return made[-1]

    def fails_once(call: int) -> list[Box]:
        if call == 5 and len(made) == 1:
            raise ZeroDivisionError("a fault for the test")
        return [BOX]

    parts = {"make_analyzer": make_analyzer, "load_detector": lambda _: BoxesDetector(fails_once)}
    with site.monitor(never, **parts) as monitor:
        wait_until(lambda: bool(site.events_of(EventKind.NO_MASK)), "the new policy alerts")
    assert len(made) == 2
