"""Image sets for training, and calls of the training commands."""

import argparse
from pathlib import Path

import cv2
import numpy as np

from app.cli import training_commands


def write_image(path: Path, width_px: int = 40, height_px: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height_px, width_px, 3), 128, np.uint8))
    return path


def yolo(folder: Path, *lines: str) -> Path:
    """One image of 200 by 100 px in YOLO's usual folders."""
    path = write_image(folder / "images" / "one.jpg", width_px=200, height_px=100)
    (folder / "labels").mkdir()
    (folder / "labels" / "one.txt").write_text("\n".join(lines))
    return path


def parsed(*arguments: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    training_commands.register(parser.add_subparsers())
    return parser.parse_args([str(argument) for argument in arguments])


def call(*arguments: object) -> int:
    args = parsed(*arguments)
    return int(args.run(args))


def make_set(folder: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Writes images of noise in class folders; masked ones have a pale lower half."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 160, (48, 48, 3), np.uint8)
            if name == "mask":
                image[24:] = image[24:] // 4 + 190
            cv2.imwrite(str(folder / name / f"{i:03}.png"), image)
    return folder
