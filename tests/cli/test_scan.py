"""``maskwatch scan`` with real processes and models, on a short part of the demo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import psutil
import pytest
from fakes_video import write_clip

from app.cli.main import main
from app.cli.scan import DEFAULT_EVERY_S
from app.core.resources import asset

pytest.importorskip("pyarrow", reason="pyarrow (maskwatch[scan]) is not installed")

from app.scan.local_engine import LocalEngine
from app.scan.run_folder import RunFolder
from app.scan.runner import run_plan
from app.scan.worker import Outcome, Task


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A planned scan of four seconds of the demo in two shards."""
    import av

    with av.open(str(asset("demo.mp4"))) as container:
        images = [
            frame.to_ndarray(format="bgr24") for frame, _ in zip(container.decode(video=0), range(230), strict=False)
        ]
    (tmp_path / "archive").mkdir()
    write_clip(tmp_path / "archive/hall_20261120_100000.mp4", images[150:], 20)
    arguments = ["scan", "plan", str(tmp_path / "archive"), "--out", str(tmp_path / "run"), "--shard", "2s"]
    assert main([*arguments, "--timezone", "UTC"]) == 0
    return tmp_path / "run"


def test_plan_run_status_and_report(planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["scan", "run", str(planned), "--workers", "1"]) == 0
    assert "2 shards analysed" in capsys.readouterr().out
    assert main(["scan", "status", str(planned)]) == 0
    status = capsys.readouterr().out
    assert "2 of 2 shards done, 0 failed, 0 left" in status
    assert "4 s of 4 s of video in " in status
    assert main(["scan", "verify", str(planned), "--workers", "1"]) == 0
    assert "1 shard analysed again, 1 with the same bytes" in capsys.readouterr().out
    events, table = tmp_path / "events.jsonl", tmp_path / "hours.csv"
    assert main(["scan", "report", str(planned), "--events", str(events), "--csv", str(table)]) == 0
    assert table.read_text().splitlines()[1].startswith("hall,2026-11-20 10:00+00:00,")
    for line in events.read_text().splitlines():
        assert json.loads(line)["camera"] == "hall"


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_the_help_has_the_default_of_a_scan(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scan", "plan", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"such as 0.2s (default {DEFAULT_EVERY_S})" in text


def test_a_shard_whose_process_is_killed_is_tried_again(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, killed = RunFolder(planned), []

    def kill_first(tasks: "deque[Task]") -> Iterator[Outcome]:
        for outcome in engine_run(tasks):
            if not killed:  # the process that has just begun the second shard
                (process,) = active_children()
                killed.append(process.pid)
                os.kill(process.pid or 0, signal.SIGKILL)
            yield outcome

    engine = LocalEngine(1)
    engine_run = engine.run
    monkeypatch.setattr(engine, "run", kill_first)
    summary = run_plan(folder, engine)
    assert (summary.done, summary.failed, len(killed)) == (2, (), 1)
    assert active_children() == []
    assert [path.suffix for path in (planned / "shards").iterdir()] == [".parquet"] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process by signal")
def test_a_killed_driver_leaves_no_process_and_is_continued(planned: Path) -> None:
    command = [sys.executable, "-m", "app", "scan", "run", str(planned), "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        workers: list[psutil.Process] = []
        end_s = time.monotonic() + 60
        while len(workers) < 2 and time.monotonic() < end_s:
            children = psutil.Process(driver.pid).children(recursive=True)
            workers = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
        driver.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert (len(workers), alive) == (2, [])
    folder = RunFolder(planned)
    assert run_plan(folder, LocalEngine(1)).failed == ()
    assert len(folder.done()) == 2
    assert [path.suffix for path in (planned / "shards").iterdir()] == [".parquet"] * 2


def test_a_moved_video_fails_with_its_name(planned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    assert main(["scan", "run", str(planned), "--workers", "1"]) == 1
    errors = capsys.readouterr().err
    assert "hall_20261120_100000.mp4: no such video" in errors
    assert "retry-failed" in errors


def test_ray_needs_a_token_for_a_cluster(
    planned: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    for name in ("RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        monkeypatch.setenv(name, "")
    assert main(["scan", "run", str(planned), "--engine", "ray", "--address", "ray://head:10001"]) == 2
    assert "no token for ray://head:10001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "absent"], "is no planned scan"),
        (["plan", "absent", "--out", "run"], "no such file or folder"),
        (["plan", ".", "--out", "run", "--shard", "soon"], "--shard: 'soon' is not a duration"),
        (["plan", ".", "--out", "run", "--shard", "1ms"], "--shard 1ms is too short; give 1s or more"),
        (["plan", ".", "--out", "run", "--every", "often"], "--every"),
        (["plan", ".", "--out", "run", "--timezone", "Mars"], "unknown time zone 'Mars'"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scan", *arguments]) == 2
    assert reason in capsys.readouterr().err
