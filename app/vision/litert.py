"""Runs a LiteRT model. LiteRT needs a plan (an interpreter) for each input shape; the most recent plans are kept."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.vision.tensorflow_import import silence_native_logs

MAX_PLANS = 12
"""A camera needs two plans of the detector and those of the ROIs; a folder of images may have hundreds of sizes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An interpreter for one input shape. ``input`` and ``outputs`` return views of its tensors; none may exist when
    the plan is invoked, or LiteRT raises an error. Outputs are sorted by size, largest first, then by channels."""

    invoke: Callable[[], None]
    input: Callable[[], NDArray[Any]]
    outputs: Sequence[Callable[[], NDArray[np.float32]]]


class LiteRtModel:
    """The model of a ``.tflite`` file, run with XNNPACK on the CPU; must be used by one thread only.

    ``channels``: the last dimension of each output, sorted. ``input_shape``: -1 is any size. Quantizations are (scale,
    zero point), of the first output. Raises ModelError if the file is damaged.
    """

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = path.read_bytes()  # LiteRT on Windows cannot open every Unicode path, and each plan would hold a file
        self._new: Callable[[], Any] = lambda: Interpreter(model_content=content, num_threads=threads)
        self._plans: OrderedDict[tuple[int, ...], Plan] = OrderedDict()
        try:
            interpreter = self._new()
            image, outputs = interpreter.get_input_details()[0], interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{path} is damaged: {str(error).splitlines()[0]}; reinstall maskwatch") from error
        self.channels = sorted(int(output["shape"][-1]) for output in outputs)
        self.input_shape: list[int] = image.get("shape_signature", image["shape"]).tolist()
        self.input_quantization: tuple[float, int] = image["quantization"]
        self.output_quantization: tuple[float, int] = outputs[0]["quantization"]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The input shapes that have a plan, the most recent last."""
        return list(self._plans)

    def plan(self, *shape: int) -> Plan:
        """The plan for this input shape, for example (1, height, width, 3)."""
        if shape in self._plans:
            self._plans.move_to_end(shape)
            return self._plans[shape]
        interpreter = self._new()
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, shape)
        with nullcontext() if self._plans else silence_native_logs():  # LiteRT logs its delegate once
            interpreter.allocate_tensors()
        outputs = sorted(  # LiteRT's own order is undefined
            interpreter.get_output_details(),
            key=lambda output: (-int(np.prod(output["shape"][1:-1])), output["shape"][-1]),
        )
        tensors = [interpreter.tensor(output["index"]) for output in outputs]
        plan = self._plans[shape] = Plan(interpreter.invoke, interpreter.tensor(index), tensors)
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)
        return plan
