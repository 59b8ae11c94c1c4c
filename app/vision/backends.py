"""The back ends that can run a network: LiteRT always, the others if their package is installed."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from weakref import WeakValueDictionary

from app.core.cpu import cores_allowed
from app.core.errors import ModelError
from app.vision.litert import LiteRtModel
from app.vision.model_format import ModelFormat, convert_advice, model_format
from app.vision.network import Network

OpenNetwork = Callable[[Path, int, str], Network]
"""Opens the network of a file with a number of threads and a back end. Raises ModelError."""

_PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Per extra of maskwatch, the package that it installs. Back ends are named after it: ``onnx-cuda``."""


def runs_onnx(backend: str) -> bool:
    """Whether it runs ``.onnx`` files; the others run ``.tflite`` files."""
    return backend.startswith("onnx")


def is_installed(backend: str) -> bool:
    package = _PACKAGES.get(backend.partition("-")[0])
    return package is None or find_spec(package) is not None


def available_backends() -> list[str]:
    """Those whose package is installed and, of ONNX Runtime, whose provider is in it."""
    found = ["litert", *(["openvino"] if is_installed("openvino") else [])]
    if is_installed("onnx"):
        from app.vision.onnx_runtime import available_providers

        try:
            found += available_providers()
        except ModelError:
            found.append("onnx")  # who opens it learns why
    return found


def check_format(path: Path, backend: str) -> None:
    """Raises ModelError if ``backend`` cannot run the format of the file."""
    found = model_format(path)
    usable = {"keras": (ModelFormat.KERAS, ModelFormat.HDF5)}.get(backend, (ModelFormat.LITERT,))
    if found in ((ModelFormat.ONNX,) if runs_onnx(backend) else usable):
        return
    other = {ModelFormat.LITERT: "litert", ModelFormat.ONNX: "onnx"}.get(found)
    advice = f"use the back end {other}" if other else convert_advice(path, found)
    raise ModelError(f"the back end {backend} cannot run {path} ({found}); {advice}")


def open_network(path: Path, threads: int, backend: str = "litert", at_once: int = 1) -> Network:
    """Opens ``path`` with the back end. ``at_once``: see ``LiteRtModel``. Raises ModelError if it cannot run it."""
    if not is_installed(backend):
        extra = backend.partition("-")[0]
        raise ModelError(f"the back end {backend} needs {_PACKAGES[extra]}: pip install 'maskwatch[{extra}]'")
    check_format(path, backend)
    if runs_onnx(backend):
        from app.vision.onnx_runtime import OnnxModel

        return OnnxModel(path, threads, backend)
    if backend == "openvino":
        from app.vision.openvino_runtime import OpenVinoModel

        return OpenVinoModel(path, threads)
    return LiteRtModel(path, threads, at_once)


class SharedNetworks:
    """Opens each network once for all who need it: each further camera then needs no plans of its own. One that nobody
    needs any more is forgotten."""

    def __init__(self) -> None:
        self._networks: WeakValueDictionary[tuple[Path, int, str], Network] = WeakValueDictionary()

    def __call__(self, path: Path, threads: int, backend: str = "litert") -> Network:
        """Raises ModelError as ``open_network`` does."""
        key = path, threads, backend
        network = self._networks.get(key)
        if network is None:
            network = self._networks[key] = open_network(path, threads, backend, max(1, cores_allowed() // threads))
        return network
