"""Measures how late new faces are found, because the detector does not search every frame in full.

    python benchmarks/newcomers.py [--clips ../shared/data/clips] [--json docs/results/newcomers.json]

Each video is analysed twice: with a full detection pass over every frame, and with the passes that the schedule
chooses, without the images that a camera skips while nothing happens. The delay of a person is the stream time from
the first frame with a confirmed track in the first analysis to the first frame with a track in the same place in the
second one. Besides real videos there are generated ones: a man
who walks through a room with a cart, his face 24, 40 or 80 px high, and a still room where he appears at once.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from make_clip import CLIPS, empty, fitted, frames_of, still  # noqa: E402

from app.capture.live_source import Throttle  # noqa: E402
from app.core.types import Box, Frame, Image  # noqa: E402
from app.pipeline.event_factory import EventFactory  # noqa: E402
from app.pipeline.frame_analyzer import FrameAnalyzer  # noqa: E402
from app.settings.monitor import PolicySettings  # noqa: E402
from app.settings.vision import ClassifierSettings, DetectorSettings, TrackingSettings  # noqa: E402
from app.vision.classifier import load_classifier  # noqa: E402
from app.vision.detector_loader import load_detector  # noqa: E402

_SECONDS = 10
_SAME_IOU = 0.3
_LEAST_S = 0.6
"""Shorter tracks do not count: faces at the limit of what the detector finds."""
_PERSON, _FACE_PX = "talking_bare.mp4", 150.0
"""A video of a man who fills the image, and the height of his face in it, fitted to 360 x 480 px."""


@dataclass(frozen=True, slots=True)
class Row:
    """``cpu_ms``: processor time of ``detect_faces`` per frame. ``missed`` people were never found."""

    video: str
    people: int
    missed: int
    median_s: float
    p95_s: float
    longest_s: float
    cpu_ms: float
    cpu_ms_every_frame: float
    skipped_share: float
    delays_s: list[float]


def walking(face_px: int, step_px: int, appears: bool = False) -> Iterator[Image]:
    """The man walks through the room from left to right, again and again; or he appears in the middle."""
    scale = face_px / _FACE_PX
    man = [fitted(image, 360, 480) for image in islice(frames_of(CLIPS / _PERSON), 50)]
    man = [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for image in man]
    rows, columns = man[0].shape[:2]
    for index, room in enumerate(islice((still if appears else empty)(640, 480), 25 * _SECONDS)):
        x = index * step_px % (640 + 2 * columns) - columns if not appears else 300
        left, right = max(x, 0), min(x + columns, 640)
        if left < right and (not appears or index % 125 >= 88):
            top = 40 + index // 125 % 3 * 20
            room[top : top + rows, left:right] = man[index % len(man)][: 480 - top, left - x : right - x]
        yield room


def real(path: Path) -> Iterator[Image]:
    for image in islice(frames_of(path), 25 * _SECONDS):
        width = min(image.shape[1], 1280)
        yield cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1]) // 2 * 2))


def videos(clips: Path) -> dict[str, Iterator[Image]]:
    found = {path.stem: real(path) for path in sorted(clips.glob("*.mp4"))}
    found["demo"] = real(ROOT / "assets" / "demo.mp4")
    if (CLIPS / _PERSON).is_file():
        found |= {f"walks in, {px} px": walking(px, step) for px, step in ((24, 3), (40, 5), (80, 9))}
        found |= {f"appears, {px} px": walking(px, 0, appears=True) for px in (32, 64)}
    return found


def analyse(images: list[Image], settings: DetectorSettings) -> tuple[list[dict[int, Box]], float, int]:
    """The tracks of each frame by id, the processor time of the detection in ms per frame, and the skipped frames."""
    classifier = load_classifier(ClassifierSettings(threads=1))
    analyzer = FrameAnalyzer(
        load_detector(settings),
        classifier.metadata,
        TrackingSettings(),
        PolicySettings(),
        EventFactory("newcomers", "camera"),
        32,
        settings,
    )
    tracks: list[dict[int, Box]] = []
    cpu_s, throttle, image_s = 0.0, Throttle(), -1.0
    for index, image in enumerate(images):
        if throttle.skip_s and (index + 1) / 25 <= image_s + throttle.skip_s + 1e-6:  # as ``LiveSource`` does
            throttle.skipped += 1
            tracks.append(tracks[-1])
            continue
        image_s = index / 25
        start_s = time.process_time()
        pending = analyzer.detect_faces(Frame(image, index, index / 25, 0.0, 0.0, "camera"))
        cpu_s += time.process_time() - start_s
        result = analyzer.complete(pending, classifier.classify(pending.crops))
        tracks.append({track.id: track.box for track in result.tracks})
        throttle.is_still = analyzer.is_idle
    return tracks, cpu_s * 1000 / len(images), throttle.skipped


def delays(every: list[dict[int, Box]], scheduled: list[dict[int, Box]]) -> list[float | None]:
    """Of each person in ``every``, in s; None if ``scheduled`` has no track there while the person is in view."""
    frames: dict[int, list[int]] = {}
    for index, tracks in enumerate(every):
        for person in tracks:
            frames.setdefault(person, []).append(index)
    return [
        next(
            (
                (index - seen[0]) / 25
                for index in seen
                if any(every[index][person].iou(box) > _SAME_IOU for box in scheduled[index].values())
            ),
            None,
        )
        for person, seen in frames.items()
        if len(seen) >= _LEAST_S * 25
    ]


def measure(video: str, images: list[Image]) -> Row:
    every, every_ms, _ = analyse(images, DetectorSettings(threads=1, full_look_s=0, still_look_s=0))
    scheduled, cpu_ms, skipped = analyse(images, DetectorSettings(threads=1))
    all_delays = delays(every, scheduled)
    found = [delay for delay in all_delays if delay is not None]
    return Row(
        video,
        len(all_delays),
        len(all_delays) - len(found),
        statistics.median(found) if found else 0.0,
        float(np.percentile(found, 95)) if found else 0.0,
        max(found, default=0.0),
        round(cpu_ms, 2),
        round(every_ms, 2),
        skipped / len(images),
        found,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, default=CLIPS)
    parser.add_argument("--only", default="", help="videos whose name contains this text")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    print("| video | people, missed | delay median, p95, longest, s | detection ms: every frame, schedule | skipped |")
    print("|---|---|---|---|---|")
    rows = []
    for video, images in videos(args.clips).items():
        if args.only in video:
            rows.append(row := measure(video, list(images)))
            print(
                f"| {row.video} | {row.people}, {row.missed} "
                f"| {row.median_s:.2f}, {row.p95_s:.2f}, {row.longest_s:.2f} "
                f"| {row.cpu_ms_every_frame:.1f}, {row.cpu_ms:.1f} ({row.cpu_ms / row.cpu_ms_every_frame:.2f} ×) "
                f"| {row.skipped_share:.0%} |",
                flush=True,
            )
    delays_s = [delay for row in rows for delay in row.delays_s]
    print(
        f"| all | {sum(row.people for row in rows)}, {sum(row.missed for row in rows)} "
        f"| {statistics.median(delays_s):.2f}, {np.percentile(delays_s, 95):.2f}, {max(delays_s):.2f} | | |"
    )
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
