"""Computes the time limit of this machine for each network, from its multiply-adds and bytes (roofline model).

    python benchmarks/roofline.py [--json FILE]

Operations are counted from the model files: convolutions and matrix products, which are all but a few per cent. The
maximum of bytes counts inputs, weights and outputs of each operation once, without a cache; the minimum counts the
weights, the input image and the output. The peaks of one core are measured in processor time, so that other programs
do not lower them: the best of many float32 matrix products, and of many copies of an array larger than any cache. The
minimum processor time of a network is the larger of operations / FLOP rate and minimum bytes / copy rate (Williams,
Waterman, Patterson: Roofline, 2009).
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

_MATRIX = 512
_COPIED_BYTES = 64 * 2**20
_TRY_S = 3.0
"""Duration of the tries; the best one counts: on a shared machine a few run undisturbed."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one inference. ``least_bytes`` and ``most_bytes``: with a perfect cache, and without a cache."""

    name: str
    multiply_adds: int
    most_bytes: int
    least_bytes: int
    parameters_bytes: int

    def least_s(self, peaks: "Peaks") -> float:
        return max(2 * self.multiply_adds / peaks.flops, self.least_bytes / peaks.bytes_per_s)


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of one core: float32 operations per second (a multiply-add is two), bytes read and written per second."""

    flops: float
    bytes_per_s: float


def peaks() -> Peaks:
    """Measures the peaks. NumPy's BLAS must be limited to one thread before NumPy is imported."""
    import numpy as np

    random = np.random.default_rng(1)
    a, b = (random.random((_MATRIX, _MATRIX), np.float32) for _ in range(2))
    out = np.empty_like(a)
    flops = 2 * _MATRIX**3 / _best(lambda: np.matmul(a, b, out=out))
    source, target = (np.ones(_COPIED_BYTES // 8) for _ in range(2))
    return Peaks(flops, 2 * _COPIED_BYTES / _best(lambda: np.copyto(target, source)))


def _best(work: Any) -> float:
    work()
    best_s, end_s = float("inf"), time.perf_counter() + _TRY_S
    while time.perf_counter() < end_s:
        start_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - start_s)
    return best_s


def work_of(name: str, interpreter: Any) -> Work:
    """``interpreter``: a LiteRT interpreter with tensors allocated for the input size."""
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    network_inputs = {each["index"] for each in interpreter.get_input_details()}
    network_outputs = {each["index"] for each in interpreter.get_output_details()}
    multiply_adds = most = 0
    computed = set(network_inputs)
    weights: set[int] = set()
    for operation in interpreter._get_ops_details():
        if operation["op_name"] == "DELEGATE":
            continue
        inputs = [index for index in operation["inputs"] if index >= 0]
        multiply_adds += _multiply_adds(operation, tensors)
        most += sum(_bytes(tensors[index]) for index in [*inputs, *operation["outputs"]])
        weights.update(index for index in inputs if index not in computed)
        computed.update(operation["outputs"])
    parameters = sum(_bytes(tensors[index]) for index in weights)
    least = parameters + sum(_bytes(tensors[index]) for index in network_inputs | network_outputs)
    return Work(name, multiply_adds, most, least, parameters)


def _multiply_adds(operation: dict[str, Any], tensors: dict[int, Any]) -> int:
    """The multiply-adds of a convolution or matrix product; 0 for other operations."""
    name = operation["op_name"]
    out = _elements(tensors[operation["outputs"][0]])
    if name in ("CONV_2D", "FULLY_CONNECTED"):  # each output sums one row of the weights
        shape = tensors[operation["inputs"][1]]["shape"]
        return out * int(shape[1:].prod())
    if name == "DEPTHWISE_CONV_2D":
        shape = tensors[operation["inputs"][1]]["shape"]
        return out * int(shape[1] * shape[2])
    if name == "TRANSPOSE_CONV":  # each input goes into one patch of every output channel
        shape = tensors[operation["inputs"][1]]["shape"]
        return _elements(tensors[operation["inputs"][2]]) * int(shape[0] * shape[1] * shape[2])
    return 0


def _elements(tensor: dict[str, Any]) -> int:
    return int(tensor["shape"].prod()) if len(tensor["shape"]) else 1


def _bytes(tensor: dict[str, Any]) -> int:
    import numpy as np

    return _elements(tensor) * np.dtype(tensor["dtype"]).itemsize


def allocated(path: Path, shape: tuple[int, ...]) -> Any:
    """An interpreter for inputs of ``shape``, without the delegate, which would hide the operations."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], list(shape))
    interpreter.allocate_tensors()
    return interpreter


def networks(width: int = 640, height: int = 480) -> list[Work]:
    """The work of the detector for a frame of this size, and of the classifier and the paper's network for one face."""
    import cv2
    import numpy as np

    from app.core import resources
    from app.vision.model_metadata import read_classifier_metadata
    from app.vision.yunet_detector import YuNetDetector

    file = resources.model("face_detector.tflite")
    detector = YuNetDetector(file)
    room = cv2.resize(cv2.imread(str(resources.asset("self_test.jpg"))), (width, height))
    detector.detect(np.ascontiguousarray(room))
    work = []
    for _, rows, columns, _ in sorted(detector.network.shapes, reverse=True):
        work.append(work_of(f"detector, {columns} x {rows}", allocated(file, (1, rows, columns, 3))))
    for name in ("classifier.tflite", "paper/model_6.tflite"):
        path = resources.model(name)
        side = read_classifier_metadata(path).input_px
        work.append(work_of(f"{path.stem}, one face", allocated(path, (1, side, side, 3))))
    return work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    machine = peaks()
    all_work = networks()
    summary = (
        f"{machine.flops / 1e9:.0f} GFLOP/s in float32 matrix products, {machine.bytes_per_s / 1e9:.1f} GB/s copied"
    )
    print(summary, file=sys.stderr)
    for work in all_work:
        least_ms = work.least_s(machine) * 1000
        size = f"{work.multiply_adds / 1e6:9.1f} M multiply-adds, {work.least_bytes / 1e6:6.2f} to "
        print(f"{work.name:24} {size}{work.most_bytes / 1e6:6.1f} MB: minimum {least_ms:.2f} ms", file=sys.stderr)
    record = {
        "peaks": asdict(machine),
        "networks": [{**asdict(work), "least_ms": work.least_s(machine) * 1000} for work in all_work],
    }
    text = json.dumps(record)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
