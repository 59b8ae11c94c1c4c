"""Scans the same videos on every engine and compares the results byte for byte; needs maskwatch[ray].

    python benchmarks/scan_engines.py [--json docs/results/scan_engines.json]

The archive has twelve generated videos and, if they exist in ../shared/data/clips beside the checkout, six real ones.
It is scanned by one and by two local processes and by Ray with two cores, and once more in shards of 20 s, whose
events, people and watched time must be those of the whole videos. From the measured times of the shards follows how
long a scan of 10,000 hours takes on 64 cores, with stragglers and failures (``scan_speed.py --simulate``).
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from make_clip import CLIPS
from scan_faults import make_archive, results, scan
from scan_speed import simulate

from app.bench.machine import describe

ENGINES = {
    "local, 1 worker": ("--workers", "1"),
    "local, 2 workers": ("--workers", "2"),
    "ray, 2 cores": ("--engine", "ray", "--workers", "2"),
}


def run(archive: Path, folder: Path, engine: tuple[str, ...], shard: str = "10m") -> tuple[dict[str, bytes], float]:
    """The results, and how long the scan took."""
    planned = scan("plan", archive, "--out", folder, "--shard", shard, "--start", "2026-11-20T10:00:00")
    assert planned.returncode == 0, planned
    started_s = time.monotonic()
    done = scan("run", folder, *engine)
    assert done.returncode == 0, done
    return results(folder), round(time.monotonic() - started_s, 1)


def tables(folder: Path) -> list[str]:
    """The events, and the people and watched minutes by camera and hour."""
    files = [folder / "events.jsonl", folder / "hours.csv"]
    assert scan("report", folder, "--events", files[0], "--csv", files[1]).returncode == 0
    return [file.read_text() for file in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = folder / "archive"
        make_archive(archive)
        for clip in sorted(CLIPS.glob("*.mp4")):
            shutil.copy(clip, archive)
        record: dict[str, Any] = {"machine": describe().model_dump(mode="json"), "videos": len(list(archive.iterdir()))}
        scans = {name: run(archive, folder / str(i), engine) for i, (name, engine) in enumerate(ENGINES.items())}
        whole, alone_s = scans["local, 1 worker"]
        record["shards"] = len(whole)
        record["seconds"] = {name: seconds for name, (_, seconds) in scans.items()}
        record["same_bytes"] = all(result == whole for result, _ in scans.values())
        record["speed_up_of_two_workers"] = round(alone_s / scans["local, 2 workers"][1], 2)
        cut, _ = run(archive, folder / "cut", ENGINES["local, 2 workers"], "20s")
        record["shards_of_20_s"] = len(cut)
        events, hours = tables(folder / "0")
        record["events"], record["hours"] = events.count("\n"), hours.splitlines()
        record["same_report_from_shards_of_20_s"] = tables(folder / "cut") == [events, hours]
        record["simulation"] = simulate(folder / "1", 10_000.0, 64)
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")
    assert record["same_bytes"], "an engine gave other bytes"
    assert record["same_report_from_shards_of_20_s"], "shards of 20 s gave another report"


if __name__ == "__main__":
    main()
