"""Compares the back ends with LiteRT in one run: the processor time of one inference of each bundled network.

    pip install '.[onnx,openvino]'
    python benchmarks/backends.py --json docs/results/backends.json

One thread; the detector takes a frame of 640 x 480, the classifier one face. Rounds alternate; each time is the least
of them. The time that an inference lasts with each number of threads: ``maskwatch doctor --measure``.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from app.bench import machine
from app.bench.backend_speeds import measure_speeds
from app.core.files import write_json
from app.vision.backends import available_backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args()
    described, faults = machine.describe(), list[str]()
    speeds = [
        each
        for each in measure_speeds(available_backends(), faults, args.rounds, time.process_time)
        if each.threads == 1
    ]
    litert_ms = {each.network: each.ms for each in speeds if (each.backend, each.precision) == ("litert", "float32")}
    for each in speeds:
        ratio = each.ms / litert_ms[each.network]
        print(f"{each.network:10} {each.backend:9} {each.precision:8} {each.ms:6.2f} ms, {ratio:.2f} x LiteRT float32")
    print(*faults, sep="\n")
    if args.json is not None:
        versions = machine.versions(("ai-edge-litert", "onnxruntime", "openvino"))
        record = {
            "machine": described.model_dump(),
            "versions": versions,
            "rounds": args.rounds,
            "clock": "processor time",
        }
        write_json(args.json, record | {"speeds": [asdict(each) for each in speeds], "not_usable": faults})


if __name__ == "__main__":
    main()
