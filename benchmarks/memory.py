"""Measures the largest resident memory of ``watch --headless`` with 1 and more cameras of 1280 x 720 at 25 frames/s.

    python benchmarks/memory.py [--cameras 1,4] [--seconds 14] [--json docs/results/memory.json]

Each number of cameras is its own process, without drawing. Another process sends the cameras as H.264.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]


def watch(addresses: list[str], seconds: float) -> float:
    """Watches the cameras in this process; returns its largest resident memory in MB."""
    import app.cli.watch_session  # noqa: F401 - what the command imports
    from app.bench.machine import peak_rss_mb
    from app.pipeline.monitor import Monitor
    from app.settings.load import load_settings

    tables = [{"uri": address, "name": f"camera {i}"} for i, address in enumerate(addresses)]
    with Monitor(load_settings(None, {"camera": tables})) as monitor:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            monitor.take(0.2)
    return peak_rss_mb() or 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", default="1,4", metavar="N,N")
    parser.add_argument("--seconds", type=float, default=14.0, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs="+", metavar="ADDRESS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(watch(args.child, args.seconds))
        return 0
    from make_clip import SCENES
    from replay import encode, replayed

    counts = [int(count) for count in args.cameras.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "wide.mkv"
        encode(islice(SCENES["busy"](1280, 720), 0, None, 3), clip, "h264")  # all its scenes in a third of the time
        peaks_mb = {}
        for count in counts:
            with replayed(clip, count) as replay:
                command = [sys.executable, __file__, "--seconds", str(args.seconds), "--child", *replay.addresses]
                peaks_mb[count] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(f"{count} cameras: {peaks_mb[count]:.0f} MB", flush=True)
    first, last = counts[0], counts[-1]
    if last > first:
        print(f"each further one: {(peaks_mb[last] - peaks_mb[first]) / (last - first):.0f} MB")
    if args.json:
        args.json.write_text(json.dumps(peaks_mb, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
