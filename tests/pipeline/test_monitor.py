"""The whole monitor on synthetic images, with a fake detector and a fake classifier."""

import threading
import time
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import BoxesDetector, BrightnessClassifier
from fakes_monitor import BOX, fake_parts
from fakes_video import HANG_S, LIMIT_S, FakeSource, frame, wait_until
from fixtures_threads import no_thread_survives  # noqa: F401

from app.capture.live_source import Throttle
from app.core.errors import MonitorError, SourceError
from app.core.types import Box, Event, EventKind, Image
from app.pipeline.classifier_batcher import ClassifierBatcher
from app.pipeline.monitor import Monitor
from app.pipeline.monitor_parts import MonitorParts
from app.settings.load import load_settings
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.settings.vision import DetectorSettings

DARK, BRIGHT = 10, 245


@pytest.fixture
def classifier() -> BrightnessClassifier:
    return BrightnessClassifier()


@pytest.fixture
def parts(classifier: BrightnessClassifier) -> MonitorParts:
    return fake_parts(load_classifier=lambda _: classifier)


def paint(folder: Path, colours: list[int]) -> Path:
    folder.mkdir()
    for i, colour in enumerate(colours):
        image = np.full((120, 160, 3), colour, np.uint8)
        image[0, 0] = i  # frames differ
        cv2.imwrite(str(folder / f"{i:03}.png"), image)
    return folder


def settings_for(*folders: Path, **camera: object) -> Settings:
    cameras = [{"uri": str(folder), "pace": "fast", "fps": 10, **camera} for folder in folders]
    return load_settings(None, {"camera": cameras, "policy": {"dwell_s": 1.0, "min_observations": 3}})


def comparable(event: Event) -> tuple[object, ...]:
    """The fields of an event that are the same in every run."""
    return event.kind, event.camera, event.time_s, event.track_id, round(event.confidence, 6), event.duration_s


def events_of(settings: Settings, parts: MonitorParts) -> list[tuple[object, ...]]:
    events: list[Event] = []
    with Monitor(settings, listeners=[lambda result: events.extend(result.events)], parts=parts) as monitor:
        for _ in monitor:
            pass
    return [comparable(event) for event in events]


def test_every_frame_of_a_file_is_analysed_in_order(
    tmp_path: Path, classifier: BrightnessClassifier, parts: MonitorParts
) -> None:
    folder = paint(tmp_path / "in", [DARK] * 40)
    with Monitor(settings_for(folder), parts=parts) as monitor:
        indices = [result.frame.index for result in monitor]
    assert indices == list(range(40))
    assert classifier.batches


def test_each_result_and_the_end_wake_who_waits_elsewhere(tmp_path: Path, parts: MonitorParts) -> None:
    woken, seen = threading.Event(), 0
    with Monitor(settings_for(paint(tmp_path / "in", [DARK] * 20)), parts=parts) as monitor:
        monitor.wake_with(woken.set)
        while not monitor.finished:
            seen += len(monitor.take(0.0))
            assert monitor.finished or woken.wait(LIMIT_S)
            woken.clear()
    assert seen == 20


def test_a_bare_face_alerts_and_a_mask_resolves(tmp_path: Path, parts: MonitorParts) -> None:
    events = events_of(settings_for(paint(tmp_path / "in", [DARK] * 30 + [BRIGHT] * 40)), parts)
    assert [event[0] for event in events] == [EventKind.NO_MASK, EventKind.RESOLVED]


def test_a_file_has_the_same_events_at_any_speed(tmp_path: Path, parts: MonitorParts) -> None:
    folder = paint(tmp_path / "in", [BRIGHT] * 5 + [DARK] * 20 + [BRIGHT] * 15)
    fast = events_of(settings_for(folder), parts)
    assert fast
    assert events_of(settings_for(folder, pace="realtime"), parts) == fast


def test_a_recording_has_the_same_events_with_the_same_ids_in_every_run(tmp_path: Path, parts: MonitorParts) -> None:
    folder = paint(tmp_path / "door", [DARK] * 20 + [BRIGHT] * 20)
    runs = []
    for _ in range(2):
        with Monitor(settings_for(folder), parts=parts) as monitor:
            runs.append([event for result in monitor for event in result.events])
    assert len(runs[0]) == 2
    assert runs[0] == runs[1]
    (folder / "000.png").write_bytes((folder / "001.png").read_bytes())
    with Monitor(settings_for(folder), parts=parts) as monitor:
        others = [event for result in monitor for event in result.events]
    assert not {event.id for event in others} & {event.id for event in runs[0]}


def test_the_classification_time_of_a_frame_without_faces_is_0(tmp_path: Path, parts: MonitorParts) -> None:
    """'bench' omits such frames: their microseconds made its median 0.0 ms."""
    settings = settings_for(paint(tmp_path / "a", [DARK] * 6))
    with Monitor(settings, parts=parts) as monitor:
        with_face_s = [result.times.classify_s for result in monitor]
    with Monitor(settings, parts=fake_parts(boxes=())) as monitor:
        without_face_s = [result.times.classify_s for result in monitor]
    assert max(with_face_s) > 0
    assert without_face_s == [0.0] * 6


def test_unsure_faces_never_alert(tmp_path: Path, parts: MonitorParts) -> None:
    assert events_of(settings_for(paint(tmp_path / "in", [128] * 60)), parts) == []


def test_two_cameras_share_one_classifier(tmp_path: Path, parts: MonitorParts) -> None:
    folders = [paint(tmp_path / name, [DARK] * 30) for name in ("left", "right")]
    with Monitor(settings_for(*folders), parts=parts) as monitor:
        cameras = [result.frame.camera for result in monitor]
    assert cameras.count("left") == cameras.count("right") == 30


def test_an_exception_in_a_thread_stops_all_and_is_raised(tmp_path: Path) -> None:
    class Breaks(BoxesDetector):
        def detect(self, image: Image) -> list[object]:  # type: ignore[override]
            if self.calls == 5:
                raise ZeroDivisionError("a fault for the test")
            return super().detect(image)  # type: ignore[return-value]

    parts = fake_parts(load_detector=lambda _: Breaks(lambda _: [BOX]))
    folder = paint(tmp_path / "in", [DARK] * 40)
    started_s = time.monotonic()
    with (
        pytest.raises(MonitorError, match=r"detector in.*a fault for the test"),
        Monitor(settings_for(folder), parts=parts) as m,
    ):
        results = list(m)
    assert 5 <= len(results) < 40
    assert time.monotonic() - started_s < LIMIT_S


def test_an_exception_in_the_classifier_stops_all(
    tmp_path: Path, classifier: BrightnessClassifier, parts: MonitorParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: object) -> object:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(classifier, "classify", breaks)
    with (
        pytest.raises(MonitorError, match=r"classifier.*no such operation"),
        Monitor(settings_for(paint(tmp_path / "in", [DARK] * 5)), parts=parts) as monitor,
    ):
        list(monitor)


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path, parts: MonitorParts) -> None:
    with (
        pytest.raises(SourceError, match=r"missing\.mp4"),
        Monitor(settings_for(tmp_path / "missing.mp4"), parts=parts) as monitor,
    ):
        list(monitor)


def test_a_missing_file_does_not_stop_the_other(tmp_path: Path, parts: MonitorParts) -> None:
    folder = paint(tmp_path / "in", [DARK] * 20)
    with Monitor(settings_for(tmp_path / "missing.mp4", folder), parts=parts) as monitor:
        assert len(list(monitor)) == 20


def test_leaving_early_stops_the_threads_soon(tmp_path: Path, parts: MonitorParts) -> None:
    folder = paint(tmp_path / "in", [DARK] * 50)
    with Monitor(settings_for(folder, pace="realtime", loop=True), parts=parts) as monitor:
        next(iter(monitor))
        stopped_s = time.monotonic()
    assert time.monotonic() - stopped_s < LIMIT_S


def test_no_frame_is_analysed_while_paused(
    tmp_path: Path, classifier: BrightnessClassifier, parts: MonitorParts
) -> None:
    folder = paint(tmp_path / "in", [DARK] * 50)
    with Monitor(settings_for(folder, pace="realtime", loop=True), parts=parts) as monitor:
        assert monitor.take(LIMIT_S)
        monitor.pause(True)
        empty = 0
        while empty < 3:  # results in progress may still arrive, late on a busy machine
            empty = 0 if monitor.take(0.5) else empty + 1
        calls = len(classifier.batches)
        assert monitor.take(0.5) == []
        assert len(classifier.batches) == calls
        monitor.pause(False)
        assert monitor.take(LIMIT_S)


def test_the_view_has_the_last_frame_its_tracks_and_alerts(tmp_path: Path, parts: MonitorParts) -> None:
    folder = paint(tmp_path / "in", [DARK] * 40)
    with Monitor(settings_for(folder), parts=parts) as monitor:
        list(monitor)
        view = monitor.views()[0]
    assert view.frame is not None
    assert view.frame.index == 39
    assert len(view.tracks) == len(view.alerts) == 1


def test_waiting_requests_are_classified_in_one_batch() -> None:
    entered, release, fake = threading.Event(), threading.Event(), BrightnessClassifier()
    classify = fake.classify

    def slow(crops: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        entered.set()
        assert release.wait(HANG_S)
        return classify(crops)

    fake.classify = slow  # type: ignore[method-assign, assignment]
    batcher = ClassifierBatcher(fake)
    runner = threading.Thread(target=batcher.run)
    runner.start()
    rows: dict[int, float] = {}

    def request(colour: int) -> None:
        rows[colour] = float(batcher.classify(np.full((2, 16, 16, 3), colour, np.uint8))[1, 0])

    threads = [threading.Thread(target=request, args=(colour,)) for colour in (0, 51, 102, 255)]
    threads[0].start()
    assert entered.wait(LIMIT_S)
    for other in threads[1:]:
        other.start()
    wait_until(lambda: len(batcher.waiting) == 3, "the others wait")
    release.set()
    for thread in threads:
        thread.join(LIMIT_S)
    batcher.close()
    runner.join(LIMIT_S)
    assert fake.batches == [2, 6]
    assert rows == pytest.approx({0: 0.0, 51: 0.2, 102: 0.4, 255: 1.0})


@pytest.mark.parametrize(("cores", "cameras", "threads"), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (8, 2, 2)])
def test_cameras_share_the_cores(
    cores: int,
    cameras: int,
    threads: int,
    tmp_path: Path,
) -> None:
    given: list[int] = []

    def load(settings: DetectorSettings) -> BoxesDetector:
        given.append(settings.threads)
        return BoxesDetector(lambda _: [BOX])

    parts = fake_parts(load_detector=load, cores_allowed=lambda: cores)
    folders = [paint(tmp_path / str(index), [DARK] * 2) for index in range(cameras)]
    with Monitor(settings_for(*folders), parts=parts) as monitor:
        list(monitor)
    assert given == [threads] * cameras
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize("boxes", [(), (BOX,)])
def test_images_are_skipped_while_paused_and_while_nothing_happens(
    boxes: tuple[Box, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while somebody is in view."""
    monkeypatch.setattr("app.pipeline.detection_scheduler._RESTING_S", 0.2)

    class Door(FakeSource):
        throttle = Throttle()

    image = np.full((120, 160, 3), 90, np.uint8)
    steps = chain.from_iterable((frame(i, image=image), lambda: time.sleep(0.01)) for i in count())
    settings = Settings(camera=(CameraSettings(uri="0", name="fake"),))
    with Monitor(settings, parts=fake_parts(boxes, Door(steps))) as monitor:
        monitor.pause(True)
        assert Door.throttle.is_paused
        monitor.pause(False)
        assert not Door.throttle.is_paused
        wait_until(lambda: any(result.frame.time_s > 1 for result in monitor.take(0.1)), "some time has passed")
        assert Door.throttle.is_still == (not boxes)
