"""Programs of the user: their environment, and the end of one with its children."""

import os
import signal
import subprocess
import sys
from contextlib import suppress


def own_environment() -> dict[str, str]:
    """The user's environment without the ``LD_LIBRARY_PATH`` entries that OpenCV adds on import: its own folder and an
    empty entry, which means the current folder."""
    environment = dict(os.environ)
    entries = [entry for entry in environment.pop("LD_LIBRARY_PATH", "").split(":") if entry and "/cv2/.." not in entry]
    return {**environment, "LD_LIBRARY_PATH": ":".join(entries)} if entries else environment


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills ``process`` and its children."""
    if sys.platform == "win32":
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, capture_output=True, check=False, timeout=5)
    else:
        with suppress(ProcessLookupError, PermissionError):  # it ended between the check and the kill
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
