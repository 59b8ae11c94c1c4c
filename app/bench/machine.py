"""Describes what the figures were measured on: the machine, the versions, the memory of a process."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app import __version__
from app.bench.result_types import Machine
from app.core.cpu import cores_allowed, cpu_name
from app.core.errors import SettingsError
from app.core.text import counted

_PACKAGES = ("opencv-python", "ai-edge-litert", "numpy")
_STATUS = Path("/proc/self/status")


def describe() -> Machine:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Machine(
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        cores_allowed=cores_allowed(),
        memory_gb=_memory_gb(),
        os=platform.platform(),
        load_before=load,
    )


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str]:
    """The versions of maskwatch, Python and the installed ones of ``packages``."""
    found = {"maskwatch": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an executable contains code, but no package metadata
            continue
    return found


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def peak_rss_mb() -> float | None:
    """The largest resident memory of this process so far; None if the system does not report it.

    On Linux from ``VmHWM``: ``ru_maxrss`` there includes the parent's memory, because exec keeps it.
    """
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


@contextmanager
def only_cores(count: int | None) -> Iterator[None]:
    """Limits this thread, and the processes it starts meanwhile, to ``count`` cores, if the system can.

    Raises SettingsError if fewer cores are available.
    """
    if count is None:
        yield
        return
    if count > cores_allowed():
        raise SettingsError(
            f"--threads {count}: only {counted(cores_allowed(), 'core')} available; give a lower number"
        )
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
