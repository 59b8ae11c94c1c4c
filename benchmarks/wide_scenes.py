"""Compares working width, minimum face size and tiles in wide scenes: recall and time.

Annotated scenes are arranged in images 1,920 px wide, two rows of four. Faces of 16 px and more count. A second box on
a detected face is a duplicate.

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

from app.core.images import resize  # noqa: E402
from app.core.types import Box, Detection, Image  # noqa: E402
from app.settings.vision import DetectorSettings  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.detector.evaluation import FOUND_IOU, match  # noqa: E402
from app.training.types import Scene  # noqa: E402
from app.vision.detector import FaceDetector  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402
from app.vision.nms import same_face  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402

CELL_PX, COLUMNS, ROWS = 480, 4, 2
EDGES_PX = (16, 24, 40, 80)

VARIANTS: dict[str, dict[str, object]] = {
    "baseline": {"min_face_px": 8, "working_width_px": 640},
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
    """An image of several scenes and the boxes of its faces."""

    image: Image
    boxes: tuple[Box, ...]


def wide_images(scenes: list[Scene], cache: ImageCache) -> list[Wide]:
    """Arranges scenes in cells, shrunk to fit; the rest of a cell is grey."""
    wides = []
    for start in range(0, len(scenes) - COLUMNS * ROWS + 1, COLUMNS * ROWS):
        image = np.full((ROWS * CELL_PX, COLUMNS * CELL_PX, 3), 114, np.uint8)
        boxes: list[Box] = []
        for place, scene in enumerate(scenes[start : start + COLUMNS * ROWS]):
            scene_image = cache.get(scene.path)
            scale = min(CELL_PX / max(scene_image.shape[:2]), 1.0)
            small = resize(scene_image, round(scene_image.shape[1] * scale), round(scene_image.shape[0] * scale))
            x, y = place % COLUMNS * CELL_PX, place // COLUMNS * CELL_PX
            image[y : y + small.shape[0], x : x + small.shape[1]] = small
            boxes += [face.box.scaled(scale).moved(x, y) for face in scene.faces]
        wides.append(Wide(image, tuple(boxes)))
    return wides


def duplicates(detections: list[Detection], matches: list[int], boxes: tuple[Box, ...]) -> int:
    """Counts the unmatched detections on a face that another detection matches."""
    matched = [boxes[index] for index in matches if index >= 0]
    return sum(
        index < 0 and any(same_face(detection.box, box) for box in matched)
        for detection, index in zip(detections, matches, strict=True)
    )


def run_in_turn(detectors: list[FaceDetector], wides: list[Wide]) -> list[tuple[list[list[Detection]], float]]:
    """The detections of each detector per image, and its median milliseconds. The detectors alternate, so that other
    load affects all equally. The first image is not timed: the detectors prepare their plans for it."""
    detections: list[list[list[Detection]]] = [[] for _ in detectors]
    times_s: list[list[float]] = [[] for _ in detectors]
    for wide in (wides[0], *wides):
        for place, detector in enumerate(detectors):
            start_s = time.perf_counter()
            detections[place].append(detector.detect(wide.image))
            times_s[place].append(time.perf_counter() - start_s)
    return [
        (own[1:], float(np.median(own_times_s[1:])) * 1000)
        for own, own_times_s in zip(detections, times_s, strict=True)
    ]


def summary_of(detections: list[list[Detection]], wides: list[Wide]) -> str:
    """Recall by size band, false positives per image, duplicates in total."""
    counts = [[0, 0] for _ in EDGES_PX]
    duplicate_count = false_positives = 0
    for wide, own in zip(wides, detections, strict=True):
        matches = match(list(wide.boxes), own, FOUND_IOU)
        duplicate_count += duplicates(own, matches, wide.boxes)
        false_positives += sum(index < 0 for index in matches)
        for k, box in enumerate(wide.boxes):
            if box.size >= EDGES_PX[0]:
                band = counts[sum(box.size >= edge for edge in EDGES_PX) - 1]
                band[0] += k in matches
                band[1] += 1
    recalls = "  ".join(f"{detected / max(total, 1):.3f}" for detected, total in counts)
    return f"{recalls}  false positives {false_positives / len(wides):.2f}  duplicates {duplicate_count}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", help="a list of models/held_back.json")
    parser.add_argument("--kinds", default="cnn")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    wides = wide_images(listed_scenes(args.data, args.pictures), ImageCache())
    sizes = [sum(low <= box.size for wide in wides for box in wide.boxes) for low in EDGES_PX]
    print(f"{len(wides)} images; faces of at least {EDGES_PX} px: {sizes}; recall by size band")
    for kind in args.kinds.split(","):
        settings = [
            DetectorSettings.model_validate({"kind": kind, "threads": 1, **variant}) for variant in VARIANTS.values()
        ]
        results = run_in_turn([load_detector(each) for each in settings], wides)
        for name, (detections, ms) in zip(VARIANTS, results, strict=True):
            print(f"{kind:6} {name:24} {summary_of(detections, wides)}  time x {ms / results[0][1]:.2f}", flush=True)


if __name__ == "__main__":
    main()
