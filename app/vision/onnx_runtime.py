"""Runs an ONNX model with ONNX Runtime (``pip install 'maskwatch[onnx]'``), on the CPU or a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.vision.network import Plan, plan_of

PROVIDERS = {
    "onnx": "CPUExecutionProvider",
    "onnx-cuda": "CUDAExecutionProvider",
    "onnx-directml": "DmlExecutionProvider",
    "onnx-coreml": "CoreMLExecutionProvider",
}
"""Per name of a back end, what ONNX Runtime calls it."""


def available_providers() -> list[str]:
    """The names of ``PROVIDERS`` that the installed ONNX Runtime contains. Raises ModelError if it cannot be loaded."""
    try:
        import onnxruntime
    except ImportError as error:  # for example without a library of the system
        raise ModelError(f"onnxruntime cannot be loaded: {error}; reinstall it, or use another back end") from error

    found = onnxruntime.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in found]


class OnnxModel:
    """The ``Network`` of a channels-last float32 ``.onnx`` file. Raises ModelError if ``backend`` cannot run it."""

    def __init__(self, path: Path, threads: int, backend: str = "onnx") -> None:
        provider = PROVIDERS[backend]
        if backend not in available_providers():
            raise ModelError(
                f"the installed ONNX Runtime has no {provider}; see docs/speed.md for the package to install"
            )
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # of its builds for Windows
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not use the CPU
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, [provider])
        except Exception as error:  # its errors have no common class
            raise ModelError(f"{backend} cannot run {path}: {str(error).splitlines()[0]}") from error
        if self._session.get_providers()[0] != provider:
            raise ModelError(f"{provider} cannot be used on this machine; check its drivers, or use another back end")
        (image,) = self._session.get_inputs()
        self._name: str = image.name
        self.channels = sorted(int(output.shape[-1]) for output in self._session.get_outputs())
        self.input_shape = [side if isinstance(side, int) else -1 for side in image.shape]
        self.input_quantization = self.output_quantization = (0.0, 0)

    @contextmanager
    def plan(self, *shape: int) -> Iterator[Plan]:
        """See ``Network``. A session serves all threads and shapes."""
        image = np.empty(shape, np.float32)

        def run() -> list[NDArray[Any]]:
            try:
                return list(self._session.run(None, {self._name: image}))
            except Exception as error:  # its errors have no common class
                raise RuntimeError(str(error)) from error

        yield plan_of(image, run, len(self.channels))
