"""``maskwatch doctor``: check this machine and installation, and say how to correct each fault."""

import argparse
import hashlib
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import MaskwatchError
from app.core.files import existing_parent, exists
from app.core.text import counted
from app.settings.flags import SOURCE, VISION, add_flags, add_source, config_path, flag_values, source_values

if TYPE_CHECKING:
    from app.core.types import Image
    from app.settings.source import SourceSettings

_PACKAGES = ("av", "ai-edge-litert", "numpy", "imutils", "pydantic", "tensorflow")
_CAMERAS_TRIED = 4
_FAST_MS, _LESS_WIDTHS_PX = 40.0, (512, 448)
"""A detection pass over 640 x 480 that takes longer cannot follow a camera of 25 frames a second. These widths take
less time and lose few faces of 20 px and more: docs/speed.md."""
_SAMPLES, _SAMPLE_STEP_S, _FILE_SAMPLE_STEP_S = 12, 0.25, 1.0
"""Images in which faces show how a source hangs, and the time between them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: ``state`` is ok, info (no action needed) or fault; ``advice`` says how to correct a fault."""

    subject: str
    state: str
    message: str
    advice: str = ""


def register(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="check this machine and installation", description=__doc__)
    add_source(parser, "default: the cameras in the settings, otherwise the first cameras found")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    add_flags(parser, "sources", SOURCE)
    add_flags(parser, "faces", VISION)
    parser.add_argument("--measure", action="store_true", help="measure the speed of the networks again")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.cells import cell_len, set_cell_size
    from rich.console import Console
    from rich.text import Text

    from app.capture.opencv_packages import opencv_state
    from app.settings.load import load_settings

    settings = load_settings(config_path(args), flag_values(args, VISION), each_camera=source_values(args))
    named = settings.camera if "camera" in settings.model_fields_set else ()
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _opencv, _files, lambda: store_findings(settings)]
    if opencv_state().version:  # else all of these would fail for the same reason
        checks[2:2] = [_display, lambda: _sources(settings, named) if named else _cameras(), _decoder]
        checks += [lambda: _self_check(settings), lambda: speed_findings(settings, args.measure)]
    findings = [finding for check in checks for finding in check()]
    width = max(cell_len(finding.subject) for finding in findings)
    colours = {"ok": "green", "info": "cyan", "fault": "bold red"}
    console = Console(highlight=False)
    for finding in findings:
        message = f"{finding.message}; {finding.advice}" if finding.advice else finding.message
        state = f"{finding.state:7}", colours[finding.state]
        line = Text.assemble(state, set_cell_size(finding.subject, width), f"  {message}")
        console.print(line, soft_wrap=True)  # the terminal breaks long lines, so that paths can be copied
    faults = sum(finding.state == "fault" for finding in findings)
    console.print(counted(faults, "fault") if faults else "no faults")
    return 1 if faults else 0


def _versions() -> Iterator[Finding]:
    yield Finding("system", "ok", f"{platform.platform()}, Python {sys.version.split()[0]}, {platform.machine()}")
    for name in _PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            if name == "tensorflow":
                yield Finding(name, "info", "not installed; only training and --backend keras need it")
            elif not getattr(sys, "frozen", False):  # an executable has no package metadata
                yield Finding(name, "fault", "not installed", "reinstall maskwatch with pip")


def _opencv() -> Iterator[Finding]:
    """One working OpenCV: a second package of it overwrites the files of the first."""
    from app.capture.opencv_packages import (
        OURS,
        missing_library_advice,
        opencv_packages,
        opencv_state,
        packages_text,
        repair_advice,
    )

    if getattr(sys, "frozen", False):  # an executable has no package metadata
        return
    packages, state = opencv_packages(), opencv_state()
    subject = OURS if len(packages) < 2 else "OpenCV"
    if state.fault:
        reason = state.fault if len(packages) < 2 else f"{packages_text()} overwrite each other: {state.fault}"
        yield Finding(subject, "fault", reason, missing_library_advice(state.fault) or repair_advice())
    elif len(packages) > 1:
        message = f"{packages_text()} share one folder; if one is removed, the other stops: {repair_advice()}"
        yield Finding(subject, "info", message)
    elif OURS in packages:
        yield Finding(subject, "ok", packages[OURS])
    else:
        message = f"not installed; OpenCV {state.version} is from {packages_text() or 'another package'}"
        windows = "" if state.has_windows else " and opens no window (--headless works)"
        yield Finding(subject, "info", f"{message}{windows}; for ours: {repair_advice()}")


def _display() -> Iterator[Finding]:
    from app.core.errors import DisplayError
    from app.ui.window_process import open_image_window

    try:
        window = open_image_window()
        try:
            window.wait_until_open()
        finally:
            window.close()
        yield Finding("display", "ok", "a window was opened")
    except DisplayError as error:
        yield Finding("display", "info", str(error))


def _sources(settings: Any, cameras: "Sequence[SourceSettings]") -> Iterator[Finding]:
    """Opens all sources in parallel, because each missing one takes its full timeout."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(cameras)) as pool:
        yield from pool.map(lambda camera: _source(settings, camera), cameras)


def _source(settings: Any, camera: "SourceSettings") -> Finding:
    from app.core.errors import SourceError

    started_s, subject = time.perf_counter(), f"source {camera.name}"
    try:
        images = _images(camera, _SAMPLES)
        height, width = next(images).shape[:2]
        opened_s = time.perf_counter() - started_s
        turned = _missing_rotation(settings, images)
    except (SourceError, StopIteration) as error:
        message, _, advice = str(error).partition("; ")
        return Finding(subject, "fault", message or f"{camera.shown} delivers no frame", advice)
    message = f"{width}x{height}, first frame after {opened_s:.1f} s"
    if not turned and camera.is_live and opened_s > camera.read_timeout_s:
        advice = "set a shorter key frame (I-frame) interval in the camera, so that it is visible sooner"
        return Finding(subject, "info", message, advice)
    if not turned:
        return Finding(subject, "ok", message)
    rotate = (camera.rotate + (turned if camera.flip == "none" else -turned)) % 360
    message += f"; its faces are upright only if it is rotated by {turned} degrees clockwise"
    return Finding(subject, "fault", message, f"set rotate = {rotate} for this camera, or give --rotate {rotate}")


def _missing_rotation(settings: Any, images: "Iterator[Image]") -> int:
    """Degrees clockwise by which ``images`` must still be rotated; 0 if they show too few faces to say."""
    from app.vision.detector_loader import load_detector
    from app.vision.upright import upright_rotation

    try:
        return upright_rotation(images, load_detector(settings.detector)) or 0
    except MaskwatchError:  # the self-check reports what is wrong with the detector
        return 0


def _images(camera: "SourceSettings", samples: int = 1) -> "Iterator[Image]":
    """The first image, and up to ``samples`` - 1 later ones, spread in time. Raises SourceError."""
    import threading
    from contextlib import closing

    from app.capture.source import make_source

    source = make_source(camera)
    due_s, step_s = -math.inf, _SAMPLE_STEP_S if source.is_live else _FILE_SAMPLE_STEP_S
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        for frame in frames:
            if frame.time_s < due_s:
                continue
            yield frame.image
            samples, due_s = samples - 1, frame.time_s + step_s
            if not samples:
                return


def _cameras() -> Iterator[Finding]:
    from app.core.errors import SourceError
    from app.settings.source import SourceSettings

    found = 0
    for index in range(_CAMERAS_TRIED):
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            continue
        try:
            height, width = next(_images(SourceSettings(uri=str(index)))).shape[:2]
            found += 1
            yield Finding(f"camera {index}", "ok", f"{width}x{height}")
        except (SourceError, StopIteration) as error:
            if sys.platform == "linux":  # on other systems each unused index fails like this
                yield Finding(f"camera {index}", "info", str(error) or "delivers no frame")
    if not found:
        yield Finding("cameras", "info", "none found; try --source demo, a file or a stream")


def _decoder() -> Iterator[Finding]:
    from app.settings.source import SourceSettings

    try:
        height, width = next(_images(SourceSettings(uri="demo"))).shape[:2]
        yield Finding("decoder", "ok", f"demo clip decoded at {width}x{height}")
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
        name = path.relative_to(models).as_posix() if path.is_relative_to(models) else path.name
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            yield Finding(name, "ok", f"{path.stat().st_size / 1024:.0f} KiB, sha256 {digest}...")
        except OSError as error:
            yield Finding(name, "fault", f"{path}: {error.strerror}", "reinstall maskwatch")


def store_findings(settings: Any) -> Iterator[Finding]:
    import os
    import tempfile

    store = settings.alerts.store
    existing = existing_parent(store)
    try:
        with tempfile.TemporaryFile(dir=existing):  # os.access permits root to write everywhere
            is_writable = not exists(store) or os.access(store, os.W_OK)
    except OSError:
        is_writable = False
    if is_writable:
        yield Finding("events", "ok", f"stored in {store}")
    else:
        advice = f"make {existing} writable or set alerts.store"
        yield Finding("events", "fault", f"cannot write to {store}", advice)


def _self_check(settings: Any) -> Iterator[Finding]:
    """Detects and labels faces in frames of the demo with the configured models, and measures the time."""
    import threading
    from itertools import islice

    from app.capture.source import make_source
    from app.pipeline.image_labeler import load_labeler
    from app.settings.source import SourceSettings

    try:
        started_s = time.perf_counter()
        labeler = load_labeler(settings)
        loaded_s = time.perf_counter()
        frames = make_source(SourceSettings(uri="demo")).frames(threading.Event())
        images = [frame.image for frame in islice(frames, 0, 60, 4)]
        decoded_s = time.perf_counter()
        faces = sum(len(labeler.label(image)) for image in images)
        each_ms = (time.perf_counter() - decoded_s) / max(1, len(images)) * 1000
    except MaskwatchError as error:
        yield Finding("self-check", "fault", str(error), "reinstall maskwatch")
        return
    name = labeler.classifier.metadata.name
    message = f"{name}: {counted(faces, 'face')} in {len(images)} frames, {each_ms:.0f} ms per frame"
    message += f", models loaded in {(loaded_s - started_s) * 1000:.0f} ms"
    if faces:
        yield Finding("self-check", "ok", message)
    else:
        yield Finding(
            "self-check", "fault", f"{message}: no face found in the demo", "check --detector and --detector-model"
        )


def speed_findings(settings: Any, again: bool = False) -> Iterator[Finding]:
    """Measures the bundled networks with LiteRT, or on all back ends if a setting is ``auto``: once, or ``again``."""
    from app.bench.backend_speeds import measure_speeds
    from app.vision.backend_choice import fastest, read_speeds, speeds_file, write_speeds
    from app.vision.backends import available_backends

    own = (each.detector.backend for each in settings.camera)
    is_auto = "auto" in (settings.detector.backend, settings.classifier.backend, *own)
    backends = available_backends() if is_auto else ["litert"]
    speeds = read_speeds()
    if again or set(backends) - {each.backend for each in speeds}:
        faults: list[str] = []
        speeds = measure_speeds(backends, faults)
        for fault in faults:
            yield Finding("back end", "info", fault)
        try:
            write_speeds(speeds)
        except OSError as error:
            yield Finding("back end", "info", f"cannot keep the times in {speeds_file()}: {error.strerror}")
    for network in ("detector", "classifier"):
        kinds = dict.fromkeys((each.backend, each.precision) for each in speeds if each.network == network)
        found = [each for each in (fastest(speeds, network, *kind) for kind in kinds) if each]
        times = ", ".join(f"{each.backend} {each.precision} {each.ms:.1f} ms" for each in found)
        if best := fastest(found, network):
            chosen = f"{best.backend} {best.precision}, {counted(best.threads, 'thread')}"
            yield Finding(f"{network} speed", "ok", f"{times}; auto uses {chosen}")
            if network == "detector" and best.ms > _FAST_MS and not settings.detector.sets_width:
                yield _less_width(best.ms)


def _less_width(ms: float) -> Finding:
    """What to set on a machine on which a detection pass takes so long."""
    shares = {width: (width / 640) ** 2 for width in _LESS_WIDTHS_PX}
    width = next((width for width, share in shares.items() if ms * share <= _FAST_MS), _LESS_WIDTHS_PX[-1])
    message = f"a pass over 640x480 takes {ms:.0f} ms, more than a frame of a camera"
    advice = f"detector.working_width_px = {width} takes about {shares[width]:.0%} of it (docs/speed.md)"
    return Finding("detector speed", "info", message, advice)
