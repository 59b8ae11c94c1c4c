"""``maskwatch self-test``: does this installation do its whole job? One line for each part, then a total."""

import argparse
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import __version__
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
PICTURE = "self_test.jpg"


@dataclass(frozen=True, slots=True)
class Truth:
    """A face of the picture: a point inside it, px, and what must be said of it."""

    x: float
    y: float
    label: Label


TRUTHS = (Truth(212, 182, Label.NO_MASK), Truth(500, 156, Label.MASK))
"""The picture is frame 140 of the demo (packaging/make_pictures.py): she on the left is bare, the other wears hers."""


@dataclass(frozen=True, slots=True)
class Check:
    """How one part fared."""

    subject: str
    ok: bool
    words: str
    took_s: float


class SelfTestError(MaskwatchError):
    """A part that works without error and wrongly."""


class SelfTest:
    """The parts in their order; what one makes the next may need."""

    def __init__(self, settings: "Settings", folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._detector: FaceDetector | None = None
        self._classifier: MaskClassifier | None = None
        self.first_label_wall_s: float | None = None
        """Unix time of the first label, for whoever measures starts."""
        self.first_label_cpu_s: float | None = None
        """Processor time until then: what other programs on the machine disturb least."""

    def checks(self) -> Iterator[Check]:
        steps: tuple[tuple[str, Callable[[], str]], ...] = (
            ("detector", self._load_detector),
            ("classifier", self._load_classifier),
            ("picture", self._label_picture),
            ("clip", self._decode_clip),
            ("events", self._keep_event),
            ("alert", self._send_alert),
            ("program", self._describe_program),
        )
        for subject, step in steps:
            began_s = time.perf_counter()
            try:
                ok, words = True, step()
            except (MaskwatchError, ImportError, OSError, ValueError) as error:
                ok, words = False, str(error)
            yield Check(subject, ok, words, time.perf_counter() - began_s)

    def _load_detector(self) -> str:
        from app.vision.detector_loader import load_detector

        self._detector = load_detector(self._settings.detector)
        return f"{self._settings.detector.kind} loaded"

    def _load_classifier(self) -> str:
        from app.vision.classifier import load_classifier

        self._classifier = load_classifier(self._settings.classifier)
        facts = self._classifier.metadata
        return f"{facts.name} {facts.version} loaded, {self._settings.classifier.backend}: {', '.join(facts.labels)}"

    def _label_picture(self) -> str:
        from app.capture.image_folder import read_picture
        from app.cli.annotate import label_faces

        if self._detector is None or self._classifier is None:
            raise SelfTestError("not tried: a part before it failed")
        faces = label_faces(read_picture(resources.asset(PICTURE)), self._detector, self._classifier)
        self.first_label_wall_s, self.first_label_cpu_s = time.time(), time.process_time()
        said = []
        for truth in TRUTHS:
            here = [face for face in faces if _holds(face.box, truth)]
            if not here:
                raise SelfTestError(f"the face at {truth.x:.0f},{truth.y:.0f} of {PICTURE} was not found")
            label = here[0].label
            if label.label is not truth.label:
                raise SelfTestError(f"said {label.label.value} of the face that is {truth.label.value} in {PICTURE}")
            said.append(f"{label.label.value} {label.confidence:.0%}")
        return f"{len(faces)} faces: {', '.join(said)}, as it should be"

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

    def _keep_event(self) -> str:
        from app.alerts.event_store import EventStore
        from app.alerts.store_types import WriteBatch

        event = _event("written and read again")
        path = self._folder / "kept.db"
        with EventStore(path) as store:
            store.write(WriteBatch(events=((event, None),)), time.time())
        with EventStore(path, create=False) as store:
            if store.events() != [event]:
                raise SelfTestError(f"the event file {path} does not give back what was written")
        return "written and read again"

    def _send_alert(self) -> str:
        """Through outbox, delivery and command hook, to this very program as the one that is told."""
        from app.alerts.delivery import AlertCenter
        from app.settings.alerts import AlertSettings, CommandChannel

        received = self._folder / "received.json"
        argv = (*own_command(), "self-test", _RECEIVE, str(received))
        channel = CommandChannel(kind="command", name="self-test", argv=argv, timeout_s=_ALERT_TIMEOUT_S / 2)
        center = AlertCenter(AlertSettings(store=self._folder / "events.db", channels=(channel,)))
        event = _event("a test of the alerts")
        center.start()
        center.submit(event)
        left = center.close(_ALERT_TIMEOUT_S)
        told = [each.error for each in center.health().channels if each.error]
        if left or told:
            raise SelfTestError("; ".join([*left, *told]))
        if json.loads(received.read_text(encoding="utf-8"))["id"] != event.id:
            raise SelfTestError("another alert arrived than was sent")
        return "stored, sent through a command, received"

    def _describe_program(self) -> str:
        if not getattr(sys, "frozen", False):
            return f"maskwatch {__version__}, Python {sys.version.split()[0]}"
        foreign = foreign_modules(resources.root())
        if foreign:
            raise SelfTestError(f"loaded from outside of the program's folder: {', '.join(foreign)}")
        facts = json.loads((resources.root() / "build.json").read_text(encoding="utf-8"))
        made = f"{facts['form']} for {facts['system']}, commit {facts['commit'][:12]}, Python {facts['python']}"
        return f"maskwatch {facts['version']}, {made}, all of it from its own folder"


def _holds(box: Any, truth: Truth) -> bool:
    return bool(box.x <= truth.x <= box.x2 and box.y <= truth.y <= box.y2)


def _event(reason: str) -> Event:
    return Event(uuid.uuid4().hex, EventKind.NO_MASK, "self-test", 0.0, time.time(), reason=reason)


def foreign_modules(root: Path) -> list[str]:
    """Modules whose file lies outside ``root``. Those of the boot loader have no folder, only a name."""
    files = ((name, Path(getattr(module, "__file__", None) or "")) for name, module in sorted(sys.modules.items()))
    return [name for name, file in files if file.is_absolute() and not file.resolve().is_relative_to(root.resolve())]


def register(commands: Any) -> None:
    parser = commands.add_parser("self-test", help="try every part of this installation", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the lines")
    parser.add_argument(_RECEIVE, type=Path, metavar="FILE", help=argparse.SUPPRESS)  # the other end of the alert
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from app.settings.root import load_settings

    if args.receive is not None:
        return _receive(args.receive)
    settings = load_settings(config_path(args), flag_values(args, VISION))
    began_s = time.perf_counter()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="maskwatch-", ignore_cleanup_errors=True) as folder:
        test = SelfTest(settings, Path(folder))
        for check in test.checks():
            checks.append(check)
            if not args.json:
                state = "ok" if check.ok else "FAULT"
                print(f"{state:6}{check.subject:12}{check.words} ({check.took_s * 1000:.0f} ms)", flush=True)
    good, total_s = sum(check.ok for check in checks), time.perf_counter() - began_s
    if args.json:
        record = {
            "ok": good == len(checks),
            "total_s": total_s,
            "checks": [asdict(check) for check in checks],
            "first_label_wall_s": test.first_label_wall_s,
            "first_label_cpu_s": test.first_label_cpu_s,
        }
        print(json.dumps(record, indent=1))
    else:
        print(f"{good} of {len(checks)} parts work; {total_s:.1f} s")
    return 0 if good == len(checks) else 1


def _receive(path: Path) -> int:
    """The alert from standard input into ``path``; a program without a console has no ``sys.stdin``."""
    if sys.stdin is not None:
        alert = sys.stdin.buffer.read()
    else:
        with open(0, "rb") as file:
            alert = file.read()
    path.write_bytes(alert)
    return 0
