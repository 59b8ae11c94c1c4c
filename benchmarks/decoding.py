"""Measures what one camera costs by codec: while people move, in a still empty room, and while the analysis is paused.

    python benchmarks/decoding.py [--seconds 8] [--json docs/results/decoding.json]

Each scene runs in turn without and with skipped images. Processor time is that of the whole program without drawing
(cores), and of reading and decoding alone. The camera, 640 x 480 at 25 frames/s, is another process.
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

from make_clip import FPS, SCENES  # noqa: E402
from replay import CODECS, encode, replayed  # noqa: E402

_WARM_UP_S = 6.0
_STATES = {"busy": "busy", "still": "still", "paused": "busy"}
"""The scene of each state."""


def watch(address: str, state: str, seconds: float, skips: bool) -> dict[str, float]:
    """Watches the camera in this process; returns cores and ms per frame that arrived."""
    from app.bench.instrumentation import StageTimers, instrumented_parts
    from app.capture import live_source
    from app.pipeline.monitor import Monitor
    from app.settings.load import load_settings

    if not skips:
        live_source.LiveSource.may_skip = lambda *_: False  # type: ignore[method-assign]
    timers = StageTimers()
    settings = load_settings(None, {"camera": [{"uri": address, "name": "camera"}]})
    with Monitor(settings, parts=instrumented_parts(timers)) as monitor:
        monitor.take(30.0)
        monitor.pause(state == "paused")
        _run(monitor, _WARM_UP_S)
        timers.clear()
        frames, cpu_s, start_s = monitor.views()[0].status.frames, time.process_time(), time.monotonic()
        _run(monitor, seconds)
        cpu_s, lasted_s = time.process_time() - cpu_s, time.monotonic() - start_s
        view = monitor.views()[0]
        capture = timers.work().get("capture")
    frames = view.status.frames - frames
    return {
        "cores": round(cpu_s / lasted_s, 3),
        "frames_per_s": round(frames / lasted_s, 1),
        "ms_per_frame": round(cpu_s * 1000 / max(1, frames), 2),
        "capture_ms_per_frame": round((capture.cpu_s if capture else 0.0) * 1000 / max(1, frames), 2),
        "state_is_live": view.status.state.value == "live",
    }


def _run(monitor: object, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        monitor.take(0.2)  # type: ignore[attr-defined]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs=3, metavar=("ADDRESS", "STATE", "SKIPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        address, state, skips = args.child
        print(json.dumps(watch(address, state, args.seconds, skips == "True")))
        return 0
    results: dict[str, dict[str, dict[str, float]]] = {}
    print("| codec, state | cores: every image, skipping | of it reading and decoding, ms per frame |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for codec in args.codecs.split(","):
            for scene in sorted(set(_STATES.values())):
                encode(islice(SCENES[scene](640, 480), 12 * FPS), Path(folder) / f"{codec} {scene}.mkv", codec)
            for state, scene in _STATES.items():
                both = {}
                for skips in (False, True):
                    with replayed(Path(folder) / f"{codec} {scene}.mkv") as replay:
                        argv = [sys.executable, __file__, "--seconds", str(args.seconds)]
                        child = [*argv, "--child", replay.addresses[0], state, str(skips)]
                        done = subprocess.run(child, capture_output=True, text=True, check=True)
                    both["skipping" if skips else "every image"] = json.loads(done.stdout.splitlines()[-1])
                results[f"{codec}, {state}"] = both
                before, now = both["every image"], both["skipping"]
                print(
                    f"| {codec}, {state} | {before['cores']}, {now['cores']} "
                    f"| {before['capture_ms_per_frame']}, {now['capture_ms_per_frame']} |",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
