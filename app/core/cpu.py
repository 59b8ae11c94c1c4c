"""The processor cores that this process may use."""

import os


def cores_allowed() -> int:
    """The number of cores, which a container or ``taskset`` may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
