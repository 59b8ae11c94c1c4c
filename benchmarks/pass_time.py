"""Processor time of a full detection of a 640×480 image, one thread, as a ratio to OpenCV's YuNet n in the same run.

    python benchmarks/pass_time.py --yunet YUNET.onnx [--rounds 60]

Everything around the network is included: padding, decoding, NMS. "One pass" leaves out the search for large faces in
the shrunk image. All detectors alternate; the fastest run of each counts, because other programs only add time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from app.core import resources  # noqa: E402
from app.vision.yunet_detector import BUNDLED, YuNetDetector  # noqa: E402
from benchmarks.opencv_yunet import DEFAULT_SCORE, OpenCvYuNet  # noqa: E402

REFERENCE = "OpenCV's YuNet n"


def demo_image() -> "cv2.typing.MatLike":
    video = cv2.VideoCapture(str(resources.asset("demo.mp4")))
    image = video.read()[1]
    video.release()
    return cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yunet", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    image = demo_image()
    calls: dict[str, Callable[[], object]] = {}
    for precision, name in BUNDLED.items():
        detector = YuNetDetector(resources.model(name), threads=1)
        calls[f"{precision}, full detection"] = lambda detector=detector: detector.detect(image)  # type: ignore[misc]
        calls[f"{precision}, one pass"] = lambda detector=detector: detector.run_pass(image)  # type: ignore[misc]
    reference = OpenCvYuNet(args.yunet, score=DEFAULT_SCORE, working_width_px=640, min_face_px=1)
    calls[REFERENCE] = lambda: reference.detect(image)
    fastest_s = dict.fromkeys(calls, float("inf"))
    for _ in range(args.rounds):
        for name, call in calls.items():
            start_s = time.thread_time()
            call()
            fastest_s[name] = min(fastest_s[name], time.thread_time() - start_s)
    table = Table("detector", "ms", "ratio", box=None)
    for name, seconds in fastest_s.items():
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / fastest_s[REFERENCE]:.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
