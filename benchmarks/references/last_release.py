"""Reference: another version of maskwatch on the same video. ``MASKWATCH_OLD`` says which one: the Python in whose
environment it is installed, or the folder of a checkout, which runs with this Python and its libraries.

    python -m venv /tmp/old && /tmp/old/bin/pip install maskwatch-1.0-py3-none-any.whl
    MASKWATCH_OLD=/tmp/old/bin/python maskwatch bench --source CLIP --compare last-release
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shared import loop


def main() -> None:
    args = loop.flags(__doc__)
    old = Path(os.environ.get("MASKWATCH_OLD", "")).absolute()  # not resolved: a venv's Python is a link
    if "MASKWATCH_OLD" not in os.environ or not old.exists():
        loop.fail("set MASKWATCH_OLD to the Python of the other version's environment, or to its checkout")
    if args.check:
        return
    flags = ["--seconds", str(args.seconds), "--warm-up", str(args.warm_up), "--starts", "0", "--rounds", "1"]
    flags += ["--threads", str(args.threads)] if args.threads else []
    flags += ["--window"] if args.window else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "speed.json"
        python, start = (sys.executable, old) if old.is_dir() else (str(old), Path(folder))
        command = [python, "-m", "app", "bench", "--source", str(args.clip.absolute()), *flags, "--json", str(report)]
        # Without PYTHONPATH, which may lead to this version: "-m" imports from the folder in which it starts
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=start, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(done.returncode)  # its own message is on standard error
        print(json.dumps(json.loads(report.read_text("utf-8"))["runs"][0]))


if __name__ == "__main__":
    main()
