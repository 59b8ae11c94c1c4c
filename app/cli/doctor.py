"""``maskwatch doctor``: what is there, what is wrong, and what to do about it."""

import argparse
import hashlib
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import MaskwatchError
from app.core.files import exists
from app.core.text import counted
from app.settings.flags import SOURCE, VISION, add_flags, add_source, cameras_given, config_path, flag_values

if TYPE_CHECKING:
    from app.core.types import Image
    from app.settings.source import SourceSettings

_PACKAGES = ("opencv-python", "ai-edge-litert", "numpy", "imutils", "pydantic", "tensorflow")
_CAMERAS_TRIED = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``state`` is ok, note (nothing to do) or fault; ``advice`` says what to do about a fault."""

    subject: str
    state: str
    words: str
    advice: str = ""


def register(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="check this machine and installation", description=__doc__)
    add_source(parser, "default: those of the settings, else the first cameras there are")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    add_flags(parser, "sources", SOURCE)
    add_flags(parser, "faces", VISION)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from app.settings.root import load_settings

    settings = load_settings(config_path(args), {**flag_values(args, VISION), **cameras_given(args)})
    named = settings.camera if "camera" in settings.model_fields_set else ()
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _versions,
        _display,
        lambda: _sources(named) if named else _cameras(),
        _decoder,
        _files,
        lambda: _store(settings),
        lambda: _self_check(settings),
    )
    table = Table(show_header=False, box=None)
    for _ in range(3):
        table.add_column(overflow="fold")  # a path that is cut short names nothing
    faults = 0
    colours = {"ok": "green", "note": "cyan", "fault": "bold red"}
    for check in checks:
        for finding in check():
            faults += finding.state == "fault"
            words = f"{finding.words}; {finding.advice}" if finding.advice else finding.words
            table.add_row(f"[{colours[finding.state]}]{finding.state}[/]", escape(finding.subject), escape(words))
    console = Console()
    console.print(table, highlight=False)
    console.print(counted(faults, "fault") if faults else "all is well")
    return 1 if faults else 0


def _versions() -> Iterator[Finding]:
    yield Finding("system", "ok", f"{platform.platform()}, Python {sys.version.split()[0]}, {platform.machine()}")
    for name in _PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            if name == "tensorflow":
                yield Finding(name, "note", "not installed: only training and --backend keras need it")
            elif not getattr(sys, "frozen", False):  # an executable carries code, not package records
                yield Finding(name, "fault", "not installed", "install maskwatch again with pip")


def _display() -> Iterator[Finding]:
    from app.core.errors import DisplayError
    from app.ui.display import check_display

    try:
        check_display()
        yield Finding("display", "ok", "a window can be opened")
    except DisplayError as error:
        yield Finding("display", "note", str(error))


def _sources(cameras: "Sequence[SourceSettings]") -> Iterator[Finding]:
    """Each is opened and gives a picture, all at once: those that are not there take their time limit."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(cameras)) as pool:
        yield from pool.map(_source, cameras)


def _source(camera: "SourceSettings") -> Finding:
    from app.core.errors import SourceError

    began_s = time.perf_counter()
    try:
        height, width = _first_picture(camera).shape[:2]
    except (SourceError, StopIteration) as error:
        told, _, advice = str(error).partition("; ")
        return Finding(f"source {camera.name}", "fault", told or f"{camera.shown} gives no picture", advice)
    words = f"{width}x{height}, its first picture after {time.perf_counter() - began_s:.1f} s"
    return Finding(f"source {camera.name}", "ok", words)


def _first_picture(camera: "SourceSettings") -> "Image":
    """Raises SourceError, or StopIteration where it ends without a picture."""
    import threading
    from contextlib import closing

    from app.capture.source import make_source

    with closing(make_source(camera).frames(threading.Event())) as frames:  # type: ignore[type-var]
        return next(frames).image


def _cameras() -> Iterator[Finding]:
    from app.core.errors import SourceError
    from app.settings.source import SourceSettings

    found = 0
    for index in range(_CAMERAS_TRIED):
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            continue
        try:
            height, width = _first_picture(SourceSettings(uri=str(index))).shape[:2]
            found += 1
            yield Finding(f"camera {index}", "ok", f"{width}x{height}")
        except (SourceError, StopIteration) as error:
            if sys.platform == "linux":  # elsewhere every index that is not there fails so
                yield Finding(f"camera {index}", "note", str(error) or "gives no picture")
    if not found:
        yield Finding("cameras", "note", "none found; try --source demo, a file or a stream")


def _decoder() -> Iterator[Finding]:
    from app.settings.source import SourceSettings

    try:
        height, width = _first_picture(SourceSettings(uri="demo")).shape[:2]
        yield Finding("decoder", "ok", f"H.264/MPEG-4 clip decoded at {width}x{height}")
    except (MaskwatchError, StopIteration) as error:
        yield Finding("decoder", "fault", f"cannot decode the demo clip: {error}", "reinstall opencv-python")


def _files() -> Iterator[Finding]:
    from app.core import resources

    assets = ("haarcascade_frontalface_default.xml", "haarcascade_profileface.xml", "demo.mp4")
    wanted = [resources.asset(name) for name in assets]
    models = resources.model("")
    wanted += sorted(models.rglob("*.tflite")) if models.is_dir() else []
    if not any(path.suffix == ".tflite" for path in wanted):
        yield Finding("models", "fault", f"none in {models}", "reinstall maskwatch")
    for path in wanted:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            yield Finding(path.name, "ok", f"{path.stat().st_size / 1024:.0f} KiB, sha256 {digest}...")
        except OSError as error:
            yield Finding(path.name, "fault", f"{path}: {error.strerror}", "reinstall maskwatch")


def _store(settings: Any) -> Iterator[Finding]:
    import os

    folder = settings.alerts.store.parent
    existing = next(parent for parent in (folder, *folder.parents) if exists(parent))
    if os.access(existing, os.W_OK):
        yield Finding("events", "ok", f"kept in {settings.alerts.store}")
    else:
        advice = f"make {existing} writable or set alerts.store"
        yield Finding("events", "fault", f"cannot write to {settings.alerts.store}", advice)


def _self_check(settings: Any) -> Iterator[Finding]:
    """Find and label the faces of the demo's frames with the real parts, timed."""
    import threading
    from itertools import islice

    from app.capture.source import make_source
    from app.cli.annotate import label_faces
    from app.settings.source import SourceSettings
    from app.vision.classifier import load_classifier
    from app.vision.detector_loader import load_detector

    try:
        began_s = time.perf_counter()
        detector, classifier = load_detector(settings.detector), load_classifier(settings.classifier)
        loaded_s = time.perf_counter()
        frames = make_source(SourceSettings(uri="demo")).frames(threading.Event())
        images = [frame.image for frame in islice(frames, 0, 60, 4)]
        decoded_s = time.perf_counter()
        faces = sum(len(label_faces(image, detector, classifier)) for image in images)
        each_ms = (time.perf_counter() - decoded_s) / max(1, len(images)) * 1000
    except MaskwatchError as error:
        yield Finding("self-check", "fault", str(error), "reinstall maskwatch")
        return
    words = f"{classifier.metadata.name}: {counted(faces, 'face')} in {len(images)} frames, {each_ms:.0f} ms a frame"
    words += f", parts loaded in {(loaded_s - began_s) * 1000:.0f} ms"
    if faces:
        yield Finding("self-check", "ok", words)
    else:
        yield Finding("self-check", "fault", f"{words}: no face found in the demo", "check --detector and its file")
