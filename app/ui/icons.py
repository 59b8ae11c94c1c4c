"""Icons, drawn from lines and dots on a square of 24 x 24."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Shape = tuple[str, float, tuple[Point, ...]]
"""A kind (line, area, hole or dot), a line width or radius, and points; a hole is an area that is left out."""

_FACE: Shape = ("line", 1.9, tuple((12 + 8.6 * np.sin(a), 12 - 10 * np.cos(a)) for a in np.linspace(0, 2 * np.pi, 48)))
_EYES: tuple[Shape, ...] = (("dot", 1.35, ((8.8, 9.2),)), ("dot", 1.35, ((15.2, 9.2),)))
_MASK: Shape = (
    "area",
    0,
    ((4.2, 11.6), (12, 10.6), (19.8, 11.6), (19.2, 15.6), (16, 20.4), (12, 22), (8, 20.4), (4.8, 15.6)),
)
_LOW_MASK: Shape = (
    "area",
    0,
    ((4.4, 15.4), (12, 14.6), (19.6, 15.4), (18.4, 18.4), (16, 20.8), (12, 22), (8, 20.8), (5.6, 18.4)),
)
_FOLDS: tuple[Shape, ...] = (("hole", 1.2, ((8.2, 14.6), (15.8, 14.6))), ("hole", 1.2, ((8.8, 17.4), (15.2, 17.4))))

_SHAPES: dict[str, tuple[Shape, ...]] = {
    "check": (("line", 3.0, ((4.5, 12.8), (9.8, 18), (19.5, 7))),),
    "cross": (("line", 3.0, ((6, 6), (18, 18))), ("line", 3.0, ((18, 6), (6, 18)))),
    "exclamation": (("line", 3.2, ((12, 4.5), (12, 13.6))), ("dot", 2.0, ((12, 19),))),
    "dots": (("dot", 2.2, ((5, 12),)), ("dot", 2.2, ((12, 12),)), ("dot", 2.2, ((19, 12),))),
    "mask": (_FACE, *_EYES, _MASK, *_FOLDS),
    "no_mask": (_FACE, *_EYES, ("line", 1.9, ((8.4, 16.6), (12, 15.4), (15.6, 16.6)))),
    "incorrect": (_FACE, *_EYES, _LOW_MASK, ("line", 1.6, ((12, 9.4), (11, 12.6), (12.8, 12.9)))),
    "unsure": (_FACE, *_EYES),
    "live": (("dot", 4.2, ((12, 12),)),),
    "play": (("area", 0, ((7, 4.5), (19.5, 12), (7, 19.5))),),
    "pause": (("line", 4.0, ((8, 5.5), (8, 18.5))), ("line", 4.0, ((16, 5.5), (16, 18.5)))),
    "record": (("dot", 7.0, ((12, 12),)),),
    "stop": (("area", 0, ((6, 6), (18, 6), (18, 18), (6, 18))),),
    "camera": (
        ("area", 0, ((2.5, 7), (15.5, 7), (15.5, 17), (2.5, 17))),
        ("area", 0, ((17, 10.8), (22, 7.6), (22, 16.4), (17, 13.2))),
    ),
    "camera_off": (
        ("area", 0, ((2.5, 7), (15.5, 7), (15.5, 17), (2.5, 17))),
        ("area", 0, ((17, 10.8), (22, 7.6), (22, 16.4), (17, 13.2))),
        ("hole", 3.6, ((4, 3), (20.5, 21.5))),
        ("line", 1.9, ((3.4, 3.4), (20.6, 21))),
    ),
    "file": (
        ("area", 0, ((5, 2.5), (14, 2.5), (19.5, 8), (19.5, 21.5), (5, 21.5))),
        ("hole", 1.6, ((14, 2.5), (14, 8.4), (19.5, 8.4))),
    ),
    "person": (
        ("dot", 4.4, ((12, 7.4),)),
        ("area", 0, tuple((12 + 8.5 * np.cos(a), 21.5 - 8 * np.sin(a)) for a in np.linspace(0, np.pi, 30))),
    ),
    "arrow": (("line", 2.6, ((4, 12), (19, 12))), ("line", 2.6, ((13, 6), (19.5, 12), (13, 18)))),
}
ICONS = tuple(_SHAPES)


@lru_cache(maxsize=128)
def icon_mask(name: str, size: int) -> NDArray[np.uint8]:
    """(size, size) uint8: the coverage of each pixel, 0 to 255."""
    fine = max(1, 96 // size) * 4 if size < 96 else 4
    scale = size * fine / 24
    image = np.zeros((size * fine, size * fine), np.uint8)
    for kind, width, points in _SHAPES[name]:
        pixels = np.round(np.array(points) * scale * 16).astype(np.int32)
        value = 0 if kind == "hole" else 255
        if kind == "area":
            cv2.fillPoly(image, [pixels], value, cv2.LINE_8, shift=4)
        elif kind == "dot":
            cv2.circle(image, pixels[0].tolist(), round(width * scale * 16), value, -1, cv2.LINE_8, shift=4)
        else:  # thick lines of OpenCV end in half circles
            cv2.polylines(image, [pixels], False, value, max(1, round(width * scale)), cv2.LINE_8, shift=4)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
