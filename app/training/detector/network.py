"""The face detector's network: YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector"), anchor-free,
depthwise-separable, one head per stride 8, 16 and 32.

The layers are those of the published ONNX file (ShiqiYu/libfacedetection.train, Apache-2.0; OpenCV Zoo, MIT) in the
same order, so that ``load_onnx`` can copy its weights. Batch normalisation is folded into the convolutions.
"""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.core.errors import DataError
from app.training.types import KerasModel

STRIDES = (8, 16, 32)

HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Channels of the maps of each stride: logits of class and objectness (score: square root of the product of their
sigmoids); box centre (x, y) and log of width and height; five points (x, y) in the order of ``Detection.landmarks``.
Positions are relative to the cell's corner, in strides."""


@dataclass(frozen=True, slots=True)
class DetectorShape:
    """``stem`` and ``width``: channels of the first stage, and of all stages from stride 4 on. ``extra_blocks``:
    residual blocks after the stages of stride 8, 16 and 32. The published network has none."""

    stem: int = 16
    width: int = 64
    extra_blocks: tuple[int, int, int] = (0, 0, 0)


def _separable(x: Any, channels: int, name: str) -> Any:
    """Pointwise, then depthwise convolution."""
    from keras import layers

    x = layers.Conv2D(channels, 1, name=f"{name}_pointwise")(x)
    return layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)


def _unit(x: Any, channels: int, name: str) -> Any:
    from keras import layers

    return layers.ReLU(name=f"{name}_relu")(_separable(x, channels, name))


def _residual(x: Any, channels: int, name: str) -> Any:
    """A residual block that starts as the identity, because its last convolution is initialised with zeros."""
    from keras import layers

    y = layers.ReLU(name=f"{name}_widen_relu")(layers.Conv2D(channels, 1, name=f"{name}_widen")(x))
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depth")(y)
    y = layers.ReLU(name=f"{name}_depth_relu")(y)
    y = layers.Conv2D(channels, 1, kernel_initializer="zeros", name=f"{name}_project")(y)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")([x, y]))


@cache
def _doubling_layer() -> Any:
    """The class of a layer that doubles a map's sides by repeating its cells. Keras' ``UpSampling2D`` computes shapes
    at run time, which splits LiteRT's graph into three parts and makes it a tenth slower."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("maskwatch")
    class Doubling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return tf.nn.depth_to_space(tf.concat([x] * 4, axis=-1), 2)

        def compute_output_shape(self, shape: Any) -> Any:
            rows, columns = (None if side is None else 2 * side for side in shape[1:3])
            return (shape[0], rows, columns, shape[3])

    return Doubling


def build_detector(shape: DetectorShape | None = None) -> KerasModel:
    """Input: (B, H, W, 3) float32 BGR, 0 to 255, H and W multiples of 32. Output: for each stride of ``STRIDES`` the
    maps of ``HEADS`` in this order, each (B, H/stride, W/stride, channels) float32."""
    import keras
    from keras import layers

    shape = shape or DetectorShape()
    image = layers.Input((None, None, 3), name="image")
    x = layers.ZeroPadding2D(1, name="pad")(image)  # ONNX pads both sides equally, unlike Keras' "same"
    x = layers.ReLU(name="stem_relu")(layers.Conv2D(shape.stem, 3, 2, name="stem")(x))
    x = _unit(x, shape.stem, "stage0")
    x = layers.MaxPooling2D(name="pool4")(x)
    x = _unit(x, shape.stem, "stage1a")
    x = _unit(x, shape.width, "stage1b")
    x = _unit(_unit(x, shape.width, "stage2a"), shape.width, "stage2b")
    scales = []
    for stride, count in zip(STRIDES, shape.extra_blocks, strict=True):
        x = layers.MaxPooling2D(name=f"pool{stride}")(x)
        x = _unit(_unit(x, shape.width, f"stage{stride}a"), shape.width, f"stage{stride}b")
        for number in range(count):
            x = _residual(x, shape.width, f"extra{stride}_{number}")
        scales.append(x)
    levels: list[Any] = []
    for x, stride in zip(scales[::-1], STRIDES[::-1], strict=True):
        if levels:
            x = layers.Add(name=f"merge{stride}")([x, _doubling_layer()(name=f"up{stride}")(levels[-1])])
        levels.append(_unit(x, shape.width, f"lateral{stride}"))
    outputs = []
    for x, stride in zip(levels[::-1], STRIDES, strict=True):
        shared = _unit(x, shape.width, f"head{stride}")
        outputs += [_separable(shared, channels, f"{head}{stride}") for head, channels in HEADS.items()]
    model = keras.Model(image, outputs, name="yunet")
    for stride in STRIDES:  # initial scores are 0.01 (Lin et al. 2017), or the many empty cells would dominate the loss
        for head in ("cls", "obj"):
            model.get_layer(f"{head}{stride}_depthwise").bias.assign([-4.6])
    return model


def load_detector_network(path: Path) -> KerasModel:
    """The network of a ``.keras`` file. Raises Keras' errors if it cannot be used."""
    import keras

    _doubling_layer()  # registers the layer with Keras
    return keras.models.load_model(path, compile=False)


def _convolution_names(shape: DetectorShape) -> list[str]:
    """The names of the layers with weights in the order of the ONNX file: backbone, neck from the coarsest map on, the
    shared layer of each stride, then the heads."""
    units = ["stage0", "stage1a", "stage1b", "stage2a", "stage2b"]
    names = ["stem", *(f"{unit}_{part}" for unit in units for part in ("pointwise", "depthwise"))]
    for stride, count in zip(STRIDES, shape.extra_blocks, strict=True):
        names += [f"stage{stride}{half}_{part}" for half in "ab" for part in ("pointwise", "depthwise")]
        names += [f"extra{stride}_{n}_{part}" for n in range(count) for part in ("widen", "depth", "project")]
    heads = [f"{head}{stride}" for head in ("cls", "bbox", "obj", "kps") for stride in STRIDES]
    units = [*(f"lateral{stride}" for stride in STRIDES[::-1]), *(f"head{stride}" for stride in STRIDES), *heads]
    return [*names, *(f"{unit}_{part}" for unit in units for part in ("pointwise", "depthwise"))]


def load_onnx(path: Path) -> KerasModel:
    """The network of a YuNet ONNX file with its weights: the published one, or one trained with other tools, with or
    without extra blocks. Raises DataError if the file is not a YuNet."""
    try:
        net = cv2.dnn.readNetFromONNX(np.fromfile(path, np.uint8))
        kinds = [(name, net.getLayer(name).type) for name in net.getLayerNames()]
        pools = [place for place, (_, kind) in enumerate(kinds) if kind == "Pooling"]
        convolutions = [name for name, kind in kinds if kind == "Convolution"]
        weights = [(net.getParam(name, 0), np.ravel(net.getParam(name, 1))) for name in convolutions]
        per_stage = [sum(kind == "Convolution" for _, kind in kinds[a:b]) for a, b in pairwise(pools)]
        extra8, extra16 = ((count - 4) // 3 for count in per_stage[1:])
        extra32 = (len(weights) - len(_convolution_names(DetectorShape()))) // 3 - extra8 - extra16
        model = build_detector(DetectorShape(extra_blocks=(extra8, extra16, extra32)))
        names = _convolution_names(DetectorShape(extra_blocks=(extra8, extra16, extra32)))
        for name, (kernel, bias) in zip(names, weights, strict=True):
            depthwise = kernel.shape[1] == 1 and kernel.shape[2] > 1
            model.get_layer(name).set_weights([kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias])
    except (cv2.error, OSError, ValueError) as error:
        raise DataError(f"{path} is not a YuNet: {str(error).splitlines()[0]}; give YuNet's ONNX file") from error
    return model
