"""The processor, and the cores of it that this process may use."""

import os
import platform
import subprocess
import sys
from pathlib import Path


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        sysctl = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if sysctl.returncode == 0:
            return sysctl.stdout.strip()
    return platform.processor() or platform.machine()


def cores_allowed() -> int:
    """The number of cores, which a container or ``taskset`` may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
