"""Draws the icon (icons/maskwatch.png, .ico, .icns) and extracts the self-test image from the demo clip.

    python packaging/make_pictures.py

All files are committed: a build does not need this script. The image is frame 140 of assets/demo.mp4 (make_demo.py
documents its origin): a bare face on the left, a masked face on the right.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
ICONS = Path(__file__).parent / "icons"
SELF_TEST_FRAME = 140

Image = NDArray[np.uint8]

# BGRA; the blue and the orange of the overlay's palette (app/ui/palette.py)
_BACK, _FACE, _MASK, _LINE, _FRAME = (
    (60, 42, 32, 255),
    (190, 214, 240, 255),
    (233, 180, 86, 255),
    (200, 140, 50, 255),
    (245, 245, 245, 255),
)


def draw_icon(side_px: int) -> Image:
    """(side, side, 4) uint8 BGRA: a masked face inside the corners of a bounding box."""
    size = side_px * 4  # drawn larger, then scaled down for smooth edges
    image = np.zeros((size, size, 4), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * size), round(y * size)

    corner = 0.2
    cv2.rectangle(image, at(corner, 0.0), at(1 - corner, 1.0), _BACK, -1)
    cv2.rectangle(image, at(0.0, corner), at(1.0, 1 - corner), _BACK, -1)
    for x in (corner, 1 - corner):
        for y in (corner, 1 - corner):
            cv2.circle(image, at(x, y), round(corner * size), _BACK, -1)
    cv2.ellipse(image, at(0.5, 0.5), at(0.24, 0.31), 0, 0, 360, _FACE, -1)
    for x in (0.41, 0.59):
        cv2.circle(image, at(x, 0.42), round(0.032 * size), _BACK, -1)
    rim = [(0.27, 0.5), (0.38, 0.51), (0.5, 0.47), (0.62, 0.51), (0.73, 0.5), (0.70, 0.66), (0.61, 0.78), (0.5, 0.83)]
    rim += [(0.39, 0.78), (0.30, 0.66)]
    cv2.fillPoly(image, [np.array([at(x, y) for x, y in rim], np.int32)], _MASK)
    for y in (0.59, 0.67):
        cv2.line(image, at(0.33, y), at(0.67, y), _LINE, max(1, round(0.016 * size)))
    arm, near, thick = 0.15, 0.1, max(1, round(0.04 * size))
    for x, dx in ((near, arm), (1 - near, -arm)):
        for y, dy in ((near, arm), (1 - near, -arm)):
            cv2.line(image, at(x, y), at(x + dx, y), _FRAME, thick)
            cv2.line(image, at(x, y), at(x, y + dy), _FRAME, thick)
    return cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def png(side_px: int) -> bytes:
    return cv2.imencode(".png", draw_icon(side_px), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def ico(sides_px: tuple[int, ...] = (16, 32, 48, 256)) -> bytes:
    """An .ico file: a table of PNG images (https://learn.microsoft.com/previous-versions/ms997538)."""
    images = [png(side) for side in sides_px]
    head = struct.pack("<HHH", 0, 1, len(images))
    offset = len(head) + 16 * len(images)
    table = b""
    for side, image in zip(sides_px, images, strict=True):
        table += struct.pack("<BBBBHHII", side % 256, side % 256, 0, 0, 1, 32, len(image), offset)
        offset += len(image)
    return head + table + b"".join(images)


def icns() -> bytes:
    """An .icns file: 'icns', length, then typed blocks of PNG; ic07 is 128 px, ic08 256 px, ic09 512 px."""
    blocks = b""
    for kind, side in ((b"ic07", 128), (b"ic08", 256), (b"ic09", 512)):
        image = png(side)
        blocks += kind + struct.pack(">I", len(image) + 8) + image
    return b"icns" + struct.pack(">I", len(blocks) + 8) + blocks


def self_test_image() -> bytes:
    clip = cv2.VideoCapture(str(ROOT / "assets" / "demo.mp4"))
    for _ in range(SELF_TEST_FRAME + 1):  # reading every frame is exact; seeking may not be
        ok, image = clip.read()
        if not ok:
            raise SystemExit(f"assets/demo.mp4 has no frame {SELF_TEST_FRAME}")
    clip.release()
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def main() -> None:
    ICONS.mkdir(exist_ok=True)
    for path, content in (
        (ICONS / "maskwatch.png", png(256)),
        (ICONS / "maskwatch.ico", ico()),
        (ICONS / "maskwatch.icns", icns()),
        (ROOT / "assets" / "self_test.jpg", self_test_image()),
    ):
        path.write_bytes(content)
        print(f"{path.relative_to(ROOT)}: {len(content) / 1024:.1f} KiB")


if __name__ == "__main__":
    main()
