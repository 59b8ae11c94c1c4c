"""Compares the window in its own process with a window of this process: cost and delay of a 1280x720 frame.

    xvfb-run -a python benchmarks/window_process.py --json docs/results/window_process.json

Both windows are driven in turn in one run, at 25 frames a second as by a camera. Needs Linux and a display.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.core.types import Image
from app.ui.image_window import ImageWindow, OpenCvWindow
from app.ui.window_process import WindowProcess

FPS, TURN_S = 25.0, 0.008


def frames(count: int) -> list[Image]:
    random = np.random.default_rng(1)
    return [random.integers(0, 255, (720, 1280, 3), np.uint8) for _ in range(count)]


def measure(window: ImageWindow, images: list[Image], seconds: float) -> dict[str, float]:
    """Milliseconds a frame: this process's time in ``show``, processor time of all processes, time until the image is
    taken by the toolkit."""
    in_show_s: list[float] = []
    taken_s: list[float] = []
    window.show(images[0], (1280, 720))
    settle_s = time.monotonic() + 1.0
    while time.monotonic() < settle_s:
        window.inputs(TURN_S)
    start_s, cpu_s = time.monotonic(), time.process_time() + window.cpu_s
    count = 0
    while (now_s := time.monotonic()) < start_s + seconds:
        if count <= (now_s - start_s) * FPS:
            window.show(images[count % len(images)])
            in_show_s.append(time.monotonic() - now_s)
            while not window.is_ready:
                window.inputs(0.0005)
            taken_s.append(time.monotonic() - now_s)
            count += 1
        window.inputs(TURN_S)
    used_s = time.process_time() + window.cpu_s - cpu_s
    return {
        "show_ms": 1000 * statistics.median(in_show_s),
        "taken_ms": 1000 * statistics.median(taken_s),
        "cpu_ms": 1000 * used_s / count,
        "frames": count,
    }


def run_part(kind: str, seconds: float) -> None:
    kinds: dict[str, Callable[[], ImageWindow]] = {"process": WindowProcess, "same": OpenCvWindow}
    window = kinds[kind]()
    print(json.dumps(measure(window, frames(8), seconds)))
    window.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=("process", "same"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        run_part(args.part, args.seconds)
        return
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(args.rounds):
        results = {}
        for kind in ("same", "process"):
            command = [sys.executable, __file__, "--part", kind, "--seconds", str(args.seconds)]
            results[kind] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rounds.append(results)
        print(results)
    ratios = {
        name: statistics.median(each["process"][name] / each["same"][name] for each in rounds)
        for name in ("show_ms", "taken_ms", "cpu_ms")
    }
    print("median ratio, own process / same process:", {name: round(ratio, 2) for name, ratio in ratios.items()})
    if args.json:
        args.json.write_text(json.dumps({"ratios": ratios, "rounds": rounds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
