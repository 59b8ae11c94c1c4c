"""Augmented training batches of the shipped classifier. Random augmentation removes shortcuts of the data sets.

Resolution, sharpness, compression, light and colour are drawn for every crop, independent of its class, so they do not
reveal it. Boxes are jittered as much as detectors differ. Classes and sources are balanced.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.images import resize, square
from app.core.types import Box, Image, Label
from app.training.classifier.synthetic_masks import FaceAxes, face_axes, hold_in_front, swap_lower_face, wear_mask
from app.training.data.face_pool import PooledFace

SHARED = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
MIN_PATCH_PX = 48
"""Smaller patches get no rendered mask and no lower half of another face."""
SWAP_TRIES = 5


@dataclass(frozen=True, slots=True)
class ClassifierAugmentation:
    """``class_shares``, ``synthetic_shares`` and ``swap_shares`` are in the order of ``SHARED``. A source of n faces is
    drawn in proportion to n ** ``source_power``, so that neither large nor small sets dominate. ``swap_shares``: so
    often a face gets eyes and surroundings of another one, of any class, which then do not reveal the class.
    ``nothing_share`` is the share of hard negatives (labelled not_face), if there are any. A network without that label
    learns uniform probabilities on them (outlier exposure, Hendrycks et al. 2019), so they are unsure."""

    input_px: int = 64
    margin: float = 0.1
    batch: int = 128
    steps: int = 200
    seed: int = 42
    class_shares: tuple[float, ...] = (0.37, 0.37, 0.26)
    source_power: float = 0.5
    frame_boost: float = 2.0
    boosts: tuple[tuple[str, float], ...] = (("faces12k", 1.8), ("rmfd_part2", 0.5))
    min_native_px: float = 14.0
    synthetic_shares: tuple[float, ...] = (0.15, 0.0, 0.35)
    swap_shares: tuple[float, ...] = (0.0, 0.0, 0.0)
    held_share: float = 0.12
    nothing_share: float = 0.06
    equalise: bool = True
    min_px: int = 18
    scale: tuple[float, float] = (0.88, 1.4)
    shift: float = 0.055
    turn_deg: float = 9.0


@dataclass(frozen=True)
class AugmentedBatches:
    """Batches of augmented crops: (B, S, S, 3) uint8 RGB and (B, C) float32 targets."""

    faces: Sequence[PooledFace]
    labels: tuple[Label, ...]
    settings: ClassifierAugmentation = field(default_factory=ClassifierAugmentation)

    @property
    def steps(self) -> int:
        return self.settings.steps

    @cached_property
    def _drawn(self) -> tuple[Label, ...]:
        """The labels of faces, then that of hard negatives."""
        return (*(label for label in self.labels if label is not Label.NOT_FACE), Label.NOT_FACE)

    @cached_property
    def _sources(self) -> list[tuple[list[NDArray[np.int64]], NDArray[np.float64]]]:
        """For each of ``_drawn``: the indices of each source's faces, and the probability of each source."""
        drawn = []
        for label in self._drawn:
            sources: dict[str, list[int]] = {}
            for i, face in enumerate(self.faces):
                if face.label == label and is_legible(face, self.settings):
                    sources.setdefault(face.source, []).append(i)
            weights = np.array([self._weight(self.faces[places[0]], len(places)) for places in sources.values()])
            drawn.append(([np.array(places) for places in sources.values()], weights / weights.sum()))
        return drawn

    def _weight(self, face: PooledFace, count: int) -> float:
        settings = self.settings
        boost = settings.frame_boost if face.sample.box is not None else 1.0
        return float(boost * dict(settings.boosts).get(face.source, 1.0) * count**settings.source_power)

    @cached_property
    def _maskable(self) -> NDArray[np.int64]:
        """Indices of bare faces that are large and frontal enough for a rendered mask."""
        return np.array([i for i, face in enumerate(self.faces) if _is_maskable(face)], np.int64)

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        """The probability of each label, then of hard negatives. 0 if there are no faces of it and none can be
        rendered."""
        shares = np.array([self.settings.class_shares[SHARED.index(label)] for label in self._drawn[:-1]])
        for place, (label, (sources, _)) in enumerate(zip(self._drawn[:-1], self._sources, strict=False)):
            if not sources and (label == Label.NO_MASK or not len(self._maskable)):
                shares[place] = 0.0
        negatives = self.settings.nothing_share if self._sources[-1][0] else 0.0
        return np.append(shares / shares.sum() * (1 - negatives), negatives)

    def epoch(self, index: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        rng = np.random.default_rng((self.settings.seed, index))
        one_hot = dict(zip(self.labels, np.eye(len(self.labels), dtype=np.float32), strict=True))
        uniform = np.full(len(self.labels), 1 / len(self.labels), np.float32)
        wanted = np.stack([one_hot.get(label, uniform) for label in self._drawn])
        for _ in range(self.steps):
            targets = rng.choice(len(wanted), self.settings.batch, p=self._shares)
            yield np.stack([self._draw(int(target), rng) for target in targets]), wanted[targets]

    @cached_property
    def _frontal(self) -> list[tuple[PooledFace, FaceAxes]]:
        """Faces of all classes that are large and frontal enough to get the lower half of another one."""
        found = ((face, _axes_of(face)) for face in self.faces if min(face.patch.shape[:2]) >= MIN_PATCH_PX)
        return [(face, axes) for face, axes in found if axes is not None]

    def _draw(self, target: int, rng: np.random.Generator) -> Image:
        label = self._drawn[target]
        sources, chances = self._sources[target]
        index = SHARED.index(label) if label in SHARED else None
        synthetic, swapped = (
            (0.0, 0.0) if index is None else (self.settings.synthetic_shares[index], self.settings.swap_shares[index])
        )
        if len(self._maskable) and (not sources or rng.random() < synthetic):
            face = self.faces[rng.choice(self._maskable)]
            if rng.random() < swapped:
                face = self._swapped(face, rng)
            patch = with_rendered_mask(face, label, rng)
            if patch is not None:
                return self._augmented(patch, face, rng)
        face = self.faces[rng.choice(sources[rng.choice(len(sources), p=chances)])]
        if rng.random() < swapped:
            face = self._swapped(face, rng)
        patch = face.patch
        if label == Label.NO_MASK and face.landmarks is not None and rng.random() < self.settings.held_share:
            axes = _axes_of(face)
            patch = patch if axes is None else hold_in_front(patch, axes, rng)
        return self._augmented(patch, face, rng)

    def _swapped(self, donor: PooledFace, rng: np.random.Generator) -> PooledFace:
        """Another face with the lower half of ``donor``: of a few drawn, the one most alike in pose and size. The
        donor itself if it is turned too far."""
        axes = _axes_of(donor)
        if axes is None or not self._frontal:
            return donor
        drawn = [self._frontal[rng.integers(len(self._frontal))] for _ in range(SWAP_TRIES)]
        other, other_axes = min(drawn, key=lambda one: _difference(axes, one[1]))
        patch = swap_lower_face(other.patch, other_axes, donor.patch, axes, rng)
        return replace(other, patch=patch, label=donor.label)

    def _augmented(self, patch: Image, face: PooledFace, rng: np.random.Generator) -> Image:
        return augmented_crop(patch, face, self.settings, rng)


def is_legible(face: PooledFace, settings: ClassifierAugmentation) -> bool:
    """Whether the face is large enough for its label to be visible."""
    return face.box is None or max(face.box.width, face.box.height) >= settings.min_native_px


def _is_maskable(face: PooledFace) -> bool:
    return face.label == Label.NO_MASK and min(face.patch.shape[:2]) >= MIN_PATCH_PX and _axes_of(face) is not None


def _axes_of(face: PooledFace) -> FaceAxes | None:
    return face_axes(face.landmarks) if face.landmarks is not None else None


def _difference(first: FaceAxes, second: FaceAxes) -> float:
    """How much two faces differ in turn and, less important, in size."""
    turn = abs(first.nose[0] - second.nose[0])
    sizes = float(np.linalg.norm(first.down)), float(np.linalg.norm(second.down))
    return turn + 0.3 * abs(float(np.log(sizes[0] / sizes[1])))


def with_rendered_mask(face: PooledFace, label: Label, rng: np.random.Generator) -> Image | None:
    """The face with a rendered mask, worn as ``label`` says. None if the face is turned too far."""
    axes = _axes_of(face)
    if axes is None:
        return None
    bare = "" if label == Label.MASK else ("nose" if rng.random() < 0.65 else "chin")
    return wear_mask(face.patch, axes, rng, bare)


def augmented_crop(patch: Image, face: PooledFace, settings: ClassifierAugmentation, rng: np.random.Generator) -> Image:
    """``patch`` as a camera, detector and codec could deliver it: (S, S, 3) uint8 RGB."""
    region = _region(face, settings, rng)
    side_px = max(region.width, region.height)
    resolution_px = float(settings.input_px)
    if settings.equalise and rng.random() < 0.65:
        resolution_px = float(np.exp(rng.uniform(np.log(settings.min_px), np.log(1.3 * settings.input_px))))
    resolution_px = min(resolution_px, max(side_px, settings.min_px), 1.3 * settings.input_px)
    crop = _warped(patch, region, round(resolution_px), settings, rng)
    if rng.random() < 0.15:
        crop = _covered(crop, rng)
    crop = _coloured(crop, rng)
    if rng.random() < 0.15:
        crop = _in_bad_light(crop, rng)
    crop = _degraded(crop, rng)
    return _resized(crop, settings.input_px, rng)


def _region(face: PooledFace, settings: ClassifierAugmentation, rng: np.random.Generator) -> Box:
    """The part of the patch to cut: the square around the bounding box as in the monitor, or the data set's crop."""
    if face.box is None or (face.whole is not None and rng.random() < 0.5):
        given = face.whole or face.box
        assert given is not None  # a face has ``whole`` or ``box``
        scale = np.exp(rng.uniform(np.log(0.85), np.log(1.15)))
        width, height = given.width * scale, given.height * scale
    else:
        given = face.box
        side = square(given, settings.margin).width / (1 + settings.margin)
        scale = (1 + settings.margin) * np.exp(rng.uniform(*np.log(settings.scale)))
        aspect = np.exp(rng.normal(0, 0.05))
        width, height = side * scale * aspect, side * scale / aspect
    x, y = given.center
    x += width * rng.normal(0, settings.shift)
    y += height * rng.normal(0, settings.shift)
    return Box(x - width / 2, y - height / 2, width, height)


def _warped(
    patch: Image, region: Box, size_px: int, settings: ClassifierAugmentation, rng: np.random.Generator
) -> Image:
    """The region rotated, flipped and resized to (size_px, size_px). A much larger region is averaged down first."""
    shrink = size_px / max(region.width, region.height)
    if shrink < 0.8:
        patch = resize(patch, max(round(patch.shape[1] * shrink), 2), max(round(patch.shape[0] * shrink), 2))
        region = region.scaled(shrink)
    turn = np.deg2rad(rng.normal(0, settings.turn_deg / 2))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    across, down = region.width / size_px, region.height / size_px
    matrix = np.array(
        [[np.cos(turn) * across * flip, -np.sin(turn) * down], [np.sin(turn) * across * flip, np.cos(turn) * down]]
    )
    middle = np.full(2, (size_px - 1) / 2)
    affine = np.column_stack([matrix, np.array(region.center) - 0.5 - matrix @ middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(  # type: ignore[return-value]
        patch, affine, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


def _covered(crop: Image, rng: np.random.Generator) -> Image:
    """Covers a part of the crop with a rectangle, but not the middle, which decides the class."""
    size = crop.shape[0]
    width, height = (max(round(size * rng.uniform(0.1, 0.4)), 1) for _ in range(2))
    x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
    if abs(x + width / 2 - size / 2) < 0.3 * size and y + height / 2 > 0.35 * size:
        y = 0
        height = max(round(height / 2), 1)
    covered = crop.copy()
    covered[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return covered


def _coloured(crop: Image, rng: np.random.Generator) -> Image:
    """Random grey, saturation and hue, then gamma, brightness, contrast and colour cast in one table per channel."""
    if rng.random() < 0.2:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)  # type: ignore[assignment]
    elif rng.random() < 0.5:
        hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=rng.uniform(0.4, 1.6)).reshape(hsv.shape[:2])
        if rng.random() < 0.3:
            hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-12, 13)) % 180
        crop = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[assignment]
    if rng.random() < 0.2:
        return crop
    levels = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.25))
    gain = rng.uniform(0.75, 1.25) * np.exp(rng.normal(0, 0.08 if rng.random() < 0.6 else 0.0, 3))
    table = (levels**gamma - 0.5) * gain + 0.5 + rng.normal(0, 0.06)
    lut = np.clip(table * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(crop, lut.reshape(1, 256, 3))  # type: ignore[return-value]


def _in_bad_light(crop: Image, rng: np.random.Generator) -> Image:
    """Dark, as an infrared camera shows it, before a bright background, or through haze; with a sensor's noise."""
    kind, size = rng.integers(4), crop.shape[0]
    values: NDArray[np.floating[Any]] = crop.astype(np.float32)
    if kind == 0:
        values = 255 * (values / 255) ** rng.uniform(1.0, 1.9) * rng.uniform(0.15, 0.5)
    elif kind == 1:
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None]
        lit = rng.uniform(0.3, 0.7) + rng.uniform(0.0, 0.4) * _spot(size, rng.uniform(0.4, 0.9), rng)
        values = np.repeat(rng.uniform(0, 60) + lit * grey, 3, axis=2)
    elif kind == 2:
        face = np.clip(3 * _spot(size, rng.uniform(0.3, 0.4), rng), 0, 1)
        outside = values * rng.uniform(0.5, 1.1) + rng.uniform(40, 140)
        values = values * face * rng.uniform(0.15, 0.5) + outside * (1 - face)
    else:
        values = values * rng.uniform(0.25, 0.6) + rng.uniform(50, 130)
    noise = rng.standard_normal(crop.shape, np.float32) * np.float32(rng.uniform(0, 8))
    return np.clip(values + noise, 0, 255).astype(np.uint8)


def _spot(size: int, radius: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(S, S, 1): 1 near the middle, falling to 0; ``radius`` in shares of the side."""
    across, down = (np.linspace(-0.5, 0.5, size, dtype=np.float32) + rng.normal(0, 0.04) for _ in range(2))
    spot = np.exp(-((across / radius) ** 2 + (down[:, None] / (1.25 * radius)) ** 2))
    return spot[..., None].astype(np.float32)


def _degraded(crop: Image, rng: np.random.Generator) -> Image:
    """Random blur, motion blur, sharpening, noise and JPEG compression at the crop's resolution."""
    size = crop.shape[0]
    if rng.random() < 0.22:
        crop = cv2.GaussianBlur(crop, (0, 0), size / 64 * rng.uniform(0.4, 1.6))  # type: ignore[assignment]
    elif rng.random() < 0.08:
        length = max(round(size / 64 * rng.uniform(2, 6)), 2)
        kernel = np.zeros((length, length), np.float32)
        turned = rng.integers(4)
        kernel[length // 2 if turned == 0 else slice(None), length // 2 if turned == 1 else slice(None)] = 1.0
        if turned > 1:
            kernel = np.eye(length, dtype=np.float32) if turned == 2 else np.eye(length, dtype=np.float32)[::-1]
        crop = cv2.filter2D(crop, -1, kernel / kernel.sum())  # type: ignore[assignment]
    elif rng.random() < 0.15:  # phones and web pages sharpen images
        crop = cv2.addWeighted(crop, 1.6, cv2.GaussianBlur(crop, (0, 0), 1.2), -0.6, 0)  # type: ignore[assignment]
    if rng.random() < 0.2:
        noise = rng.standard_normal((*crop.shape[:2], 1 if rng.random() < 0.4 else 3), np.float32)
        crop = np.clip(crop + noise * np.float32(rng.uniform(2, 10)), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, coded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])
        crop = cv2.imdecode(coded, cv2.IMREAD_COLOR)  # type: ignore[assignment]
    return crop


def _resized(crop: Image, size_px: int, rng: np.random.Generator) -> Image:
    """Resizes as the monitor does; in one of ten cases with another interpolation."""
    if crop.shape[0] == size_px:
        return crop
    if rng.random() < 0.1:
        how = (cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LINEAR)[rng.integers(3)]
        return cv2.resize(crop, (size_px, size_px), interpolation=how)  # type: ignore[return-value]
    return resize(crop, size_px, size_px)
