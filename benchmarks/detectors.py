"""Compares the face detectors with OpenCV's YuNet on the same images at the same width, in one run. Prints the table of
``maskwatch evaluate-detector``; the reference is its last row, and times are ratios to it.

    python benchmarks/detectors.py DATA/frames/test.json --yunet YUNET.onnx [--pictures LIST] [--json FILE]

``--pictures empty_test`` uses only the images of that list in ``models/held_back.json``.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402

from app.core import resources  # noqa: E402
from app.core.files import write_json  # noqa: E402
from app.training.detector.comparison import (  # noqa: E402
    ComparedDetector,
    ComparisonSettings,
    compared_detectors,
    evaluate_all,
    to_tables,
    to_tree,
)
from app.training.detector.evaluation import SCAN_SCORE  # noqa: E402
from benchmarks.listed_scenes import listed_scenes  # noqa: E402
from benchmarks.opencv_yunet import DEFAULT_SCORE, OpenCvYuNet  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=resources.model("face_detector.tflite"))
    parser.add_argument("--classifier", type=Path, default=resources.model("classifier.tflite"))
    parser.add_argument("--pictures", help="a list of models/held_back.json")
    parser.add_argument("--width-px", type=int, default=640)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    scenes = listed_scenes(args.data, args.pictures)
    entries = compared_detectors(ComparisonSettings(args.model, args.width_px, classifier=args.classifier))
    float32 = args.model.with_name(f"{args.model.stem}_float32.tflite")
    if float32.is_file():
        (same,) = compared_detectors(ComparisonSettings(float32, args.width_px, haar=()))
        entries.append(replace(same, name="cnn float32"))
    reference = OpenCvYuNet(args.yunet, score=SCAN_SCORE, working_width_px=args.width_px, min_face_px=1)
    entries.append(ComparedDetector("OpenCV YuNet", reference.detect, DEFAULT_SCORE))
    rows = evaluate_all(scenes, entries, args.classifier)
    for table in to_tables(rows):
        Console().print(table)
    if args.json is not None:
        write_json(args.json, to_tree(rows, scenes, args.width_px))
    return 0


if __name__ == "__main__":
    sys.exit(main())
