"""Measures a one-folder executable: size, archive, time to the first labelled frame, memory.

    python packaging/build.py
    python benchmarks/executable.py dist/maskwatch --archive dist/*.tar.gz --output docs/results/executable.json

The first labelled frame is that of ``self-test``: from the start of the process until detector and classifier are
loaded and both faces of its image have labels. Cold means that the kernel was asked to drop the folder's files from its
cache before each start (posix_fadvise). For Linux and macOS. Exit code 1 if a bar is missed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

SIZE_BAR_MB = 270.0
FIRST_LABEL_BAR_S = 1.5


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the program: times in seconds and the largest resident memory."""

    first_label_s: float
    first_label_cpu_s: float
    total_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the demo clip at full speed: time to the first labelled person and to the end."""

    first_person_s: float
    total_s: float
    cpu_s: float
    peak_mb: float


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in files(folder)) / 1e6


def parts_mb(folder: Path) -> dict[str, float]:
    """The size of each folder and file directly in ``_internal``, largest first."""
    inside = folder / "_internal"
    sizes = {
        path.name: size_mb(path) if path.is_dir() else path.stat().st_size / 1e6
        for path in inside.iterdir()
        if not path.is_symlink()
    }
    sizes["maskwatch (program and Python modules)"] = (folder / "maskwatch").stat().st_size / 1e6
    ranked = sorted(sizes.items(), key=lambda item: -item[1])
    return {name: round(size, 1) for name, size in ranked if size >= 0.5}


def drop_from_cache(folder: Path) -> bool:
    """Asks the kernel to drop the folder's pages; False if the system cannot. Pages mapped by a process stay."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.sync()
    for path in files(folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
    return True


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.defpath} if sys.platform != "win32" else dict(os.environ)


def usage(process: "subprocess.Popen[str]") -> tuple[int, float, float]:
    """Waits for ``process``; returns exit code, processor seconds and largest resident memory in MB."""
    _, status, spent = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    per_mb = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # macOS counts bytes, Linux KiB
    return process.returncode, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / per_mb


def start(program: Path, home: Path) -> Start:
    start_wall_s, start_s = time.time(), time.perf_counter()
    command = [str(program), "self-test", "--json"]
    with subprocess.Popen(command, env=environment(home), cwd=home, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        record = json.loads(process.stdout.read())
        code, cpu_s, peak_mb = usage(process)
    if code:
        raise SystemExit(f"self-test failed: {record}")
    total_s = time.perf_counter() - start_s
    first_s = record["first_label_wall_s"] - start_wall_s
    return Start(first_s, record["first_label_cpu_s"], total_s, cpu_s, peak_mb)


def watch_demo(program: Path, home: Path) -> Run:
    start_s = time.perf_counter()
    first_s = 0.0
    command = [str(program), "-v", "watch", "--headless", "--source", "demo", "--fast"]
    with subprocess.Popen(command, env=environment(home), cwd=home, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "first labelled frame" in line and not first_s:
                first_s = time.perf_counter() - start_s
        code, cpu_s, peak_mb = usage(process)
    if code or not first_s:
        raise SystemExit(
            f"watching the demo failed: exit code {code}, first labelled frame: {'yes' if first_s else 'none'}"
        )
    return Run(first_s, time.perf_counter() - start_s, cpu_s, peak_mb)


def priority() -> str:
    """The process priority, for the record: ``chrt --rr 10`` gives real-time priority on a busy machine."""
    if hasattr(os, "sched_getscheduler") and os.sched_getscheduler(0) in (os.SCHED_RR, os.SCHED_FIFO):
        return "real-time"
    return f"nice {os.nice(0)}"


def median(runs: list[Start], name: str) -> float:
    return round(statistics.median(getattr(run, name) for run in runs), 3)


def rounded(run: Start | Run) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(run).items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for example dist/maskwatch")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="its archive, to report the size")
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="starts of each kind (default 9)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    args = parser.parse_args()
    folder = args.folder.resolve()
    program = folder / ("maskwatch.exe" if sys.platform == "win32" else "maskwatch")
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-") as scratch:
        home = Path(scratch)
        cold = [start(program, home) for _ in range(max(3, args.runs // 3)) if drop_from_cache(folder)]
        start(program, home)  # warms up
        warm = [start(program, home) for _ in range(args.runs)]
        run = watch_demo(program, home)
    size = size_mb(folder)
    result = {
        "build": json.loads((folder / "_internal" / "build.json").read_text(encoding="utf-8")),
        "machine": {
            "system": platform.platform(),
            "cpus": os.cpu_count(),
            "load_1min": round(os.getloadavg()[0], 1),
            "priority": priority(),
        },
        "size_mb": round(size, 1),
        "archive_mb": round(args.archive.stat().st_size / 1e6, 1) if args.archive else None,
        "parts_mb": parts_mb(folder),
        "first_label_warm_s": {
            "median": median(warm, "first_label_s"),
            "least": round(min(r.first_label_s for r in warm), 3),
        },
        "first_label_cpu_s": median(warm, "first_label_cpu_s"),
        "first_label_cold_s": median(cold, "first_label_s") if cold else None,
        "peak_memory_mb": {"self_test": median(warm, "peak_mb"), "watching_the_demo": round(run.peak_mb, 1)},
        "warm": [rounded(each) for each in warm],
        "cold": [rounded(each) for each in cold],
        "demo": rounded(run),
        "bars": {"size_mb": SIZE_BAR_MB, "first_label_warm_s": FIRST_LABEL_BAR_S},
    }
    met = size <= SIZE_BAR_MB and median(warm, "first_label_s") <= FIRST_LABEL_BAR_S
    result["bars_met"] = met
    text = json.dumps(result, indent=1)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
