"""Runs a LiteRT model with OpenVINO (``pip install 'maskwatch[openvino]'``)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.vision.litert import LiteRtModel
from app.vision.network import Plan, plan_of


def import_openvino() -> Any:
    """OpenVINO without its telemetry, which would report each import over the network. Without that package it uses a
    stub. Raises ModelError if it cannot be loaded."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:  # for example without a library of the system
        raise ModelError(f"openvino cannot be loaded: {error}; reinstall it, or use another back end") from error
    return openvino


class OpenVinoModel:
    """The ``Network`` of a ``.tflite`` file on the CPU. Raises ModelError if OpenVINO cannot run it."""

    def __init__(self, path: Path, threads: int) -> None:
        openvino = import_openvino()
        described = LiteRtModel(path, threads)  # OpenVINO does not tell the quantization
        self.channels, self.input_shape = described.channels, described.input_shape
        self.input_quantization = described.input_quantization
        self.output_quantization = described.output_quantization
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # other threads use the cores too
            "INFERENCE_PRECISION_HINT": "f32",  # some processors would calculate with bfloat16
        }
        try:
            core = openvino.Core()
            self._network = core.compile_model(core.read_model(path), "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot run {path}: {str(error).splitlines()[0]}") from error
        self._type: Any = self._network.input(0).element_type.to_dtype()

    @contextmanager
    def plan(self, *shape: int) -> Iterator[Plan]:
        """See ``Network``. The network takes any shape; each plan is a request of its own."""
        request, image = self._network.create_infer_request(), np.empty(shape, self._type)

        def run() -> list[NDArray[Any]]:
            request.infer([image], share_inputs=True)
            return [tensor.data for tensor in request.output_tensors]

        yield plan_of(image, run, len(self.channels))
