"""What the hub wants of nodes that watch: settings, models, and which node watches a camera."""

import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import pytest
from fakes_nats import server_program

server_program()  # skips this file without maskwatch[fleet]
from fakes import BoxesDetector, BrightnessClassifier  # noqa: E402
from fakes_alerts import make_event, wait_until  # noqa: E402
from fakes_fleet import Fleet, node_settings  # noqa: E402
from fakes_monitor import HangingDetector, Hangs, LiveCamera, fake_parts  # noqa: E402

from app.capture.capture import SourceState  # noqa: E402
from app.cli.main import main  # noqa: E402
from app.cli.watch_session import WatchSession  # noqa: E402
from app.core import resources  # noqa: E402
from app.core.errors import ModelError  # noqa: E402
from app.core.types import EventKind  # noqa: E402
from app.fleet.hub_store import HubStore  # noqa: E402
from app.fleet.messages import TABLES, Applied, NodeHealth  # noqa: E402
from app.pipeline.frame_analyzer import FrameAnalyzer  # noqa: E402
from app.pipeline.monitor_parts import MonitorParts  # noqa: E402
from app.settings.root import Settings  # noqa: E402
from app.settings.vision import ClassifierSettings, DetectorSettings  # noqa: E402
from app.vision.classifier import MaskClassifier  # noqa: E402
from app.vision.detector import FaceDetector  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402
from app.vision.model_metadata import fingerprint, network_bytes  # noqa: E402

MODEL = Path(__file__).parents[2] / "models" / "classifier.tflite"
DETECTOR = MODEL.with_name("face_detector_float32.tflite")
REGION = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
PUSHED = '[[camera]]\nname = "door"\npolicy.regions = [[[0, 0], [1, 0], [1, 1]]]\n'


@pytest.fixture(autouse=True)
def _quick_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.fleet.hub.SAVE_NODES_S", 0.1)


def session_of(settings: Settings) -> WatchSession:
    return WatchSession(settings, None, None, parts=fake_parts(boxes=(), source=LiveCamera("door")))


def health_of(fleet: Fleet, node: str) -> NodeHealth | None:
    store = HubStore(fleet.folder.store)
    try:
        return next((each.health for each in store.nodes() if each.name == f"hall/{node}"), None)
    finally:
        store.close()


def applied(fleet: Fleet, part: str, node: str = "box") -> Applied:
    health = health_of(fleet, node)
    return Applied() if health is None else health.applied.get(part, Applied())


def push(fleet: Fleet, *arguments: object) -> int:
    return main(["fleet", "push", *map(str, arguments), "--hub-dir", str(fleet.folder.path)])


def steps_until(condition: object, *sessions: WatchSession) -> None:
    """As the main loop of 'watch'."""

    def step() -> bool:
        for session in sessions:
            session.step()
        return bool(condition())  # type: ignore[operator]

    wait_until(step)


def test_settings_are_used_kept_and_reported_and_refused_by_a_node_that_accepts_none(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    file = tmp_path / "policy.toml"
    file.write_text(PUSHED)
    accepting, other = node_settings(fleet, tmp_path, accept_settings=True), node_settings(fleet, tmp_path, "other")
    with session_of(accepting) as session, session_of(other) as refusing:
        assert push(fleet, "ha*", file) == 0
        steps_until(lambda: session.regions_of("door") == (REGION,), session, refusing)
        steps_until(lambda: applied(fleet, "settings").number == 1, session, refusing)
        steps_until(lambda: applied(fleet, "settings", "other").refused == 1, session, refusing)
        assert refusing.regions_of("door") == ()
    capsys.readouterr()
    assert main(["fleet", "nodes", str(fleet.folder.path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "settings 1" in printed
    fleet.stop()
    with session_of(accepting) as session:  # without a link
        assert session.regions_of("door") == (REGION,)
    with session_of(node_settings(fleet, tmp_path)) as session:  # it does not accept them any more
        assert session.regions_of("door") == ()


def test_a_canary_that_refuses_keeps_the_revision_from_the_others(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    file = tmp_path / "policy.toml"
    file.write_text(PUSHED)
    first, second = node_settings(fleet, tmp_path, "a"), node_settings(fleet, tmp_path, "b", accept_settings=True)
    with session_of(first), session_of(second) as session:
        wait_until(lambda: health_of(fleet, "a") is not None and health_of(fleet, "b") is not None)
        assert push(fleet, "hall", file, "--canary", 1, "--watch", "1m") == 1
        assert "hall/a refused it: this node does not accept settings" in capsys.readouterr().out
        steps_until(lambda: applied(fleet, "settings", "b").number == 2, session)
        assert session.regions_of("door") == ()


def test_a_canary_that_works_is_followed_by_the_others(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start()
    file = tmp_path / "policy.toml"
    file.write_text(PUSHED)
    settings = [node_settings(fleet, tmp_path, name, accept_settings=True) for name in "ab"]
    with ExitStack() as stack:
        sessions = [stack.enter_context(session_of(each)) for each in settings]
        wait_until(lambda: health_of(fleet, "a") is not None and health_of(fleet, "b") is not None)
        assert push(fleet, "hall", file, "--canary", 1, "--watch", "0s") == 1  # no step: it is not used in time
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(push(fleet, "hall", file, "--canary", 1, "--watch", "2s")))
        thread.start()
        steps_until(lambda: applied(fleet, "settings", "a").number == 3, *sessions)
        assert sessions[1].regions_of("door") == ()
        steps_until(lambda: done and sessions[1].regions_of("door") == (REGION,), *sessions)
        thread.join()
        assert done == [0]


def damaged(model: Path, folder: Path) -> Path:
    path, content = folder / "damaged.tflite", bytearray(model.read_bytes())
    content[200:60_000] = bytes(len(content[200:60_000]))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("part", "model"), [("model", MODEL), ("detector", DETECTOR)])
def test_a_pushed_model_is_tried_used_and_refused_if_it_is_damaged(
    part: str, model: Path, fleet: Fleet, tmp_path: Path
) -> None:
    """With the real self-test, as a process of its own."""
    fleet.start()
    loaded: dict[str, list[Path | None]] = {"model": [], "detector": []}

    def load(settings: ClassifierSettings) -> MaskClassifier:
        loaded["model"].append(settings.model)
        return BrightnessClassifier()

    def load_boxes(settings: DetectorSettings) -> FaceDetector:
        loaded["detector"].append(settings.model)
        return BoxesDetector(lambda _: ())

    settings = node_settings(fleet, tmp_path, accept_models=True)
    parts = fake_parts(boxes=(), source=LiveCamera("door"), load_classifier=load, load_detector=load_boxes)
    with WatchSession(settings, None, None, parts=parts) as session:
        assert push(fleet, "--model", model, "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, part).number == 1, session)
        used = loaded[part][-1]
        assert used is not None
        assert used.read_bytes() == model.read_bytes()
        assert push(fleet, "--model", damaged(model, tmp_path), "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, part).refused == 2, session)
        assert "self-test" in applied(fleet, part).reason
        assert (applied(fleet, part).number, applied(fleet, part).fingerprint) == (1, fingerprint(network_bytes(model)))
        steps_until(lambda: [e.camera for e in session.alerts.recent()] == [f"box {TABLES[part]}"], session)
    assert set(loaded[part]) == {None, used}
    wait_until(lambda: EventKind.PART_FAILED in {event.kind for event in fleet.stored()})


def test_both_models_are_replaced_while_a_person_alerts(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bundled networks and a picture of a bare face. The new detector ends no track and no alert."""
    monkeypatch.setattr("app.cli.fleet_node.TRIAL_S", 1.0)
    fleet.start()
    detectors: list[Path | None] = []
    analyzers: list[FrameAnalyzer] = []

    def load(settings: DetectorSettings) -> FaceDetector:
        detectors.append(settings.model)
        return load_detector(settings)

    def make_analyzer(*arguments: Any, **options: Any) -> FrameAnalyzer:
        analyzers.append(FrameAnalyzer(*arguments, **options))
        return analyzers[-1]

    def with_networks(settings: Settings) -> WatchSession:
        camera = LiveCamera("door", picture=cv2.imread(str(resources.asset("self_test.jpg"))))
        parts = MonitorParts(lambda _: camera, load, make_analyzer=make_analyzer)
        return WatchSession(settings, None, None, parts=parts)

    settings = node_settings(fleet, tmp_path, accept_models=True)
    with with_networks(settings) as session:
        assert push(fleet, "--model", DETECTOR, "--sites", "hall") == 0
        assert push(fleet, "--model", MODEL, "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, "model").number == applied(fleet, "detector").number == 1, session)
        steps_until(lambda: len(analyzers) == 2, session)  # another classifier ends the tracks
        (own, used) = detectors[0], detectors[-1]
        (view,) = session.monitor.views()
        steps_until(lambda: session.monitor.views()[0].open_alerts, session)
        (view,) = session.monitor.views()

        assert push(fleet, "--model", DETECTOR.with_name("face_detector.tflite"), "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, "detector").number == 2, session)
        count = session.monitor.views()[0].analysed
        steps_until(lambda: session.monitor.views()[0].analysed is not count, session)
        (later,) = session.monitor.views()
        assert later.open_alerts == view.open_alerts
        assert {track.id for track in later.tracks} == {track.id for track in view.tracks}
        assert own is None
        assert used not in (None, detectors[-1])

        assert push(fleet, "--model", damaged(DETECTOR, tmp_path), "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, "detector").refused == 3, session)
    in_use = detectors[-1]
    capsys.readouterr()
    assert main(["fleet", "nodes", str(fleet.folder.path)]) == 0
    printed = "".join(capsys.readouterr().out.split())
    for path, name in ((MODEL, "classifier1"), (DETECTOR.with_name("face_detector.tflite"), "detector2")):
        assert f"{name}({fingerprint(network_bytes(path))})" in printed
    assert "detector3refused:self-test" in printed
    fleet.stop()
    with with_networks(settings):  # without a link
        assert detectors[-1] == in_use


def test_a_detector_that_hangs_on_trial_is_rolled_back(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start()
    hangs = Hangs(times=1)

    def load(settings: DetectorSettings) -> FaceDetector:
        return BoxesDetector(lambda _: ()) if settings.model is None else HangingDetector(hangs)

    settings = node_settings(fleet, tmp_path, accept_models=True)
    monitor = settings.monitor.model_copy(update={"stuck_after_s": 1.0})
    settings = settings.model_copy(update={"monitor": monitor})
    parts = fake_parts(source=LiveCamera("door"), load_detector=load)
    with WatchSession(settings, None, None, parts=parts) as session:
        assert push(fleet, "--model", DETECTOR, "--sites", "hall") == 0
        steps_until(lambda: applied(fleet, "detector").refused == 1, session)
        assert "while it was tried, thread 'detector door' is stuck" in applied(fleet, "detector").reason
        assert applied(fleet, "detector").number == 0
        hangs.release.set()
        before = session.frames
        steps_until(lambda: bool(session.monitor.take(0.1)) or session.frames > before, session)


def test_what_is_neither_classifier_nor_detector_is_not_sent(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    shutil.copy(MODEL.with_name("face_detector.onnx"), tmp_path / "other.tflite")
    assert push(fleet, "--model", tmp_path / "other.tflite", "--sites", "hall") == 2
    assert "is not a model of maskwatch" in capsys.readouterr().err
    assert push(fleet, "--model", MODEL.with_name("face_detector.onnx"), "--sites", "hall") == 2
    assert "is no .tflite file" in capsys.readouterr().err
    (tmp_path / "bad.toml").write_text('alerts.channels = [{kind = "command", name = "x", argv = ["reboot"]}]')
    assert push(fleet, "hall", tmp_path / "bad.toml") == 2
    assert "no setting that a hub may send" in capsys.readouterr().err
    assert push(fleet, "--sites", "hall", tmp_path / "bad.toml") == 2
    assert "no setting that a hub may send" in capsys.readouterr().err
    assert push(fleet, "hall", tmp_path / "bad.toml", "--model", MODEL) == 2
    assert "send either" in capsys.readouterr().err
    assert push(fleet, "moon", tmp_path / "bad.toml") == 2
    assert "the sites are hall, yard" in capsys.readouterr().err


def test_a_camera_is_watched_by_one_node_and_moves(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    shares = {"failover": True, "lease_s": 2}
    a, b = (node_settings(fleet, tmp_path, name, **shares) for name in "ab")

    def state(session: WatchSession) -> SourceState:
        (view,) = session.monitor.views()
        return view.status.state

    def hub(*arguments: str) -> int:
        return main(["fleet", *arguments, "--hub-dir", str(fleet.folder.path)])

    with session_of(b) as second:
        with session_of(a) as first:
            wait_until(lambda: sorted((state(first), state(second))) == [SourceState.LIVE, SourceState.STANDBY])
            owner = "a" if state(first) is SourceState.LIVE else "b"
            wait_until(lambda: {"a", "b"} == {n for n in "ab" if (h := health_of(fleet, n)) and h.cameras})
            assert hub("assign", "hall/do*", "a") == 0
            wait_until(lambda: state(first) is SourceState.LIVE)
            assert state(second) is SourceState.STANDBY
            wait_until(lambda: (health := health_of(fleet, "a")) is not None and health.cameras["door"] == "live")
            assert hub("drain", "hall/a") == 0
            wait_until(lambda: state(second) is SourceState.LIVE)
            assert state(first) is SourceState.STANDBY
            assert hub("drain", "hall/a", "--undo") == 0
            assert hub("assign", "hall/door", "a") == 0
            assert hub("assign", "hall/moon", "a") == 2
            assert hub("drain", "hall/c") == 2
            assert owner in "ab"
        wait_until(lambda: state(second) is SourceState.LIVE)  # the first has ended
    assert first.exit_code == second.exit_code == 0


def test_a_node_that_shares_nothing_cannot_be_drained(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.start()
    with session_of(node_settings(fleet, tmp_path)):
        wait_until(lambda: health_of(fleet, "box") is not None)
    assert main(["fleet", "drain", "hall/box", "--hub-dir", str(fleet.folder.path)]) == 2
    assert "set failover = true" in capsys.readouterr().err


def test_a_node_of_a_site_without_hub_never_watches_a_shared_camera(fleet: Fleet, tmp_path: Path) -> None:
    with session_of(node_settings(fleet, tmp_path, failover=True)) as session:
        session.on_event(make_event(), None)
        (view,) = session.monitor.views()
        assert view.status.state is SourceState.STANDBY


def test_a_node_waits_for_a_shared_camera_that_cannot_be_reached(fleet: Fleet, tmp_path: Path) -> None:
    """Otherwise the program would end when it takes the camera over."""
    fleet.start()
    camera = LiveCamera("door")
    camera.offline.set()
    parts = fake_parts(boxes=(), source=camera)
    with WatchSession(node_settings(fleet, tmp_path, failover=True), None, None, parts=parts) as session:
        wait_until(lambda: session.monitor.views()[0].status.state is SourceState.RECONNECTING)
        camera.offline.clear()
        wait_until(lambda: session.monitor.views()[0].status.state is SourceState.LIVE)


def test_a_model_that_cannot_be_loaded_at_the_start_is_reported_once(fleet: Fleet, tmp_path: Path) -> None:
    def load(settings: ClassifierSettings) -> MaskClassifier:
        raise ModelError("no such model")

    settings = node_settings(fleet, tmp_path)
    broken = fake_parts(boxes=(), source=LiveCamera("door"), load_classifier=load)
    for _ in range(2):
        with pytest.raises(ModelError, match="no such model"), WatchSession(settings, None, None, parts=broken):
            pass
    with session_of(settings) as session:
        session.step()
        wait_until(lambda: len(session.alerts.recent()) == 1)
        (end,) = session.alerts.recent()
        fleet.start()
        wait_until(lambda: len(fleet.stored()) >= 2)
    kinds = [event.kind for event in fleet.stored() if event.camera == "hall/box classifier"]
    assert kinds == [EventKind.PART_FAILED, EventKind.PART_RECOVERED]
    assert end.kind is EventKind.PART_RECOVERED
