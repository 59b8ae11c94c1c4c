"""One camera: its restart, its view, its analysis rate."""

from types import SimpleNamespace
from typing import Any

import pytest
from fakes import plain_frame
from fakes_monitor import BOX, LiveCamera

from app.capture.slot import Slot
from app.capture.status import SourceState, SourceStatus
from app.core.types import Counts, Event, EventKind, FaceLabel, FrameResult, Label, StageTimes, Track
from app.pipeline import camera as camera_module
from app.pipeline.camera import Camera
from app.pipeline.detector_worker import DetectorWorker
from app.pipeline.event_factory import EventFactory
from app.settings.monitor import CameraSettings


def make_camera() -> Camera:
    """A camera whose capture does not run."""

    def make_worker(camera: Camera) -> DetectorWorker:
        analyzer: Any = None
        return DetectorWorker(f"detector {camera.name}", analyzer, camera.frames)

    settings = CameraSettings(uri="rtsp://127.0.0.1:1/door", name="door")
    return Camera(settings, LiveCamera("door"), EventFactory("run", "door"), make_worker)


def test_a_camera_without_new_frames_says_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of an outage is kept over its attempts to reconnect, and over a restart of the program."""
    now_s, state = [1000.0], [SourceState.LIVE]
    monkeypatch.setattr(camera_module.time, "time", lambda: now_s[0])
    camera = make_camera()
    monkeypatch.setattr(Camera, "status", property(lambda _: SourceStatus("door", state[0], 0.0)))

    def down_since_s(at_s: float, new_state: SourceState) -> float | None:
        now_s[0], state[0] = at_s, new_state
        camera.health()
        return camera.view().down_since_s

    assert down_since_s(1010, SourceState.LIVE) is None
    assert down_since_s(1020, SourceState.STALE) == 1010
    assert down_since_s(1030, SourceState.RECONNECTING) == 1010
    assert down_since_s(1040, SourceState.CONNECTING) is None
    assert down_since_s(1050, SourceState.FAILED) == 1010
    assert down_since_s(1060, SourceState.LIVE) is None
    assert down_since_s(1070, SourceState.RECONNECTING) == 1060
    camera.restore_offline(Event("x", EventKind.CAMERA_OFFLINE, "door", 0.0, 500.0, duration_s=10.0))
    assert camera.view().down_since_s == 490
    camera.source.is_live = False
    assert camera.view().down_since_s is None, "a file is never offline"


def result_of(index: int, *alerts: Event) -> FrameResult:
    return FrameResult(plain_frame(index), (), (), Counts({}, {}), (), alerts, StageTimes())


def test_a_restarted_camera_resolves_its_alerts_and_forgets_its_result() -> None:
    camera = make_camera()
    camera.keep(result_of(1, Event("a", EventKind.NO_MASK, "door", 0.05, 1.0, track_id=1)))
    (resolved,) = camera.resolved_by_restart("restarted")
    assert (resolved.resolves, resolved.track_id, resolved.reason) == ("a", 1, "restarted")
    assert resolved.duration_s > 0
    old = camera.worker
    camera.restart(with_capture=False)
    assert old.is_stopped
    assert camera.worker is not old
    assert camera.latest is None
    assert camera.resolved_by_restart("restarted") == []


def test_a_worker_that_is_replaced_in_its_last_step_returns_no_result() -> None:
    """Otherwise its alerts would be raised after the restart has resolved them."""

    class Analyzer:
        def detect_faces(self, _: object) -> SimpleNamespace:
            return SimpleNamespace(crops=())

        def complete(self, *_: object) -> SimpleNamespace:
            worker.is_stopped = is_replaced
            return SimpleNamespace(
                tracks=(),
                left=(),
                counts=Counts({}, {}),
                events=(),
                alerts=(),
                faces=(),
                waiting=(),
                rejected=(),
                crossings=(),
            )

    analyzer: Any = Analyzer()
    probabilities: Any = ()
    for is_replaced in (False, True):
        worker = DetectorWorker("detector door", analyzer, Slot())
        result = worker.analyze(plain_frame(1), lambda _: probabilities, lambda: False, keep_crash=True)
        assert (result is None) is is_replaced
        assert worker.crash is None


def test_the_analysis_rate_is_correct_for_frames_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = make_camera()
    for i in range(100):
        now_s[0] += 0.005 if i % 2 else 0.195
        camera.keep(result_of(i))
    assert camera.analysis_fps == pytest.approx(10, rel=0.1)
    now_s[0] += 3600.0
    for _ in range(3):
        now_s[0] += 0.5
        camera.keep(result_of(0))
    assert camera.analysis_fps == pytest.approx(2, rel=0.1)


def test_a_view_with_an_old_result_has_no_tracks_and_no_current_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = make_camera()
    live: Any = SimpleNamespace(status=SourceStatus("door", SourceState.LIVE, 0.0))
    camera.capture = live
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


def test_a_camera_with_a_low_analysis_rate_does_not_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("app.pipeline.camera.time.monotonic", lambda: now_s[0])
    camera = make_camera()
    for i in range(5):
        now_s[0] += 5.0
        camera.keep(result_of(i))
    now_s[0] += 6.0
    assert not camera.lags
    assert camera.analysis_fps == pytest.approx(0.2)


def test_dropped_frames_are_still_counted_after_a_restart() -> None:
    camera = make_camera()
    for i in range(5):
        camera.frames.put(plain_frame(i))
    assert camera.view().dropped == 4
    camera.restart(with_capture=True)
    camera.stop()
    assert camera.view().dropped == 4
