"""The last layers of a LiteRT face detector that give its scores: their inputs (the features), their weights, and files
with other weights.

Each stride has two maps of logits, class and objectness. Each is a pointwise convolution to one channel and a 3 x 3
depthwise convolution, without an activation between them: a weighted sum of 3 x 3 cells of features.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.types import Image
from app.vision.model_metadata import (
    DetectorMetadata,
    fingerprint,
    network_bytes,
    read_detector_metadata,
    write_metadata,
)

Floats = NDArray[np.float32]

CELLS = 9
"""Cells of features that a logit depends on."""
_BOX_CHANNELS = 4
_MAX_STEP_RATIO = 128
"""XNNPACK refuses an int8 network in which a product of steps is 256 times the step of the result."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Views into a network: changing one changes the network. ``scale`` and ``zero`` are empty for float32."""

    index: int
    values: NDArray[Any]
    scale: Floats
    zero: NDArray[np.int64]

    @property
    def real(self) -> Floats:
        """The values of weights or biases, whose zero point is 0."""
        return (self.values * self.scale if len(self.scale) else self.values).astype(np.float32).ravel()

    def put(self, real: Floats, scale: float) -> None:
        if not len(self.scale):
            self.values[:] = real
            return
        self.scale[:] = scale
        limits = np.iinfo(self.values.dtype)
        self.values[:] = np.clip(np.round(real / np.float64(scale)), -limits.max, limits.max)

    def put_range(self, values: NDArray[Any], least_step: float) -> None:
        """The range of an activation, which contains 0."""
        if len(self.scale):
            low, high = min(float(values.min(initial=0)), 0.0), float(values.max(initial=0))
            self.scale[:] = max((high - low) / 255, least_step)
            self.zero[:] = round(-128 - low / float(self.scale[0]))


@dataclass(frozen=True, slots=True)
class _ScoreMap:
    """The layers of one map of logits: tensors of its features, its two kernels and biases, and its activations."""

    features: _Tensor
    kernel: _Tensor
    bias: _Tensor
    kernel3: _Tensor
    bias3: _Tensor
    middle: _Tensor
    output: _Tensor

    @property
    def weights(self) -> Floats:
        return np.concatenate([each.real for each in (self.kernel, self.bias, self.kernel3, self.bias3)])

    def put(self, weights: Floats, windows: Floats) -> None:
        """``windows`` (N, 9, F + 1): examples of features, whose results give the ranges of an int8 network."""
        size = len(self.kernel.values)
        kernel, bias, kernel3, bias3 = np.split(weights, [size, size + 1, size + 1 + CELLS])
        middle = windows @ weights[: size + 1]
        step = float(self.features.scale[0]) if len(self.features.scale) else 1.0
        for parts, result, tensors in (
            ((kernel, bias), middle, (self.kernel, self.bias, self.middle)),
            ((kernel3, bias3), middle @ kernel3 + bias3, (self.kernel3, self.bias3, self.output)),
        ):
            kernel_step = max(float(np.abs(parts[0]).max()), 1e-6) / 127
            tensors[0].put(parts[0], kernel_step)
            tensors[1].put(parts[1], step * kernel_step)
            tensors[2].put_range(result, step * kernel_step / _MAX_STEP_RATIO)
            step = float(tensors[2].scale[0]) if len(tensors[2].scale) else 1.0

    def clear(self) -> None:
        for tensor in (self.kernel, self.bias, self.kernel3, self.bias3, self.middle, self.output):
            for part in (tensor.values, tensor.scale, tensor.zero):
                part[:] = 0


def _score_maps(network: bytearray) -> tuple[list[list[_ScoreMap]], list[int]]:
    """The two score maps of each stride, and the indices of the box maps, in no order. Raises ValueError or TypeError
    if the network is another one."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(network, 0)
    graph = model.Subgraphs(0)
    makers = {op.Outputs(0): op for op in map(graph.Operators, range(graph.OperatorsLength()))}

    def tensor(index: int) -> _Tensor:
        entry = graph.Tensors(index)
        dtype = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}.get(entry.Type(), np.float32)
        bytes_ = model.Buffers(entry.Buffer()).DataAsNumpy()
        values = bytes_.view(dtype) if isinstance(bytes_, np.ndarray) else np.empty(0, dtype)
        quantization = entry.Quantization()
        if entry.Type() == schema.TensorType.FLOAT32 or quantization is None or not quantization.ScaleLength():
            return _Tensor(index, values, np.empty(0, np.float32), np.empty(0, np.int64))
        return _Tensor(index, values, quantization.ScaleAsNumpy(), quantization.ZeroPointAsNumpy())

    found: dict[int, list[_ScoreMap]] = {}
    boxes = []
    for place in range(graph.OutputsLength()):
        output = graph.Outputs(place)
        channels = int(graph.Tensors(output).ShapeAsNumpy()[-1])
        if channels == _BOX_CHANNELS:
            boxes.append(output)
        if channels != 1:
            continue
        depthwise = makers[output]
        if depthwise.InputsLength() == 1:  # it makes float32 of int8
            depthwise = makers[depthwise.Inputs(0)]
        pointwise = makers[depthwise.Inputs(0)]
        inputs = [*(pointwise.Inputs(i) for i in range(3)), *(depthwise.Inputs(i) for i in (1, 2))]
        parts = [tensor(index) for index in (*inputs, pointwise.Outputs(0), depthwise.Outputs(0))]
        if [len(parts[i].values) for i in (2, 3, 4)] != [1, CELLS, 1]:
            raise ValueError("its last layers have other shapes")
        found.setdefault(inputs[0], []).append(_ScoreMap(*parts))
    if not found or any(len(maps) != 2 for maps in found.values()):
        raise ValueError("its outputs are other ones")
    return list(found.values()), boxes


class DetectorHead:
    """A detector as features and the layers of its scores. ``weights`` (S, 2, F + 11) float32: for each stride, finest
    first, and both maps the pointwise kernel, its bias, the 3 x 3 kernel and its bias. ``steps`` (S,): the steps of
    int8 features, else 0. ``fingerprint``: of everything but the weights. Raises ModelError for other networks."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.path = path
        self.metadata: DetectorMetadata = read_detector_metadata(path)
        try:
            self._network = network_bytes(path)
            maps, boxes = _score_maps(bytearray(self._network))
            self._interpreter = Interpreter(
                model_content=self._network,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        except (ValueError, TypeError, KeyError, RuntimeError, OSError, struct.error) as error:
            raise ModelError(
                f"{path} cannot be improved: it is no .tflite file of this detector; use 'maskwatch train-detector'"
            ) from error
        self._input: dict[str, Any] = self._interpreter.get_input_details()[0]
        self._resize(64, 64)
        self._order = sorted(range(len(maps)), key=lambda i: -self._tensor(maps[i][0].features.index).shape[1])
        self._maps = [maps[i] for i in self._order]
        self._boxes = sorted(boxes, key=lambda index: -self._tensor(index).shape[1])
        self.weights = np.stack([np.stack([each.weights for each in pair]) for pair in self._maps])
        scales = [pair[0].features.scale for pair in self._maps]
        self.steps = np.array([each[0] if len(each) else 0 for each in scales], np.float32)
        blank = bytearray(self._network)
        for pair in _score_maps(blank)[0]:
            for each in pair:
                each.clear()
        self.fingerprint = fingerprint(bytes(blank))

    def _resize(self, height: int, width: int) -> None:
        self._interpreter.resize_tensor_input(self._input["index"], (1, height, width, 3))
        self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input["index"], np.zeros((1, height, width, 3), self._input["dtype"]))
        self._interpreter.invoke()

    def _tensor(self, index: int) -> NDArray[Any]:
        value: NDArray[Any] = self._interpreter.get_tensor(index)
        return value

    def run(self, image: Image) -> tuple[list[Floats], list[Floats]]:
        """For each stride the features (H + 2, W + 2, F + 1), with a border of 0 and 1 in the last channel inside it,
        and the boxes (H, W, 4). ``image``: BGR, its sides are multiples of the largest stride."""
        if tuple(self._interpreter.get_input_details()[0]["shape"][1:3]) != image.shape[:2]:
            self._resize(*image.shape[:2])
        self._interpreter.set_tensor(self._input["index"], image[None].astype(self._input["dtype"]))
        self._interpreter.invoke()
        features = []
        for (each, _), step in zip(self._maps, self.steps, strict=True):
            value = self._tensor(each.features.index)[0]
            real = (value.astype(np.float32) - each.features.zero[0]) * step if step else value
            inside = np.concatenate([real, np.ones((*real.shape[:2], 1), np.float32)], axis=2)
            features.append(np.pad(inside, ((1, 1), (1, 1), (0, 0))))
        return features, [self._tensor(index)[0] for index in self._boxes]

    def network_with(self, weights: Floats, windows: Sequence[Floats]) -> bytes:
        """The network with other weights. ``windows``: for each stride (N, 9, F + 1) examples of features."""
        network = bytearray(self._network)
        maps = _score_maps(network)[0]
        for i, rows, examples in zip(self._order, weights, windows, strict=True):
            for each, row in zip(maps[i], rows, strict=True):
                each.put(row, examples)
        return bytes(network)

    def write(self, path: Path, network: bytes) -> None:
        """Raises OSError."""
        path.write_bytes(network)
        write_metadata(path, self.metadata)


def logits_of(windows: Floats, weights: Floats) -> Floats:
    """(N, 2) logits of class and objectness at cells. ``windows`` (N, 9, F + 1), ``weights`` (2, F + 11)."""
    size = windows.shape[2]
    logits: Floats = np.stack([windows @ row[:size] @ row[size:-1] + row[-1] for row in weights], axis=1)
    return logits


def scores_of(logits: Floats) -> Floats:
    """(N,) the score, as in ``decode_level``."""
    with np.errstate(over="ignore"):
        scores: Floats = 1 / np.sqrt((1 + np.exp(-logits)).prod(axis=-1))
    return scores
