"""Measures how many hours of video one core analyses in an hour, and what a large scan would take.

    python benchmarks/scan_speed.py VIDEO… [--every 0.2s] [--json docs/results/scan_speed.json]
    python benchmarks/scan_speed.py --simulate RUN [--hours 10000] [--cores 64]

The first form analyses each video in this process, on one core, by processor time; ``make_clip.py`` makes videos with
people (``busy``), empty ones and larger ones. It also times the detector, so that figures of a busy or slow machine can
be compared. The second form takes the times of the shards in RUN/done.jsonl and simulates a scan: shards start on the
next free core, the longest first; 1 % take five times as long and 2 % fail once, which the record states.
"""

import argparse
import heapq
import json
import random
import statistics
import time
from math import inf
from pathlib import Path
from typing import Any

from app.bench.machine import describe
from app.capture.recording_reader import Part, read_facts
from app.core.text import parse_duration
from app.scan.analysis import Shard, ShardAnalysis, load_models
from app.scan.run_folder import RunFolder
from app.settings.monitor import CameraSettings
from app.settings.root import Settings

STRAGGLERS, SLOWER, FAILURES = 0.01, 5.0, 0.02


def measure(path: Path, every: str, repeats: int) -> dict[str, Any]:
    settings, camera = Settings(), CameraSettings(uri=str(path), every_s=parse_duration(every))
    facts, models = read_facts(camera), load_models(settings, camera)
    part = Part(str(path), 0.0, facts.size, facts.duration_s)
    shard = Shard("speed", facts.id, "speed", facts.start.wall_s, 0.0, inf, (part,))
    rates = []
    for _ in range(repeats):
        started_s = time.process_time()
        result = ShardAnalysis(shard, settings, camera, models).run()
        rates.append(facts.duration_s / (time.process_time() - started_s))
    return {
        "video": path.name,
        "size": f"{facts.width_px}x{facts.height_px}",
        "seconds": round(facts.duration_s, 1),
        "every": every,
        "frames": result.frames,
        "people": sum(hour.seen.people for hour in result.hours),
        "events": len(result.events),
        "hours_per_core_hour": round(statistics.median(rates), 1),
    }


def detector_ms() -> float:
    """Processor time of one full pass over 640 x 480."""
    import numpy as np

    models = load_models(Settings(), CameraSettings(uri="speed"))
    image = np.full((480, 640, 3), 90, np.uint8)
    times = []
    for _ in range(21):
        started_s = time.process_time()
        models.detector.detect(image)
        times.append(time.process_time() - started_s)
    return round(1000 * statistics.median(times[1:]), 1)


def simulate(run: Path, hours: float, cores: int, seed: int = 1) -> dict[str, Any]:
    folder = RunFolder(run)
    done = folder.done()
    ratios = [
        done[each.shard.id].seconds / each.shard.length_s
        for each in folder.plan().shards
        if each.shard.id in done and each.shard.length_s > 1
    ]
    rng, shard_s = random.Random(seed), 600.0
    shards = [shard_s * rng.choice(ratios) for _ in range(round(hours * 3600 / shard_s))]
    slow = set(rng.sample(range(len(shards)), round(STRAGGLERS * len(shards))))
    tasks = sorted((each * (SLOWER if i in slow else 1.0) for i, each in enumerate(shards)), reverse=True)
    free = [0.0] * cores
    heapq.heapify(free)
    for seconds in tasks:
        # A shard that fails does so, on average, half way.
        spent_s = seconds * (1 + rng.random()) if rng.random() < FAILURES else seconds
        heapq.heappush(free, heapq.heappop(free) + spent_s)
    return {
        "hours": hours,
        "cores": cores,
        "shards": len(shards),
        "measured_shards": len(ratios),
        "core_hours": round(sum(tasks) / 3600, 1),
        "days": round(max(free) / 86400, 2),
        "busy_share_of_cores": round(sum(free) / (cores * max(free)), 4),
        "assumed": f"{STRAGGLERS:.0%} of shards take {SLOWER:g} times as long, {FAILURES:.0%} fail once",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--every", default="0.2s")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--simulate", type=Path, metavar="RUN")
    parser.add_argument("--hours", type=float, default=10_000.0)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    record: dict[str, Any] = {
        "machine": describe().model_dump(mode="json"),
        "detector_pass_ms": detector_ms(),
    }
    if args.videos:
        record["videos"] = [measure(path, args.every, args.repeats) for path in args.videos]
    if args.simulate:
        record["simulation"] = simulate(args.simulate, args.hours, args.cores)
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
