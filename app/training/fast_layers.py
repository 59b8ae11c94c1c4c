"""Layers with the same weights and results as Keras' own, but in less CPU time.

They are for training only. Checkpoints contain them; before evaluation and export the weights are copied into plain
layers in the same order.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

PACKAGE = "maskwatch"


@dataclass(frozen=True, slots=True)
class FastLayers:
    """The layer classes, created after TensorFlow is imported. ``PooledConv2D`` replaces Conv2D, MaxPooling2D and ReLU;
    ``FirstPooledConv2D`` replaces them at the start of the network, where no earlier layer needs a gradient."""

    PooledConv2D: Any
    FirstPooledConv2D: Any
    BatchNormalization: Any
    Dropout: Any


@cache
def fast_layers() -> FastLayers:
    """The layer classes, registered with Keras, so that checkpoints with them can be loaded."""
    import keras
    import tensorflow as tf

    from app.training.fast_convolution import convolution, first_pooled_convolution

    has_gpu = bool(tf.config.list_physical_devices("GPU"))

    @keras.saving.register_keras_serializable(PACKAGE)
    class PooledConv2D(keras.layers.Conv2D):  # type: ignore[misc]
        """Adds the bias after the pooling, to a quarter of the values. The result is the same."""

        def call(self, maps: Any, training: bool = False) -> Any:
            by_products = training and not has_gpu and maps.dtype == tf.float32 and maps.shape.is_fully_defined()
            pooled = self.pooled(maps, tf.convert_to_tensor(self.kernel), by_products)
            return tf.nn.relu(tf.nn.bias_add(pooled, tf.convert_to_tensor(self.bias)))

        def pooled(self, maps: Any, kernel: Any, by_products: bool) -> Any:
            convolved = convolution(maps, kernel) if by_products else tf.nn.conv2d(maps, kernel, 1, "VALID")
            return tf.nn.max_pool2d(convolved, 2, 2, "VALID")

        def compute_output_shape(self, input_shape: Any) -> Any:
            batch, height, width, channels = super().compute_output_shape(input_shape)
            return batch, height // 2, width // 2, channels

    @keras.saving.register_keras_serializable(PACKAGE)
    class FirstPooledConv2D(PooledConv2D):
        """Uses patches for a 3x3 kernel. With 5x5, TensorFlow's own convolution was faster."""

        def pooled(self, maps: Any, kernel: Any, by_products: bool) -> Any:
            if by_products and self.kernel_size == (3, 3):
                return first_pooled_convolution(maps, kernel)
            return super().pooled(maps, kernel, by_products=False)

    @keras.saving.register_keras_serializable(PACKAGE)
    class FusedNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
        """Uses one fused kernel for the training step, where Keras uses many."""

        def call(self, maps: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not training:
                return super().call(maps, training=False, mask=mask)
            empty = tf.zeros((0,))
            normal, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=maps, scale=self.gamma, offset=self.beta, mean=empty, variance=empty, epsilon=self.epsilon
            )
            count = tf.cast(tf.size(maps) // tf.shape(maps)[-1], tf.float32)
            biased = variance * (
                (count - 1.0) / count
            )  # the kernel gives the sample variance, Keras uses the biased one
            for running, now in ((self.moving_mean, mean), (self.moving_variance, biased)):
                running.assign(running * self.momentum + now * (1.0 - self.momentum))
            return normal

    @keras.saving.register_keras_serializable(PACKAGE)
    class CheapDropout(keras.layers.Dropout):  # type: ignore[misc]
        """Uses 16 random bits per value instead of 32, so rates are exact to 1/65536. A GPU has no kernels for 16-bit
        values, so Keras' own layer is used there."""

        def call(self, maps: Any, training: bool = False) -> Any:
            if not training or not self.rate or has_gpu:
                return super().call(maps, training=training)
            count = tf.size(maps)
            seed = tf.cast(tf.convert_to_tensor(self.seed_generator.next()), tf.int32)
            drawn = tf.random.stateless_uniform(((count + 1) // 2,), seed, None, None, tf.int32)
            bits = tf.reshape(tf.bitcast(drawn, tf.uint16), (-1,))[:count]
            dropped = round(self.rate * 65536)
            kept = tf.cast(tf.reshape(bits, tf.shape(maps)) >= tf.constant(dropped, tf.uint16), maps.dtype)
            return maps * (kept * tf.cast(65536 / (65536 - dropped), maps.dtype))

    return FastLayers(PooledConv2D, FirstPooledConv2D, FusedNormalization, CheapDropout)
