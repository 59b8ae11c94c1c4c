"""What working width, wanted face size and tiles find in wide scenes, and what they cost.

Annotated scenes stand side by side in pictures 1,920 px wide, two rows of four. Faces of 16 px and more count; a box
more on a face that is found already is a double.

    python benchmarks/wide_scenes.py DATA/frames/train.json --pictures development [--kinds cnn,haar]
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.core.types import Box, Detection, Image  # noqa: E402
from app.settings.vision import DetectorSettings  # noqa: E402
from app.training.detector.evaluation import FOUND_IOU, match  # noqa: E402
from app.training.detector.scenes import ImageCache, Scene  # noqa: E402
from app.vision.detector import FaceDetector  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402
from app.vision.nms import same_face  # noqa: E402
from app.vision.preprocess import resize  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402

CELL_PX, COLUMNS, ROWS = 480, 4, 2
EDGES_PX = (16, 24, 40, 80)

WAYS: dict[str, dict[str, object]] = {
    "as it is": {"min_face_px": 8, "working_width_px": 640},
    "working width 1920": {"min_face_px": 8, "working_width_px": 1920},
    "min face 24": {"min_face_px": 24},
    "min face 40": {"min_face_px": 40},
    "tiles 2x1": {"tiles": "2x1", "min_face_px": 8},
    "tiles 3x2": {"tiles": "3x2", "min_face_px": 8},
    "tiles auto, min face 40": {"tiles": "auto", "min_face_px": 40},
    "tiles auto, min face 24": {"tiles": "auto", "min_face_px": 24},
    "region, left half": {"region": (0, 0, 0.5, 1), "min_face_px": 8, "working_width_px": 640},
}


@dataclass(frozen=True, slots=True)
class Wide:
    """A picture of several scenes, and the faces in it."""

    image: Image
    boxes: tuple[Box, ...]


def wide_pictures(scenes: list[Scene], cache: ImageCache) -> list[Wide]:
    """Scenes in cells, shrunk where they do not fit; what is left of a cell is grey."""
    wides = []
    for start in range(0, len(scenes) - COLUMNS * ROWS + 1, COLUMNS * ROWS):
        image = np.full((ROWS * CELL_PX, COLUMNS * CELL_PX, 3), 114, np.uint8)
        boxes: list[Box] = []
        for place, scene in enumerate(scenes[start : start + COLUMNS * ROWS]):
            picture = cache.get(scene.path)
            scale = min(CELL_PX / max(picture.shape[:2]), 1.0)
            small = resize(picture, round(picture.shape[1] * scale), round(picture.shape[0] * scale))
            x, y = place % COLUMNS * CELL_PX, place // COLUMNS * CELL_PX
            image[y : y + small.shape[0], x : x + small.shape[1]] = small
            boxes += [face.box.scaled(scale).moved(x, y) for face in scene.faces]
        wides.append(Wide(image, tuple(boxes)))
    return wides


def doubles(found: list[Detection], hits: list[int], boxes: tuple[Box, ...]) -> int:
    """Boxes that are no face's first, on a face that has one."""
    taken = [boxes[hit] for hit in hits if hit >= 0]
    return sum(hit < 0 and any(same_face(one.box, box) for box in taken) for one, hit in zip(found, hits, strict=True))


def run_in_turn(detectors: list[FaceDetector], wides: list[Wide]) -> list[tuple[list[list[Detection]], float]]:
    """What each detector finds on each picture, and its median milliseconds: they take turns, so that other work of the
    machine strikes all alike, and the first picture, for which plans are made, is not timed."""
    found: list[list[list[Detection]]] = [[] for _ in detectors]
    times_s: list[list[float]] = [[] for _ in detectors]
    for wide in (wides[0], *wides):
        for place, detector in enumerate(detectors):
            began_s = time.perf_counter()
            found[place].append(detector.detect(wide.image))
            times_s[place].append(time.perf_counter() - began_s)
    return [(one[1:], float(np.median(spent_s[1:])) * 1000) for one, spent_s in zip(found, times_s, strict=True)]


def described(found: list[list[Detection]], wides: list[Wide]) -> str:
    """Recall by size band, boxes on no face a picture, doubles in all."""
    counts = [[0, 0] for _ in EDGES_PX]
    twice = wrong = 0
    for wide, ones in zip(wides, found, strict=True):
        hits = match(list(wide.boxes), ones, FOUND_IOU)
        twice += doubles(ones, hits, wide.boxes)
        wrong += sum(hit < 0 for hit in hits)
        for k, box in enumerate(wide.boxes):
            if box.size >= EDGES_PX[0]:
                band = counts[sum(box.size >= edge for edge in EDGES_PX) - 1]
                band[0] += k in hits
                band[1] += 1
    shares = "  ".join(f"{seen / max(total, 1):.3f}" for seen, total in counts)
    return f"{shares}  wrong {wrong / len(wides):.2f}  doubles {twice}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", help="a list of models/held_back.json")
    parser.add_argument("--kinds", default="cnn")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    wides = wide_pictures(listed_scenes(args.data, args.pictures), ImageCache())
    sizes = [sum(low <= box.size for wide in wides for box in wide.boxes) for low in EDGES_PX]
    print(f"{len(wides)} pictures; faces from {EDGES_PX} px on: {sizes}; recall by those bands")
    for kind in args.kinds.split(","):
        settings = [DetectorSettings.model_validate({"kind": kind, "threads": 1, **way}) for way in WAYS.values()]
        results = run_in_turn([load_detector(each) for each in settings], wides)
        for name, (found, ms) in zip(WAYS, results, strict=True):
            print(f"{kind:6} {name:24} {described(found, wides)}  time x {ms / results[0][1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
