"""A simulated month whose detector has a weakness, as in ``month.py``: it takes drawn faces on posters for faces.

    python benchmarks/month_detector.py ../shared/data --json docs/results/month_detector.json

The bundled detector gives drawn faces a score of 0 to 0.6. The weakness is planted in its last layers, so that they get
about 0.9. In the first half of the month only the entrance has posters; the collected faces get verdicts. Then
``improve`` runs. The second half shows other posters, at the other cameras and in other light; every visit is analysed
with both detectors. Bare faces and masks are those of ``month.py``. ``--object statue`` plants nothing: rendered
statues, which the bundled detector takes for faces by itself.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from month import CAMERAS, Site, Visit, Watch, images, judge, portraits  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Box, Image, Label  # noqa: E402
from app.review.collector import Collector  # noqa: E402
from app.settings.review import CollectSettings  # noqa: E402
from app.settings.vision import DetectorSettings  # noqa: E402
from app.training.detector import improvement  # noqa: E402
from app.training.detector.augmentation import DetectorAugmentation  # noqa: E402
from app.training.detector.cells import cells_of, join, read_replay_cells  # noqa: E402
from app.training.detector.head import DetectorHead  # noqa: E402
from app.training.types import Scene, SceneFace  # noqa: E402
from app.vision.detector_loader import for_video  # noqa: E402
from app.vision.yunet_detector import BUNDLED  # noqa: E402

TRUTH = {"bare": Label.NO_MASK, "mask": Label.MASK}


def drawn_face(rng: np.random.Generator, side: int = 200) -> Image:
    """A flat drawing of a face: skin, hair, eyes, nose and mouth of random colours and sizes."""

    def ellipse(x: float, y: float, width: float, height: float, colour: tuple[int, ...], line: int = -1) -> None:
        center, axes = (round(x * side), round(y * side)), (round(width * side), round(height * side))
        cv2.ellipse(image, center, axes, 0, 0 if line < 0 else 10, 360 if line < 0 else 170, colour, line, cv2.LINE_AA)

    image = np.full((side, side, 3), rng.integers(150, 250, 3), np.uint8)
    skin = ((60, 200, 250), (180, 200, 240), (120, 160, 220), (90, 190, 250))[rng.integers(4)]
    hair = tuple(int(value) for value in rng.integers(10, 90, 3))
    width, height = rng.uniform(0.3, 0.36), rng.uniform(0.36, 0.42)
    ellipse(0.5, 0.44, width + 0.04, height + 0.03, hair)
    ellipse(0.5, 0.53, width, height, skin)
    for x in (0.5 - 0.45 * width, 0.5 + 0.45 * width):
        ellipse(x, 0.46, 0.065, 0.045, (250, 250, 250))
        ellipse(x, 0.46, 0.032, 0.032, (30, 30, 30))
        ellipse(x, 0.385, 0.07, 0.012, hair)
    ellipse(0.49, 0.57, 0.02, 0.05, tuple(round(0.7 * value) for value in skin))
    ellipse(0.5, 0.66, 0.11, 0.05, (60, 40, 180), max(3, side // 40))
    return image


def statue(face: Image, rng: np.random.Generator) -> Image:
    """A face of stone: grey, without fine detail, with grain."""
    grey = cv2.bilateralFilter(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), 9, 40, 9).astype(np.float32)
    grey = (grey - grey.mean()) / (grey.std() + 1e-6) * 35 + rng.uniform(120, 170)
    grey += 8 * cv2.GaussianBlur(rng.normal(0, 1, grey.shape).astype(np.float32), (0, 0), 1.0)
    return np.clip(grey[..., None] * [rng.uniform(0.9, 1.05), 1.0, rng.uniform(0.97, 1.08)], 0, 255).astype(np.uint8)


def plant(objects: list[Image], rng: random.Random, path: Path) -> None:
    """Writes the bundled detector so that it takes ``objects`` for faces; on the replay sample it stays the same."""
    head = DetectorHead(resources.model(BUNDLED["int8"]))
    replay, shown, scenes = read_replay_cells(head), {}, []
    for number, image in enumerate(objects):
        place = Path(str(number))
        shown[place] = next(images(Visit(0, number % 3, "planted", image, seed=rng.randrange(10**6)), number % 2))
        empty = next(images(Visit(0, number % 3, "planted", shown[place][:1, :1], seed=0), 0))
        del empty
        scenes.append(Scene(place, "planted", (SceneFace(_place(shown[place], image), Label.MASK),)))
    mix, numbers = DetectorAugmentation(min_face_px=24.0), np.random.default_rng(0)
    own = cells_of(head, scenes * 8, shown.__getitem__, mix, numbers)
    weights = improvement.fit(head.weights, replay.known, own, 1.0)
    cells = join([replay.known, own])
    head.write(path, head.network_with(weights, [cells.windows[cells.places == i] for i in range(len(weights))]))
