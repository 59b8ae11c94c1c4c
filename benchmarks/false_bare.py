"""Lists the faces of frames/test that ``annotate`` calls bare although no bare face is annotated there, for readers.

    python benchmarks/false_bare.py DATA OUT

Writes OUT/rows.json (file, box, annotated label, confidence) and OUT/sheet0.png … with a numbered tile for each, so
that people can judge what is really there. ``docs/results/false_bare.json`` has the verdicts of two readers.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app import load_settings  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.core.types import Box, Detection, Image, Label  # noqa: E402
from app.pipeline.image_labeler import for_photos, load_labeler  # noqa: E402
from app.training.data.images import ImageCache  # noqa: E402
from app.training.detector.evaluation import FOUND_IOU, is_neutral, match  # noqa: E402
from app.training.detector.scene_reader import read_scenes  # noqa: E402

TILE_PX, COLUMNS, ROWS = 220, 6, 5


def tile(image: Image, box: Box, number: int) -> NDArray[np.uint8]:
    """The face with its surroundings, its box and its number."""
    margin = 0.8 * box.size
    height, width = image.shape[:2]
    around = Box(box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin).clipped(width, height)
    left, top = int(around.x), int(around.y)
    part = image[top : int(around.y2), left : int(around.x2)].copy()
    corners = (int(box.x) - left, int(box.y) - top), (int(box.x2) - left, int(box.y2) - top)
    cv2.rectangle(part, *corners, (0, 0, 255), max(1, max(part.shape) // TILE_PX))
    shrink = TILE_PX / max(part.shape[:2])
    part = cv2.resize(part, None, fx=shrink, fy=shrink)
    shown = np.full((TILE_PX, TILE_PX, 3), 80, np.uint8)
    shown[: part.shape[0], : part.shape[1]] = part[:TILE_PX, :TILE_PX]
    cv2.putText(shown, str(number), (4, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 255, 255), 2)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    labeler, cache = load_labeler(for_photos(load_settings())), ImageCache()
    scenes = read_scenes(args.data / "frames" / "test.json")
    rows, tiles = [], []
    for scene in scenes:
        image = cache.get(scene.path)
        found = labeler.label(image)
        detections = [Detection(face.box, face.label.confidence) for face in found]
        hits = match([face.box for face in scene.faces], detections, FOUND_IOU)
        for face, hit in zip(found, hits, strict=True):
            annotated = scene.faces[hit].label if hit >= 0 else None
            is_judged = annotated is not None if hit >= 0 else not is_neutral(face.box, scene)
            if is_judged and face.label.label is Label.NO_MASK and annotated is not Label.NO_MASK:
                tiles.append(tile(image, face.box, len(rows)))
                box = [round(side) for side in (face.box.x, face.box.y, face.box.width, face.box.height)]
                label = None if annotated is None else str(annotated)
                confidence = round(face.label.confidence, 2)
                rows.append({"file": scene.path.name, "box": box, "annotated": label, "confidence": confidence})
    write_json(args.out / "rows.json", {"images": len(scenes), "faces": rows})
    count = COLUMNS * ROWS
    for first in range(0, len(tiles), count):
        part = tiles[first : first + count]
        part += [np.zeros_like(part[0])] * (count - len(part))
        sheet = np.vstack([np.hstack(part[i : i + COLUMNS]) for i in range(0, count, COLUMNS)])
        cv2.imwrite(str(args.out / f"sheet{first // count}.png"), sheet)
    print(f"{len(rows)} faces in {len(scenes)} images; see {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
