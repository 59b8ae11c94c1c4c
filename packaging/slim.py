"""Removes unneeded parts of libraries from a Linux build. The sizes are those of docs/packaging.md.

- Debug symbols of the interpreter, of LiteRT, HarfBuzz and PyAV: ``strip``. The libraries of other wheels contain
  few symbols, and auditwheel patched them in a way that ``strip`` damages.
- Libraries that the loader requires, but that maskwatch never calls. A stub library of the same name replaces each; its
  functions print an error and abort the program. Libraries that only these need are left out:
  - OpenBLAS of OpenCV (42 MB with its Fortran runtime): linear algebra on large matrices. YuNet, the cascade, resizing
    and drawing have their own code, and NumPy has its own OpenBLAS.
  - FFmpeg of OpenCV (41 MB with codecs and OpenSSL): PyAV reads and writes all videos with its own FFmpeg.
  - libaom of OpenCV (8 MB): OpenCV then reads no AVIF image, and PyAV does.
  - x265, SVT-AV1 and ALSA of PyAV (29 MB): encoders of formats that maskwatch does not write, and sound cards.
"""

import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

Entry = tuple[str, str, str]

_STUBBED = {
    "opencv_python.libs/libopenblas*": "cv2/cv2.*",
    "opencv_python.libs/libavcodec*": "cv2/cv2.*",
    "opencv_python.libs/libavdevice*": "cv2/cv2.*",
    "opencv_python.libs/libavformat*": "cv2/cv2.*",
    "opencv_python.libs/libavutil*": "cv2/cv2.*",
    "opencv_python.libs/libswscale*": "cv2/cv2.*",
    "opencv_python.libs/libaom*": "opencv_python.libs/libavif*",
    "av.libs/libasound*": "av.libs/libavdevice*",
    "av.libs/libx265*": "av.libs/libavcodec*",
    "av.libs/libSvtAv1Enc*": "av.libs/libavcodec*",
}
"""The libraries, and for each the file that requires it."""
_ANSWER_NULL = ("libx265*", "libaom*")
"""FFmpeg and libavif ask these libraries what they can do, and use nothing of them if they return NULL."""
_STUB_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#define MISSING(name) void name(void) { \\
    fputs("maskwatch: LIBRARY is only a stub in this build, but " #name " was called; use --full\\n", stderr); \\
    abort(); }
"""

_NULL_SOURCE = "#define MISSING(name) void *name(void) { return 0; }\n"


@dataclass(frozen=True, slots=True)
class Slimmed:
    """The new table of contents, and the original of each replaced source file."""

    entries: list[Entry]
    origins: dict[str, str]


def missing_tools() -> list[str]:
    """The tools that a Linux build needs to reduce the folder and that are not installed."""
    if not sys.platform.startswith("linux"):
        return []
    return [tool for tool in ("cc", "nm", "readelf", "strip") if shutil.which(tool) is None]


def slim(entries: Sequence[Entry], work: Path) -> Slimmed:
    """Replaces some of ``entries`` with smaller files. Needs binutils, and a C compiler for the stubs. Without
    them, and on other systems, the entries stay unchanged."""
    if not sys.platform.startswith("linux") or shutil.which("strip") is None:
        return Slimmed(list(entries), {})
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    origins: dict[str, str] = {}
    kept = list(entries) if set(missing_tools()) - {"strip"} else _with_stubs(entries, work, origins)
    slimmed = []
    for name, source, kind in kept:
        if kind in ("BINARY", "EXTENSION") and _is_strippable(name, source):
            target = work / name.replace("/", "_")  # several modules may have one file name
            subprocess.run(["strip", "--strip-unneeded", "-o", str(target), source], check=True)
            origins[str(target)] = source
            source = str(target)
        slimmed.append((name, source, kind))
    return Slimmed(slimmed, origins)


def _is_strippable(name: str, source: str) -> bool:
    from_interpreter = (
        Path(source).resolve().is_relative_to(Path(sys.base_prefix).resolve()) and sys.base_prefix != "/usr"
    )
    return from_interpreter or name.startswith(("ai_edge_litert/", "av/", "uharfbuzz/"))


def _with_stubs(entries: Sequence[Entry], work: Path, origins: dict[str, str]) -> list[Entry]:
    """``entries`` with stubs of the libraries in ``_STUBBED``, without the libraries that only these need."""
    stubbed = {
        source: user
        for _, source, user in _matched(entries)
        if any(fnmatch.fnmatch(name, user) for name, _, _ in entries)
    }
    if not stubbed:
        return list(entries)
    native = {source: name for name, source, kind in entries if kind in ("BINARY", "EXTENSION")}
    kept = _required(native, stubbed)
    stubs: dict[str, str] = {}
    for library, user in stubbed.items():
        stubs[library] = str(
            _stub(Path(library), user, {path: native[path] for path in kept if path not in stubbed}, work)
        )
        origins[stubs[library]] = library
    removed = {name for source, name in native.items() if source not in kept}
    return [
        (name, stubs.get(source, source), kind)
        for name, source, kind in entries
        if name not in removed and not (kind == "SYMLINK" and source in removed)
    ]


def _matched(entries: Sequence[Entry]) -> list[tuple[str, str, str]]:
    """(name, source, user) of each entry that is in ``_STUBBED``."""
    return [
        (name, source, user)
        for name, source, kind in entries
        for pattern, user in _STUBBED.items()
        if kind == "BINARY" and fnmatch.fnmatch(name, pattern)
    ]


def _required(native: dict[str, str], stubbed: Iterable[str]) -> set[str]:
    """The files of ``native`` (name by source file) that are still needed if ``stubbed`` need no other."""
    by_name: dict[str, list[str]] = {}
    for source, name in native.items():
        by_name.setdefault(Path(name).name, []).append(source)
    folders = {Path(native[library]).parent for library in stubbed}
    found = {source for source, name in native.items() if Path(name).parent not in folders}
    todo = list(found)
    while todo:
        source = todo.pop()
        needed = set() if source in stubbed else _needed(Path(source))
        # Wheels may bring the same library. The loader takes the first, and each must work without the other.
        new = {each for name in needed for each in by_name.get(name, ())} - found
        found |= new
        todo += new
    return found


def _stub(library: Path, user: str, others: dict[str, str], work: Path) -> Path:
    """A library with the functions of ``library`` that the file ``user`` imports. Exits if another file uses them."""
    defined = {symbol.replace("@@", "@") for symbol in symbols([library], "--defined-only")}
    users = [Path(source) for source, name in others.items() if fnmatch.fnmatch(name, user)]
    strangers = [Path(source) for source, name in others.items() if not fnmatch.fnmatch(name, user)]
    strangers = [path for path in strangers if library.name in _needed(path)]
    needed = symbols(users, "--undefined-only") & defined
    if not needed or symbols(strangers, "--undefined-only") & defined:
        raise SystemExit(
            f"{library.name} is used in an unexpected way; build with --full, or correct packaging/slim.py"
        )
    code, script, stub = work / "stub.c", work / "stub.map", work / library.name
    versions: dict[str, list[str]] = {}
    for symbol in sorted(needed):
        name, _, version = symbol.partition("@")
        versions.setdefault(version, []).append(name)
    lines = [f"MISSING({name})\n" for names in versions.values() for name in names]
    answers = any(fnmatch.fnmatch(library.name, pattern) for pattern in _ANSWER_NULL)
    source = _NULL_SOURCE if answers else _STUB_SOURCE.replace("LIBRARY", library.name)
    code.write_text(source + "".join(lines), encoding="utf-8")
    groups = [f"{version} {{ global: {'; '.join(names)}; }};\n" for version, names in versions.items()]
    script.write_text("".join(groups), encoding="utf-8")
    flags = [f"-Wl,-soname,{stub.name}", f"-Wl,--version-script={script}"]
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-s", *flags, "-o", str(stub), str(code)], check=True)
    return stub


def _needed(path: Path) -> set[str]:
    """The names of the libraries that the loader loads with ``path``."""
    lines = subprocess.run(["readelf", "--dynamic", "--wide", str(path)], capture_output=True, text=True, check=False)
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", lines.stdout))


def symbols(paths: Sequence[Path], which: str) -> set[str]:
    """The symbols, with versions, that libraries export (``--defined-only``) or import (``--undefined-only``)."""
    if not paths:
        return set()
    command = ["nm", "--dynamic", "--format=posix", which, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0] for line in lines if len(line.split()) > 1}
