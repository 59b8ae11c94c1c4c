"""Faces found in crowd pictures by size, with the floor of live video and without it, as ``annotate`` searches.

Usage: python benchmarks/photo_faces.py [--data ../shared/data/scenes] [--output docs/results/photo_faces.json]
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.capture.image_folder import read_image
from app.core.types import Box
from app.pipeline.image_labeler import for_photos
from app.settings.root import Settings
from app.vision.detector_loader import load_detector

BANDS_PX = ((6, 10), (10, 16), (16, 24), (24, 30), (30, 48), (48, 1000))
FOUND_IOU, FALSE_IOU = 0.4, 0.3


def measure(settings: Settings, folder: Path) -> dict[str, object]:
    scenes = json.loads((folder / "wider_val.json").read_text())
    truth: dict[int, list[Box]] = {image["id"]: [] for image in scenes["images"]}
    for annotation in scenes["annotations"]:
        truth[annotation["image_id"]].append(Box(*annotation["bbox"]))
    detector = load_detector(settings.detector)
    found, faces, false, empty, spent_s = [0] * len(BANDS_PX), [0] * len(BANDS_PX), 0, 0, 0.0
    for image in scenes["images"]:
        pixels = read_image(folder / image["file_name"])
        started_s = time.perf_counter()
        boxes = [detection.box for detection in detector.detect(pixels)]
        spent_s += time.perf_counter() - started_s
        empty += not boxes
        false += sum(all(box.iou(face) < FALSE_IOU for face in truth[image["id"]]) for box in boxes)
        for face in truth[image["id"]]:
            for band, (low_px, high_px) in enumerate(BANDS_PX):
                if low_px <= face.size < high_px:
                    faces[band] += 1
                    found[band] += any(box.iou(face) >= FOUND_IOU for box in boxes)
    pictures = len(scenes["images"])
    return {
        "pictures": pictures,
        "pictures_without_a_box": empty,
        "false_boxes_a_picture": round(false / pictures, 3),
        "ms_a_picture": round(1000 * spent_s / pictures),
        "found_by_size_px": {f"{low}-{high}": [f, n] for (low, high), f, n in zip(BANDS_PX, found, faces, strict=True)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/scenes"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    settings = Settings()
    record = {"video": measure(settings, args.data), "photos": measure(for_photos(settings), args.data)}
    text = json.dumps(record, indent=2)
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
