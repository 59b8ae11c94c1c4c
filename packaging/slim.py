"""Removes unneeded parts of libraries from a Linux build. The sizes are those of docs/packaging.md.

- Debug symbols of the interpreter and of LiteRT: ``strip``. The libraries of other wheels contain few symbols, and
  auditwheel patched them in a way that ``strip`` damages.
- OpenBLAS of OpenCV (42 MB with its Fortran runtime). The loader requires the library, but OpenCV calls it only for
  linear algebra on large matrices (solve, SVD, products above 100 rows). maskwatch does not use that: YuNet, the
  cascade, resizing and drawing have their own code. A stub library of the same name replaces it; each of its functions
  prints an error and aborts the program. NumPy has its own OpenBLAS, which is kept.
"""

import fnmatch
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Entry = tuple[str, str, str]

_STUBBED = "opencv_python.libs/libopenblas*"
_ONLY_FOR_STUBBED = ("libgfortran-*", "libquadmath-*")
_STUB_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#define MISSING(name) void name(void) { \\
    fputs("maskwatch: this build has no LAPACK for OpenCV, but " #name " was called; build with --full\\n", stderr); \\
    abort(); }
"""


@dataclass(frozen=True, slots=True)
class Slimmed:
    """The new table of contents, and the original of each replaced source file."""

    entries: list[Entry]
    origins: dict[str, str]


def missing_tools() -> list[str]:
    """The tools that a Linux build needs to reduce the folder and that are not installed."""
    if not sys.platform.startswith("linux"):
        return []
    return [tool for tool in ("cc", "nm", "strip") if shutil.which(tool) is None]


def slim(entries: Sequence[Entry], work: Path) -> Slimmed:
    """Replaces some of ``entries`` with smaller files. Needs binutils, and a C compiler for the OpenBLAS part. Without
    them, and on other systems, the entries stay unchanged."""
    if not sys.platform.startswith("linux") or shutil.which("strip") is None:
        return Slimmed(list(entries), {})
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    origins: dict[str, str] = {}
    kept = _without_openblas(entries, work, origins) if shutil.which("cc") and shutil.which("nm") else list(entries)
    slimmed = []
    for name, source, kind in kept:
        if kind in ("BINARY", "EXTENSION") and _is_strippable(name, source):
            target = work / Path(name).name
            subprocess.run(["strip", "--strip-unneeded", "-o", str(target), source], check=True)
            origins[str(target)] = source
            source = str(target)
        slimmed.append((name, source, kind))
    return Slimmed(slimmed, origins)


def _is_strippable(name: str, source: str) -> bool:
    from_interpreter = (
        Path(source).resolve().is_relative_to(Path(sys.base_prefix).resolve()) and sys.base_prefix != "/usr"
    )
    return from_interpreter or name.startswith("ai_edge_litert/")


def _without_openblas(entries: Sequence[Entry], work: Path, origins: dict[str, str]) -> list[Entry]:
    originals = [entry for entry in entries if fnmatch.fnmatch(entry[0], _STUBBED)]
    if not originals:
        return list(entries)
    [(name, source, _)] = originals
    opencv = [Path(path) for place, path, _ in entries if place.startswith("cv2/cv2.")]
    folder = Path(source).parent
    needed = _symbols(opencv, "--undefined-only") & _symbols([Path(source)], "--defined-only")
    others = [path for path in folder.iterdir() if path != Path(source) and not _matches(path.name, _ONLY_FOR_STUBBED)]
    if not needed or _symbols(others, "--undefined-only") & _symbols([Path(source)], "--defined-only"):
        raise SystemExit(
            "OpenCV's OpenBLAS is used in an unexpected way; build with --full, or correct packaging/slim.py"
        )
    code = work / "stub.c"
    code.write_text(_STUB_SOURCE + "".join(f"MISSING({symbol})\n" for symbol in sorted(needed)), encoding="utf-8")
    stub = work / Path(source).name
    command = ["cc", "-shared", "-fPIC", "-O1", "-s", f"-Wl,-soname,{stub.name}", "-o", str(stub), str(code)]
    subprocess.run(command, check=True)
    origins[str(stub)] = source
    removed = {path.name for path in folder.iterdir() if _matches(path.name, _ONLY_FOR_STUBBED)}
    # Also removes the links at the top of the folder to these files.
    kept = [entry for entry in entries if Path(entry[0]).name not in removed]
    return [(place, str(stub), kind) if place == name else (place, path, kind) for place, path, kind in kept]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _symbols(paths: Sequence[Path], which: str) -> set[str]:
    """The symbols that libraries export (``--defined-only``) or import (``--undefined-only``)."""
    if not paths:
        return set()
    command = ["nm", "--dynamic", "--format=posix", which, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0].partition("@")[0] for line in lines if len(line.split()) > 1}
