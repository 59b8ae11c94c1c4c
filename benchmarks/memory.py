"""Measures the largest resident memory of ``watch --headless`` with 1 and more cameras of 1280 x 720 at 25 frames/s.

    python benchmarks/memory.py [--cameras 1,4] [--seconds 8] [--json docs/results/memory.json]

Each number of cameras is its own process, without drawing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

_FPS = 25.0


def watch(clip: str, cameras: int, seconds: float) -> float:
    """Watches ``clip`` as so many cameras in this process; returns its largest resident memory in MB."""
    import app.cli.watch_session  # noqa: F401 - what the command imports
    from app.bench.instrumentation import StageTimers, instrumented_parts
    from app.bench.machine import peak_rss_mb
    from app.pipeline.monitor import Monitor
    from app.settings.load import load_settings

    tables = [{"uri": clip, "name": f"camera {i}"} for i in range(cameras)]
    parts = instrumented_parts(StageTimers(), _FPS)
    with Monitor(load_settings(None, {"camera": tables}), parts=parts) as monitor:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            monitor.take(0.2)
    return peak_rss_mb() or 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", default="1,4", metavar="N,N")
    parser.add_argument("--seconds", type=float, default=8.0, metavar="S")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs=2, metavar=("CLIP", "N"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(watch(args.child[0], int(args.child[1]), args.seconds))
        return 0
    from make_clip import make

    counts = [int(count) for count in args.cameras.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "wide.mp4"
        make(clip, "busy", (1280, 720))
        peaks_mb = {}
        for count in counts:
            command = [sys.executable, __file__, "--seconds", str(args.seconds), "--child", str(clip), str(count)]
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
