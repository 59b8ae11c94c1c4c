"""A process with a hanging decoder exits at once, with its exit code and its complete output."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, threading, time
sys.path.insert(0, sys.argv[1])
from app.capture.process_exit import end_process
if sys.argv[2] == "stuck":
    threading.Thread(target=time.sleep, args=(600,), name="reader:door").start()
print("output", end="")
end_process(int(sys.argv[3]))
"""


@pytest.mark.parametrize("state", ["stuck", "free"])
@pytest.mark.parametrize("code", [0, 2])
def test_the_exit_code_and_the_output_are_kept(state: str, code: int) -> None:
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, root, state, str(code)], capture_output=True, text=True, timeout=600, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "output", "")
