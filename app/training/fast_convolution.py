"""Convolutions whose gradients are matrix products: what TensorFlow's own compute, in less of a processor's time.

Two of its gradients are slow on a processor: that of 2x2 pooling, which looks for each maximum again, and that of a
kernel, at a third of the speed of a matrix product. Imported only where a network is trained.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

ROWS = 4096
"""Places of the pooled map computed at once: 1 MB for each of the four numbers that are pooled, so in cache."""


@tf.custom_gradient  # type: ignore[untyped-decorator]
def first_pooled_convolution(maps: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[None, Any]]]:
    """``maps`` (B, H, W, C) and an odd ``kernel`` (K, K, C, F) to their 'valid' convolution, 2x2 max-pooled
    ((H-K+1)//2, (W-K+1)//2). Has no gradient for ``maps``. B, H, W must be known.

    Each place of the pooled map is one row: the patch of (K+1) x (K+1) that its four convolutions see."""
    side, channels, filters = kernel.shape[0], kernel.shape[2], kernel.shape[3]
    rows, shape = _patches(maps, side)
    kernels = [_as_matrix(tf.pad(kernel, [[r, 1 - r], [c, 1 - c], [0, 0], [0, 0]])) for r, c in _CORNERS]
    pooled, chosen = [], []
    for start in range(0, rows.shape[0], ROWS):
        part = rows[start : start + ROWS]
        first, second, third, fourth = (tf.matmul(part, matrix) for matrix in kernels)
        upper, lower = tf.maximum(first, second), tf.maximum(third, fourth)
        pooled.append(tf.maximum(upper, lower))
        chosen.append((part, second > first, fourth > third, lower > upper))  # of equals the first, as TensorFlow does

    def gradient(flow: Any) -> tuple[None, Any]:
        flow = tf.reshape(flow, (-1, filters))
        sums = [tf.zeros((rows.shape[1], filters)) for _ in _CORNERS]
        for i, (part, right_above, right_below, below) in enumerate(chosen):
            both = flow[i * ROWS : (i + 1) * ROWS]
            lower = both * tf.cast(below, tf.float32)
            upper = both - lower
            fourth, second = lower * tf.cast(right_below, tf.float32), upper * tf.cast(right_above, tf.float32)
            for j, corner in enumerate((upper - second, second, lower - fourth, fourth)):
                sums[j] += tf.matmul(part, corner, transpose_a=True)
        wide = [_as_kernel(total, side + 1, channels) for total in sums]
        return None, tf.add_n([w[r : r + side, c : c + side] for w, (r, c) in zip(wide, _CORNERS, strict=True)])

    return tf.reshape(tf.concat(pooled, 0), (*shape, filters)), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def convolution(maps: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """``maps`` (B, H, W, C) and ``kernel`` (K, K, C, F) to their 'valid' convolution. B, H, W must be known."""
    side, _, channels, filters = kernel.shape
    steps, padding = (1, 1, 1, 1), "VALID"

    def gradient(flow: Any) -> tuple[Any, Any]:
        of_maps = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=maps.shape, filter=kernel, out_backprop=flow, strides=steps, padding=padding
        )
        # As large as the maps again, with zeros, and beside itself moved by each column of the kernel: now a row of the
        # kernel is one product of the maps, from that row on, with it.
        moved = [tf.pad(flow, [[0, 0], [0, side - 1], [c, side - 1 - c], [0, 0]]) for c in range(side)]
        flows, seen = tf.reshape(tf.concat(moved, -1), (-1, side * filters)), tf.reshape(maps, (-1, channels))
        count, width = seen.shape[0], maps.shape[2]
        products = [tf.matmul(seen[r * width :], flows[: count - r * width], transpose_a=True) for r in range(side)]
        of_kernel = tf.reshape(tf.stack(products), (side, channels, side, filters))
        return of_maps, tf.transpose(of_kernel, (0, 2, 1, 3))

    return tf.nn.conv2d(maps, kernel, steps, padding), gradient


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _patches(maps: Any, side: int) -> tuple[Any, Sequence[int]]:
    """The rows, (places, (K+1)^2 C), and (B, height, width) of the pooled map. Blocks of 2x2 pixels become channels, so
    that a patch is made of a few long pieces, not of many short ones."""
    across = (side + 1) // 2
    height, width = ((size - side + 1) // 2 for size in maps.shape[1:3])
    even = maps[:, : 2 * (height + across - 1), : 2 * (width + across - 1)]
    blocks = tf.nn.space_to_depth(even, 2)
    pieces = [blocks[:, y : y + height, x : x + width] for y in range(across) for x in range(across)]
    rows = tf.concat(pieces, -1)
    return tf.reshape(rows, (-1, rows.shape[-1])), rows.shape[:3]


def _as_matrix(kernel: Any) -> Any:
    """A kernel with an even side, in the order of a patch's numbers."""
    half, (_, _, channels, filters) = kernel.shape[0] // 2, kernel.shape
    blocks = tf.reshape(kernel, (half, 2, half, 2, channels, filters))
    return tf.reshape(tf.transpose(blocks, (0, 2, 1, 3, 4, 5)), (-1, filters))


def _as_kernel(matrix: Any, side: int, channels: int) -> Any:
    blocks = tf.reshape(matrix, (side // 2, side // 2, 2, 2, channels, -1))
    return tf.reshape(tf.transpose(blocks, (0, 2, 1, 3, 4, 5)), (side, side, channels, -1))
