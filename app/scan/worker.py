"""The work of one process: it analyses one shard after the other, with models that are loaded once."""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from app.core import resources
from app.core.errors import MaskwatchError, ModelError
from app.scan.analysis import Models, Shard, ShardAnalysis, load_models, model_settings
from app.scan.run_folder import ScanSettings
from app.scan.tables import encode_result
from app.settings.monitor import CameraSettings
from app.settings.root import Settings
from app.vision.classifier import classifier_file
from app.vision.yunet_detector import detector_file


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt to analyse a shard; attempts count from 1."""

    shard: Shard
    settings: ScanSettings
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: the result as Parquet, or the ``error``."""

    task: Task
    content: bytes = b""
    error: str = ""
    node: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0
    frames: int = 0


def perform(task: Task, on_frame: Callable[[float], None] = lambda _: None) -> Outcome:
    """Analyses the shard of ``task``. An error of its video, the models or the settings becomes an outcome."""
    node, started_s, cpu_s = f"{socket.gethostname()}:{os.getpid()}", time.monotonic(), time.process_time()
    try:
        settings, camera = task.settings.load(task.shard.camera)
        models = _models(json.dumps(asdict(task.settings)), camera.name if camera.name in task.settings.cameras else "")
        analysis = ShardAnalysis(task.shard, settings, camera, models, on_frame, task.settings.thumbnails)
        result = analysis.run()
        content, frames, error = encode_result(task.shard.id, task.shard.camera, result), result.frames, ""
    except (MaskwatchError, OSError) as fault:
        content, frames, error = b"", 0, str(fault)
    return Outcome(task, content, error, node, time.monotonic() - started_s, time.process_time() - cpu_s, frames)


@lru_cache(maxsize=8)
def _models(scan_json: str, camera: str) -> Models:
    """``camera``: one with settings of its own, or ''. Raises ModelError if this machine has other models."""
    scan = ScanSettings(**json.loads(scan_json))
    settings, own = scan.load(camera)
    if models_hash(settings, own) != scan.models[camera]:
        raise ModelError(
            f"the models of {socket.gethostname()} are not those of the plan; install the same version and models"
        )
    return load_models(settings, own)


def models_hash(settings: Settings, camera: CameraSettings) -> str:
    """16 hex digits of SHA-256 over the model files of ``camera``. Raises ModelError if one cannot be read."""
    detector, classifier = model_settings(settings, camera)
    cascade = resources.asset("haarcascade_frontalface_default.xml")
    found = (detector.model or cascade) if detector.kind == "haar" else detector_file(detector)
    files = (found, classifier_file(classifier))
    try:
        return hashlib.sha256(b"".join(hashlib.sha256(Path(file).read_bytes()).digest() for file in files)).hexdigest()[
            :16
        ]
    except OSError as error:
        raise ModelError(f"cannot read model {error.filename}: {error.strerror}; check its path") from error
