"""Killed with SIGKILL again and again while the receiver fails half of the time: nothing is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "alert_kill.py"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
def test_nothing_is_lost_when_the_program_is_killed() -> None:
    argv = [sys.executable, str(SCRIPT), "--alerts", "30", "--kills", "4", "--seed", "7"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=600, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert re.search(r"^alerts 30, killed 4 times", done.stdout, re.MULTILINE), told
    deliveries = re.search(r"^deliveries (\d+), losses 0$", done.stdout, re.MULTILINE)
    assert deliveries, told
    assert int(deliveries[1]) >= 30
