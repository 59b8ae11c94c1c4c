"""Writes a Keras network as an ONNX file, layer by layer.

tf2onnx 1.17 is not used: in some of its runs an output of the detector has one dimension too many.
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.training.types import KerasModel
from app.vision.model_metadata import MEMBER, ClassifierMetadata, DetectorMetadata

OPSET = 17
"""Of ONNX 1.12; ONNX Runtime reads it since version 1.12."""

_CHANNELS_FIRST, _CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


class _Graph:
    """Nodes and weights. Maps are channels first, as ONNX needs them; the input and the outputs are channels last, as
    in Keras."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.names: dict[int, str] = {}
        """The name of each Keras tensor that is written, by its identity."""

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Adds a node; its output has its name, which is returned."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, values: Any, kind: type = np.float32) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def tensor(self, tensor: Any, makers: dict[int, Any]) -> str:
        """Writes the layers that lead to a Keras tensor, and returns its name. ``makers``: layers by their output."""
        if id(tensor) not in self.names:
            layer = makers[id(tensor)]
            given = layer.input if isinstance(layer.input, list) else [layer.input]
            self.names[id(tensor)] = self.layer(layer, [self.tensor(each, makers) for each in given])
        return self.names[id(tensor)]

    def layer(self, layer: Any, inputs: list[str]) -> str:
        """Adds the nodes of a Keras layer. Raises ModelError if it is of a kind or has options that are not known."""
        kind, name, weights = type(layer).__name__, layer.name, [np.asarray(each) for each in layer.get_weights()]
        match kind:
            case "Conv2D" | "DepthwiseConv2D":
                return self._activation(layer, self._convolution(layer, inputs, weights, kind != "Conv2D"))
            case "Dense":
                names = [self.weight(f"{name}/{i}", values) for i, values in enumerate(weights)]
                return self._activation(layer, self.node("Gemm", inputs + names, f"{name}/sum"))
            case "BatchNormalization":
                names = [self.weight(f"{name}/{i}", values) for i, values in enumerate(weights)]
                return self.node("BatchNormalization", inputs + names, name, epsilon=float(layer.epsilon))
            case "Rescaling":
                scaled = self.node("Mul", [*inputs, self.weight(f"{name}/scale", layer.scale)], f"{name}/scaled")
                return self.node("Add", [scaled, self.weight(f"{name}/offset", layer.offset)], name)
            case "MaxPooling2D" if layer.padding == "valid":
                return self.node("MaxPool", inputs, name, kernel_shape=layer.pool_size, strides=layer.strides)
            case "ZeroPadding2D":
                (top, bottom), (left, right) = layer.padding
                sides = self.weight(f"{name}/sides", [0, 0, top, left, 0, 0, bottom, right], np.int64)
                return self.node("Pad", [*inputs, sides], name)
            case "Doubling":
                scales = self.weight(f"{name}/scales", [1, 1, 2, 2])
                modes = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
                return self.node("Resize", [*inputs, "", scales], name, mode="nearest", **modes)
            case "GlobalAveragePooling2D":
                return self.node("Flatten", [self.node("GlobalAveragePool", inputs, f"{name}/mean")], name)
            case "Flatten":
                last = self.node("Transpose", inputs, f"{name}/last", perm=_CHANNELS_LAST)
                return self.node("Flatten", [last], name)
            case "Add":
                return self.node("Add", inputs, name)
            case "ReLU" if not layer.threshold and not layer.negative_slope and layer.max_value is None:
                return self.node("Relu", inputs, name)
            case "Activation":
                return self._activation(layer, inputs[0])
            case "Dropout":
                return inputs[0]
        raise ModelError(f"layer {name} ({kind}) cannot be written as ONNX; use the .tflite file")

    def _convolution(self, layer: Any, inputs: list[str], weights: list[NDArray[Any]], is_depthwise: bool) -> str:
        kernel, *biases = weights
        names = [self.weight(f"{layer.name}/kernel", kernel.transpose([2, 3, 0, 1] if is_depthwise else [3, 2, 0, 1]))]
        names += [self.weight(f"{layer.name}/bias", bias) for bias in biases]
        options = {
            "strides": layer.strides,
            "dilations": layer.dilation_rate,
            "group": kernel.shape[2] if is_depthwise else 1,
            "auto_pad": "SAME_UPPER" if layer.padding == "same" else "VALID",
        }
        return self.node("Conv", inputs + names, f"{layer.name}/convolution", **options)

    def _activation(self, layer: Any, name: str) -> str:
        kind = {"linear": "", "relu": "Relu", "softmax": "Softmax"}.get(layer.activation.__name__)
        if kind is None:
            raise ModelError(f"layer {layer.name}: {layer.activation.__name__} cannot be written as ONNX")
        return self.node(kind, [name], f"{layer.name}/{kind}") if kind else name


def onnx_bytes(model: KerasModel, metadata: ClassifierMetadata | DetectorMetadata) -> bytes:
    """The ONNX file (float32, channels last) of ``model``. Raises ModelError if a layer is of an unknown kind."""
    import onnx
    from onnx import TensorProto, helper

    graph, image = _Graph(), model.inputs[0]
    graph.names[id(image)] = graph.node("Transpose", ["image"], "image/first", perm=_CHANNELS_FIRST)
    makers = {id(layer.output): layer for layer in model.layers}
    values = []
    for place, output in enumerate(model.outputs):
        name, shape = graph.tensor(output, makers), list(output.shape)
        last = {"perm": _CHANNELS_LAST} if len(shape) == 4 else {}
        graph.node("Transpose" if last else "Identity", [name], f"output{place}", **last)
        values.append(helper.make_tensor_value_info(f"output{place}", TensorProto.FLOAT, shape))
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image.shape))
    network = helper.make_graph(graph.nodes, "network", [taken], values, graph.weights)
    # ONNX Runtime refuses files of a newer IR version than its own
    content = helper.make_model(network, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    helper.set_model_props(content, {MEMBER: json.dumps(metadata.model_dump(mode="json"))})
    onnx.checker.check_model(content)
    return bytes(content.SerializeToString())
