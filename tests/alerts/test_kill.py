"""No alert is lost although the sender is killed repeatedly and the receiver fails half of the time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "alert_kill.py"


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_no_alert_is_lost_when_the_program_is_killed() -> None:
    argv = [sys.executable, str(SCRIPT), "--alerts", "30", "--kills", "4", "--seed", "7"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}
    process = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=600, check=False)
    output = process.stdout + process.stderr
    assert process.returncode == 0, output
    assert re.search(r"^alerts 30, killed 4 times", process.stdout, re.MULTILINE), output
    deliveries = re.search(r"^deliveries (\d+), losses 0$", process.stdout, re.MULTILINE)
    assert deliveries, output
    assert int(deliveries[1]) >= 30
