"""Measures how small a face may become in the detector's input before it is no longer detected.

Annotated scenes are shrunk step by step. A size band contains the faces that were at least 1.4 times larger in the
original. For each band the table shows the recall and the share of the faces detected in the original that are still
detected. The constants of ``app/vision/tiling.py``, with which ``--min-face`` chooses the working width, come from
these figures. Use scenes that no test uses:

    python benchmarks/face_sizes.py DATA/frames/train.json --pictures development
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.core import resources  # noqa: E402
from app.core.images import resize  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.detector.comparison import PAPER, ComparedDetector, ComparisonSettings, compared_detectors  # noqa: E402
from app.training.detector.evaluation import FOUND_IOU, match  # noqa: E402
from app.training.types import Scene  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402

STEP = 2**0.25
EDGES_PX = tuple(7.0 * STEP**step for step in range(17))
SHRUNK = 1.4
RELIABLE = 0.9


def detected_faces(detector: ComparedDetector, scene: Scene, cache: ImageCache, factor: float) -> set[int]:
    """The indices of the faces that are detected when ``scene`` is scaled by ``factor``."""
    image = cache.get(scene.path)
    if factor < 1:
        image = resize(image, max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    detections = [each for each in detector.detect(image) if each.score >= detector.score]
    return set(match([face.box.scaled(factor) for face in scene.faces], detections, FOUND_IOU))


def count(detector: ComparedDetector, scenes: list[Scene], cache: ImageCache) -> dict[float, list[int]]:
    """By lower edge of the band: faces detected shrunk, faces detected in the original, all faces."""
    counts: dict[float, list[int]] = defaultdict(lambda: [0, 0, 0])
    for scene in scenes:
        largest = max((face.box.size for face in scene.faces), default=0.0)
        unshrunk = detected_faces(detector, scene, cache, 1.0)
        factor = 1 / STEP
        while factor * largest >= EDGES_PX[0]:
            shrunk = detected_faces(detector, scene, cache, factor)
            for k, face in enumerate(scene.faces):
                edge = max((edge for edge in EDGES_PX if edge <= face.box.size * factor), default=0.0)
                if edge and face.box.size >= SHRUNK * edge * STEP:
                    counts[edge][0] += k in shrunk
                    counts[edge][1] += k in unshrunk
                    counts[edge][2] += 1
            factor /= STEP
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--haar", action="store_true", help="also measure the Haar cascade (slow)")
    parser.add_argument("--pictures", help="a list of models/held_back.json")
    parser.add_argument("--model", type=Path, default=resources.model("face_detector.tflite"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    scenes, cache = listed_scenes(args.data, args.pictures), ImageCache()
    for detector in compared_detectors(ComparisonSettings(args.model, 4096, haar=(PAPER,) if args.haar else ())):
        print(detector.name)
        for edge, (shrunk, unshrunk, faces) in sorted(count(detector, scenes, cache).items()):
            kept = shrunk / max(unshrunk, 1)
            suffix = "  reliable" if kept >= RELIABLE else ""
            band = f"{edge:6.1f} - {edge * STEP:6.1f} px"
            print(f"  {band}  detected {shrunk / faces:.3f} of {faces}, kept {kept:.3f}{suffix}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
