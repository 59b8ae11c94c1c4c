"""The interface of a network on any back end: LiteRT, ONNX Runtime or OpenVINO."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs one input shape. ``input`` and ``outputs`` return views of its tensors; none may exist when the plan is
    invoked, or LiteRT raises an error. Outputs are sorted by size, largest first, then by channels."""

    invoke: Callable[[], None]
    input: Callable[[], NDArray[Any]]
    outputs: Sequence[Callable[[], NDArray[np.float32]]]


class Network(Protocol):
    """Threads may share it. ``channels``: the last dimension of each output, sorted. ``input_shape``: -1 is any size.
    Quantizations are (scale, zero point), of the input and the first output."""

    channels: list[int]
    input_shape: list[int]
    input_quantization: tuple[float, int]
    output_quantization: tuple[float, int]

    def plan(self, *shape: int) -> AbstractContextManager[Plan]:
        """A plan for this input shape, for example (1, height, width, 3), which no other thread has meanwhile."""


def output_order(shapes: Iterable[Sequence[int]]) -> list[int]:
    """The places of outputs with these shapes in the order of ``Plan.outputs``; the libraries' own order varies."""
    keys = [(-int(np.prod(shape[1:-1])), shape[-1]) for shape in shapes]
    return sorted(range(len(keys)), key=keys.__getitem__)


def plan_of(image: NDArray[Any], run: Callable[[], Sequence[NDArray[Any]]], outputs: int) -> Plan:
    """The plan of a library that takes ``image`` and returns its ``outputs`` in an order of its own."""
    results: list[NDArray[Any]] = []

    def invoke() -> None:
        found = run()
        results[:] = [found[place] for place in output_order(each.shape for each in found)]

    return Plan(invoke, lambda: image, [partial(results.__getitem__, place) for place in range(outputs)])
