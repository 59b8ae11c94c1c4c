"""Measures what drawing a frame costs, against the drawing of an earlier commit, in alternating rounds of one run.

    python benchmarks/drawing.py --before 2050d9b --json docs/results/drawing.json

Both draw the same frame with the same faces, counts and alerts, at the size of the frame. The earlier code is taken
from git into a temporary folder and runs in a process of its own. Times are processor times of one thread.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENES = {"no faces": (0, 0), "4 faces, 1 alert": (4, 1), "12 faces, 3 alerts": (12, 3)}
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
WARM_UP, FRAMES = 6, 40


def measure() -> dict[str, dict[str, float]]:
    """Milliseconds of processor time a frame, by size and scene, with the package ``app`` of this process."""
    import cv2
    import numpy as np

    from app.capture.capture import SourceState, SourceStatus
    from app.core.types import (
        FACE_LABELS,
        Box,
        Counts,
        Event,
        EventKind,
        FaceLabel,
        Frame,
        FrameResult,
        StageTimes,
        Track,
    )
    from app.pipeline.camera import CameraView
    from app.ui.hud import Screen, render

    cv2.setNumThreads(1)
    options = {"max_width_px": 3840} | (
        {"clock": "12:00:00"} if "clock" in {each.name for each in fields(Screen)} else {}
    )
    try:
        from app.ui.motion import Motion

        motions = [Motion()]
    except ImportError:
        motions = []
    status = SourceStatus("door", SourceState.LIVE, 0.0)
    random = np.random.default_rng(0)
    found: dict[str, dict[str, float]] = {}
    for size_name, (width, height) in SIZES.items():
        image = random.integers(0, 255, (height, width, 3), np.uint8)
        for scene, (faces, alerts) in SCENES.items():
            taken = []
            for step in range(WARM_UP + FRAMES):
                shift = step * width / 2000
                sides = height / 8 + random.uniform(-0.02, 0.02, (faces, 2)) * height / 8  # as detectors vary
                boxes = [
                    Box(width * (0.03 + 0.16 * (i % 6)) + shift, height * (0.2 + 0.3 * (i // 6)), *sides[i].tolist())
                    for i in range(faces)
                ]
                tracks = tuple(
                    Track(i, box, FaceLabel(FACE_LABELS[i % 4], 0.9), (0, 0), 0, 0, 9, 9, True)
                    for i, box in enumerate(boxes)
                )
                events = tuple(
                    Event(str(i), EventKind.NO_MASK, "door", 1.0, 1.7e9, 1 + 4 * i, 0.9, 2.0, boxes[1 + 4 * i])
                    for i in range(alerts)
                )
                frame = Frame(image, step, step / 25, time.monotonic(), time.time(), "door")
                counts = Counts(dict.fromkeys(FACE_LABELS, faces // 4), dict.fromkeys(FACE_LABELS, 40))
                result = FrameResult(frame, tracks, (), counts, (), events, StageTimes())
                view = CameraView("door", status, True, frame, tracks, counts, events, 0.04, 25.0, analysed=result)
                start_s = time.thread_time()
                render(view, Screen(**options), *motions)
                taken.append(time.thread_time() - start_s)
            found.setdefault(size_name, {})[scene] = statistics.median(taken[WARM_UP:]) * 1000
        found[size_name]["copy of the frame"] = _copy_ms(image)
    return found


def _copy_ms(image: object) -> float:
    taken = []
    for _ in range(FRAMES):
        start_s = time.thread_time()
        image.copy()  # type: ignore[attr-defined]
        taken.append(time.thread_time() - start_s)
    return statistics.median(taken) * 1000


def run(root: Path) -> dict[str, dict[str, float]]:
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(root)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="2050d9b", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure is not None:
        sys.path.insert(0, str(args.measure))
        print(json.dumps(measure()))
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", args.before, "app", "assets"], cwd=ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        rounds = [(run(Path(folder)), run(ROOT)) for _ in range(args.rounds)]
    table = []
    for size in SIZES:
        for scene in (*SCENES, "copy of the frame"):
            before, after = ([each[index][size][scene] for each in rounds] for index in (0, 1))
            ratio = statistics.median(new / old for old, new in zip(before, after, strict=True))
            row = {"size": size, "scene": scene, "before_ms": round(statistics.median(before), 2)}
            table.append(row | {"after_ms": round(statistics.median(after), 2), "ratio": round(ratio, 2)})
            print(
                f"{size:6} {scene:20} "
                + "  ".join(f"{key} {table[-1][key]:6}" for key in ("before_ms", "after_ms", "ratio"))
            )
    if args.json is not None:
        args.json.write_text(
            json.dumps({"before": args.before, "rounds": args.rounds, "frames": table}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
