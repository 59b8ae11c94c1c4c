"""Measures the processor time of each frame in busy, moving and still scenes, in one thread and without a clock.

    python benchmarks/scene_load.py [--frames 250] [--json docs/results/scene_load.json]

``maskwatch bench --as-live`` measures the same with all threads, but on a machine that others use it drops frames. Here
every frame is decoded and analysed at its stream time, so the ratios hold under any load. Drawing is not included.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import cv2  # noqa: E402
from make_clip import make  # noqa: E402

from app.capture.source import make_source  # noqa: E402
from app.pipeline.event_factory import EventFactory  # noqa: E402
from app.pipeline.frame_analyzer import FrameAnalyzer  # noqa: E402
from app.settings.monitor import CameraSettings, PolicySettings  # noqa: E402
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings  # noqa: E402
from app.vision.classifier import load_classifier  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402

SCENES = ("busy", "empty", "still")


def measure(video: Path, frames: int) -> dict[str, float]:
    """Processor time per frame, in ms: ``decode``, and ``analyse`` with detection and classification."""
    settings = DetectorSettings(threads=1)
    classifier = load_classifier(ClassifierSettings(threads=1))
    events = EventFactory("scene_load", "camera")
    analyzer = FrameAnalyzer(
        load_detector(settings), classifier.metadata, TrackingSettings(), PolicySettings(), events, 32, settings
    )
    source = make_source(CameraSettings(uri=str(video), name="camera"))
    decode_s = analyse_s = 0.0
    count, start_s = 0, time.process_time()
    for frame in islice(source.frames(threading.Event()), frames):
        decoded_s = time.process_time()
        pending = analyzer.detect_faces(frame)
        analyzer.complete(pending, classifier.classify(pending.crops))
        decode_s, analyse_s = decode_s + decoded_s - start_s, analyse_s + time.process_time() - decoded_s
        count, start_s = count + 1, time.process_time()
    return {"decode": decode_s / count * 1000, "analyse": analyse_s / count * 1000}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for scene in SCENES:
            path = Path(folder) / f"{scene}.mp4"
            make(path, scene)
            results[scene] = measure(path, args.frames)
    busy_ms = sum(results["busy"].values())
    print("| scene | decode, analyse: processor ms per frame | share of the busy scene |\n|---|---|---|")
    for scene, each in results.items():
        share = sum(each.values()) / busy_ms
        print(f"| {scene} | {each['decode']:.2f}, {each['analyse']:.2f} | {share:.2f} |")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
