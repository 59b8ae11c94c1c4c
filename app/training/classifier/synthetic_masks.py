"""Renders masks, worn correctly and incorrectly, and other objects in front of a face; gives a face the lower half of
another one. Placed by five landmarks."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.core.types import Image

Points = NDArray[np.float32]

MASK_COLOURS = ((168, 200, 224), (235, 238, 240), (25, 25, 28), (90, 95, 100), (120, 170, 160), (225, 170, 190))
"""RGB: surgical blue, white, black, grey, green, pink. Half of the masks have a random colour instead."""
SKIN_COLOURS = ((236, 188, 160), (214, 160, 128), (180, 124, 92), (136, 88, 62), (92, 58, 42), (248, 212, 190))


@dataclass(frozen=True, slots=True)
class FaceAxes:
    """A coordinate system of the face: (0, 0) is between the eyes, (0, 1) between the mouth corners, and 1 across is
    the distance of the eyes. ``nose`` is the nose tip (across, down)."""

    origin: Points
    across: Points
    down: Points
    nose: tuple[float, float]

    def at(self, *places: tuple[float, float]) -> Points:
        return np.array([self.origin + a * self.across + d * self.down for a, d in places], np.float32)


def face_axes(landmarks: Points) -> FaceAxes | None:
    """The axes of (5, 2) landmarks in px. None if the face is turned too far for a rendered mask."""
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    across, down = left_eye - right_eye, mouth - eyes
    height = float(np.linalg.norm(down))
    if height < 4 or float(np.linalg.norm(across)) < 0.55 * height:
        return None
    basis = np.column_stack([across, down])
    if abs(np.linalg.det(basis)) < 1e-3:
        return None
    nose_across, nose_down = np.linalg.solve(basis, nose - eyes)
    return FaceAxes(eyes, across, down, (float(nose_across), float(nose_down)))


def wear_mask(patch: Image, axes: FaceAxes, rng: np.random.Generator, bare: str = "") -> Image:
    """A copy of ``patch`` (H, W, 3) uint8 RGB with a rendered mask, worn correctly, or below the nose (``bare`` 'nose')
    or below the mouth ('chin')."""
    nose_across, nose_down = axes.nose
    if bare == "nose":
        top = rng.uniform(min(nose_down + 0.12, 0.85), 0.95)
        side, bottom = top - rng.uniform(-0.1, 0.25), rng.uniform(1.5, 2.0)
    elif bare == "chin":
        top = rng.uniform(1.2, 1.45)
        side, bottom = top - rng.uniform(0.0, 0.4), rng.uniform(1.75, 2.2)
    else:
        top = rng.uniform(0.1, max(nose_down - 0.18, 0.2))
        side, bottom = top + rng.uniform(0.0, 0.3), rng.uniform(1.5, 2.0)
    half = rng.uniform(0.8, 1.15)
    middle = nose_across * 0.8
    left, right = middle * 0.4 - half, middle * 0.4 + half
    jaw = rng.uniform(0.55, 0.9)
    outline = axes.at(
        (left, side),
        (middle - 0.35 * half, top + rng.uniform(0.02, 0.15)),
        (middle, top),
        (middle + 0.35 * half, top + rng.uniform(0.02, 0.15)),
        (right, side),
        (right * 0.98, (side + bottom) / 2),
        (middle * 0.6 + jaw * half, bottom * 0.93),
        (middle * 0.6, bottom),
        (middle * 0.6 - jaw * half, bottom * 0.93),
        (left * 0.98, (side + bottom) / 2),
    )
    cloth = _cloth(patch.shape[0], patch.shape[1], axes, rng)
    worn = patch.copy()
    if rng.random() < 0.7:
        _straps(worn, axes, (left, right), (side, bottom), rng)
    return _blend(worn, _shaded(cloth, patch, rng), outline, rng)


def hold_in_front(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    """A copy of ``patch`` with a hand, paper, microphone, cup or scarf in front of the lower face, but no mask."""
    draw = (_hand, _hand, _paper, _microphone, _cup, _scarf)[rng.integers(6)]
    return draw(patch.copy(), axes, rng)


def swap_lower_face(
    patch: Image, axes: FaceAxes, donor: Image, donor_axes: FaceAxes, rng: np.random.Generator
) -> Image:
    """A copy of ``patch`` with the lower half of the face in ``donor``, from below the eyes to the neck, with whatever
    is worn or held there. Both halves get the coarser resolution of the two, and the light of ``patch``."""
    height, width = patch.shape[:2]
    shrink = float(np.linalg.norm(axes.down) / np.linalg.norm(donor_axes.down))
    if shrink > 1:  # the donor is enlarged: the other half becomes as coarse
        small = max(round(width / shrink), 4), max(round(height / shrink), 4)
        patch = cv2.resize(cv2.resize(patch, small, interpolation=cv2.INTER_AREA), (width, height))  # type: ignore[assignment]
    elif shrink < 0.8:
        donor = cv2.GaussianBlur(donor, (0, 0), 0.4 / shrink)  # type: ignore[assignment]
    corners = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    matrix = cv2.getAffineTransform(donor_axes.at(*corners), axes.at(*corners))
    moved = cv2.warpAffine(donor, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    gain = np.clip(_brow_colour(patch, axes) / _brow_colour(donor, donor_axes), 0.5, 2.0)
    top, side = rng.uniform(0.1, 0.25), rng.uniform(1.1, 1.3)
    outline = axes.at(
        (-side, top - 0.1), (-0.55, top + 0.05), (0.0, top), (0.55, top + 0.05), (side, top - 0.1),
        (side, 1.2), (0.75 * side, 2.1), (0.0, 2.4), (-0.75 * side, 2.1), (-side, 1.2),
    )  # fmt: skip
    soft_px = float(np.linalg.norm(axes.down)) * rng.uniform(0.03, 0.12)
    return _mixed(patch, moved * gain, _soft_shape(patch, outline, max(soft_px, 0.3)))


def _brow_colour(patch: Image, axes: FaceAxes) -> NDArray[np.float32]:
    """The median colour between the brows and on the forehead, where masks do not reach."""
    corners = axes.at((-0.3, -0.5), (0.3, -0.5), (0.3, -0.15), (-0.3, -0.15))
    (left, top), (right, bottom) = (np.clip(edge(corners, axis=0), 0, None).astype(int) for edge in (np.min, np.max))
    shown = patch[top : bottom + 1, left : right + 1].reshape(-1, 3)
    return np.asarray(np.median(shown, axis=0) + 8 if len(shown) else np.full(3, 128), np.float32)


def _random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        base = np.array(MASK_COLOURS[rng.integers(len(MASK_COLOURS))], float) + rng.normal(0, 14, 3)
    else:
        hsv = np.array([[[rng.integers(180), rng.integers(256), rng.integers(30, 256)]]], np.uint8)
        base = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(float)
    red, green, blue = np.clip(base, 0, 255).astype(int).tolist()
    return red, green, blue


def _cloth(height: int, width: int, axes: FaceAxes, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) float32: plain, pleated, striped, dotted, checked or blotched cloth."""
    first, second = (np.array(_random_colour(rng), np.float32) for _ in range(2))
    cloth = np.broadcast_to(first, (height, width, 3)).copy()
    kind = rng.random()
    if kind < 0.45:
        return cloth
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = float(np.linalg.norm(axes.down))
    if kind < 0.62:  # the pleats of a surgical mask run across
        down = axes.down / max(unit, 1e-3)
        waves = np.cos((xs * down[0] + ys * down[1]) * (2 * np.pi * rng.uniform(3, 5) / (2 * unit)))
        return np.asarray(cloth * (1 - rng.uniform(0.03, 0.12) * (waves[..., None] > 0.5)), np.float32)
    turn, pitch = rng.uniform(0, np.pi), max(unit * rng.uniform(0.08, 0.5), 2.0)
    a, b = xs * np.cos(turn) + ys * np.sin(turn), ys * np.cos(turn) - xs * np.sin(turn)
    if kind < 0.74:
        chosen = np.sin(a * 2 * np.pi / pitch) > rng.uniform(-0.5, 0.5)
    elif kind < 0.86:
        chosen = np.sin(a * 2 * np.pi / pitch) * np.sin(b * 2 * np.pi / pitch) > rng.uniform(0.0, 0.6)
    else:
        noise = rng.random((8, 8, 1), np.float32)
        chosen = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) > 0.5
    cloth[chosen] = second
    return cloth


def _shaded(cloth: NDArray[np.float32], patch: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """The cloth with the blurred light of the face, so that features of the face do not show."""
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    few = cv2.resize(grey, (max(width // 4, 4), max(height // 4, 4)), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(few, (0, 0), max(few.shape[0] / rng.uniform(8, 16), 0.5)).astype(np.float32)
    level = np.clip(soft / max(float(np.percentile(soft, 85)), 20.0), 0.25, 1.3)
    light = np.asarray(cv2.resize(level, (width, height)), np.float32)
    strength = rng.uniform(0.3, 1.0)
    grain = rng.standard_normal((height, width), np.float32) * np.float32(rng.uniform(0, 6))
    shade: NDArray[np.float32] = np.asarray(1 - strength + strength * light, np.float32)
    return np.asarray(cloth * shade[..., None] + grain[..., None], np.float32)


def _blend(patch: Image, cloth: NDArray[np.float32], outline: Points, rng: np.random.Generator) -> Image:
    soft_px = rng.uniform(0.3, 1.0) * patch.shape[0] / 110
    alpha = _soft_shape(patch, outline, max(soft_px, 0.25))
    if rng.random() < 0.5:  # a darker edge for seam and shadow
        rim = cv2.GaussianBlur(alpha, (0, 0), max(patch.shape[0] / 40, 0.5))
        cloth = np.asarray(cloth * (0.75 + 0.25 * rim)[..., None], np.float32)
    return _mixed(patch, cloth, alpha)


def _soft_shape(patch: Image, outline: Points, soft_px: float) -> NDArray[np.float32]:
    """(H, W): 1 within the outline, smoothed and with a soft edge, and 0 outside."""
    shape = np.zeros(patch.shape[:2], np.float32)
    cv2.fillPoly(shape, [np.round(_smooth(outline) * 8).astype(np.int32)], 1.0, cv2.LINE_AA, 3)
    return np.asarray(cv2.GaussianBlur(shape, (0, 0), soft_px), np.float32)


def _mixed(patch: Image, drawn: NDArray[np.float32], alpha: NDArray[np.float32]) -> Image:
    mixed = patch * (1 - alpha[..., None]) + drawn * alpha[..., None]
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _smooth(outline: Points) -> Points:
    """Chaikin's corner cutting, applied twice, because cloth has no sharp corners."""
    for _ in range(2):
        following = np.roll(outline, -1, axis=0)
        outline = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following], 1).reshape(-1, 2)
    return outline


def _straps(
    patch: Image, axes: FaceAxes, sides: tuple[float, float], heights: tuple[float, float], rng: np.random.Generator
) -> None:
    colour = _random_colour(rng) if rng.random() < 0.3 else (230, 232, 235)
    thick = max(round(patch.shape[0] / 90), 1)
    top, bottom = heights
    for edge, ear in zip(sides, (-1.25, 1.25), strict=True):
        for down, target in ((top, 0.05), (top + 0.6 * (bottom - top), 0.45)):
            ends = np.round(axes.at((edge, down), (ear, target))).astype(int).tolist()
            cv2.line(patch, ends[0], ends[1], colour, thick, cv2.LINE_AA)


def _hand(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    """Fingers over mouth or cheek, from below or from a side."""
    colour = np.array(SKIN_COLOURS[rng.integers(len(SKIN_COLOURS))], float)
    if rng.random() < 0.6:  # mostly the person's own hand, in the colour of the cheek
        x, y = np.round(axes.at((0.0, 0.45))[0]).astype(int)
        colour = patch[np.clip(y, 0, patch.shape[0] - 1), np.clip(x, 0, patch.shape[1] - 1)].astype(float)
    width = float(np.linalg.norm(axes.across))
    side, turn = rng.choice([-1, 1]), rng.uniform(-0.3, 0.3)
    tip_across, tip_down = rng.uniform(-0.4, 0.4), rng.uniform(0.5, 1.1)
    for finger in range(rng.integers(2, 5)):
        shade = colour * rng.uniform(0.8, 1.08)
        tip = (tip_across + finger * 0.22 * side, tip_down + 0.08 * abs(finger - 1.5))
        root = (tip[0] + turn + 0.5 * side, tip[1] + rng.uniform(0.9, 1.4))
        ends = np.round(axes.at(tip, root)).astype(int).tolist()
        cv2.line(patch, ends[0], ends[1], np.clip(shade, 0, 255).tolist(), max(round(width * 0.24), 2), cv2.LINE_AA)
    return patch


def _paper(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    """A sheet, a phone or a book, with straight edges that do not follow the face."""
    colour = np.array((245, 245, 240) if rng.random() < 0.6 else _random_colour(rng), float) * rng.uniform(0.7, 1.0)
    top, bottom = rng.uniform(0.5, 0.9), rng.uniform(1.6, 2.8)
    left, right, tilt = rng.uniform(-1.8, -0.5), rng.uniform(0.5, 1.8), rng.uniform(-0.25, 0.25)
    corners = axes.at(
        (left, top + tilt), (right, top - tilt), (right + tilt, bottom - tilt), (left + tilt, bottom + tilt)
    )
    cv2.fillPoly(patch, [np.round(corners * 8).astype(np.int32)], colour.tolist(), cv2.LINE_AA, 3)
    for line in range(rng.integers(0, 6)):
        down = top + 0.15 + 0.2 * line
        ends = np.round(axes.at((left + 0.2, down + tilt), (right - 0.2, down - tilt))).astype(int).tolist()
        cv2.line(patch, ends[0], ends[1], (colour * 0.45).tolist(), 1, cv2.LINE_AA)
    return patch


def _microphone(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    head = (rng.uniform(-0.3, 0.3), rng.uniform(0.95, 1.3))
    ends = np.round(axes.at(head, (head[0] + rng.uniform(-0.8, 0.8), head[1] + 1.6))).astype(int).tolist()
    width = float(np.linalg.norm(axes.across))
    dark = int(rng.integers(15, 90))
    cv2.line(patch, ends[0], ends[1], (dark + 10,) * 3, max(round(width * 0.18), 1), cv2.LINE_AA)
    cv2.circle(patch, ends[0], max(round(width * rng.uniform(0.22, 0.36)), 2), (dark,) * 3, -1, cv2.LINE_AA)
    return patch


def _cup(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    top, half = rng.uniform(0.75, 1.0), rng.uniform(0.3, 0.55)
    across = rng.uniform(-0.25, 0.25)
    corners = axes.at(
        (across - half, top), (across + half, top), (across + half * 0.8, top + 1.3), (across - half * 0.8, top + 1.3)
    )
    cv2.fillPoly(patch, [np.round(corners * 8).astype(np.int32)], _random_colour(rng), cv2.LINE_AA, 3)
    return patch


def _scarf(patch: Image, axes: FaceAxes, rng: np.random.Generator) -> Image:
    """Cloth from the chin to the lower edge of the image; the mouth is bare or just touched."""
    top = rng.uniform(1.1, 1.4)
    outline = axes.at(
        (-2.5, top - 0.1), (-0.8, top), (0.0, top + 0.15), (0.8, top), (2.5, top - 0.1), (2.5, 5), (-2.5, 5)
    )
    cloth = _cloth(patch.shape[0], patch.shape[1], axes, rng)
    return _blend(patch, _shaded(cloth, patch, rng), outline, rng)
