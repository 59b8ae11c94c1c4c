"""Creates the videos that the benchmarks play: the same bytes each time on the same machine.

    python benchmarks/make_clip.py busy.mp4                    # 640 x 480, 26 s, faces in most frames
    python benchmarks/make_clip.py still.mp4 --scene still     # an empty room with sensor noise only
    python benchmarks/make_clip.py empty.mp4 --scene empty     # light and shapes move, no face
    python benchmarks/make_clip.py wide.mp4 --size 1280x720
    python benchmarks/make_clip.py nine.mp4 --faces 9          # nine people at the same time

``busy`` is cut from real videos if they exist in ../shared/data/clips beside the checkout, else from the bundled demo.
The real videos are not part of the project: do not distribute clips made from them.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT.parent / "shared" / "data" / "clips"
DEMO = ROOT / "assets" / "demo.mp4"
FPS = 25
SECONDS = 26

_CUTS = (
    ("putting_on_8058269.mp4", 150),
    ("classroom_8363849.mp4", 150),
    ("woman_mask_720p.mp4", 125),
    ("street_walk_4830562.mp4", 125),
    ("talking_bare.mp4", 100),
)
"""File name and number of frames from its start, in this order: 650 frames."""
_DEMO_FACES = slice(50, 290)
"""The frames of the demo that show people."""
_PERSON = (slice(60, 420), slice(60, 360))
"""Rows and columns of the demo that contain the first person, from frame 110."""
_NOISE = 2.0
"""Standard deviation of the noise in the still scene, in grey levels: a webcam in good light."""


def frames_of(path: Path) -> Iterator[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    while True:
        ok, image = capture.read()
        if not ok:
            capture.release()
            return
        yield image


def fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Crops the centre of ``image`` to the aspect ratio and scales it to ``width`` x ``height``."""
    rows, columns = image.shape[:2]
    wide = min(columns, rows * width // height)
    high = min(rows, columns * height // width)
    x, y = (columns - wide) // 2, (rows - high) // 2
    crop = image[y : y + high, x : x + wide]
    interpolation = cv2.INTER_AREA if wide > width else cv2.INTER_LINEAR
    return cv2.resize(crop, (width, height), interpolation=interpolation)


def busy(width: int, height: int) -> Iterator[np.ndarray]:
    if all((CLIPS / name).is_file() for name, _ in _CUTS):
        cuts = (islice(frames_of(CLIPS / name), count) for name, count in _CUTS)
        yield from (fitted(image, width, height) for image in islice(chain.from_iterable(cuts), FPS * SECONDS))
        return
    people = list(frames_of(DEMO))[_DEMO_FACES]
    round_trip = [*people, *people[::-1]]  # no jump when the loop restarts
    for index in range(FPS * SECONDS):
        yield fitted(round_trip[index % len(round_trip)], width, height)


def still(width: int, height: int) -> Iterator[np.ndarray]:
    """The empty room of the demo with noise."""
    room = fitted(next(frames_of(DEMO)), width, height).astype(np.float32)
    random = np.random.default_rng(1)
    for _ in range(FPS * SECONDS):
        noise = random.normal(0.0, _NOISE, room.shape).astype(np.float32)
        yield np.clip(room + noise, 0, 255).astype(np.uint8)


def empty(width: int, height: int) -> Iterator[np.ndarray]:
    """The empty room with a passing cart and changing light."""
    room = fitted(next(frames_of(DEMO)), width, height).astype(np.float32)
    for index in range(FPS * SECONDS):
        image = room * (1.0 + 0.15 * np.sin(index / 20))
        x = index * 6 % (width * 5 // 4) - width // 4
        cv2.rectangle(image, (x, height // 2), (x + width // 4, height), (90, 60, 40), -1)
        cv2.circle(image, (x + width // 8, height - 30), 20, (20, 20, 20), -1)
        yield np.clip(image, 0, 255).astype(np.uint8)


def crowd(faces: int, width: int, height: int) -> Iterator[np.ndarray]:
    """The first person of the demo ``faces`` times, in a grid."""
    people = [image[_PERSON] for image in list(frames_of(DEMO))[110:230]]
    round_trip = [*people, *people[::-1]]
    columns = int(np.ceil(np.sqrt(faces)))
    rows = -(-faces // columns) if faces else 0
    tile = min(width // max(columns, 1), height // max(rows, 1))
    for index in range(FPS * SECONDS):
        image = np.full((height, width, 3), 120, np.uint8)
        for place in range(faces):
            person = fitted(round_trip[(index + 17 * place) % len(round_trip)], tile, tile)
            y, x = place // columns * tile, place % columns * tile
            image[y : y + tile, x : x + tile] = person
        yield image


def write(path: Path, images: Iterator[np.ndarray], width: int, height: int) -> int:
    """Returns the number of written frames."""
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, FPS, (width, height))
    if not writer.isOpened():
        raise SystemExit(f"cannot write {path}; give a .mp4 file name in an existing folder")
    count = 0
    for image in images:
        writer.write(image)
        count += 1
    writer.release()
    return count


SCENES = {"busy": busy, "still": still, "empty": empty}


def make(path: Path, scene: str = "busy", size: tuple[int, int] = (640, 480), faces: int | None = None) -> int:
    if faces is not None:
        return write(path, crowd(faces, *size), *size)
    return write(path, SCENES[scene](*size), *size)


def size_of(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 64 <= int(width) <= 7680 and 64 <= int(height) <= 4320):
        raise argparse.ArgumentTypeError(f"{text} is not a valid size; write, for example, 640x480")
    return int(width) // 2 * 2, int(height) // 2 * 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the video to write (.mp4)")
    parser.add_argument("--scene", choices=SCENES, default="busy")
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH")
    parser.add_argument(
        "--faces", type=int, choices=range(65), metavar="N", help="a grid of N people instead of a scene"
    )
    args = parser.parse_args()
    count = make(args.path, args.scene, args.size, args.faces)
    print(f"{args.path}: {count} frames, {args.size[0]} x {args.size[1]}, {FPS} frames/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
