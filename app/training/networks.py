"""The networks: the study's seven from one builder with parameters, and the small shipped one.

Input: ``crops: (N, S, S, 3)`` RGB, 0 to 255. Output: ``(N, C)`` float32 softmax probabilities. Scaling is inside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from app.core.errors import DataError
from app.training.fast_layers import fast_layers
from app.training.types import KerasModel

LUMA_RGB = (0.299, 0.587, 0.114)
"""The weights of ITU-R BT.601, with which OpenCV and PIL convert RGB to grey."""


@dataclass(frozen=True, slots=True)
class PaperNetwork:
    """One of the study's networks. The study does not state these choices: 'valid' padding (Keras' default), 2x2
    pooling, batch normalisation after pooling, SGD with rate 0.01 (Keras' default), half the filters in a fourth
    layer."""

    name: str
    input_px: int = 128
    kernels_px: tuple[int, ...] = (3, 3, 3)
    filters: tuple[int, ...] = (64, 32, 16)
    grey: bool = False
    batch_norm: bool = True
    dropout: float = 0.3
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.01


_MODEL_1 = PaperNetwork("model_1", grey=True, dropout=0.1)
_MODEL_2 = replace(_MODEL_1, name="model_2", grey=False)
_MODEL_3 = replace(_MODEL_2, name="model_3", kernels_px=(3, 3, 3, 3), filters=(64, 32, 16, 8), dropout=0.3)
_MODEL_4 = replace(_MODEL_3, name="model_4", input_px=256)
_MODEL_5 = replace(_MODEL_2, name="model_5", input_px=256, dropout=0.3)
_MODEL_6 = replace(_MODEL_5, name="model_6", input_px=128)
PAPER_NETWORKS: tuple[PaperNetwork, ...] = (
    PaperNetwork("baseline", kernels_px=(5, 3, 3), batch_norm=False, dropout=0.0, optimizer="sgd"),
    _MODEL_1,
    _MODEL_2,
    _MODEL_3,
    _MODEL_4,
    _MODEL_5,
    _MODEL_6,
)


@dataclass(frozen=True, slots=True)
class ShippedNetwork:
    """The shipped classifier: strided 3x3 convolutions with residual blocks, then the mean of the last map.

    On one AMD EPYC core a training step takes 1.0 ms per image, against 2.3 to 3.8 ms with depthwise-separable
    convolutions. LiteRT needs about the same time for both (0.28 and 0.20 ms per face).
    """

    name: str = "maskwatch"
    input_px: int = 64
    widths: tuple[int, ...] = (24, 32, 64, 96)
    bottleneck: int = 64
    classes: int = 3
    dropout: float = 0.1


LARGE_NETWORK = ShippedNetwork(input_px=96, widths=(24, 36, 80, 144), bottleneck=80)
"""More right on bad images for about four times the time; trained with crops of the margin ``LARGE_MARGIN``, so that it
sees beards, chins and scarves."""
LARGE_MARGIN = 0.3


def paper_network(name: str) -> PaperNetwork:
    """The network with this name. Raises DataError if the study has none."""
    for network in PAPER_NETWORKS:
        if network.name == name:
            return network
    choices = ", ".join(network.name for network in PAPER_NETWORKS)
    raise DataError(f"no network {name!r} in the study; choose one of {choices}")


def built(build: Callable[[], KerasModel], precision: str = "float32", seed: int | None = None) -> KerasModel:
    """The network, built with a dtype policy. Keras' global policy is restored afterwards. ``seed`` sets the initial
    weights."""
    import keras

    if seed is not None:
        keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def build_paper(network: PaperNetwork, *, for_training: bool = False) -> KerasModel:
    """The study's network, uncompiled. ReLU is after the pooling: the result is the same for a quarter of the work.

    ``for_training`` uses layers that train faster and have the same weights. Copy the weights into a plain network for
    evaluation and export."""
    import keras

    fast = fast_layers() if for_training else None
    layers: list[Any] = [keras.Input((network.input_px, network.input_px, 3)), keras.layers.Rescaling(1 / 255)]
    if network.grey:
        luma = keras.initializers.Constant(np.array(LUMA_RGB, np.float32).reshape(1, 1, 3, 1).tolist())
        layers.append(keras.layers.Conv2D(1, 1, use_bias=False, trainable=False, kernel_initializer=luma, name="luma"))
    for i, (filters, kernel_px) in enumerate(zip(network.filters, network.kernels_px, strict=True)):
        if fast is not None:
            layers.append((fast.PooledConv2D if i else fast.FirstPooledConv2D)(filters, kernel_px))
        else:
            layers += [keras.layers.Conv2D(filters, kernel_px), keras.layers.MaxPooling2D(), keras.layers.ReLU()]
        if network.batch_norm:
            layers.append((fast or keras.layers).BatchNormalization())
        if network.dropout > 0:
            layers.append((fast or keras.layers).Dropout(network.dropout))
    layers += [keras.layers.Flatten(), keras.layers.Dense(2)]
    layers.append(keras.layers.Activation("softmax", dtype="float32"))
    return keras.Sequential(layers, name=network.name)


def build_shipped(network: ShippedNetwork) -> KerasModel:
    """The shipped network, uncompiled."""
    import keras

    layers = keras.layers

    def block(maps: Any, filters: int, kernel_px: int = 3, stride: int = 1, relu: bool = True) -> Any:
        maps = layers.Conv2D(filters, kernel_px, strides=stride, padding="same", use_bias=False)(maps)
        maps = layers.BatchNormalization()(maps)
        return layers.ReLU()(maps) if relu else maps

    def residual(maps: Any, *steps: tuple[int, int]) -> Any:
        branch = maps
        for i, (filters, kernel_px) in enumerate(steps, 1):
            branch = block(branch, filters, kernel_px, relu=i < len(steps))
        return layers.ReLU()(layers.Add()([maps, branch]))

    stem, small, middle, large = network.widths
    crops = keras.Input((network.input_px, network.input_px, 3))
    maps = layers.Rescaling(1 / 127.5, offset=-1.0)(crops)
    maps = block(maps, stem, stride=2)
    maps = residual(block(maps, small, stride=2), (small, 3), (small, 3))
    maps = residual(block(maps, middle, stride=2), (middle, 3), (middle, 3))
    maps = block(maps, large, stride=2)
    maps = residual(maps, (network.bottleneck, 1), (network.bottleneck, 3), (large, 1))
    features = layers.GlobalAveragePooling2D()(maps)
    features = layers.Dropout(network.dropout)(features)
    scores = layers.Dense(network.classes)(features)
    return keras.Model(crops, layers.Activation("softmax", dtype="float32")(scores), name=network.name)


def shipped_network_of(model: KerasModel) -> ShippedNetwork | None:
    """The parameters of a network that ``build_shipped`` made, or None if another function made it."""
    shapes = [weights.shape for weights in model.get_weights()]
    kernels = [shape for shape in shapes if len(shape) == 4]
    if len(kernels) != 11 or len(model.input_shape) != 4:
        return None
    stem, small, middle, large, bottleneck = (kernels[i][-1] for i in (0, 1, 4, 7, 8))
    network = ShippedNetwork(
        input_px=model.input_shape[1],
        widths=(stem, small, middle, large),
        bottleneck=bottleneck,
        classes=model.output_shape[-1],
    )
    ours = [weights.shape for weights in build_shipped(network).get_weights()]
    return network if ours == shapes else None
