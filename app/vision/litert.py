"""Runs a LiteRT model. LiteRT needs a plan (an interpreter) for each input shape; the most recent plans are kept."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.cpu import cores_allowed
from app.core.errors import ModelError
from app.vision.tensorflow_import import silence_native_logs

MAX_PLANS = 12
"""Cameras of one size need two plans of the detector and three of the ROIs, for each inference that runs at the same
time; a folder of images may have hundreds of sizes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An interpreter for one input shape. ``input`` and ``outputs`` return views of its tensors; none may exist when
    the plan is invoked, or LiteRT raises an error. Outputs are sorted by size, largest first, then by channels."""

    invoke: Callable[[], None]
    input: Callable[[], NDArray[Any]]
    outputs: Sequence[Callable[[], NDArray[np.float32]]]


class LiteRtModel:
    """The model of a ``.tflite`` file, run with XNNPACK on the CPU. Threads may share it: at most ``at_once`` of them
    run it at the same time; the others wait, but at most ``longest_wait_s``, as an inference may hang.

    ``channels``: the last dimension of each output, sorted. ``input_shape``: -1 is any size. Quantizations are (scale,
    zero point), of the first output. Raises ModelError if the file is damaged.
    """

    def __init__(self, path: Path, threads: int, at_once: int = 1, longest_wait_s: float = 5.0) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = path.read_bytes()  # LiteRT on Windows cannot open every Unicode path, and each plan would hold a file
        self._new: Callable[[], Any] = lambda: Interpreter(model_content=content, num_threads=threads)
        self._turns = threading.BoundedSemaphore(at_once)
        self._longest_wait_s = longest_wait_s
        self._lock = threading.Lock()
        self._idle: list[tuple[tuple[int, ...], Plan]] = []
        self._has_logged = False
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
        """The input shapes of the idle plans, the most recent last."""
        return [shape for shape, _ in self._idle]

    @contextmanager
    def plan(self, *shape: int) -> Iterator[Plan]:
        """A plan for this input shape, for example (1, height, width, 3), which no other thread has meanwhile."""
        has_turn = self._turns.acquire(timeout=self._longest_wait_s)
        try:
            plan = self._idle_plan(shape) or self._new_plan(shape)
            yield plan
            with self._lock:
                self._idle = [*self._idle, (shape, plan)][-MAX_PLANS:]
        finally:
            if has_turn:
                self._turns.release()

    def _idle_plan(self, shape: tuple[int, ...]) -> Plan | None:
        with self._lock:
            for entry in reversed(self._idle):
                if entry[0] == shape:
                    self._idle.remove(entry)
                    return entry[1]
        return None

    def _new_plan(self, shape: tuple[int, ...]) -> Plan:
        interpreter = self._new()
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, shape)
        with nullcontext() if self._has_logged else silence_native_logs():  # LiteRT logs its delegate once
            interpreter.allocate_tensors()
        self._has_logged = True
        outputs = sorted(  # LiteRT's own order is undefined
            interpreter.get_output_details(),
            key=lambda output: (-int(np.prod(output["shape"][1:-1])), output["shape"][-1]),
        )
        tensors = [interpreter.tensor(output["index"]) for output in outputs]
        return Plan(interpreter.invoke, interpreter.tensor(index), tensors)


class SharedModels:
    """Opens each model once for all who need it: each further camera then needs no plans of its own."""

    def __init__(self) -> None:
        self._models: dict[tuple[Path, int], LiteRtModel] = {}

    def __call__(self, path: Path, threads: int) -> LiteRtModel:
        """Raises ModelError if the file is damaged."""
        key = path, threads
        if key not in self._models:
            self._models[key] = LiteRtModel(path, threads, max(1, cores_allowed() // threads))
        return self._models[key]
