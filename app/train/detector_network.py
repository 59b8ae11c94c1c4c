"""The face detector's network: anchor-free, depthwise-separable, strides 8, 16 and 32, one head per stride.

It follows YuNet (Wu et al. 2023) and FCOS (Tian et al. 2019): per cell one face score, one box and five points. The
widths were chosen by the clock: XNNPACK runs this network in about half of YuNet's time in OpenCV, so it affords
three times YuNet's parameters at stride 8, where small faces are found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.train.networks import KerasModel

STRIDES = (8, 16, 32)

CHANNELS = 15
"""Per cell: score logit; box centre (x, y) from the cell's centre in strides; log of width and height in strides;
five points (x, y) from the cell's centre in strides, in the order of ``Detection.landmarks``."""


@dataclass(frozen=True, slots=True)
class Stage:
    """``blocks`` separable blocks of ``channels``; the first halves the resolution."""

    channels: int
    blocks: int
    kernel: int = 3


@dataclass(frozen=True, slots=True)
class DetectorShape:
    """Width and depth of a detector."""

    stem: int = 32
    stages: tuple[Stage, Stage, Stage, Stage] = (Stage(48, 2), Stage(96, 3), Stage(128, 3, 5), Stage(128, 2, 5))
    neck: int = 64
    head_blocks: int = 2


_RARE_FACES = (-4.6, *[0.0] * (CHANNELS - 1))
"""Scores begin at 0.01 (Lin et al. 2017): else the many empty cells drown the first steps. Assigned, no initialiser:
a function of ours in the saved file would keep Keras from loading it."""

_MOMENTUM = 0.98
"""Of the normalisation's running means: a short training has no time for Keras' 0.99."""


def fused_normalization() -> Any:
    """Batch normalisation whose training step is TensorFlow's fused kernel: the same numbers as Keras' own, which is
    made of single operations, and a quarter less CPU time for a whole training step."""
    import tensorflow as tf
    from keras import layers

    class FusedNormalization(layers.BatchNormalization):  # type: ignore[misc]
        def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not training:
                return super().call(x, training=False, mask=mask)
            empty = tf.zeros((0,))
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=self.gamma, offset=self.beta, mean=empty, variance=empty, epsilon=self.epsilon
            )
            for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                running.assign(running * self.momentum + now * (1.0 - self.momentum))
            return y

    return FusedNormalization(momentum=_MOMENTUM)


def _plain_normalization() -> Any:
    from keras import layers

    return layers.BatchNormalization(momentum=_MOMENTUM)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Builds the network's parts with one kind of normalisation."""

    normalization: Callable[[], Any]

    def unit(self, x: Any, convolution: Any, activate: bool = True) -> Any:
        from keras import layers

        x = self.normalization()(convolution(x))
        return layers.ReLU()(x) if activate else x

    def separable(self, x: Any, channels: int, stride: int = 1, kernel: int = 3) -> Any:
        """Depthwise, then pointwise; with a shortcut where shapes allow."""
        from keras import layers

        y = self.unit(x, layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False))
        y = self.unit(y, layers.Conv2D(channels, 1, use_bias=False), activate=False)
        if stride == 1 and x.shape[-1] == channels:
            y = layers.Add()([y, x])
        return layers.ReLU()(y)


def build_detector(shape: DetectorShape | None = None, *, for_training: bool = False) -> KerasModel:
    """Takes (B, H, W, 3) float32 BGR 0 to 255 with H and W multiples of 32; gives, for each stride of ``STRIDES``,
    (B, H/stride, W/stride, ``CHANNELS``) float32. ``for_training`` builds the same network, weight by weight, of a
    faster kind that is not meant to be saved: copy its weights into a plain one."""
    import keras
    from keras import layers

    shape = shape or DetectorShape()
    parts = _Parts(fused_normalization if for_training else _plain_normalization)
    image = layers.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    x = parts.unit(x, layers.Conv2D(shape.stem, 3, 2, padding="same", use_bias=False))
    scales = []
    for stage in shape.stages:
        for block in range(stage.blocks):
            # the strided block keeps a 3x3 kernel: it runs at the finer resolution
            x = (
                parts.separable(x, stage.channels, 2, 3)
                if block == 0
                else parts.separable(x, stage.channels, 1, stage.kernel)
            )
        scales.append(x)
    coarser = None
    outputs = []
    for x, stride in zip(scales[:0:-1], STRIDES[::-1], strict=True):
        x = parts.unit(x, layers.Conv2D(shape.neck, 1, use_bias=False), activate=False)
        if coarser is not None:
            x = layers.Add()([x, layers.UpSampling2D()(coarser)])
        coarser = parts.separable(x, shape.neck)
        y = coarser
        for _ in range(shape.head_blocks):
            y = parts.separable(y, shape.neck)
        head = layers.Conv2D(CHANNELS, 1, name=f"stride{stride}")
        outputs.append(head(y))
        head.bias.assign(_RARE_FACES)
    return keras.Model(image, outputs[::-1], name="face_detector")


def plain_copy(model: KerasModel) -> KerasModel:
    """The network of the shipped shape with the weights of ``model``, which may be of the kind for training."""
    plain = build_detector()
    plain.set_weights(model.get_weights())
    return plain
