"""Shows that a scan survives kills and faults: run it where nothing else of maskwatch scans.

    python benchmarks/scan_faults.py [--kills 20] [--engine local] [--json docs/results/scan_faults.json]
    python benchmarks/scan_faults.py --kills 8 --engine ray --json docs/results/scan_faults_ray.json

It scans twelve generated videos (parts of the demo) once as the reference. Then it scans them again while it kills, at
random moments, the driver or one of its processes; each killed driver is continued with ``scan resume``. At the end
every shard must be there once, with the bytes of the reference, and no process, partial or temporary file may be left;
only Ray keeps its logs. Then it scans with a full disk (a file system of 64 kB, if this user may mount one), a damaged,
an empty, a growing and a moved file.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import av
import psutil

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "assets" / "demo.mp4"
VIDEOS, SECONDS, FPS = 12, 4, 20


def make_archive(folder: Path) -> None:
    """Parts of the demo, each with another first frame, so that no two have the same content."""
    folder.mkdir(parents=True)
    with av.open(str(DEMO)) as container:
        images = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    for i in range(VIDEOS):
        with av.open(str(folder / f"hall_20261120_10{i:02d}00.mp4"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            stream.options = {"preset": "ultrafast", "g": "20"}
            for image in images[i * 20 : i * 20 + SECONDS * FPS]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "app", "scan", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def scan(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=600)


def results(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "shards").iterdir())}


def lines(run: Path) -> list[str]:
    """The shards in the order of ``done.jsonl``."""
    return [json.loads(line)["shard_id"] for line in (run / "done.jsonl").read_text().splitlines()]


def left_files(folder: Path) -> list[str]:
    """What is left in the temporary folder, apart from the logs that Ray keeps, and in shared memory."""
    temporary = [path.name for path in (folder / "t").iterdir() if path.name != "ray"]
    return sorted(temporary + [path.name for path in Path("/dev/shm").glob("*plasma*")])


def end_left_processes(marker: str) -> list[str]:
    """Processes that still run with ``marker`` in their environment, after ten seconds."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SCAN_MARKER") == marker and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process.name())
            except psutil.Error:
                continue
        if not left:
            return []
        time.sleep(0.2)
    return left


def kind_of(process: psutil.Process) -> str:
    """What a child of the driver is: a worker of the local engine, or one of Ray's processes."""
    try:
        return "worker" if "spawn_main" in " ".join(process.cmdline()) else process.name()[:24]
    except psutil.Error:
        return "ended"


def with_kills(run: Path, engine: str, kills: int, longest_s: float, rng: random.Random) -> dict[str, Any]:
    """Kills, at most ``longest_s`` apart, until ``kills`` have happened and all shards are done; no kill after that."""
    names: Counter[str] = Counter()
    runs = removed = 0
    while True:
        runs += 1
        process = subprocess.Popen(
            [*command("resume", run, "--engine", engine, "--workers", "2")],
            env={**environment(), "SCAN_MARKER": str(run)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            if names.total() >= kills:
                process.wait(600)
                break
            try:
                process.wait(rng.uniform(0.2, 1.0) * longest_s)
                break
            except subprocess.TimeoutExpired:
                pass
            try:
                children = [
                    each for each in driver.children(recursive=True) if "resource_tracker" not in str(each.cmdline())
                ]
            except psutil.Error:
                continue
            if children and rng.random() < 0.6:
                chosen = rng.choice(children)
                victim, name = chosen.pid, kind_of(chosen)
            else:
                victim, name = process.pid, ""
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            names[name] += 1
        if process.returncode == 0:
            if names.total() >= kills:
                killed = {"drivers_killed": names.pop("", 0), "processes_killed": dict(names)}
                return {"runs": runs, **killed, "lines_more_than_shards": len(lines(run)) - VIDEOS - removed}
            for path in sorted((run / "shards").iterdir())[:6]:  # all done before the last kill: continue with six less
                path.unlink()
                removed += 1
        elif process.returncode == 1:  # a shard was killed three times
            scan("retry-failed", run, "--engine", engine, "--workers", "2")


def with_faults(folder: Path) -> dict[str, Any]:
    archive, found = folder / "faulty", {}
    archive.mkdir()
    videos = sorted((folder / "archive").iterdir())
    for i, name in enumerate(("good", "moved", "growing", "cut")):
        shutil.copy(videos[i], archive / f"{name}.mp4")
    content = (archive / "cut.mp4").read_bytes()
    damaged = bytearray(content)
    for at in range(len(content) // 2, len(content) * 3 // 4):
        damaged[at] = 0
    (archive / "holes.mp4").write_bytes(damaged)
    (archive / "cut.mp4").write_bytes(content[: len(content) // 2])
    (archive / "empty.mp4").touch()
    run = folder / "faulty_run"
    found["plan"] = scan("plan", archive, "--out", run).stderr.splitlines()
    (archive / "moved.mp4").rename(archive / "elsewhere.mp4")
    with (archive / "growing.mp4").open("ab") as file:
        file.write(b"more")
    first = scan("run", run, "--workers", "2")
    found["run"] = {"exit_code": first.returncode, "errors": first.stderr.splitlines()}
    assert first.returncode == 1, first
    (archive / "elsewhere.mp4").rename(archive / "moved.mp4")
    os.truncate(archive / "growing.mp4", (archive / "growing.mp4").stat().st_size - 4)
    second = scan("retry-failed", run, "--workers", "2")
    found["retry"] = {"exit_code": second.returncode}
    assert second.returncode == 0, second
    return json.loads(json.dumps(found).replace(str(folder), "..."))


def with_full_disk(folder: Path, reference: dict[str, bytes]) -> dict[str, Any]:
    disk = folder / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        return {"skipped": "this user may not mount a file system"}
    try:
        scan("plan", folder / "archive", "--out", disk)
        first = scan("run", disk, "--workers", "2")
        assert first.returncode == 2, first
        kept = len(results(disk))
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        second = scan("resume", disk, "--workers", "2")
        assert second.returncode == 0, second
        assert results(disk) == reference
        return {
            "error": first.stderr.strip().replace(str(folder), "..."),
            "shards_before": kept,
            "after_resume": "same bytes",
        }
    finally:
        subprocess.run(["umount", disk], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--engine", default="local", choices=("local", "ray"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_archive(folder / "archive")
        (folder / "t").mkdir()
        os.environ["TMPDIR"] = str(folder / "t")
        before = left_files(folder)
        reference, killed = folder / "reference", folder / "killed"
        for run in (reference, killed):
            assert scan("plan", folder / "archive", "--out", run).returncode == 0
        started_s = time.monotonic()
        assert scan("run", reference, "--workers", "2").returncode == 0
        longest_s = 0.6 * (time.monotonic() - started_s)
        expected = results(reference)
        record: dict[str, Any] = {"engine": args.engine, "shards": len(expected)}
        record |= with_kills(killed, args.engine, args.kills, longest_s, random.Random(args.seed))
        record["same_bytes"] = results(killed) == expected
        record["left_processes"] = end_left_processes(str(killed))
        record["left_files"] = [name for name in left_files(folder) if name not in before]
        record["partial_files"] = [path.name for path in killed.rglob("*.part.*")]
        assert record["same_bytes"], sorted(results(killed))
        assert not record["left_processes"] + record["partial_files"] + record["left_files"], record
        if args.engine == "local":
            record["faults"] = with_faults(folder)
            record["full_disk"] = with_full_disk(folder, expected)
    text = json.dumps(record, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
