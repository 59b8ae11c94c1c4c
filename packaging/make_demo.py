"""Creates assets/demo.mp4, the video that `maskwatch` plays for the source `demo`.

    pip install scikit-image matplotlib av opencv-python
    python packaging/make_demo.py [--output assets/demo.mp4] [--stills FOLDER]

Origin and licence of the content (repeated in the README):
- The woman in orange is Eileen Collins; portrait by NASA (https://flic.kr/p/r9qvLn), no known copyright restrictions,
  public domain; included in scikit-image as `skimage.data.astronaut()`.
- The woman in uniform is Grace Hopper; portrait by James S. Davis, United States Navy, public domain as a work of the
  US government; included in matplotlib as sample data `grace_hopper.jpg`.
- This script draws the wall, the desk, the masks and all movement.
Neither person endorses this program, and neither wore a mask in her portrait: the masks are rendered. Accuracy on this
clip does not predict accuracy on people. The clip is released under the project's own licence.

The camera shows a room with a desk. Collins enters without a mask, comes closer, and after some seconds pulls her mask
up. Hopper enters and leaves with her mask on. The clip starts and ends with an empty room, so that it can loop.
"""

import argparse
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import matplotlib.cbook
import numpy as np
import skimage.data
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, FPS, LENGTH_S = 640, 480, 20, 16.0
DESK_TOP_PX = 372
SUPER = 2
"""Portraits are enlarged by this factor before masks are drawn on them, so that thin straps stay smooth."""

Point = tuple[float, float]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Face:
    """The position of a face in its portrait, in px, measured by hand. ``edge`` follows the face from the left ear (in
    the image) under the chin to the right ear; ``top`` is the upper rim of the mask between the same ends."""

    ears: tuple[Point, Point]
    top: tuple[Point, ...]
    edge: tuple[Point, ...]
    center: Point
    chin_drop_px: float


@dataclass(frozen=True, slots=True)
class Moment:
    """The position of a person at ``time_s``: the centre of the face in px of the clip, and the portrait's scale."""

    time_s: float
    x: float
    y: float
    scale: float


COLLINS = Face(
    ears=((178, 112), (277, 110)),
    top=((182, 126), (196, 122), (212, 118), (226, 113), (240, 118), (256, 121), (273, 124)),
    edge=((184, 140), (188, 155), (197, 169), (211, 180), (228, 184), (245, 179), (259, 168), (267, 154), (271, 139)),
    center=(226, 118),
    chin_drop_px=46,
)
HOPPER = Face(
    ears=((164, 205), (374, 200)),
    top=((186, 246), (206, 242), (234, 232), (264, 217), (294, 230), (330, 238), (356, 241)),
    edge=((188, 270), (196, 296), (212, 318), (236, 334), (267, 341), (298, 334), (324, 316), (342, 293), (353, 266)),
    center=(266, 225),
    chin_drop_px=100,
)
COLLINS_WAY = (
    Moment(0.6, -150, 176, 0.62),
    Moment(3.0, 170, 178, 0.78),
    Moment(7.4, 215, 184, 1.02),
    Moment(12.2, 235, 186, 1.08),
    Moment(14.6, -190, 180, 0.90),
)
HOPPER_WAY = (
    Moment(4.0, 790, 150, 0.38),
    Moment(6.6, 500, 156, 0.42),
    Moment(10.0, 480, 168, 0.54),
    Moment(13.0, 490, 166, 0.52),
    Moment(15.4, 820, 152, 0.42),
)
MASK_UP_S = (8.0, 9.0)


def smooth(points: tuple[Point, ...], steps: int = 12) -> NDArray[np.float64]:
    """(N, 2) points of a Catmull-Rom curve through ``points``."""
    p = np.array([points[0], *points, points[-1]], np.float64)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack([*parts, p[-2:-1]])


def cut_out(portrait: NDArray[np.uint8], body: list[Point], around: list[list[Point]]) -> Floats:
    """(H, W) opacity of the person: GrabCut with one polygon of certain foreground and some of certain background."""
    height, width = portrait.shape[:2]
    labels = np.full((height, width), cv2.GC_PR_FGD, np.uint8)
    cv2.fillPoly(labels, [np.array(p, np.int32) for p in around], cv2.GC_BGD)
    cv2.fillPoly(labels, [np.array(body, np.int32)], cv2.GC_FGD)
    cv2.setRNGSeed(1)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(portrait, labels, (0, 0, 1, 1), background, foreground, 8, cv2.GC_INIT_WITH_MASK)
    person = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    _, parts, stats, _ = cv2.connectedComponentsWithStats(person)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    person = cv2.morphologyEx((parts == largest).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    person = cv2.erode(person, np.ones((3, 3), np.uint8))
    return cv2.GaussianBlur(person.astype(np.float32), (0, 0), 1.2)


def portrait_of_collins() -> tuple[NDArray[np.uint8], Floats]:
    portrait = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    body = [(175, 60), (225, 25), (280, 55), (285, 110), (250, 190), (290, 260), (340, 330), (345, 505)]
    body += [(40, 505), (60, 290), (125, 235), (130, 180), (185, 170)]
    left = [(0, 0), (140, 0), (145, 100), (160, 135), (105, 180), (90, 240), (30, 300), (0, 420)]
    right = [(315, 0), (511, 0), (511, 470), (497, 445), (490, 395), (455, 355), (400, 342), (362, 346), (350, 290)]
    right += [(310, 235), (290, 150), (305, 90)]
    return portrait, cut_out(portrait, body, [left, right])


def portrait_of_hopper() -> tuple[NDArray[np.uint8], Floats]:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        portrait = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    body = [(180, 100), (200, 45), (270, 28), (340, 60), (365, 110), (365, 230), (330, 330), (430, 370)]
    body += [(480, 420), (500, 595), (30, 595), (50, 410), (190, 350), (200, 320), (165, 200)]
    left = [(0, 0), (340, 0), (320, 18), (260, 20), (218, 30), (180, 55), (145, 80), (145, 180), (155, 260), (190, 320)]
    left += [(60, 370), (32, 395), (12, 470), (6, 599), (0, 599)]
    right = [(350, 0), (511, 0), (511, 400), (470, 375), (350, 318), (385, 240), (385, 80)]
    opacity = cut_out(portrait, body, [left, right])
    # The portrait ends at the chest: extend the dark coat downwards, so that she can stand behind the desk.
    portrait[-1, 215:300] = portrait[-1, 300]  # without the button
    longer = [cv2.copyMakeBorder(part, 0, 260, 0, 0, cv2.BORDER_REPLICATE) for part in (portrait, opacity)]
    return longer[0], longer[1]


def render_mask(face: Face, shape: tuple[int, ...], cloth: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """(H, W, 3) BGR and (H, W) opacity of a surgical mask on ``face``, both in the size of the portrait."""
    height, width = shape[0] * SUPER, shape[1] * SUPER
    rim = np.vstack([smooth(face.top), smooth(face.edge)[::-1]]) * SUPER
    opacity = np.zeros((height, width), np.float32)
    cv2.fillPoly(opacity, [np.round(rim).astype(np.int32)], 1.0, cv2.LINE_AA)
    inside = np.argwhere(opacity > 0.5)
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across = (x - (x0 + x1) / 2) / ((x1 - x0) / 2)  # -1 at one ear, 1 at the other
    down = (y - y0) / (y1 - y0)  # 0 at the nose, 1 at the chin
    shade = 1.0 - 0.42 * np.abs(across) ** 2.2 - 0.22 * np.clip(down - 0.55, 0, 1) ** 1.2
    shade += 0.10 * np.exp(-(((across + 0.10) / 0.16) ** 2)) * np.exp(-(((down - 0.22) / 0.22) ** 2))  # over the nose
    curve = down + 0.10 * across**2  # pleats sag towards the ears
    for pleat in (0.34, 0.52, 0.70):
        shade -= 0.16 * np.exp(-(((curve - pleat) / 0.014) ** 2))
        shade += 0.07 * np.exp(-(((curve - pleat + 0.035) / 0.022) ** 2))
    weave = np.random.default_rng(7).normal(0, 0.012, (height, width)).astype(np.float32)
    shade += cv2.GaussianBlur(weave, (0, 0), 1.0) * 2
    line = np.zeros((height, width), np.float32)
    cv2.polylines(line, [np.round(rim).astype(np.int32)], True, 1.0, 2 * SUPER, cv2.LINE_AA)
    shade -= 0.10 * cv2.GaussianBlur(line, (0, 0), 1.0 * SUPER)  # the hem
    colour = np.clip(np.array(cloth, np.float32) * shade[..., None], 0, 255)

    straps = np.zeros((height, width), np.float32)
    corners = (face.top[0], face.edge[2]), (face.top[-1], face.edge[-3])
    for ear, ends in zip(face.ears, corners, strict=True):
        for end in ends:
            middle = ((ear[0] * 1.15 + end[0] * 0.85) / 2, (ear[1] + end[1]) / 2 + 2)
            loop = np.round(smooth((ear, middle, end)) * SUPER).astype(np.int32)
            cv2.polylines(straps, [loop], False, 1.0, max(2, SUPER * width // 700), cv2.LINE_AA)
    bare = straps * (1 - opacity)
    colour = colour * opacity[..., None] + np.array((225, 228, 230), np.float32) * bare[..., None]
    total = np.clip(opacity + bare, 0, 1)
    colour /= np.maximum(total, 1e-3)[..., None]
    size = shape[1], shape[0]
    return cv2.resize(colour, size, interpolation=cv2.INTER_AREA), cv2.resize(total, size, interpolation=cv2.INTER_AREA)


class Person:
    """A portrait that moves, with a mask that can be pulled up."""

    def __init__(self, portrait: NDArray[np.uint8], opacity: Floats, face: Face, cloth: tuple[int, int, int]) -> None:
        self._portrait, self._opacity, self._face = portrait.astype(np.float32), opacity, face
        self._mask = render_mask(face, portrait.shape, cloth)

    def draw(self, mask_up: float) -> Floats:
        """(H, W, 4) BGRA of the portrait. ``mask_up``: 0 no mask, 1 worn; between, the mask moves up from the chin."""
        portrait = self._portrait
        if mask_up > 0:
            move = np.float32([[1, 0, 0], [0, 1, self._face.chin_drop_px * (1 - mask_up)]])
            size = portrait.shape[1], portrait.shape[0]
            colour = cv2.warpAffine(self._mask[0], move, size, borderMode=cv2.BORDER_REPLICATE)
            opacity = cv2.warpAffine(self._mask[1], move, size) * min(1.0, mask_up * 4)
            shadow = cv2.GaussianBlur(cv2.warpAffine(opacity, np.float32([[1, 0, 0], [0, 1, 3]]), size), (0, 0), 3)
            portrait = portrait * (1 - 0.35 * shadow[..., None])
            portrait = portrait * (1 - opacity[..., None]) + colour * opacity[..., None]
        return np.dstack([portrait, self._opacity]).astype(np.float32)

    def put_into(self, scene: Floats, at: Moment, mask_up: float, tilt_degrees: float) -> Floats:
        """Returns ``scene`` with the person in it."""
        person = self.draw(mask_up)
        if at.scale < 1:  # blur before shrinking, otherwise fine lines flicker
            person = cv2.GaussianBlur(person, (0, 0), 0.45 / at.scale)
        turn = cv2.getRotationMatrix2D(self._face.center, tilt_degrees, at.scale)
        turn[:, 2] += np.array([at.x, at.y]) - self._face.center
        warped = cv2.warpAffine(person, turn, (WIDTH_PX, HEIGHT_PX), flags=cv2.INTER_LINEAR)
        opacity = warped[..., 3:]
        return scene * (1 - opacity) + warped[..., :3] * opacity


def place(way: tuple[Moment, ...], time_s: float) -> Moment | None:
    """The position of the person, interpolated between the moments, with a walking motion; None while out of sight."""
    if not way[0].time_s <= time_s <= way[-1].time_s:
        return None
    for a, b in pairwise(way):
        if time_s <= b.time_s:
            t = (time_s - a.time_s) / (b.time_s - a.time_s)
            t = t * t * (3 - 2 * t)
            bob = 2.5 * math.sin(time_s * 2 * math.pi * 0.9) * b.scale
            return Moment(time_s, a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t + bob, a.scale + (b.scale - a.scale) * t)
    return None


def draw_room() -> tuple[Floats, Floats]:
    """The wall (H, W, 3) in the background and the desk (H, W, 4) in the foreground."""
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    light = 0.80 + 0.22 * np.exp(-(((x - 250) / 330) ** 2) - ((y - 120) / 300) ** 2)
    wall = np.array((196, 205, 208), np.float32) * light[..., None]
    window = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    cv2.rectangle(window, (420, 30), (600, 300), 1.0, -1)
    cv2.rectangle(window, (505, 30), (515, 300), 0.0, -1)
    window = cv2.GaussianBlur(window, (0, 0), 9)[..., None]
    wall = wall * (1 - 0.55 * window) + np.array((235, 222, 205), np.float32) * 0.55 * window
    desk = np.zeros((HEIGHT_PX, WIDTH_PX, 4), np.float32)
    grain = cv2.GaussianBlur(
        np.random.default_rng(3).normal(0, 60, (HEIGHT_PX, WIDTH_PX)).astype(np.float32), (0, 0), 30, sigmaY=1
    )
    wood = np.array((74, 104, 138), np.float32) + grain[..., None]
    desk[..., :3] = wood * (1.05 - 0.35 * np.clip((y - DESK_TOP_PX) / (HEIGHT_PX - DESK_TOP_PX), 0, 1))[..., None]
    desk[DESK_TOP_PX : DESK_TOP_PX + 9, :, :3] = np.array((120, 152, 184), np.float32)
    desk[DESK_TOP_PX:, :, 3] = 1.0
    return wall, desk


def frames() -> Any:
    """Yields every frame of the clip, (480, 640, 3) uint8 BGR."""
    collins = Person(*portrait_of_collins(), COLLINS, cloth=(236, 214, 168))
    hopper = Person(*portrait_of_hopper(), HOPPER, cloth=(200, 170, 120))
    wall, desk = draw_room()
    for i in range(round(LENGTH_S * FPS)):
        time_s = i / FPS
        scene = wall.copy()
        mask_up = (time_s - MASK_UP_S[0]) / (MASK_UP_S[1] - MASK_UP_S[0])
        acts = [(hopper, place(HOPPER_WAY, time_s), 1.0, 0.7), (collins, place(COLLINS_WAY, time_s), mask_up, 0.0)]
        for person, at, up, phase in acts:
            if at is not None:
                tilt_degrees = 1.8 * math.sin(time_s * 1.7 + phase)
                scene = person.put_into(scene, at, min(max(up, 0.0), 1.0), tilt_degrees)
        scene = scene * (1 - desk[..., 3:]) + desk[..., :3] * desk[..., 3:]
        yield np.clip(scene, 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="create the demo clip")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "assets" / "demo.mp4")
    parser.add_argument("--stills", type=Path, help="also write one frame per second as PNG into this folder")
    args = parser.parse_args()
    with av.open(str(args.output), "w", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.options = {"crf": "22", "preset": "slow", "threads": "1"}
        for i, image in enumerate(frames()):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            if args.stills and i % FPS == 0:
                cv2.imwrite(str(args.stills / f"{i // FPS:02d}.png"), image)
        container.mux(stream.encode())
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
