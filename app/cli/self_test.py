"""``maskwatch self-test``: test every part of this installation and print one line for each."""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import __version__
from app.capture.opencv_packages import missing_library_advice
from app.cli.arguments import check_names
from app.core import resources
from app.core.errors import MaskwatchError
from app.core.own_command import own_command
from app.core.types import Event, EventKind, Label
from app.settings.flags import VISION, add_flags, config_path, flag_values

if TYPE_CHECKING:
    from app.settings.root import Settings
    from app.vision.classifier import MaskClassifier
    from app.vision.detector import FaceDetector

_ALERT_TIMEOUT_S = 60.0
_RECEIVE = "--receive"
IMAGE = "self_test.jpg"


@dataclass(frozen=True, slots=True)
class ExpectedFace:
    """A face of the test image: a point inside it in pixels, and its label."""

    x: float
    y: float
    label: Label


EXPECTED_FACES = (ExpectedFace(212, 182, Label.NO_MASK), ExpectedFace(500, 156, Label.MASK))
"""The test image is frame 140 of the demo (packaging/make_pictures.py)."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one test. The fields are JSON keys of ``--json``."""

    subject: str
    ok: bool
    words: str
    took_s: float


class SelfTestError(MaskwatchError):
    """A part ran without an error, but its result is wrong."""


class SelfTest:
    """Runs the tests in order; later tests use results of earlier ones."""

    def __init__(self, settings: "Settings", folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._detector: FaceDetector | None = None
        self._classifier: MaskClassifier | None = None
        self.first_label_wall_s: float | None = None
        """Unix time of the first label, for start-up benchmarks."""
        self.first_label_cpu_s: float | None = None
        """CPU time until then: the figure least affected by other programs."""

    def checks(self, only: Sequence[str] = ()) -> Iterator[Check]:
        """Raises SettingsError if there is no test of a name in ``only``."""
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("detector", self._load_detector),
            ("classifier", self._load_classifier),
            ("picture", self._label_image),
            ("clip", self._decode_clip),
            ("events", self._store_event),
            ("alert", self._send_alert),
            ("program", self.describe_program),
        )
        check_names("test", only, (subject for subject, _ in steps))
        for subject, step in steps:
            if only and subject not in only:
                continue
            started_s = time.perf_counter()
            try:
                ok, message = True, step()
            except (MaskwatchError, ImportError, OSError, ValueError) as error:
                ok, message = False, "; ".join(filter(None, (str(error), missing_library_advice(error))))
            yield Check(subject, ok, message, time.perf_counter() - started_s)

    def _load_detector(self) -> str:
        from app.vision.detector_loader import load_detector

        self._detector = load_detector(self._settings.detector)
        return f"{self._settings.detector.kind} loaded"

    def _load_classifier(self) -> str:
        from app.vision.classifier import load_classifier

        self._classifier = load_classifier(self._settings.classifier)
        metadata = self._classifier.metadata
        backend = self._settings.classifier.backend
        return f"{metadata.name} {metadata.version} loaded, {backend}: {', '.join(metadata.labels)}"

    def _label_image(self) -> str:
        from app.capture.image_folder import read_image
        from app.pipeline.image_labeler import ImageLabeler

        if self._detector is None or self._classifier is None:
            raise SelfTestError("not run: an earlier test failed")
        labeler = ImageLabeler(self._detector, self._classifier, self._settings.detector.kind == "cnn")
        faces = labeler.label(read_image(resources.asset(IMAGE)))
        self.first_label_wall_s, self.first_label_cpu_s = time.time(), time.process_time()
        labels = []
        for expected in EXPECTED_FACES:
            matches = [face for face in faces if _contains(face.box, expected)]
            if not matches:
                raise SelfTestError(f"the face at {expected.x:.0f},{expected.y:.0f} in {IMAGE} was not detected")
            label, names = matches[0].label, self._classifier.metadata.labels
            is_unsure = label.label is Label.UNSURE  # a less exact model may be: only a wrong label is a fault
            chosen = names[label.probabilities.index(max(label.probabilities))] if is_unsure else label.label
            if chosen is not expected.label:
                raise SelfTestError(f"a {expected.label.value} face in {IMAGE} was labelled {chosen.value}")
            labels.append(f"{chosen.value} {label.confidence:.0%}{' (unsure)' if is_unsure else ''}")
        return f"{len(faces)} faces: {', '.join(labels)}, as expected"

    def _decode_clip(self) -> str:
        import threading

        from app.capture.source import make_source
        from app.settings.source import SourceSettings

        source = make_source(SourceSettings(uri="demo"))
        expected, decoded, size = source.frame_count, 0, ""
        for frame in source.frames(threading.Event()):
            decoded += 1
            size = f"{frame.image.shape[1]}x{frame.image.shape[0]}"
        if decoded != expected:
            raise SelfTestError(f"decoded {decoded} of {expected} frames of the demo clip; reinstall maskwatch")
        return f"{decoded} frames of {size} decoded"

    def _store_event(self) -> str:
        from app.alerts.event_store import EventStore
        from app.alerts.store_types import WriteBatch

        event = _event("written and read back")
        path = self._folder / "kept.db"
        with EventStore(path) as store:
            store.write(WriteBatch(events=((event, None),)), time.time())
        with EventStore(path, create=False) as store:
            if store.events() != [event]:
                raise SelfTestError(f"the event file {path} does not return the event that was written")
        return "written and read back"

    def _send_alert(self) -> str:
        """Sends an alert through outbox, delivery and command hook to a second process of this program."""
        from app.alerts.delivery import AlertCenter
        from app.settings.alerts import AlertSettings, CommandChannel

        received = self._folder / "received.json"
        argv = (*own_command(), "self-test", _RECEIVE, str(received))
        channel = CommandChannel(kind="command", name="self-test", argv=argv, timeout_s=_ALERT_TIMEOUT_S / 2)
        center = AlertCenter(AlertSettings(store=self._folder / "events.db", channels=(channel,)))
        event = _event("test alert")
        center.start()
        center.submit(event)
        unsent = center.close(_ALERT_TIMEOUT_S)
        errors = [each.error for each in center.health().channels if each.error]
        if unsent or errors:
            raise SelfTestError("; ".join([*unsent, *errors]))
        if json.loads(received.read_text(encoding="utf-8"))["id"] != event.id:
            raise SelfTestError("the received alert is not the one that was sent")
        return "stored, sent through a command, received"

    def describe_program(self) -> str:
        if not getattr(sys, "frozen", False):
            return f"maskwatch {__version__}, Python {sys.version.split()[0]}"
        foreign = foreign_modules(resources.root())
        if foreign:
            raise SelfTestError(f"loaded from outside the program's folder: {', '.join(foreign)}")
        build = json.loads((resources.root() / "build.json").read_text(encoding="utf-8"))
        origin = f"{build['form']} for {build['system']}, commit {build['commit'][:12]}, Python {build['python']}"
        return f"maskwatch {build['version']}, {origin}, all of it from its own folder"


def _contains(box: Any, face: ExpectedFace) -> bool:
    return bool(box.x <= face.x <= box.x2 and box.y <= face.y <= box.y2)


def _event(reason: str) -> Event:
    return Event(uuid.uuid4().hex, EventKind.NO_MASK, "self-test", 0.0, time.time(), reason=reason)


def foreign_modules(root: Path) -> list[str]:
    """Loaded modules whose file is outside ``root``. Modules of the boot loader have no absolute path."""
    files = ((name, Path(getattr(module, "__file__", None) or "")) for name, module in sorted(sys.modules.items()))
    return [name for name, file in files if file.is_absolute() and not file.resolve().is_relative_to(root.resolve())]


def register(commands: Any) -> None:
    parser = commands.add_parser("self-test", help="test every part of this installation", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", action="append", default=[], metavar="TEST", help="run only this test; repeatable")
    parser.add_argument(_RECEIVE, type=Path, metavar="FILE", help=argparse.SUPPRESS)  # the receiver of the test alert
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from app.settings.load import load_settings

    if args.receive is not None:
        return _receive(args.receive)
    settings = load_settings(config_path(args), flag_values(args, VISION))
    started_s = time.perf_counter()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="maskwatch-", ignore_cleanup_errors=True) as folder:
        test = SelfTest(settings, Path(folder))
        for check in test.checks(args.only):
            checks.append(check)
            if not args.json:
                state = "ok" if check.ok else "FAULT"
                print(f"{state:6}{check.subject:12}{check.words} ({check.took_s * 1000:.0f} ms)", flush=True)
    passed, total_s = sum(check.ok for check in checks), time.perf_counter() - started_s
    if args.json:
        record = {
            "ok": passed == len(checks),
            "total_s": total_s,
            "checks": [asdict(check) for check in checks],
            "first_label_wall_s": test.first_label_wall_s,
            "first_label_cpu_s": test.first_label_cpu_s,
        }
        print(json.dumps(record, indent=1))
    else:
        print(f"{passed} of {len(checks)} tests passed; {total_s:.1f} s")
    return 0 if passed == len(checks) else 1


def _receive(path: Path) -> int:
    """Copies the alert from standard input to ``path``. Without a console ``sys.stdin`` is None."""
    if sys.stdin is not None:
        alert = sys.stdin.buffer.read()
    else:
        with open(0, "rb") as file:
            alert = file.read()
    path.write_bytes(alert)
    return 0
