"""Measures each network alone, alternating within one process: a full detection pass over a frame, and one face through
each classifier and runtime.

    python benchmarks/parts.py --clip CLIP [--threads 2] [--seconds 10]

Prints one JSON record: the median wall time and processor time of each part, in ms. Parts that need TensorFlow are
skipped if it is not installed.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

Part = Callable[[], object]

_STRIDE = 10
_MOST_FRAMES = 60
_TURN_S = 0.15
"""How long a part repeats before the next one: short, so that other load affects all parts equally."""


def frames(clip: Path) -> list[Any]:
    import cv2

    capture, images = cv2.VideoCapture(str(clip)), []
    while len(images) < _MOST_FRAMES:
        ok, image = capture.read()
        if not ok:
            break
        images.append(image)
        for _ in range(_STRIDE - 1):
            capture.grab()
    if not images:
        raise SystemExit(f"cannot play {clip}: no frame can be read from it; give another --clip")
    return images


def parts(images: list[Any], threads: int) -> Iterator[tuple[str, Part]]:
    import numpy as np

    from app.core import resources
    from app.settings.vision import DetectorSettings
    from app.vision.classifier import LiteRtClassifier
    from app.vision.detector_loader import load_detector

    detector = load_detector(DetectorSettings(threads=min(threads, DetectorSettings().max_threads)))
    turn = iter(range(10**12))
    yield "detector", lambda: detector.detect(images[next(turn) % len(images)])
    for name in ("classifier", "paper/model_6"):
        classifier = LiteRtClassifier(resources.model(f"{name}.tflite"), threads)
        side = classifier.metadata.input_px
        crop = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8)
        yield f"{Path(name).name}, LiteRT", lambda classifier=classifier, crop=crop: classifier.classify(crop)
        if name == "classifier":
            eight = np.repeat(crop, 8, axis=0)
            yield "classifier, LiteRT, 8 faces", lambda classifier=classifier, eight=eight: classifier.classify(eight)
        if find_spec("tensorflow") is not None:
            import keras

            network = keras.models.load_model(resources.model(f"{name}.keras"), compile=False)
            floats = crop.astype(np.float32)
            yield (
                f"{Path(name).name}, keras.predict",
                lambda network=network, floats=floats: network.predict(floats, verbose=0),
            )


def measure(each: dict[str, Part], seconds: float) -> dict[str, dict[str, float]]:
    """Runs the parts alternately until each had ``seconds``; returns median milliseconds and the number of calls."""
    wall_times_s: dict[str, list[float]] = {name: [] for name in each}
    cpu_times_s: dict[str, list[float]] = {name: [] for name in each}
    for part in each.values():
        part()
        part()
    end_s = time.perf_counter() + seconds * len(each)
    while time.perf_counter() < end_s:
        for name, part in each.items():
            count, start_s, start_cpu_s = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start_s < _TURN_S:
                call_s = time.perf_counter()
                part()
                wall_times_s[name].append(time.perf_counter() - call_s)
                count += 1
            cpu_times_s[name].append((time.process_time() - start_cpu_s) / count)
    return {
        name: {
            "wall_ms": statistics.median(wall_times_s[name]) * 1000,
            "cpu_ms": statistics.median(cpu_times_s[name]) * 1000,
            "calls": len(wall_times_s[name]),
        }
        for name in each
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="time for each part (default 10)")
    args = parser.parse_args()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = str(args.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import cv2

    cv2.setNumThreads(args.threads)
    images = frames(args.clip)
    print(json.dumps(measure(dict(parts(images, args.threads)), args.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
