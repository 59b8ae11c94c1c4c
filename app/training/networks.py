"""The networks: the study's seven as one parametrised builder, and the small one that is shipped.

All take ``crops: (N, S, S, 3)`` RGB 0..255 and give ``(N, C)`` float32 softmax probabilities; scaling lives inside.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from app.core.errors import DataError
from app.training.fast_layers import fast_layers

KerasModel = Any
"""A ``keras.Model``: TensorFlow carries no types that mypy can follow."""

LUMA_RGB = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the weights with which OpenCV and PIL turn colour to grey."""


@dataclass(frozen=True, slots=True)
class PaperNetwork:
    """One of the study's networks. What it leaves open is chosen here: Keras' default 'valid' padding, 2x2 pooling,
    batch normalisation after pooling, SGD at Keras' default rate 0.01, a fourth layer halved like the others."""

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
    """The shipped classifier: strided 3x3 convolutions with residual blocks, then a mean over the last map.

    Plain convolutions: on one AMD EPYC core a training step takes 1.0 ms an image, against 2.3 to 3.8 ms for a
    depthwise-separable network, and LiteRT's time is about the same (0.28 and 0.20 ms a face).
    """

    name: str = "maskwatch"
    input_px: int = 64
    widths: tuple[int, ...] = (24, 32, 64, 96)
    bottleneck: int = 64
    classes: int = 3
    dropout: float = 0.1


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: optimiser, length, stopping. ``patience`` 0 never stops early; without
    ``restore_best`` the last epoch's weights are kept, whatever their validation loss."""

    epochs: int
    batch: int = 16
    optimizer: Literal["adam", "sgd", "adamw"] = "adam"
    learning_rate: float = 0.01
    cosine: bool = False
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    patience: int = 0
    start_from_epoch: int = 0
    restore_best: bool = True
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    seed: int = 42


def paper_network(name: str) -> PaperNetwork:
    """Raises DataError for a name that the study does not have."""
    for network in PAPER_NETWORKS:
        if network.name == name:
            return network
    known = ", ".join(network.name for network in PAPER_NETWORKS)
    raise DataError(f"no network {name!r} in the study; choose one of {known}")


def built(build: Callable[[], KerasModel], precision: str = "float32", seed: int | None = None) -> KerasModel:
    """The network built under a dtype policy, which Keras keeps globally, so it is put back; its first weights are
    those of ``seed``, where one is given."""
    import keras

    if seed is not None:
        keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)


def build_paper(network: PaperNetwork, classes: int = 2, *, for_training: bool = False) -> KerasModel:
    """The study's network, uncompiled. ReLU stands after the pooling: they commute, and it is a quarter of the work.

    ``for_training`` builds the same network, weight by weight, of layers that train faster: copy its weights into a
    plain one to judge or to export it."""
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
    layers += [keras.layers.Flatten(), keras.layers.Dense(classes)]
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
