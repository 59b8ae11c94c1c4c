"""Convolutions with gradients as matrix products: the results of TensorFlow's own convolutions in less CPU time.

Two of TensorFlow's gradients are slow on a CPU: that of 2x2 pooling, which searches for each maximum again, and that of
a kernel, at a third of the speed of a matrix product. Imported only for training.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

ROWS = 4096
"""Cells of the pooled map per block: 1 MB for each of the four pooled values, so that a block fits in the cache."""


@tf.custom_gradient  # type: ignore[untyped-decorator]
def first_pooled_convolution(maps: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[None, Any]]]:
    """The 'valid' convolution of ``maps`` (B, H, W, C) with an odd ``kernel`` (K, K, C, F), 2x2 max-pooled to
    ((H-K+1)//2, (W-K+1)//2). Has no gradient for ``maps``. B, H, W must be static.

    Each cell of the pooled map is one row: the (K+1) x (K+1) patch that its four convolutions cover."""
    side, channels, filters = kernel.shape[0], kernel.shape[2], kernel.shape[3]
    rows, shape = _patches(maps, side)
    kernels = [_as_matrix(tf.pad(kernel, [[r, 1 - r], [c, 1 - c], [0, 0], [0, 0]])) for r, c in _CORNERS]
    pooled, chosen = [], []
    for start in range(0, rows.shape[0], ROWS):
        part = rows[start : start + ROWS]
        first, second, third, fourth = (tf.matmul(part, matrix) for matrix in kernels)
        upper, lower = tf.maximum(first, second), tf.maximum(third, fourth)
        pooled.append(tf.maximum(upper, lower))
        chosen.append(
            (part, second > first, fourth > third, lower > upper)
        )  # the first of equal values, as in TensorFlow

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
    """The 'valid' convolution of ``maps`` (B, H, W, C) with ``kernel`` (K, K, C, F). B, H, W must be static."""
    side, _, channels, filters = kernel.shape
    steps, padding = (1, 1, 1, 1), "VALID"

    def gradient(flow: Any) -> tuple[Any, Any]:
        of_maps = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=maps.shape, filter=kernel, out_backprop=flow, strides=steps, padding=padding
        )
        # Padded with zeros to the size of the maps and stacked with a copy shifted by each column of the kernel, so the
        # gradient of a kernel row is one matrix product with the maps from that row on.
        moved = [tf.pad(flow, [[0, 0], [0, side - 1], [c, side - 1 - c], [0, 0]]) for c in range(side)]
        flows, seen = tf.reshape(tf.concat(moved, -1), (-1, side * filters)), tf.reshape(maps, (-1, channels))
        count, width = seen.shape[0], maps.shape[2]
        products = [tf.matmul(seen[r * width :], flows[: count - r * width], transpose_a=True) for r in range(side)]
        of_kernel = tf.reshape(tf.stack(products), (side, channels, side, filters))
        return of_maps, tf.transpose(of_kernel, (0, 2, 1, 3))

    return tf.nn.conv2d(maps, kernel, steps, padding), gradient


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _patches(maps: Any, side: int) -> tuple[Any, Sequence[int]]:
    """The rows (cells, (K+1)^2 C), and the shape (B, height, width) of the pooled map. Blocks of 2x2 pixels become
    channels, so that a patch is copied in a few long pieces instead of many short ones."""
    across = (side + 1) // 2
    height, width = ((size - side + 1) // 2 for size in maps.shape[1:3])
    even = maps[:, : 2 * (height + across - 1), : 2 * (width + across - 1)]
    blocks = tf.nn.space_to_depth(even, 2)
    pieces = [blocks[:, y : y + height, x : x + width] for y in range(across) for x in range(across)]
    rows = tf.concat(pieces, -1)
    return tf.reshape(rows, (-1, rows.shape[-1])), rows.shape[:3]


def _as_matrix(kernel: Any) -> Any:
    """A kernel with an even side as a matrix, in the order of a patch's values."""
    half, (_, _, channels, filters) = kernel.shape[0] // 2, kernel.shape
    blocks = tf.reshape(kernel, (half, 2, half, 2, channels, filters))
    return tf.reshape(tf.transpose(blocks, (0, 2, 1, 3, 4, 5)), (-1, filters))


def _as_kernel(matrix: Any, side: int, channels: int) -> Any:
    blocks = tf.reshape(matrix, (side // 2, side // 2, 2, 2, channels, -1))
    return tf.reshape(tf.transpose(blocks, (0, 2, 1, 3, 4, 5)), (side, side, channels, -1))
