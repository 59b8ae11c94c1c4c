"""Assignment of cells to faces (SimOTA, Ge et al. 2021), and the losses with soft scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.detector.network import HEADS, STRIDES

_CANDIDATES = 10
"""Most cells that can be assigned to one face."""
_CENTER_RADIUS = 2.5
"""Cells farther from a face's centre than this many strides are assigned to it only if no nearer cell can be."""
_FAR, _NEVER = 1e4, 1e8

_FINE = 0.02
"""Errors of landmarks, in face sides, below which their loss is quadratic: about the error of a teacher's landmarks."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of all strides, smallest stride first: ``centers`` (N, 2) px and ``strides`` (N,) px, float32."""

    centers: NDArray[np.float32]
    strides: NDArray[np.float32]


def cell_grid(width_px: int, height_px: int) -> Grid:
    centers, strides = [], []
    for stride in STRIDES:
        columns, rows = np.meshgrid(np.arange(width_px // stride), np.arange(height_px // stride))
        cells = np.stack([columns.ravel(), rows.ravel()], axis=1)
        centers.append((cells + 0.5) * stride)
        strides.append(np.full(len(cells), stride))
    return Grid(np.concatenate(centers).astype(np.float32), np.concatenate(strides).astype(np.float32))


def flatten_levels(maps: list[Any]) -> Any:
    """The network's outputs as one (B, N, 15) in the order of ``Grid``: logit of the score (square root of the product
    of the sigmoids of class and objectness), box centre, log box size, and five landmarks. Positions are relative to
    the cell centre, in strides."""
    import tensorflow as tf

    classes, objects, boxes, points = (
        tf.concat([tf.reshape(x, (tf.shape(x)[0], -1, x.shape[-1])) for x in maps[i :: len(HEADS)]], axis=1)
        for i in range(len(HEADS))
    )
    log_score = 0.5 * (tf.math.log_sigmoid(classes) + tf.math.log_sigmoid(objects))
    logit = log_score - tf.math.log1p(-tf.minimum(tf.exp(log_score), 1.0 - 1e-6))
    return tf.concat([logit, boxes[..., :2] - 0.5, boxes[..., 2:], points - 0.5], axis=-1)


def decode_boxes(raw: Any, grid: Grid) -> Any:
    """(B, N, C) raw outputs to (B, N, 4) boxes x, y, x2, y2 in px."""
    import tensorflow as tf

    strides = grid.strides[:, None]
    center = grid.centers + raw[..., 1:3] * strides
    half = tf.exp(tf.minimum(raw[..., 3:5], 5.0)) * strides / 2
    return tf.concat([center - half, center + half], axis=-1)


def overlap(boxes: Any, others: Any) -> Any:
    """IoU of broadcast (..., 4) boxes."""
    import tensorflow as tf

    size = tf.maximum(tf.minimum(boxes[..., 2:], others[..., 2:]) - tf.maximum(boxes[..., :2], others[..., :2]), 0.0)
    both = size[..., 0] * size[..., 1]
    return both / (_area(boxes) + _area(others) - both + 1e-6)


def _area(boxes: Any) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def assign(logits: Any, boxes: Any, truths: Any, grid: Grid) -> tuple[Any, Any]:
    """``logits`` (B, N), ``boxes`` (B, N, 4), ``truths`` (B, M, 4) with rows of zeros as padding. Returns ``chosen``
    (B, N) bool, whether a cell is assigned to a face, and ``which`` (B, N) int32, the row of that face.

    Each face gets the cells of lowest cost (overlap, score, distance to its centre), as many as the sum of the overlaps
    of its best cells. A cell with two faces is assigned to the one of lower cost.
    """
    import tensorflow as tf

    face = truths[:, :, None, :]
    valid = (face[..., 2] > face[..., 0])[..., :1]
    x, y, stride = grid.centers[:, 0], grid.centers[:, 1], grid.strides
    inside = (x > face[..., 0]) & (x < face[..., 2]) & (y > face[..., 1]) & (y < face[..., 3])
    radius = _CENTER_RADIUS * stride
    near = (tf.abs(x - (face[..., 0] + face[..., 2]) / 2) < radius) & (
        tf.abs(y - (face[..., 1] + face[..., 3]) / 2) < radius
    )
    ious = overlap(face, boxes[:, None]) * tf.cast((inside | near) & valid, tf.float32)
    cost = 3.0 * -tf.math.log(ious + 1e-6) + tf.nn.softplus(-logits)[:, None]
    cost += tf.where(inside & near, 0.0, _FAR)
    cost = tf.where((inside | near) & valid, cost, _NEVER)
    count = tf.cast(tf.reduce_sum(tf.math.top_k(ious, _CANDIDATES).values, -1), tf.int32)
    count = tf.clip_by_value(count, 1, _CANDIDATES)
    least = -tf.math.top_k(-cost, _CANDIDATES).values
    limit = tf.gather(least, count - 1, batch_dims=2)
    claimed = (cost <= limit[..., None]) & (cost < _NEVER)
    cost = tf.where(claimed, cost, 2 * _NEVER)
    return tf.reduce_any(claimed, axis=1), tf.argmin(cost, axis=1, output_type=tf.int32)


def box_loss(boxes: Any, truths: Any, ious: Any) -> Any:
    """EIoU (Zhang et al. 2022): 1 - IoU, plus squared errors of centre, width and height relative to the hull."""
    import tensorflow as tf

    hull = tf.maximum(boxes[..., 2:], truths[..., 2:]) - tf.minimum(boxes[..., :2], truths[..., :2])
    squares = tf.square(hull) + 1e-6
    apart = tf.square((boxes[..., :2] + boxes[..., 2:] - truths[..., :2] - truths[..., 2:]) / 2)
    sides = tf.square(boxes[..., 2:] - boxes[..., :2] - truths[..., 2:] + truths[..., :2])
    center_gap = tf.reduce_sum(apart, -1) / tf.reduce_sum(squares, -1)
    return 1.0 - ious + center_gap + tf.reduce_sum(sides / squares, -1)


def detector_loss(maps: list[Any], truths: Any, points: Any, ignored: Any, grid: Grid) -> tuple[Any, Any, Any]:
    """Losses of score, box and landmarks for the network's outputs, each divided by the number of assigned cells.

    ``truths`` (B, M, 4) px; ``points`` (B, M, 10) px, NaN if unknown; ``ignored`` (B, N) bool: cells without a penalty
    for a high score. The target of the score is the IoU of the cell's box (quality focal loss, Li et al. 2020), so that
    NMS keeps the best of several boxes.
    """
    import tensorflow as tf

    raw = flatten_levels(maps)
    logits, boxes = raw[..., 0], decode_boxes(raw, grid)
    chosen, which = assign(tf.stop_gradient(logits), tf.stop_gradient(boxes), truths, grid)
    answers = tf.cast(chosen, tf.float32)
    total = tf.maximum(tf.reduce_sum(answers), 1.0)
    face = tf.gather(truths, which, batch_dims=1)
    ious = overlap(boxes, face)

    target = tf.stop_gradient(ious) * answers
    gap = tf.square(tf.abs(target - tf.sigmoid(logits)))
    blame = tf.where(ignored & ~chosen, 0.0, gap * tf.nn.sigmoid_cross_entropy_with_logits(target, logits))
    score = tf.reduce_sum(blame) / total

    box = tf.reduce_sum(box_loss(boxes, face, ious) * answers) / total

    wanted = tf.gather(points, which, batch_dims=1)
    is_labelled = tf.cast(tf.math.is_finite(wanted), tf.float32) * answers[..., None]
    found = tf.tile(grid.centers, (1, 5)) + raw[..., 5:] * grid.strides[:, None]
    side = tf.sqrt(tf.maximum(_area(face), 1.0))[..., None]
    gaps = (found - tf.where(tf.math.is_finite(wanted), wanted, 0.0)) / side * is_labelled
    size = tf.abs(gaps)
    smooth = tf.where(size < _FINE, tf.square(gaps) / (2 * _FINE), size - _FINE / 2)
    return score, box, tf.reduce_sum(smooth) / tf.maximum(tf.reduce_sum(is_labelled), 1.0)
