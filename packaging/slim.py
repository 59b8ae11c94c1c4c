"""What a Linux build can leave out of libraries that it needs. The sizes are those of docs/packaging.md.

- Debugging symbols of the interpreter and of LiteRT: ``strip``. The other wheels' libraries have none worth it, and
  were patched by auditwheel in a way that ``strip`` damages.
- OpenBLAS of OpenCV (42 MB with its Fortran run time). The loader insists on the library, but OpenCV calls it only for
  linear algebra on large matrices (solve, SVD, products above 100 rows), which nothing here does: YuNet, the cascade,
  resizing and drawing have code of their own. A library of the same name takes its place, in which each function that
  OpenCV could call says so and ends the program. NumPy has an OpenBLAS of its own, which stays.
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
    """The table of contents after it, and where each replaced source file came from."""

    entries: list[Entry]
    origins: dict[str, str]


def missing_tools() -> list[str]:
    """What a Linux build misses to make the folder small."""
    if not sys.platform.startswith("linux"):
        return []
    return [tool for tool in ("cc", "nm", "strip") if shutil.which(tool) is None]


def slim(entries: Sequence[Entry], work: Path) -> Slimmed:
    """``entries`` with smaller files in place of some. Needs binutils, and a C compiler for the OpenBLAS part; without
    them, and on other systems, it changes nothing."""
    if not sys.platform.startswith("linux") or shutil.which("strip") is None:
        return Slimmed(list(entries), {})
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    origins: dict[str, str] = {}
    kept = _without_openblas(entries, work, origins) if shutil.which("cc") and shutil.which("nm") else list(entries)
    slimmed = []
    for name, source, kind in kept:
        if kind in ("BINARY", "EXTENSION") and _has_symbols_to_lose(name, source):
            target = work / Path(name).name
            subprocess.run(["strip", "--strip-unneeded", "-o", str(target), source], check=True)
            origins[str(target)] = source
            source = str(target)
        slimmed.append((name, source, kind))
    return Slimmed(slimmed, origins)


def _has_symbols_to_lose(name: str, source: str) -> bool:
    of_interpreter = (
        Path(source).resolve().is_relative_to(Path(sys.base_prefix).resolve()) and sys.base_prefix != "/usr"
    )
    return of_interpreter or name.startswith("ai_edge_litert/")


def _without_openblas(entries: Sequence[Entry], work: Path, origins: dict[str, str]) -> list[Entry]:
    whole = [entry for entry in entries if fnmatch.fnmatch(entry[0], _STUBBED)]
    if not whole:
        return list(entries)
    [(name, source, _)] = whole
    opencv = [Path(path) for place, path, _ in entries if place.startswith("cv2/cv2.")]
    folder = Path(source).parent
    needed = _symbols(opencv, "--undefined-only") & _symbols([Path(source)], "--defined-only")
    others = [path for path in folder.iterdir() if path != Path(source) and not _matches(path.name, _ONLY_FOR_STUBBED)]
    if not needed or _symbols(others, "--undefined-only") & _symbols([Path(source)], "--defined-only"):
        raise SystemExit(
            "OpenCV's OpenBLAS is used in another way than known; build with --full, mend packaging/slim.py"
        )
    code = work / "stub.c"
    code.write_text(_STUB_SOURCE + "".join(f"MISSING({symbol})\n" for symbol in sorted(needed)), encoding="utf-8")
    stub = work / Path(source).name
    command = ["cc", "-shared", "-fPIC", "-O1", "-s", f"-Wl,-soname,{stub.name}", "-o", str(stub), str(code)]
    subprocess.run(command, check=True)
    origins[str(stub)] = source
    gone = {path.name for path in folder.iterdir() if _matches(path.name, _ONLY_FOR_STUBBED)}
    # Links at the top of the folder lead to the real files: they go with them.
    kept = [entry for entry in entries if Path(entry[0]).name not in gone]
    return [(place, str(stub), kind) if place == name else (place, path, kind) for place, path, kind in kept]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _symbols(paths: Sequence[Path], which: str) -> set[str]:
    """Names that libraries export (``--defined-only``) or expect of others (``--undefined-only``)."""
    if not paths:
        return set()
    command = ["nm", "--dynamic", "--format=posix", which, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0].partition("@")[0] for line in lines if len(line.split()) > 1}
