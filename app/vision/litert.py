"""Runs a LiteRT model. LiteRT needs a plan (an interpreter) for each input shape; the most recent plans are kept."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from app.core.errors import ModelError
from app.vision.network import Plan, output_order
from app.vision.tensorflow_import import silence_native_logs

MAX_PLANS = 12
"""For each inference that may run at the same time: cameras of one size need two plans of the detector and three of the
ROIs; a folder of images may have hundreds of sizes."""


class LiteRtModel:
    """The model of a ``.tflite`` file, run with XNNPACK on the CPU. Threads may share it: at most ``at_once`` of them
    run it at the same time; the others wait. An inference that lasts ``longest_s`` hangs and no longer counts.

    ``channels``: the last dimension of each output, sorted. ``input_shape``: -1 is any size. Quantizations are (scale,
    zero point), of the first output. Raises ModelError if the file is damaged.
    """

    def __init__(self, path: Path, threads: int, at_once: int = 1, longest_s: float = 5.0) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = path.read_bytes()  # LiteRT on Windows cannot open every Unicode path, and each plan would hold a file
        self._new: Callable[[], Any] = lambda: Interpreter(model_content=content, num_threads=threads)
        self._at_once, self._longest_s = at_once, longest_s
        self._changed = threading.Condition()
        self._started: dict[object, float] = {}
        """When each inference that runs was started."""
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
        turn = object()
        with self._changed:
            while (wait_s := self._wait_s()) > 0:
                self._changed.wait(wait_s)
            self._started[turn] = time.monotonic()
        try:
            plan = self._idle_plan(shape) or self._new_plan(shape)
            yield plan
            with self._changed:
                self._idle = [*self._idle, (shape, plan)][-MAX_PLANS * self._at_once :]
        finally:
            with self._changed:
                del self._started[turn]
                self._changed.notify()

    def _wait_s(self) -> float:
        """How long to wait at most before the next inference; 0: not at all."""
        left_s = [self._longest_s - (time.monotonic() - start_s) for start_s in self._started.values()]
        running = [each for each in left_s if each > 0]
        return min(running) if len(running) >= self._at_once else 0.0

    def _idle_plan(self, shape: tuple[int, ...]) -> Plan | None:
        with self._changed:
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
        outputs = interpreter.get_output_details()
        order = output_order(output["shape"] for output in outputs)
        tensors = [interpreter.tensor(outputs[place]["index"]) for place in order]
        return Plan(interpreter.invoke, interpreter.tensor(index), tensors)
