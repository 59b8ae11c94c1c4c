"""Which back end, precision and number of threads runs the bundled networks fastest on this machine.

``maskwatch doctor`` measures it once and keeps the times in the user's data folder, per processor and model files;
the value ``auto`` of a setting reads them. Explicit settings win; before the measurement, ``auto`` is LiteRT with int8.
Only LiteRT runs int8, because other libraries round differently and their answers would not be the same.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from app.core import resources
from app.core.cpu import cores_allowed, cpu_name
from app.core.files import write_json
from app.core.user_folders import data_folder
from app.settings.vision import ClassifierSettings, DetectorSettings
from app.vision.backends import available_backends

THREADS = (1, 2, 4)
"""The numbers of threads that are measured."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The time of one inference of a bundled ``network``, detector or classifier."""

    network: str
    backend: str
    precision: str
    threads: int
    ms: float

    @property
    def is_default(self) -> bool:
        return self.backend == "litert" and (self.network, self.precision) != ("detector", "float32")

    @property
    def cost_ms(self) -> float:
        """What is compared: twice the threads must save a fifth of the time, and anything but the default a tenth, or
        small changes of a measurement would change the choice."""
        return float(self.ms * self.threads**0.32 * (0.9 if self.is_default else 1.0))


def speeds_file() -> Path:
    return data_folder() / "backend_speeds.json"


def _machine() -> str:
    """16 hex digits for this processor, its cores and the bundled networks."""
    digest = hashlib.sha256(f"{cpu_name()}, {cores_allowed()} cores".encode())
    for path in sorted(resources.model("").glob("*.tflite")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_speeds() -> list[Speed]:
    """What was measured on this machine; ``[]`` if nothing was."""
    try:
        return [Speed(*row) for row in json.loads(speeds_file().read_text("utf-8"))[_machine()]]
    except (OSError, ValueError, KeyError, TypeError):  # not measured, or a file of another version
        return []


def write_speeds(speeds: Sequence[Speed]) -> None:
    """Replaces what was measured on this machine. Raises OSError."""
    path = speeds_file()
    try:
        known = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, known | {_machine(): [astuple(each) for each in speeds]})


def fastest(
    speeds: Sequence[Speed], network: str, backend: str = "auto", precision: str = "auto", threads: int = THREADS[-1]
) -> Speed | None:
    """The fastest of ``speeds`` that these settings allow and whose package and provider are still installed."""
    allowed = [
        each
        for each in speeds
        if each.network == network
        and backend in ("auto", each.backend)
        and precision in ("auto", each.precision)
        and each.threads <= threads
    ]
    if any(each.backend != "litert" for each in allowed):
        usable = available_backends()
        allowed = [each for each in allowed if each.backend in usable]
    return min(allowed, key=lambda each: each.cost_ms, default=None)


def resolved_detector(
    settings: DetectorSettings, cores: int | None = None, speeds: Sequence[Speed] | None = None
) -> DetectorSettings:
    """``settings`` without ``auto``. ``cores``: the most threads it may use; all cores of this process if not given.
    ``speeds``: those measured on this machine if not given."""
    limit = min(settings.threads or THREADS[-1], cores or cores_allowed())
    if settings.kind == "haar" or settings.model:
        speeds = ()
    elif speeds is None:
        speeds = read_speeds()
    found = fastest(speeds, "detector", settings.backend, settings.precision, limit)
    backend: str = settings.backend
    if backend == "auto":
        backend = found.backend if found else _backend_of(settings.model)
    precision: str = settings.precision
    if precision == "auto":
        precision = found.precision if found else "int8" if backend == "litert" else "float32"
    threads = min(settings.max_threads, limit) if settings.threads or not found else found.threads
    return settings.model_copy(update={"backend": backend, "precision": precision, "threads": threads})


def resolved_classifier(settings: ClassifierSettings, speeds: Sequence[Speed] | None = None) -> ClassifierSettings:
    """``settings`` with a back end that is not ``auto``. ``speeds``: those measured on this machine if not given."""
    if settings.backend != "auto":
        return settings
    speeds = () if settings.model else read_speeds() if speeds is None else speeds
    found = fastest(speeds, "classifier", threads=settings.threads)
    return settings.model_copy(update={"backend": found.backend if found else _backend_of(settings.model)})


def _backend_of(model: Path | None) -> str:
    return "onnx" if model is not None and model.suffix == ".onnx" else "litert"
