"""Augmented training images for the detector: scenes at many scales, mosaics, pasted faces, and camera effects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.images import resize
from app.core.types import Image
from app.training.data.images import ImageCache
from app.training.detector.scenes import FaceCrop, as_array
from app.training.types import Scene

Floats = NDArray[np.float32]

_GREY = 114
_MIN_FACE_PX = 6.0
"""Smaller faces become neutral regions: at stride 8 they are not visible."""


@dataclass(slots=True)
class TrainingView:
    """A training image. ``faces`` (N, 14) float32 as from ``as_array``; ``neutral`` (U, 4) float32 x, y, x2, y2."""

    image: Image
    faces: Floats
    neutral: Floats


@dataclass(frozen=True, slots=True)
class DetectorAugmentation:
    """The probability of each augmentation, and the smallest and largest face."""

    mosaic: float = 0.5
    paste: float = 0.65
    flip: float = 0.5
    colour: float = 0.7
    grey: float = 0.08
    low_light: float = 0.12
    blur: float = 0.15
    jpeg: float = 0.3
    noise: float = 0.1
    min_face_px: float = 8.0
    max_face_px: float = math.inf


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(max(high, low * 1.001)))))


def _shifted(faces: Floats, scale: tuple[float, float], offset: tuple[float, float]) -> Floats:
    """Coordinates (N, 2k), x and y alternating, times ``scale`` plus ``offset``."""
    pairs = faces.reshape(len(faces), faces.shape[1] // 2, 2) * np.array(scale, np.float32) + np.array(
        offset, np.float32
    )
    return pairs.reshape(faces.shape).astype(np.float32)


def _kept(faces: Floats, neutral: Floats, width: int, height: int) -> tuple[Floats, Floats]:
    """Faces and neutral regions, clipped to the image. Faces that are tiny or less than half visible become neutral."""
    boxes = faces[:, :4]
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    sides = clipped[:, 2:] - clipped[:, :2]
    whole = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6)
    seen = sides.prod(axis=1) / whole
    good = (seen >= 0.5) & (sides.min(axis=1, initial=1e9) >= _MIN_FACE_PX)
    faces = faces.copy()
    faces[:, :4] = clipped
    points = faces[:, 4:].reshape(len(faces), 5, 2)
    outside = (points < 0).any(axis=2) | (points > np.array([width, height], np.float32)).any(axis=2)
    points[outside] = np.nan
    neutral = np.clip(neutral, 0, np.array([width, height, width, height], np.float32))
    neutral = np.concatenate([neutral, clipped[~good & (seen > 0)]])
    return faces[good], neutral[(neutral[:, 2:] > neutral[:, :2]).all(axis=1)]


def scene_view(
    scene: Scene, image: Image, size_px: tuple[int, int], rng: np.random.Generator, mix: DetectorAugmentation
) -> TrainingView:
    """A window of ``size_px`` (width, height) on the scene. The scale gives a random face a log-uniform size from
    ``mix.min_face_px`` to ``mix.max_face_px``, at most nine tenths of the window (Tang et al. 2018, PyramidBox)."""
    width, height = size_px
    own_height, own_width = image.shape[:2]
    faces = as_array(scene.faces)
    neutral = np.array([[b.x, b.y, b.x2, b.y2] for b in scene.neutral], np.float32).reshape(-1, 4)
    fit = min(width / own_width, height / own_height)
    if len(faces) and rng.random() < 0.85:
        x, y, x2, y2 = faces[rng.integers(len(faces)), :4].tolist()
        wanted = _log_uniform(rng, mix.min_face_px, min(mix.max_face_px, 0.9 * min(width, height)))
        scale = wanted / max(min(x2 - x, y2 - y), 1.0)
        # with a much smaller scale than 'fit' the window would be mostly empty
        scale = float(np.clip(scale, 0.45 * fit, 3.0))
        center = ((x + x2) / 2, (y + y2) / 2)
    else:
        scale = _log_uniform(rng, 0.7 * fit, 1.5 * max(fit, 0.8))
        center = (rng.uniform(0, own_width), rng.uniform(0, own_height))
    stretch = float(rng.uniform(0.88, 1.14))
    scales = (scale * stretch**0.5, scale / stretch**0.5)
    offset = []
    for middle, factor, own, out in zip(center, scales, (own_width, own_height), (width, height), strict=True):
        start = rng.uniform(0.15, 0.85) * out - middle * factor
        spare = out - own * factor
        low, high = min(spare, 0.0), max(spare, 0.0)
        offset.append(float(np.clip(start, low, high)))
    canvas = np.full((height, width, 3), rng.integers(256) if rng.random() < 0.3 else _GREY, np.uint8)
    _draw(canvas, image, scales, (offset[0], offset[1]))
    faces = _shifted(faces, scales, (offset[0], offset[1]))
    neutral = _shifted(neutral, scales, (offset[0], offset[1]))
    return TrainingView(canvas, *_kept(faces, neutral, width, height))


def _draw(canvas: Image, image: Image, scales: tuple[float, float], offset: tuple[float, float]) -> None:
    """Draws the visible part of the scaled ``image`` onto ``canvas``. Only the visible pixels are resized."""
    height, width = canvas.shape[:2]
    spans = []
    for factor, shift, own, out in zip(scales, offset, image.shape[1::-1], (width, height), strict=True):
        start, end = max(0, int(-shift / factor)), min(own, int(np.ceil((out - shift) / factor)) + 1)
        at, until = round(start * factor + shift), round(end * factor + shift)
        spans.append((start, end, at, max(until, at + 1)))
    (x, x_end, left, right), (y, y_end, top, bottom) = spans
    if x >= x_end or y >= y_end:
        return
    part = resize(image[y:y_end, x:x_end], right - left, bottom - top)
    u, v = max(left, 0), max(top, 0)
    piece = part[v - top : height - top, u - left : width - left]
    canvas[v : v + piece.shape[0], u : u + piece.shape[1]] = piece


def mosaic(views: Sequence[TrainingView], split: tuple[int, int], size_px: tuple[int, int]) -> TrainingView:
    """Joins four views into one image of ``size_px`` (width, height). They meet at ``split`` (x, y)."""
    width, height = size_px
    canvas = np.empty((height, width, 3), np.uint8)
    faces, neutral = [], []
    for view, (x, y) in zip(views, ((0, 0), (split[0], 0), (0, split[1]), split), strict=True):
        part_height, part_width = view.image.shape[:2]
        canvas[y : y + part_height, x : x + part_width] = view.image
        faces.append(_shifted(view.faces, (1, 1), (x, y)))
        neutral.append(_shifted(view.neutral, (1, 1), (x, y)))
    return TrainingView(canvas, np.concatenate(faces), np.concatenate(neutral))


def paste(
    view: TrainingView, crop: FaceCrop, image: Image, rng: np.random.Generator, mix: DetectorAugmentation
) -> None:
    """Draws ``crop`` into ``view`` where it covers no face, mostly with a soft edge, if there is room."""
    height, width = view.image.shape[:2]
    own_height, own_width = image.shape[:2]
    face_px = min(crop.face.box.width, crop.face.box.height) if crop.face else 0.8 * min(own_width, own_height)
    scale = min(_log_uniform(rng, mix.min_face_px, 0.6 * width) / max(face_px, 1.0), 3.0)
    scale = min(scale, 0.95 * width / own_width, 0.95 * height / own_height)
    w, h = max(round(own_width * scale), 4), max(round(own_height * scale), 4)
    taken = np.concatenate([view.faces[:, :4], view.neutral])
    for _ in range(8):
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        apart = (taken[:, 0] > x + w) | (taken[:, 2] < x) | (taken[:, 1] > y + h) | (taken[:, 3] < y)
        if apart.all():
            break
    else:
        return
    part = resize(image, w, h)
    alpha = np.ones((h, w), np.float32)
    if rng.random() < 0.75:
        alpha[:] = 0
        if rng.random() < 0.5 and crop.face is None:
            cv2.ellipse(alpha, (w // 2, h // 2), (int(w * 0.46), int(h * 0.46)), 0, 0, 360, 1.0, -1)
        else:
            edge = max(1, round(0.04 * min(w, h)))
            alpha[edge : h - edge, edge : w - edge] = 1
        alpha = cv2.blur(alpha, (max(1, w // 12), max(1, h // 12)))
    under = view.image[y : y + h, x : x + w]
    view.image[y : y + h, x : x + w] = under + (part.astype(np.float32) - under) * alpha[..., None]
    if crop.face is not None:
        face = _shifted(as_array([crop.face]), (w / own_width, h / own_height), (x, y))
        kept, neutral = _kept(face, np.empty((0, 4), np.float32), width, height)
        view.faces = np.concatenate([view.faces, kept])
        view.neutral = np.concatenate([view.neutral, neutral])


_MIRRORED = np.array([1, 0, 2, 4, 3])
"""The order of the five landmarks in a mirrored face: right and left are exchanged."""


def flip(view: TrainingView) -> None:
    width = view.image.shape[1]
    view.image = np.ascontiguousarray(view.image[:, ::-1])
    for boxes in (view.faces, view.neutral):
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    points = view.faces[:, 4:].reshape(-1, 5, 2)[:, _MIRRORED]
    points[..., 0] = width - points[..., 0]
    view.faces[:, 4:] = points.reshape(-1, 10)


def degrade(image: Image, rng: np.random.Generator, mix: DetectorAugmentation) -> Image:
    """``image`` with random colour, light, blur, noise and JPEG compression."""
    if rng.random() < mix.colour:
        gain = rng.uniform(0.6, 1.5) * rng.uniform(0.9, 1.1, 3)
        table = np.arange(256)[:, None] * gain + rng.uniform(-35, 35)
        image = cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3))  # type: ignore[assignment]
    if rng.random() < mix.low_light:
        curve = 255 * (np.arange(256) / 255) ** rng.uniform(1.3, 2.5) * rng.uniform(0.35, 0.9)
        image = cv2.LUT(image, curve.astype(np.uint8))  # type: ignore[assignment]
    if rng.random() < mix.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
    if rng.random() < mix.blur:
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.6)))  # type: ignore[assignment]
        else:
            length = int(rng.integers(2, 7))
            image = cv2.blur(image, (length, 1) if rng.random() < 0.7 else (1, length))  # type: ignore[assignment]
    if rng.random() < mix.noise:
        small = rng.normal(0, rng.uniform(3, 14), image.shape).astype(np.float32)
        image = np.clip(image + small, 0, 255).astype(np.uint8)
    if rng.random() < mix.jpeg:
        quality = int(rng.integers(25, 90))
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(code, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return image


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes training images from scenes and crops."""

    scenes: Sequence[Scene]
    crops: Sequence[FaceCrop]
    cache: ImageCache
    mix: DetectorAugmentation

    def sample(self, index: int, size_px: int, rng: np.random.Generator) -> TrainingView:
        """A square image of ``size_px`` with scene ``index``, alone or in a mosaic with three others."""
        if rng.random() < self.mix.mosaic:
            split = (int(rng.uniform(0.3, 0.7) * size_px), int(rng.uniform(0.3, 0.7) * size_px))
            sizes = [(x, y) for y in (split[1], size_px - split[1]) for x in (split[0], size_px - split[0])]
            chosen = [index, *rng.integers(len(self.scenes), size=3).tolist()]
            view = mosaic(
                [self._view(i, size, rng) for i, size in zip(chosen, sizes, strict=True)], split, (size_px, size_px)
            )
        else:
            view = self._view(index, (size_px, size_px), rng)
        if self.crops and rng.random() < self.mix.paste:
            for _ in range(int(rng.integers(1, 4))):
                crop = self.crops[int(rng.integers(len(self.crops)))]
                paste(view, crop, self.cache.get(crop.path), rng, self.mix)
        if rng.random() < self.mix.flip:
            flip(view)
        view.image = degrade(view.image, rng, self.mix)
        return view

    def _view(self, index: int, size_px: tuple[int, int], rng: np.random.Generator) -> TrainingView:
        scene = self.scenes[index]
        return scene_view(scene, self.cache.get(scene.path), size_px, rng, self.mix)
