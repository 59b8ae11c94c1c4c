"""Writes models/face_detector.* from an ONNX file of YuNet: the published weights, or weights from other tools.

    python benchmarks/carry_over_yunet.py DATA YUNET.onnx models/face_detector --score 0.65

The int8 file is calibrated on 100 training scenes, spread over ``DATA``/frames and ``DATA``/scenes, without the images
that ``models/held_back.json`` names.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.training.detector.network import STRIDES, load_onnx  # noqa: E402
from app.training.export import CALIBRATION_IMAGES, export_detector  # noqa: E402
from app.vision.model_metadata import DetectorMetadata  # noqa: E402

YUNET = "WIDER FACE train (YuNet's published weights)"


def calibration_images(data: Path) -> list[Path]:
    held_back = json.loads((ROOT / "models" / "held_back.json").read_text("utf-8"))
    skipped = {name for names in held_back.values() for name in names}
    paths = []
    for file in (data / "frames" / "train.json", data / "scenes" / "train.json"):
        images = json.loads(file.read_text("utf-8"))["images"]
        paths += [file.parent / image["file_name"] for image in images if Path(image["file_name"]).name not in skipped]
    return paths[:: len(paths) // CALIBRATION_IMAGES][:CALIBRATION_IMAGES]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("stem", type=Path)
    parser.add_argument("--score", type=float, required=True, help="threshold, chosen on development scenes")
    parser.add_argument("--nms-iou", type=float, default=0.3)
    parser.add_argument("--trained-on", nargs="*", default=[], help="training data other than WIDER FACE")
    args = parser.parse_args()
    metadata = DetectorMetadata(
        name="yunet",
        version="2",
        strides=STRIDES,
        score=args.score,
        nms_iou=args.nms_iou,
        trained_on=(YUNET, *args.trained_on),
    )
    images = [cv2.imread(str(path)) for path in calibration_images(args.data)]
    for path in export_detector(load_onnx(args.weights), metadata, args.stem, images):
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
